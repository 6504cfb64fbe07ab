"""Shard: a fold over one partition of a log. `state == fold(step, seed, log[0:next_offset])`, always.

Owns the state of all series and entities of a partition, their names, the next offsets (data and control) and the
ledger in which each consumed offset ends in exactly one counter. Knows no Kafka, file or clock: batches come in,
verdicts and records come out, and the same log gives the same bits however it is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine import alerts, endings, first_sight, marking, records, retuning, seeding
from engine.batch import Batch
from engine.columns import Array
from engine.components import change, joint, presence, solving
from engine.components import entity as entity_component
from engine.config import EngineConfig
from engine.endings import Open
from engine.errors import SnapshotError
from engine.events import DRIFTED, MUTED, SPREAD, fresh_events
from engine.ledger import Ledger
from engine.lessons import Lessons
from engine.marked import fold_stretch
from engine.orders import apply_order
from engine.prior import Prior
from engine.records import Record
from engine.roster import Roster
from engine.series import Series, stable_id
from engine.shadows import Shadows
from engine.snapshot import State
from engine.state import CLOCK, CURSORS, EVENTS, KEPT, TICKS, Context, Marks, TickMarks, fresh_marks, fresh_ticks
from engine.tick import close_from_outside
from engine.twins import Twins
from engine.windows import Window, Windows

#: The state of so many series stays in the cache by itself; asking for it ahead would only cost.
NEAR_SERIES = 1000
#: Events that fit into one call of the fold; far more than a storm of one batch, about 2 MB.
EVENT_ROOM = 4096


class Verdicts(NamedTuple):
    """What a batch has led to. Arrays of n samples; NaN: no answer. ticks: closed entity ticks, in order."""

    consumed: int
    expected: NDArray[np.float32]
    lower: NDArray[np.float32]
    upper: NDArray[np.float32]
    severity: NDArray[np.float32]
    confidence: NDArray[np.float32]
    page: NDArray[np.float32]
    decision: NDArray[np.int8]
    outcome: NDArray[np.int8]
    ticks: TickMarks
    records: list[Record]


class Shard:
    """State of one partition of one topic.

    prior: what a source environment's snapshot lends to series that are seen for the first time; None: start cold. Of
    several, each entity tries all for an hour and keeps the one that it is most like.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        topic: str,
        partition: int,
        prior: Prior | Sequence[Prior] | None = None,
        roster: Roster | None = None,
    ) -> None:
        self.config = config
        self.topic = topic
        self.partition = partition
        self.next_offset = -1
        self.control_offsets: dict[int, int] = {}
        self.applied: dict[str, None] = {}
        self.alert_number = 0
        self.ledger = Ledger()
        self.lessons = Lessons()
        priors = [prior] if isinstance(prior, Prior) else prior or []
        self.roster = roster or Roster(config, priors, lends=not config.guard_seeds)
        self.twins = Twins(config, priors if config.guard_seeds else ())
        self.shadows = Shadows()
        self.windows = Windows()
        self._events = fresh_events(EVENT_ROOM)
        self._context = self._fresh_context()

    @property
    def series_count(self) -> int:
        """Series that have a row."""
        return len(self.roster.names)

    @property
    def entity_count(self) -> int:
        """Entities that have a row."""
        return len(self.roster.entities)

    @property
    def clock_ms(self) -> int:
        """Event time of the shard, -1 before the first sample."""
        return int(self.roster.clock[CLOCK])

    def row_of(self, text: str) -> int:
        """Row of a series by its canonical text, -1 if it was never seen."""
        return self.roster.row_of(text)

    def admit(self, series: Series) -> int:
        """Row of a series; a new one gets the next row. BadSample (`cardinality`) when the shard is full."""
        return self.roster.admit(series)

    def process(self, batch: Batch, *, stop_at_drift: bool = False) -> Verdicts:
        """Fold a batch. With stop_at_drift, returns after the sample that raised a drift signal (see `consumed`)."""
        batch = self._unread(batch)
        marks, parts, told = fresh_marks(len(batch.row)), list[TickMarks](), list[Record]()
        begin, marked = 0, self.windows.mask(self.roster, batch.row, batch.ts_ms)
        for until, new in self._stops(batch):
            begin, drifted = self._fold_to(batch, begin, until, marked, marks, parts, told, stop_at_drift)
            if stop_at_drift and drifted:
                break
            self.twins.place(self.roster, new)
            self.roster.place(new)
        self._account(batch, begin, marks)
        return _verdicts(begin, marks, parts, told)

    def close_ticks(self) -> Verdicts:
        """Close the ticks that are still open, for output at the end of a file. The state must not be used after."""
        marks, cursor = fresh_marks(1), np.zeros(CURSORS, np.int64)
        open_ticks = np.flatnonzero(self.roster.ents.open.here[: self.entity_count] > 0)
        ticks = fresh_ticks(len(open_ticks) + 4)
        told: list[Record] = []
        roster = self.roster
        for e in open_ticks:
            context = self._context._replace(cursor=cursor, series_count=self.series_count)
            close_from_outside(
                int(e), 0, roster.rows, roster.ents, roster.block, roster.pool, ticks, self._events, context
            )
            self._tell(np.array([self.next_offset - 1]), int(cursor[EVENTS]), told)
            cursor[EVENTS] = 0
        return _verdicts(0, marks, [TickMarks(*(column[: cursor[TICKS]] for column in ticks))], told)

    def apply(
        self,
        order: Mapping[str, Any],
        *,
        control_partition: int,
        next_offset: int,
        lent: Prior | str | None = None,
    ) -> list[Record]:
        """Carry out an order from the control topic, between two batches. An order that was applied is skipped.

        lent: what an order of kind seed names, or why it could not be had (`engine.seeding`).
        """
        self.control_offsets[control_partition] = next_offset
        if order.get("kind") == seeding.KIND:
            return seeding.obey(self, order, lent, seeding.Place(control_partition, next_offset - 1))
        # By a short name: ten thousand of them are in the head of each snapshot.
        name = stable_id("applied", order["id"])[:16]
        if name in self.applied:
            return []
        told = apply_order(self, order)
        self.applied[name] = None
        while len(self.applied) > 10_000:
            self.applied.pop(next(iter(self.applied)))
        return told

    def wants_unlearning(self) -> bool:
        """Does somebody ask that a window be un-learned?"""
        return len(self.windows) > 0 and self.windows.is_asked()

    def active(self) -> list[Open]:
        """Alerts and questions that are open."""
        return endings.open_now(self)

    def unlearned(
        self, windows: Sequence[Window], because: str, from_offset: int, snapshot: str, active: Sequence[Open],
        drifts: Sequence[dict[str, Any]],
    ) -> list[Record]:  # fmt: skip
        """What is told when this state has taken the place of one that had learned of windows, and had these open.

        drifts: that it has seen on its way, which nobody has answered.
        """
        where: dict[str, Any] = {"from_offset": from_offset, "snapshot": snapshot}
        told = [marking.answer(self, one, marking.EXACT, because, **where) for one in windows]
        seen = [Record("drift", str(one["series"]), dict(one)) for one in drifts]
        return [*told, *endings.unknown(self, active), *seen]

    def settle(self, window: Window, finding: str, because: str, older: Shard | None = None) -> list[Record]:
        """Answer who asked that a window be un-learned, where no state could be rebuilt; at a barrier."""
        return marking.settle(self, window, finding, because, older)

    def standing(self) -> list[Record]:
        """What the trials that go on have come to so far, as records; changes nothing."""
        found = self.twins.standing(self.roster, self.clock_ms)
        return [records.of_finding(self, one, self.next_offset - 1) for one in found]

    def mark_gap(self, from_offset: int, to_offset: int) -> list[Record]:
        """Records [from, to) were lost before they could be read: count them, tell it, go on at `to_offset`."""
        self.ledger.add("gap", to_offset - from_offset)
        self.next_offset = to_offset
        return [records.gap(self, from_offset, to_offset)]

    def export(self) -> State:
        """All of the state, canonical: two shards with equal states give equal manifests and arrays, bit for bit."""
        arrays = self.roster.export() | self.twins.export() | self.shadows.export() | self.windows.export()
        manifest = {
            "kind": "checkpoint",
            "environment": self.config.environment,
            "config": self.config.hash,
            "topic": self.topic,
            "partition": self.partition,
            "next_offset": self.next_offset,
            "control_offsets": {str(k): v for k, v in sorted(self.control_offsets.items())},
            "alert_number": self.alert_number,
            "ledger": self.ledger.counts(),
            "applied": list(self.applied),
            "seed": self.roster.seed_summary(),
        }
        if self.lessons.tallies:
            manifest["lessons"] = self.lessons.export()
        return State(manifest, arrays)

    @staticmethod
    def restore(state: State, config: EngineConfig) -> Shard:
        """The shard that `export` described; SnapshotError if the state does not fit together."""
        manifest = state.manifest
        try:
            shard = Shard(
                config,
                topic=manifest["topic"],
                partition=manifest["partition"],
                roster=Roster.restore(state.arrays, config, lends=not config.guard_seeds),
            )
            shard.twins = Twins.restore(state.arrays, config, shard.roster)
            shard.shadows = Shadows.restore(state.arrays)
            shard.windows = Windows.restore(state.arrays)
            shard.next_offset = _whole(manifest["next_offset"])
            shard.control_offsets = {int(k): _whole(v) for k, v in manifest["control_offsets"].items()}
            shard.applied = dict.fromkeys(manifest["applied"])
            shard.alert_number = _whole(manifest["alert_number"])
            shard.ledger = Ledger(manifest["ledger"])
            shard.lessons = Lessons.restore(manifest.get("lessons", {}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SnapshotError(f"it is no checkpoint of a shard ({error!r}); use an older snapshot") from error
        return shard

    def counters(self) -> dict[str, int | float]:
        """Numbers for telemetry; no labels per series."""
        life = self.roster.ents.life.state[: self.entity_count]
        return {
            "series": self.series_count,
            "entities": self.entity_count,
            "state_bytes": self.roster.nbytes() + self.twins.nbytes(),
            "clock_ms": self.clock_ms,
            "next_offset": self.next_offset,
            "firing": int(np.isin(life, (alerts.FIRING, alerts.RESOLVING)).sum()),
            "pending": int((life == alerts.PENDING).sum()),
            "alerts": self.alert_number,
            "absent": int((self.roster.rows.presence.absent[: self.series_count] == presence.ABSENT).sum()),
            "gone": int((self.roster.rows.presence.absent[: self.series_count] == presence.GONE).sum()),
            "seeded": self.roster.seeded_count(),
        }

    def _fresh_context(self) -> Context:
        return Context(
            clock=self.roster.clock,
            table=alerts.NEXT,
            work=np.zeros((5, joint.WORK), np.float32),
            scratch=np.zeros(solving.SCRATCH),
            sums=np.zeros(joint.SUMS),
            means=np.zeros(joint.SUMS),
            channel=np.zeros(entity_component.EVIDENCE),
            share=np.zeros(entity_component.CHANNELS),
            cursor=np.zeros(CURSORS, np.int64),
            kept=np.zeros((2, KEPT)),
            per_day=float(self.config.false_pages_per_entity_day),
            offset_ms=self.config.utc_offset_ms,
            series_count=0,
            is_large=False,
            is_twin=False,
        )

    def _stops(self, batch: Batch) -> list[tuple[int, list[int]]]:
        """Where the fold has to stop and which series then get their place; the last stop is the end."""
        end: list[tuple[int, list[int]]] = [(len(batch.row), [])]
        if self.roster.is_all_placed():
            return end
        return [*first_sight.stops(batch.row, self.roster.rows, self.roster.ents), *end]

    def _fold_to(
        self,
        batch: Batch,
        begin: int,
        until: int,
        marked: Array | None,
        marks: Marks,
        parts: list[TickMarks],
        told: list[Record],
        stop_at_drift: bool,
    ) -> tuple[int, bool]:
        """Fold [begin, until), in a call more for each sample with events; (where it came to, was there a drift)."""
        drifted = False
        while begin < until and not (stop_at_drift and drifted):
            first, end = begin, self.twins.stop(batch, begin, until)
            end = self.shadows.stop(self.roster, batch, begin, end)
            begin, drifted = self._fold_stretch(batch, begin, end, marked, marks, parts, told, stop_at_drift)
            if len(self.twins):
                self.twins.fold(
                    self.roster, batch, first, begin, marked, marks, parts[-1], fold_stretch, self._events,
                    self._context,
                )  # fmt: skip
                offset = int(batch.offset[begin - 1])
                findings = self.twins.look(self.roster, self.clock_ms)
                told.extend(records.of_finding(self, one, offset) for one in findings)
            if len(self.shadows):
                told.extend(retuning.follow(self, batch, first, begin, marks))
        return begin, drifted

    def _fold_stretch(
        self,
        batch: Batch,
        begin: int,
        end: int,
        marked: Array | None,
        marks: Marks,
        parts: list[TickMarks],
        told: list[Record],
        stop_at_drift: bool,
    ) -> tuple[int, bool]:
        """The same up to the next look at the twins."""
        roster, cursor = self.roster, np.zeros(CURSORS, np.int64)
        context = self._context._replace(
            cursor=cursor,
            series_count=self.series_count,
            is_large=self.series_count > NEAR_SERIES,
        )
        columns = (roster.rows, roster.ents, roster.block, roster.pool)
        row, ts_ms, value = batch.row[:end], batch.ts_ms[:end], batch.value[:end]
        drifted = False
        ticks = fresh_ticks(2 * (end - begin) + 4)
        while begin < end and not (stop_at_drift and drifted):
            cursor[EVENTS] = 0
            begin = fold_stretch(row, ts_ms, value, begin, *columns, marks, ticks, self._events, context, marked)
            drifted |= self._tell(batch.offset, int(cursor[EVENTS]), told)
        parts.append(TickMarks(*(column[: cursor[TICKS]] for column in ticks)))
        return begin, drifted

    def _tell(self, offsets: Array, count: int, told: list[Record]) -> bool:
        """Make records of the events in the buffer; True if one of them is a drift signal."""
        drifted = False
        for k in range(count):
            kind = int(self._events.kind[k])
            if kind == MUTED:
                continue
            found = records.of_event(self, self._events, k, int(offsets[self._events.at[k]]))
            told.extend(found)
            if kind == SPREAD and found:
                # One change is told once, whichever test has seen it.
                self.roster.rows.change.rest[self._events.who[k]] = change.REST
            drifted |= kind in (DRIFTED, SPREAD) and bool(found)
        return drifted

    def _unread(self, batch: Batch) -> Batch:
        """Without records that the state has already taken in: a re-read log changes nothing."""
        is_ahead = len(batch.offset) == 0 or batch.offset[0] >= self.next_offset
        if self.next_offset < 0 or (batch.next_offset >= self.next_offset and is_ahead):
            return batch
        return batch.since(self.next_offset)

    def _account(self, batch: Batch, consumed: int, marks: Marks) -> None:
        if consumed < len(batch.row):
            # Stopped in mid-batch (replay only): the caller feeds the rest, with the offsets that it has not seen.
            end = int(batch.offset[consumed])
            self.ledger.count_batch(batch._replace(next_offset=end), consumed, marks.outcome, self.next_offset)
            self.next_offset = end
            return
        self.ledger.count_batch(batch, consumed, marks.outcome, self.next_offset)
        self.next_offset = batch.next_offset


def _whole(number: object) -> int:
    """A whole number >= -1 (unknown); TypeError for anything else, True among it."""
    if type(number) is not int or number < -1:
        raise TypeError(f"{number!r} is no offset and no count")
    return number


def _verdicts(consumed: int, marks: Marks, parts: list[TickMarks], told: list[Record]) -> Verdicts:
    if not parts:
        parts = [fresh_ticks(0)]
    ticks = parts[0] if len(parts) == 1 else TickMarks(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    expected, _, band, *others, _ = (column[:consumed] for column in marks)
    return Verdicts._make([consumed, expected, expected - band, expected + band, *others, ticks, told])
