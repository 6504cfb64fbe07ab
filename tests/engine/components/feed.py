"""Feeds for the components' laws: values in, a shard and its verdicts out; and the plain twin of a kernel."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.batch import Batch
from engine.records import Record
from engine.retune import Tuner
from engine.shard import Shard, Verdicts
from tests.engine.logs import START_MS, admit, cold

MINUTE_MS = 60_000


def plain(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The interpreted form of a kernel: its law is checked without compiling it for a test's types."""
    return getattr(kernel, "py_func", kernel)


def log_of(rows: np.ndarray, values: np.ndarray, ts_ms: np.ndarray | None = None, *, first: int = 0) -> Batch:
    """One record a sample. rows (d,); values (n, d), NaN: the sender said that it has none; ts_ms (n,)."""
    n, d = values.shape
    ts_ms = START_MS + MINUTE_MS * np.arange(n) if ts_ms is None else ts_ms
    offset = first + np.arange(n * d)
    return Batch.of(np.tile(rows, n), np.repeat(ts_ms, d), values.ravel(), offset, first + n * d)


def without(batch: Batch, dropped: np.ndarray) -> Batch:
    """The log without the marked samples, renumbered."""
    row, ts_ms, value = (column[~dropped] for column in batch[:3])
    return Batch.of(row, ts_ms, value, np.arange(len(row)), len(row))


def entity_run(values: np.ndarray, ts_ms: np.ndarray | None = None) -> tuple[Shard, Verdicts]:
    """One host with as many gauges as there are columns."""
    shard = cold()
    rows = admit(shard, 1, values.shape[1])[0]
    return shard, shard.process(log_of(rows, values, ts_ms))


def tuned(shard: Shard, batch: Batch, tuner: Tuner | None) -> tuple[list[Record], list[Verdicts]]:
    """The whole loop: each drift is answered at once, if there is a tuner. Records and verdicts in log order."""
    told: list[Record] = []
    parts: list[Verdicts] = []
    begin = 0
    while begin < len(batch.row):
        rest = Batch(*(column[begin:] for column in batch[:4]), batch.next_offset)
        verdict = shard.process(rest, stop_at_drift=True)
        parts.append(verdict)
        begin += verdict.consumed
        told.extend(verdict.records)
        for record in verdict.records:
            order = tuner.order_for(record.value) if tuner and record.topic == "drift" else None
            if order is not None:
                told.extend(shard.apply(order, control_partition=0, next_offset=len(told) + 1))
    return told, parts


def of(told: list[Record], topic: str, word: str | None = None) -> list[dict[str, Any]]:
    """The values of one topic, of one state (alerts, escalations) or kind (drift)."""
    values = [record.value for record in told if record.topic == topic]
    return [v for v in values if word is None or v.get("state", v.get("kind")) == word]


def assert_plain_json(told: list[Record]) -> None:
    """No NaN, no numpy: what json writes comes back equal and of the same types."""
    for record in told:
        text = json.dumps(record.value, allow_nan=False)
        assert json.loads(text) == record.value
        _assert_plain(record.value)


def _assert_plain(value: object) -> None:
    """A float64 of numpy is a float to json, and an error to a stricter encoder."""
    assert type(value) in (dict, list, str, int, float, bool, type(None)), repr(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in parts:
        _assert_plain(one)


def assert_finite(shard: Shard, undefined: tuple[str, ...] = ("series.recipe.last", "series.shown.")) -> None:
    """No infinity anywhere in the state; NaN only where a column means "not yet" by it."""
    for name, array in shard.export().arrays.items():
        if array.dtype.kind == "f":
            assert not np.isinf(array).any(), name
            assert name.startswith(undefined) or not np.isnan(array).any(), name
