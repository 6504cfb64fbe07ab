"""A set as one shard sees it: all its entities in one log, in order of time, with the truth kept apart.

Owns the log and its cuts, and what a reviewer knows. Entities of a set are moved in time by whole days, so that their
scored parts begin on the same day: a question is asked of people who live in one time.

Not obvious: answers begin where the scored part of an entity does, since its history has no labels to answer from; and
an answer is carried out at the end of the hour in which the question was asked, so that it changes only what comes
later.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import quality_measures as measures
from benchmarks.quality_measures import Pages
from benchmarks.quality_sets import Entity, entity, names, some
from benchmarks.series_data import CONFIG, Array
from engine.batch import Batch
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
AT_ONE = np.ones(1)
#: The day on which the scored parts begin: after the longest history.
FIRST_DAY = 200


class Member(NamedTuple):
    """An entity in the log. rows: of its series in the shard; scored_ms: from when on it counts."""

    key: str
    entity: Entity
    ts_ms: Array
    rows: Array
    scored_ms: int

    def is_incident(self, at_ms: int) -> bool:
        """The truth of a moment."""
        at = min(int(np.searchsorted(self.ts_ms, at_ms)), len(self.ts_ms) - 1)
        return bool(self.entity.label[at])

    def pages(self, page: Array, *, from_ms: int = 0, thresholds: Array = AT_ONE) -> Pages:
        """What is paged in the scored part, from a moment on. page: (T,), NaN where there is no answer."""
        begin = max(self.entity.scored_from, int(np.searchsorted(self.ts_ms, from_ms)))
        label, a_day = self.entity.label[begin:], self.entity.stream.rows_a_day
        shown = np.nan_to_num(page[begin:])
        return measures.pages_at(label, shown, thresholds, silence=max(a_day // 24, 1), rows_a_day=a_day)


class World:
    """All entities of a set, or some of them. `begin` gives a shard that has seen all before the scored part."""

    def __init__(self, data: Path, set_name: str, *, most: int | None = None) -> None:
        every = names(data, set_name)
        chosen = every if most is None else some(every, most=most)
        entities = [entity(data, set_name, name) for name in chosen]
        shard = _fresh()
        self.members = [_member(shard, one) for one in entities]
        self.by_key = {one.key: one for one in self.members}
        self.scored_ms = min(one.scored_ms for one in self.members) // HOUR_MS * HOUR_MS
        self.end_ms = max(int(one.ts_ms[-1]) for one in self.members) + 1
        for begin, end in _cuts(min(int(one.ts_ms[0]) for one in self.members), self.scored_ms, DAY_MS):
            shard.process(self.batch(begin, end, shard.next_offset))
        self._begun: State = shard.export()

    def begin(self) -> Shard:
        """A shard at the beginning of the scored part."""
        return Shard.restore(self._begun, CONFIG)

    def hours(self) -> Iterator[tuple[int, int]]:
        """(begin, end) of each hour of the scored part."""
        return _cuts(self.scored_ms, self.end_ms, HOUR_MS)

    def batch(self, begin_ms: int, end_ms: int, offset: int) -> Batch:
        """All samples of [begin, end) in order of time, each a record of its own."""
        rows, times, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
        for one in self.members:
            first, last = np.searchsorted(one.ts_ms, [begin_ms, end_ms])
            rows.append(np.tile(one.rows, last - first))
            times.append(np.repeat(one.ts_ms[first:last], len(one.rows)))
            values.append(one.entity.stream.values[first:last].ravel())
        row, ts_ms, value = (np.concatenate(parts) for parts in (rows, times, values))
        order = np.argsort(ts_ms, kind="stable")
        offsets = offset + np.arange(len(order))
        return Batch.of(row[order], ts_ms[order], value[order], offsets, offset + len(order))


def _fresh() -> Shard:
    shard = Shard(CONFIG, topic="metrics", partition=0)
    shard.next_offset = 0
    return shard


def _member(shard: Shard, one: Entity) -> Member:
    ts_ms = one.stream.ts_ms
    moved = FIRST_DAY * DAY_MS - int(ts_ms[one.scored_from]) // DAY_MS * DAY_MS
    host, width = one.name.removesuffix(".csv"), one.stream.values.shape[1]
    rows = [shard.admit(Series.of(f"m{k:02d}", {"host": host}, Kind.GAUGE)) for k in range(width)]
    at_ms = ts_ms + moved
    return Member(f"host={host}", one, at_ms, np.array(rows), int(at_ms[one.scored_from]))


def _cuts(begin_ms: int, end_ms: int, step_ms: int) -> Iterator[tuple[int, int]]:
    for at in range(begin_ms // step_ms * step_ms, end_ms, step_ms):
        yield max(at, begin_ms), min(at + step_ms, end_ms)
