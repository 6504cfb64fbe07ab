"""Labels for files: which windows of them are not to be learned, known before the first row is read.

Owns the file of labels (`graft.label/1`, one a line) and which of them are about a series of a table. What a label must
say is engine/feedback.py, what a window does engine/windows.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from engine import feedback, marking
from engine.errors import BadSample, ConfigError
from engine.series import Series
from engine.shard import Shard
from engine.windows import LATE, Window, span_of

MOST_BYTES, MOST_LINES = 16 << 20, 100_000


def read(path: Path) -> list[Mapping[str, Any]]:
    """The labels of a file that say of a window that it is not normal; ConfigError names file and line."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    lines = data.splitlines()
    if len(data) > MOST_BYTES or len(lines) > MOST_LINES:
        raise ConfigError(f"{path} is larger than {MOST_BYTES} bytes or {MOST_LINES} lines; cut it in two.")
    found = (_label(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    return [one for one in found if one["answer"] in marking.ANSWERS and one.get("from_ms") is not None]


def _label(path: Path, number: int, line: bytes) -> Mapping[str, Any]:
    try:
        label = orjson.loads(line)
        if not isinstance(label, dict):
            raise BadSample("label", "it is no JSON object.")
        feedback.check(label)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}:{number}: it is no JSON: {error}.") from None
    except BadSample as error:
        raise ConfigError(f"{path}:{number}: {error.detail}") from None
    return label


def mark(
    shard: Shard, labels: Iterable[Mapping[str, Any]], series: Series, entity: str, shown: Mapping[str, str]
) -> None:
    """Mark the windows of an entity of which a first series is seen. shown: names as the results have them."""
    for label in labels:
        begin, end = span_of(label)
        names = {series.text, shown.get(series.text, series.text)}
        entities = {None, "", entity, shown.get(entity, entity)}
        is_named = label.get("series") in names or (not label.get("series") and label.get("entity"))
        if is_named and label.get("entity") in entities:
            marking.mark(shard, Window(entity, None, begin, end, str(label["id"]), LATE))
