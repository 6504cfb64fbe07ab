"""From a stream to an answer for each of its rows: Graft's own engine, and the baselines, in one form.

Owns the drive through `Shard.process` and what a baseline's score means as severity and page. Knows no label.

Not obvious: an entity's answer belongs to a row only if that row closed the entity's tick; one that a later row closes
would be seen too early. Such a row has no answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from benchmarks.quality_baselines import BASELINES
from benchmarks.quality_measures import history_point
from benchmarks.quality_sets import Stream
from benchmarks.series_data import Array, fresh, whole_rows
from engine.batch import Batch
from engine.retune import Tuner
from engine.shard import Shard
from engine.state import TickMarks

GRAFT = "graft"
#: The same engine that first hears of the entity at the first row that is scored.
COLD = "graft-cold"
#: The same engine with its tuner: each drift is answered at once, as `graft replay` does.
RETUNED = "graft-retuned"
ENGINE = (GRAFT, COLD, RETUNED)
#: Rows of one call of `process`.
CHUNK_ROWS = 5000
#: Severity is -log10 p, so at 3 one normal row in a thousand is meant to be an alarm.
ALARM_SEVERITY = 3.0


class Answer(NamedTuple):
    """Per row (T,): severity, confidence, page; NaN where there is none."""

    severity: Array
    confidence: Array
    page: Array


def methods() -> list[str]:
    """All that can run here; River is an extra."""
    return [*ENGINE, *(name for name in BASELINES if name != "river-hst" or find_spec("river"))]


def suits(method: str, stream: Stream) -> bool:
    """Can the method run on this stream?"""
    if method in ENGINE:
        return method != COLD or stream.history > 0
    return BASELINES[method].suits(stream)


def is_slow(method: str) -> bool:
    """Does it see a subset of the entities only?"""
    return method not in ENGINE and BASELINES[method].slow


def answer(method: str, stream: Stream, *, chunk_rows: int = CHUNK_ROWS) -> Answer:
    """The method's answer for each row."""
    if method in ENGINE:
        tuner = Tuner() if method == RETUNED else None
        return _graft(stream, stream.history if method == COLD else 0, chunk_rows, tuner)
    score = BASELINES[method].score(stream)
    page = score / (history_point(score, stream.history) + 1e-9) if stream.history else score
    return Answer(score, np.full(len(score), np.nan), page)


def alarm_level(method: str, severity: Array, history: int) -> float:
    """The severity that promises one alarm in a thousand normal rows: the engine's own word, or the history's."""
    # Beyond the point, not at it: the score of a flat series is at it always.
    return ALARM_SEVERITY if method in ENGINE else float(np.nextafter(history_point(severity, history), np.inf))


def timed(method: str, stream: Stream) -> tuple[Answer, float]:
    """The answer, and the processor's seconds that it took."""
    began = time.process_time()
    found = answer(method, stream)
    return found, time.process_time() - began


def warm_up(wanted: list[str]) -> None:
    """Compile what will be needed, so that no time is that of the compiler."""
    rng = np.random.default_rng(0)
    for width in (1, 2):
        stream = Stream(rng.random((900, width)), 300_000 * np.arange(900), 600, 288)
        for method in wanted:
            if suits(method, stream):
                answer(method, stream)


def _graft(stream: Stream, first: int, chunk_rows: int, tuner: Tuner | None) -> Answer:
    rows, width = stream.values.shape
    shard = fresh(width)
    said = np.full((3, rows), np.nan)
    for begin in range(first, rows, chunk_rows):
        ts_ms = stream.ts_ms[begin : begin + chunk_rows]
        batch = whole_rows(ts_ms, stream.values[begin : begin + chunk_rows], shard.next_offset)
        for at, ticks in _stretches(shard, batch, tuner):
            closed_by = (at + ticks.at) // width
            is_own = ticks.ts_ms == ts_ms[closed_by]
            for line, column in zip(said, (ticks.severity, ticks.confidence, ticks.page), strict=True):
                line[begin + closed_by[is_own]] = column[is_own]
    return Answer(*said)


def _stretches(shard: Shard, batch: Batch, tuner: Tuner | None) -> Iterator[tuple[int, TickMarks]]:
    """(its first sample, its ticks) of each stretch of a batch between two drifts; of all of it without a tuner."""
    begin = 0
    while begin < len(batch.row):
        rest = Batch(*(column[begin:] for column in batch[:4]), batch.next_offset)
        verdicts = shard.process(rest, stop_at_drift=tuner is not None)
        yield begin, verdicts.ticks
        begin += verdicts.consumed
        for record in verdicts.records:
            order = tuner.order_for(record.value) if tuner and record.topic == "drift" else None
            if order is not None:
                shard.apply(order, control_partition=0, next_offset=shard.control_offsets.get(0, 0) + 1)
