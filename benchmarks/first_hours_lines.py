"""How each line of `benchmarks.first_hours` answers: one deployment of one target, row by row.

Owns the lines and the drive of the engine: what is restored, what is lent, under which clock. Sees no label: those of
a recording are for the measures alone.

silent     expects the last value and never pages
simple     the engine with next to nothing of what it knows from the factory about spreads and histograms
cold       the engine as it is, without a source
naive      a copy of the whole state of the first source, levels and all
seeded     what the sources lend, with the guard; `unguarded` without it
wrong      as seeded, from one source that is not of the target's kind
warm       the model that has watched the target all along

Not obvious: a copy goes on at its source's clock. Where the target's time of day is another by more than an hour, its
rows are moved by whole days, and the copy sees a hole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from benchmarks.first_hours_cases import Subject, rows_of
from benchmarks.series_data import CONFIG, Array, Recording
from engine.batch import Batch
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.prior import Prior
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State
from engine.transfer import distil, read_prior

#: Those that are the same whatever the sources are, and those that depend on them.
SHARED = ("silent", "simple", "cold", "wrong", "warm")
SOURCED = ("naive", "seeded", "unguarded")
LINES = ("silent", "simple", "cold", "naive", "seeded", "unguarded", "wrong", "warm")
CHUNK_ROWS = 5000
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
#: What is left of factory histograms in `simple`.
SIMPLE_SHARE, SIMPLE_ROWS = 0.01, 1.0


class Answer(NamedTuple):
    """Per row: expected (n, d); severity, confidence, page (n,); NaN where there is no answer."""

    expected: Array
    severity: Array
    confidence: Array
    page: Array


class Watched(NamedTuple):
    """An entity's own model along its life. checkpoints, sources: at each start; sources: the newest healthy one."""

    checkpoints: list[State]
    sources: list[State | None]
    refused: int


class Handed(NamedTuple):
    """What one deployment may use. own: the warm model; copy: whole state of the first source; lent, wrong: sources."""

    own: State
    copy: State | None
    lent: list[State]
    wrong: list[State]


def watch(subject: Subject) -> Watched:
    """Fold a recording up to its last start; checkpoints at each, and sources cut from them or from days before."""
    record = subject.record
    before = [max(record.history - days * record.rows_a_day, 0) for days in (2, 1)]
    shard, at = newborn(subject), 0
    states: dict[int, State] = {}
    for stop in sorted({*before, *subject.starts}):
        fold(shard, subject, at, stop)
        states[stop], at = shard.export(), stop
    cut: dict[int, State | None] = {}
    for stop, state in states.items():
        try:
            cut[stop] = distil(state)
        except ConfigError:
            cut[stop] = None
    refused = sum(one is None for one in cut.values())
    newest = [
        next((cut[stop] for stop in sorted(cut, reverse=True) if stop <= start and cut[stop] is not None), None)
        for start in subject.starts
    ]
    return Watched([states[start] for start in subject.starts], newest, refused)


def answer(line: str, subject: Subject, start: int, hours: int, handed: Handed) -> Answer:
    """One line's answer to the rows from a start on."""
    end = start + rows_of(subject.record, hours)
    if line == "silent":
        return _silent(subject.record, start, end)
    if line == "warm":
        return fold(Shard.restore(handed.own, CONFIG), subject, start, end)
    if line == "naive" and handed.copy is not None:
        shard = Shard.restore(handed.copy, CONFIG)
        return fold(shard, subject, start, end, move_ms=_moved(subject.record, start, shard.clock_ms))
    if line == "simple":
        return fold(_unlearned(newborn(subject)), subject, start, end)
    sources = {"seeded": handed.lent, "unguarded": handed.lent, "wrong": handed.wrong}.get(line, [])
    config = replace(CONFIG, guard_seeds=line != "unguarded")
    return fold(newborn(subject, [read_prior(one) for one in sources], config), subject, start, end)


def newborn(subject: Subject, priors: Sequence[Prior] = (), config: EngineConfig = CONFIG) -> Shard:
    """A shard that waits for one entity."""
    shard = Shard(config, topic="file", partition=0, prior=priors)
    shard.next_offset = 0
    _rows(shard, subject)
    return shard


def _rows(shard: Shard, subject: Subject) -> Array:
    """Row of each of its metrics; those that the shard does not know are admitted."""
    return np.array([shard.admit(Series.of(name, {"host": "a"}, Kind.GAUGE)) for name in subject.names])


def fold(shard: Shard, subject: Subject, begin: int, end: int, *, move_ms: int = 0) -> Answer:
    """Fold rows [begin, end), told as that much later than they were."""
    row, width = _rows(shard, subject), len(subject.names)
    said = Answer(np.full((end - begin, width), np.nan), *np.full((3, end - begin), np.nan))
    for first in range(begin, end, CHUNK_ROWS):
        last = min(first + CHUNK_ROWS, end)
        ts_ms = subject.record.ts_ms[first:last] + move_ms
        offset = shard.next_offset + np.arange(last - first)
        batch = Batch.of(
            np.tile(row, last - first), np.repeat(ts_ms, width), subject.record.values[first:last].ravel(),
            np.repeat(offset, width), int(offset[-1]) + 1,
        )  # fmt: skip
        verdicts = shard.process(batch)
        said.expected[first - begin : last - begin] = verdicts.expected.reshape(-1, width)
        # A tick may be closed by a later row, also of the next chunk; it belongs to its own.
        mine = subject.record.ts_ms[begin:end] + move_ms
        at = np.minimum(np.searchsorted(mine, verdicts.ticks.ts_ms), end - begin - 1)
        is_ours = mine[at] == verdicts.ticks.ts_ms
        for column, told in zip(said[1:], verdicts.ticks[3:6], strict=True):
            column[at[is_ours]] = told[is_ours]
    return said


def _silent(record: Recording, start: int, end: int) -> Answer:
    expected = np.full((end - start, record.values.shape[1]), np.nan)
    expected[1:] = record.values[start : end - 1]
    zero = np.zeros(end - start)
    return Answer(expected, zero, np.full(end - start, np.nan), zero)


def _unlearned(shard: Shard) -> Shard:
    """Without the factory's idea of a spread, and with a hundredth of its histograms."""
    rows, entity = shard.roster.rows, shard.roster.ents.entity
    n = shard.series_count
    rows.level.prior_rows[:n] = SIMPLE_ROWS
    for column, count in ((rows.shown.counts, n), (rows.shown.mass, n), (entity.counts, 1), (entity.mass, 1)):
        column[:count] *= SIMPLE_SHARE
    return shard


def _moved(record: Recording, start: int, clock_ms: int) -> int:
    """By how much a target's rows are moved so that they follow a source's clock."""
    first, wanted = int(record.ts_ms[start]), clock_ms + record.step_ms
    off = (first - wanted + DAY_MS // 2) % DAY_MS - DAY_MS // 2
    hole = 0 if abs(off) <= HOUR_MS else off % DAY_MS
    return wanted + hole - first
