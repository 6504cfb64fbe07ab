"""Twins: of each entity that may borrow a second version, until it is settled which of the two is to be believed.

Owns the other versions, when they are looked at, and what follows. An entity begins cold; beside it, in a roster for
each source, it begins with what that source lends. The same kernels fold both. Only the shard's own version is scored,
told of and alerted on; of the other nothing leaves but its forecasts (`components/guard`). After an hour the most alike
of the sources takes the place of the cold version, if it is alike enough, and the cold one becomes the twin. It comes
back if the likeness fades. After a day the twin is given up, and its memory with it.

Not obvious, three things. (1) What is believed goes by likeness (`engine/likeness.py`), not by success. (2) A twin
sees the samples that the shard has accepted, after it, under its clock: it cannot know of other samples, times or
absences. (3) A stretch of the log ends after the first sample that is late enough for a look, and the look is taken if
the shard's clock is as late; so cuts of batches do not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine import likeness, parcel
from engine import state as layout
from engine.account import account
from engine.batch import Batch
from engine.columns import Array, put, take
from engine.components import block as blocks
from engine.components import guard
from engine.components.habit import HOUR_MS
from engine.config import EngineConfig
from engine.errors import SnapshotError
from engine.fold import LEARNED, MISSING, SCORED_ONLY
from engine.prior import Prior
from engine.roster import Roster
from engine.snapshot import State
from engine.state import Context, Marks, TickMarks, fresh_marks, fresh_ticks
from engine.trials import Trials

if TYPE_CHECKING:
    from engine.events import Events

#: Event time between two looks, and until all is settled. The first decision is after an hour.
LOOK_MS, SETTLED_MS = 900_000, 86_400_000
#: Likeness in fewer metrics than this is chance, and of several sources one will have it: the first is taken.
CHOOSING = 4


class Finding(NamedTuple):
    """What a look has led to. what: adopted | refused | returned | passed; e: the entity; the rest are its reasons.

    Or settled: the day is over for a twin that is not believed; or standing: asked in between. Both decide nothing.
    worth: what the trial has come to, see `engine.account`.
    """

    what: str
    e: int
    source: int
    unlike: float
    loud: float
    age_ms: int = 0
    worth: dict[str, Any] | None = None


class Twins:
    """The other versions, a roster a source. look_ms: event time of the next look, -1: at once."""

    def __init__(self, config: EngineConfig, priors: Sequence[Prior] = ()) -> None:
        self.config = config
        self.rosters = [Roster(config, [prior], lends=True) for prior in priors]
        self.look_ms = -1
        #: Numbers of sources that lend to nobody new.
        self.withdrawn: set[int] = set()
        #: Per roster: the twin of each row of the shard, -1 where it has none.
        self._row_of = [np.empty(0, np.int32) for _ in priors]
        self._trials: dict[int, Trials] = {}

    def __len__(self) -> int:
        return sum(len(roster.entities) for roster in self.rosters)

    def place(self, own: Roster, new: Sequence[int]) -> None:
        """Give the new series of fresh entities, and of those that have a twin, one. Before `own.place(new)`."""
        together = Counter(int(own.rows.link.entity[row]) for row in new)
        for k, roster in enumerate(self.rosters):
            has_twin = {
                e
                for e in together
                if roster.entity_of(own.entities[e]) >= 0
                or (k not in self.withdrawn and len(own.blocks_of(e)) == 0 and own.ents.seed.source[e] == guard.NEVER)
            }
            rows = [row for row in new if int(own.rows.link.entity[row]) in has_twin]
            if rows:
                twins = [roster.admit_like(own, row) for row in rows]
                roster.place(twins)
                self._grow(k, len(own.rows.link.entity))
                self._row_of[k][rows] = twins
                own.rows.guard.other[rows] = guard.FIRST

    def _grow(self, k: int, room: int) -> None:
        if len(self._row_of[k]) < room:
            self._row_of[k] = np.concatenate([self._row_of[k], np.full(room - len(self._row_of[k]), -1, np.int32)])

    def link(self, own: Roster) -> None:
        """Find the twins of all rows anew: each roster counts for itself."""
        for k, roster in enumerate(self.rosters):
            self._row_of[k] = np.full(len(own.rows.link.entity), -1, np.int32)
            for twin, name in enumerate(roster.names):
                self._row_of[k][own.row_of(name)] = twin

    def lend(self, own: Roster, k: int, prior: Prior) -> None:
        """Let entities that begin from now on try what a source lends. k: its number, the next or one that is free."""
        self.rosters[k : k + 1] = [Roster(self.config, [prior], lends=True)]
        self._row_of[k : k + 1] = [np.empty(0, np.int32)]
        own.priors = (*own.priors[:k], prior, *own.priors[k + 1 :])
        self.withdrawn.discard(k)

    def withdraw(self, own: Roster, k: int, now_ms: int) -> tuple[int, list[Finding]]:
        """Give up the trials of source k, and begin none; who has adopted it keeps it.

        How many trials ended, and what those came to of which something was measured. now_ms: the shard's clock.
        """
        self.withdrawn.add(k)
        ended = {name for name in self.rosters[k].entities if own.ents.seed.source[own.entity_of(name)] != k}
        names = (name for name in self.rosters[k].entities if name in ended)
        found = [one for name in names for one in self._standing(own, k, name, now_ms)]
        self._give_up(own, k, ended)
        for name in ended.difference(*(roster.entities for roster in self.rosters)):
            e = own.entity_of(name)
            own.rows.guard.other[own.members_of(e)] = 0.0
            own.ents.seed.since_ms[e] = -1 if own.ents.seed.source[e] == guard.NEVER else own.ents.seed.since_ms[e]
        if not len(self):
            self.look_ms = -1
        return len(ended), [one._replace(what="settled") for one in found]

    def stop(self, batch: Batch, begin: int, until: int) -> int:
        """Where the stretch from `begin` on ends: at `until`, or after the first sample late enough for a look."""
        if not len(self):
            return until
        due = np.flatnonzero(batch.ts_ms[begin:until] >= self.look_ms)
        return begin + int(due[0]) + 1 if len(due) else until

    def fold(
        self, own: Roster, batch: Batch, begin: int, end: int, marks: Marks, ticks: TickMarks, kernel: Any,
        events: Events, context: Context,
    ) -> None:  # fmt: skip
        """Fold what the shard has accepted of a stretch of the log, and mix the forecasts into `marks`, in place.

        ticks: those that the shard has closed in the stretch.
        """
        accepted = np.isin(marks.outcome[begin:end], (LEARNED, SCORED_ONLY, MISSING))
        n = len(own.rows.link.entity)
        off, band = (np.full(end - begin, np.nan, np.float32) for _ in range(2))
        kind = np.zeros(end - begin, np.uint8)
        for k in reversed(range(len(self.rosters))):
            if not self.rosters[k].names:
                continue
            self._grow(k, n)
            twins = self._row_of[k][batch.row[begin:end]]
            at = np.flatnonzero(accepted & (twins >= 0))
            told, closed = self._fold(k, batch, begin + at, twins[at], kernel, events, context)
            trial = self._trial(k)
            trial.enter(own, k, self.look_ms - LOOK_MS, batch.row, begin + at, twins[at], marks, told)
            trial.page(own, self.rosters[k], k, ticks, closed)
            off[at], band[at], kind[at] = told.off, told.band, told.kind
        expected, own_off, own_band = (column[begin:end] for column in (marks.expected, marks.off, marks.band))
        guard.mix_forecasts(
            batch.row[begin:end], 0, end - begin, own.rows.guard, marks.kind[begin:end], kind, off, band, expected,
            own_off, own_band,
        )  # fmt: skip

    def _fold(
        self, k: int, batch: Batch, at: Array, row: Array, kernel: Any, events: Events, context: Context
    ) -> tuple[Marks, TickMarks]:
        roster, ts_ms, value = self.rosters[k], batch.ts_ms[at], batch.value[at]
        marks, ticks, cursor = fresh_marks(len(at)), fresh_ticks(2 * len(at) + 4), np.zeros(layout.CURSORS, np.int64)
        context = context._replace(cursor=cursor, series_count=len(roster.names), is_large=False, is_twin=True)
        columns = (roster.rows, roster.ents, roster.block, roster.pool)
        done = 0
        while done < len(at):
            # Nobody is told what a twin finds.
            cursor[layout.EVENTS] = 0
            done = int(kernel(row, ts_ms, value, done, *columns, marks, ticks, events, context))
        closed = TickMarks(*(column[: cursor[layout.TICKS]] for column in ticks))
        return marks, closed._replace(at=at[closed.at])

    def look(self, own: Roster, now_ms: int) -> list[Finding]:
        """Decide what is to be believed; now_ms: the shard's clock. Nothing before it has come to `look_ms`."""
        if not len(self) or now_ms < self.look_ms:
            return []
        self.look_ms = (now_ms // LOOK_MS + 1) * LOOK_MS
        findings, over, seed = list[Finding](), [set[str]() for _ in self.rosters], own.ents.seed
        for name in dict.fromkeys(name for roster in self.rosters for name in roster.entities):
            e = own.entity_of(name)
            if seed.since_ms[e] < 0:
                # When it was given its place depends on where batches end; its first sample does not.
                is_begun = own.rows.presence.last_ms[own.members_of(e)[0]] >= 0
                seed.since_ms[e] = now_ms if is_begun else -1
                continue
            age_ms = now_ms - int(seed.since_ms[e])
            found = self._judge(own, e, name, age_ms) if age_ms >= HOUR_MS else []
            is_over = age_ms >= SETTLED_MS and not any(one.what == "adopted" for one in found)
            findings += self._measured(own, name, found, is_over, age_ms)
            is_cold = seed.source[e] == guard.NEVER and not any(self._has_borrowed(one, name) for one in self.rosters)
            if is_cold or is_over:
                own.rows.guard.other[own.members_of(e)] = 0.0
                seed.source[e] = guard.REFUSED if seed.source[e] == guard.NEVER and not is_cold else seed.source[e]
                seed.since_ms[e] = -1 if is_cold else seed.since_ms[e]
            for k, names in enumerate(over):
                if is_cold or is_over or (found and k != found[0].source):
                    names.add(name)
        for k, names in enumerate(over):
            self._give_up(own, k, names)
        if not len(self):
            self.look_ms = -1
        return findings

    def _measured(self, own: Roster, name: str, found: list[Finding], is_over: bool, age_ms: int) -> list[Finding]:
        """The findings with what the trial has come to; where it ends without one, that alone."""
        if is_over and not found:
            e = own.entity_of(name)
            of = [k for k, roster in enumerate(self.rosters) if self._has_borrowed(roster, name)]
            found = [Finding("settled", e, k, np.nan, np.nan) for k in of]
        worths = [self._worth(own, one, name, age_ms) for one in found]
        return [one._replace(age_ms=age_ms, worth=worth) for one, worth in zip(found, worths, strict=True)]

    def standing(self, own: Roster, now_ms: int) -> list[Finding]:
        """What each trial that goes on has come to so far. Decides and changes nothing."""
        return [
            one
            for k, roster in enumerate(self.rosters)
            for name in roster.entities
            for one in self._standing(own, k, name, now_ms)
        ]

    def _standing(self, own: Roster, k: int, name: str, now_ms: int) -> list[Finding]:
        """One or none: before its first look, or where nothing is lent, there is nothing to tell of a trial."""
        e = own.entity_of(name)
        since_ms, is_believed = int(own.ents.seed.since_ms[e]), own.ents.seed.source[e] == k
        if since_ms < 0 or not (is_believed or self._has_borrowed(self.rosters[k], name)):
            return []
        one = Finding("standing", e, k, np.nan, np.nan, now_ms - since_ms)
        return [one._replace(worth=self._worth(own, one, name, one.age_ms))]

    def _worth(self, own: Roster, finding: Finding, name: str, age_ms: int) -> dict[str, Any]:
        roster, mine = self.rosters[finding.source], own.members_of(finding.e)
        mine = mine[self._row_of[finding.source][mine] >= 0]
        theirs = self._row_of[finding.source][mine]
        seeded = own if own.ents.seed.source[finding.e] == finding.source else roster
        borrowed = seeded.borrowed_of((mine if seeded is own else theirs).tolist())
        trial = self._trial(finding.source)
        classes = [own.classes[row] for row in mine]
        return account(
            trial.forecasts, theirs, classes, borrowed, trial.pages, roster.entity_of(name), age_ms=age_ms
        )  # fmt: skip

    def _judge(self, own: Roster, e: int, name: str, age_ms: int) -> list[Finding]:
        source = int(own.ents.seed.source[e])
        if source >= 0:
            found = likeness.of(own, own, e, own.priors[source])
            if found.is_beyond(likeness.limit(age_ms, is_taken=True)):
                self._swap(own, e, source)
                own.ents.seed.source[e] = guard.REFUSED
                return [Finding("returned", e, source, *found)]
            return [Finding("passed", e, source, *found)] if age_ms >= SETTLED_MS else []
        if source == guard.REFUSED:
            return []
        of = [k for k, roster in enumerate(self.rosters) if self._has_borrowed(roster, name)]
        of = of[: None if own.ents.open.members[e] >= CHOOSING else 1]
        known = {k: likeness.of(own, self.rosters[k], e, own.priors[k]) for k in of}
        known = {k: found for k, found in known.items() if np.isfinite(found.unlike)}
        if not known:
            return []
        best = min(known, key=lambda k: known[k].unlike)
        if known[best].is_beyond(likeness.limit(age_ms, is_taken=False)):
            own.ents.seed.source[e] = guard.REFUSED
            return [Finding("refused", e, best, *known[best])]
        self._swap(own, e, best)
        own.ents.seed.source[e] = best
        return [Finding("adopted", e, best, *known[best])]

    def _has_borrowed(self, roster: Roster, name: str) -> bool:
        e = roster.entity_of(name)
        return e >= 0 and int(roster.ents.seed.source[e]) >= 0

    def _swap(self, own: Roster, e: int, k: int) -> None:
        """Let the entity and its twin in roster k change places: what they have learned, not what was told of them."""
        roster = self.rosters[k]
        mine, twin = own.members_of(e), roster.entity_of(own.entities[e])
        theirs = self._row_of[k][mine]
        for group, columns, others, rows, other_rows in (
            (layout.SERIES, own.rows, roster.rows, mine, theirs),
            (layout.ENTITY, own.ents, roster.ents, np.array([e]), np.array([twin])),
        ):
            for name in _LEARNED.intersection(group):
                spec, a, b = group[name][1], getattr(columns, name), getattr(others, name)
                ours = take(a, spec, rows)
                put(a, spec, rows, take(b, spec, other_rows))
                put(b, spec, other_rows, ours)
        loudest = own.ents.open.loudest
        loudest[e], roster.ents.open.loudest[twin] = roster.ents.open.loudest[twin], loudest[e]
        for a, b in zip(own.blocks_of(e), roster.blocks_of(twin), strict=True):
            _swap_blocks(own, a, roster, b)
        own.rows.guard.other[mine] = 1.0 - own.rows.guard.other[mine]
        # What joins later borrows where the seeded version is.
        roster.ents.seed.source[twin] = guard.REFUSED if roster.ents.seed.source[twin] >= 0 else 0

    def _give_up(self, own: Roster, k: int, names: set[str]) -> None:
        names = names & set(self.rosters[k].entities)
        if names:
            prior = self.rosters[k].priors[0]
            _, kept = parcel.split(State({}, self._export(k)), names)
            self.rosters[k] = Roster.restore(kept.arrays, self.config, priors=[prior], lends=True)
            self._trials[k] = Trials.restore(kept.arrays, self.rosters[k])
            self.link(own)

    def _trial(self, k: int) -> Trials:
        """The account of the twins of source k, with room for all of them."""
        trial = self._trials.setdefault(k, Trials())
        trial.grow(self.rosters[k])
        return trial

    def _export(self, k: int) -> dict[str, Array]:
        return self.rosters[k].export() | self._trial(k).export(self.rosters[k])

    def export(self) -> dict[str, Array]:
        """Arrays of the state; none where all is settled."""
        arrays = {"withdrawn": np.array(sorted(self.withdrawn), np.int16)} if self.withdrawn else {}
        if not len(self):
            return arrays
        arrays["look_ms"] = np.array([self.look_ms], np.int64)
        for k in range(len(self.rosters)):
            own = {name: array for name, array in self._export(k).items() if not name.startswith("prior")}
            arrays.update({f"twin{k}.{name}": array for name, array in own.items()})
        return arrays

    @staticmethod
    def restore(arrays: Mapping[str, Array], config: EngineConfig, own: Roster) -> Twins:
        """What `export` gave. The priors are the shard's."""
        twins = Twins(config, own.priors if config.guard_seeds else ())
        for k, prior in enumerate(own.priors if config.guard_seeds else ()):
            head = f"twin{k}."
            state = {name[len(head) :]: array for name, array in arrays.items() if name.startswith(head)}
            if state:
                twins.rosters[k] = Roster.restore(state, config, priors=[prior], lends=True)
                twins._trials[k] = Trials.restore(state, twins.rosters[k])
        twins.withdrawn = set(arrays["withdrawn"].tolist()) if "withdrawn" in arrays else set()
        if not twins.withdrawn <= set(range(len(own.priors))):
            raise SnapshotError("a source that is not there was withdrawn in this state; use an older snapshot")
        # A part of a state may have lost all of its trials to the other one, and has no next look then.
        twins.look_ms = int(arrays["look_ms"][0]) if len(twins) and "look_ms" in arrays else -1
        twins.link(own)
        return twins

    def nbytes(self) -> int:
        """Bytes of the columns in use."""
        return sum(roster.nbytes() for roster in self.rosters) + sum(trial.nbytes() for trial in self._trials.values())


#: What a version has learned; where it is, when it was heard of and what was told of it is the shard's.
_LEARNED = {
    "recipe", "level", "season", "change", "shown", "trial", "carry", "familiar", "entity", "habit",
}  # fmt: skip


def _swap_blocks(own: Roster, a: int, other: Roster, b: int) -> None:
    size = blocks.size(int(own.block.capacity[a]))
    begin, there = int(own.block.start[a]), int(other.block.start[b])
    kept = own.pool[begin : begin + size].copy()
    own.pool[begin : begin + size] = other.pool[there : there + size]
    other.pool[there : there + size] = kept
    for mine, theirs in ((own.block.ticks, other.block.ticks), (own.block.solve_at, other.block.solve_at)):
        mine[a], theirs[b] = theirs[b], mine[a]
