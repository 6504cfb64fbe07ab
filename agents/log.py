"""Logging: text at a terminal, one JSON object a line elsewhere, and never the same error a thousand times.

Owns the two formats, the limit on repeated lines and the masking of secrets. Knows nothing of what is logged.

Not obvious: the clock is the record's own `created`, so the limit needs no clock and tests need no sleep. A dead broker
makes its client log about a hundred errors a second; after BURST of them in WINDOW_S only their number is kept.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from agents.secret import Secret, mask

#: So many lines of one kind (same logger, level and words, whatever the numbers) pass in one window; the next line
#: tells the rest.
BURST = 5
WINDOW_S = 10.0
#: Kinds remembered; beyond it the oldest is forgotten, so that templates made by mistake cannot fill the memory.
KINDS = 512

_DIGITS = re.compile(r"[0-9]+")
_PLAIN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {
    "message",
    "asctime",
    "taskName",
    "suppressed",
}


class RateLimit(logging.Filter):
    """Lets BURST lines of one kind pass per WINDOW_S; a passing line carries how many before it did not."""

    def __init__(self, *, burst: int = BURST, window_s: float = WINDOW_S) -> None:
        super().__init__()
        self._burst = burst
        self._window_s = window_s
        self._seen: dict[tuple[str, int, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        # Sentences for the operator come whole, under the template "%s".
        words = record.getMessage() if record.msg == "%s" else str(record.msg)
        kind = (record.name, record.levelno, _DIGITS.sub("#", words)[:120])
        began, passed, held = self._seen.pop(kind, (record.created, 0.0, 0.0))
        if record.created - began >= self._window_s:
            began, passed = record.created, 0.0
        passes = passed < self._burst
        if passes and held:
            record.suppressed = int(held)
        self._seen[kind] = [began, passed + passes, 0.0 if passes else held + 1]
        if len(self._seen) > KINDS:
            del self._seen[next(iter(self._seen))]
        return passes


class TextFormatter(logging.Formatter):
    """`12:03:04 WARNING detector: message  key=value` - and the traceback of an error that has one."""

    def __init__(self, secrets: tuple[Secret, ...] = ()) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        line = f"{clock} {record.levelname:<7} {_short(record.name)}: {record.getMessage()}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return mask(line, self._secrets)


class JsonFormatter(logging.Formatter):
    """One object a line: ts, level, logger, event, then the record's extra fields, then error with its traceback."""

    def __init__(self, secrets: tuple[Secret, ...] = ()) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": _short(record.name),
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        # Masked before encoding as well: JSON writes a quote inside a secret in another way.
        line = {key: mask(value, self._secrets) if isinstance(value, str) else value for key, value in line.items()}
        return mask(orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode(), self._secrets)


def setup(
    *,
    level: str = "info",
    json: bool | None = None,
    secrets: tuple[Secret, ...] = (),
    stream: TextIO | None = None,
) -> None:
    """Route all logging to one stream (standard error). json: None decides by whether a terminal reads it."""
    target = stream or sys.stderr
    as_json = not target.isatty() if json is None else json
    handler = logging.StreamHandler(target)
    handler.setFormatter(JsonFormatter(secrets) if as_json else TextFormatter(secrets))
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    extra = {key: value for key, value in vars(record).items() if key not in _PLAIN}
    suppressed = getattr(record, "suppressed", 0)
    return {**extra, "suppressed": suppressed} if suppressed else extra


def _short(name: str) -> str:
    return name.removeprefix("agents.")
