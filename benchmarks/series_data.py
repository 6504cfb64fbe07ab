"""Labelled recordings for benchmarks: one entity a file, and how to drive a shard with it.

Owns the layout of the data folder (../shared/data, or GRAFT_DATA): `SET/ENTITY.npz` with X (T, d), y (T,), ts (T,)
epoch seconds, and train_len. Names of metrics are not in the files; columns are called m00, m01, ...
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.batch import Batch
from engine.config import EngineConfig
from engine.prior import Prior
from engine.series import Kind, Series
from engine.shard import Shard

Array = NDArray[Any]
CONFIG = EngineConfig(counters_from_shape=False)


class Recording(NamedTuple):
    """values (T, d), NaN where missing; label (T,) bool; ts_ms (T,); history: rows that may be learned from freely."""

    name: str
    values: Array
    label: Array
    ts_ms: Array
    history: int

    @property
    def step_ms(self) -> int:
        """Time between rows."""
        return int(np.median(np.diff(self.ts_ms)))

    @property
    def rows_a_day(self) -> int:
        """Rows of 24 hours."""
        return round(86_400_000 / self.step_ms)


def parser_of(prog: str, doc: str | None) -> argparse.ArgumentParser:
    """What every benchmark of labelled sets takes: --data, --json; and its own words as help."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=doc)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of the sets (default: GRAFT_DATA or ../shared/data)"
    )
    parser.add_argument("--json", action="store_true", help="one object on stdout")
    return parser


def folder(given: Path | None) -> Path:
    """The data folder: what was given, else GRAFT_DATA, else ../shared/data beside the project."""
    root = Path(__file__).resolve().parent.parent.parent
    return given or Path(os.environ.get("GRAFT_DATA") or root / "shared" / "data")


def load(data: Path, name: str) -> list[Recording]:
    """All entities of a set, in order of their names; empty if the set is absent."""
    return [read(path) for path in sorted((data / name).glob("*.npz"))]


def read(path: Path) -> Recording:
    """One entity."""
    with np.load(path, allow_pickle=False) as file:
        values = file["X"].astype(np.float64)
        values = values[:, None] if values.ndim == 1 else values
        ts_ms = file["ts"].astype(np.int64) * 1000
        return Recording(path.stem, values, file["y"] > 0, ts_ms, int(file["train_len"]))


class Day(NamedTuple):
    """What a shard said of some rows: expected (n, d); severity, page (n,), NaN where there is no answer."""

    expected: Array
    severity: Array
    page: Array


def fresh(width: int, *, prior: Prior | None = None) -> Shard:
    """A shard that waits for one entity of `width` metrics."""
    shard = Shard(CONFIG, topic="file", partition=0, prior=prior)
    shard.next_offset = 0
    for column in range(width):
        shard.admit(Series.of(f"m{column:02d}", {"host": "a"}, Kind.GAUGE))
    return shard


def whole_rows(ts_ms: Array, values: Array, offset: int) -> Batch:
    """A batch of rows, each one record with all metrics of a shard made by `fresh`, from this offset on."""
    rows, width = values.shape
    return Batch.of(
        np.tile(np.arange(width), rows),
        np.repeat(ts_ms, width),
        values.ravel(),
        offset + np.repeat(np.arange(rows), width),
        offset + rows,
    )


def feed(shard: Shard, recording: Recording, begin: int, end: int, *, chunk: int = 5000) -> Day:
    """Fold rows [begin, end); the shard must have been fed the rows before, or none."""
    width = recording.values.shape[1]
    day = Day(np.full((end - begin, width), np.nan), np.full(end - begin, np.nan), np.full(end - begin, np.nan))
    for first in range(begin, end, chunk):
        last = min(first + chunk, end)
        verdicts = shard.process(
            whole_rows(recording.ts_ms[first:last], recording.values[first:last], shard.next_offset)
        )
        day.expected[first - begin : last - begin] = verdicts.expected.reshape(-1, width)
        at = np.searchsorted(recording.ts_ms, verdicts.ticks.ts_ms) - begin
        is_ours = at >= 0
        day.severity[at[is_ours]] = verdicts.ticks.severity[is_ours]
        day.page[at[is_ours]] = verdicts.ticks.page[is_ours]
    return day
