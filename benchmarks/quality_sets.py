"""What `benchmarks.quality` reads: the sets, their entities, and what of an entity a method may see.

Owns the protocol. A method gets a `Stream`: numbers, times, and how many rows at the start are free history. It never
gets an `Entity`, which holds the labels; those are for scoring only. Layout of the folder: `SET/ENTITY.npz`
(benchmarks/series_data.py) and NAB in its own form, one CSV a series and its windows in one JSON file.

Not obvious: NAB has no history; its first 15 % of a file, 750 rows at most, are not scored.
"""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.series_data import Array, read

#: Entities of many metrics; the mean of sets is over these.
WIDE = ("SMD", "ASD", "JS-D2")
SETS = (*WIDE, "AIOPS", "NAB")
NAB = "NAB"


class Stream(NamedTuple):
    """All that a method sees. values (T, d), NaN where missing; ts_ms (T,); history: rows that nobody is scored on."""

    values: Array
    ts_ms: Array
    history: int
    rows_a_day: int

    def first(self, rows: int) -> Stream:
        """The same stream, ended after so many rows."""
        return self._replace(values=self.values[:rows], ts_ms=self.ts_ms[:rows])


class Entity(NamedTuple):
    """A stream and its labels. events: (k, 2) first row and row after the last; scored_from: first row that counts."""

    name: str
    stream: Stream
    events: Array
    scored_from: int

    @property
    def label(self) -> Array:
        """(T,) bool: is the row within an event?"""
        label = np.zeros(len(self.stream.ts_ms), bool)
        for begin, end in self.events:
            label[begin:end] = True
        return label


def names(data: Path, name: str) -> list[str]:
    """Entities of a set, in order; empty if the set is absent. Those of NAB are `folder/file.csv`."""
    if name == NAB:
        windows = data / NAB / "labels" / "combined_windows.json"
        every = sorted(json.loads(windows.read_text())) if windows.exists() else []
        return [one for one in every if (data / NAB / "data" / one).exists()]
    return [path.stem for path in sorted((data / name).glob("*.npz"))]


def entity(data: Path, set_name: str, name: str) -> Entity:
    """One entity with its labels."""
    if set_name == NAB:
        return _nab(data / NAB, name)
    recording = read(data / set_name / f"{name}.npz")
    stream = Stream(recording.values, recording.ts_ms, recording.history, max(recording.rows_a_day, 1))
    return Entity(name, stream, segments(recording.label), recording.history)


def some(every: list[str], *, most: int) -> list[str]:
    """At most so many, evenly from the whole list: the middle one of each part.

    >>> some(list("abcdefgh"), most=2)
    ['c', 'g']
    """
    count = min(most, len(every))
    return [every[int((k + 0.5) * len(every) / count)] for k in range(count)]


def segments(label: Array) -> Array:
    """(k, 2): first row of each run of True, and the row after its last.

    >>> segments(np.array([1, 1, 0, 0, 1], bool)).tolist()
    [[0, 2], [4, 5]]
    """
    return np.flatnonzero(np.diff(np.concatenate([[False], label, [False]]))).reshape(-1, 2)


def _nab(root: Path, name: str) -> Entity:
    with (root / "data" / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    stamps = [row["timestamp"] for row in rows]
    # Local times read as UTC, as `graft replay` does.
    ts_ms = np.array(
        [datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() * 1000 for stamp in stamps], np.int64
    )
    # Where a clock was set back a stamp stands twice; the window begins or ends at the first.
    at = {stamp: row for row, stamp in reversed(list(enumerate(stamps)))}
    windows = json.loads((root / "labels" / "combined_windows.json").read_text())[name]
    events = [(at[begin.partition(".")[0]], at[end.partition(".")[0]] + 1) for begin, end in windows]
    values = np.array([[float(row["value"])] for row in rows])
    step_ms = float(np.median(np.diff(ts_ms))) or 300_000.0
    stream = Stream(values, ts_ms, 0, max(round(86_400_000 / step_ms), 1))
    return Entity(name, stream, np.array(events, int).reshape(-1, 2), min(int(0.15 * len(rows)), 750))
