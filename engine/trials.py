"""Trials: the account of one roster of twins, beside its rows: forecasts by series, pages and bets by entity.

Owns the columns of `components/worth` and of `evidence` as long as there are twins, and how they are kept in a state.
Their names begin as those of a roster's own do, so that splitting and joining a state takes them along.

Not obvious: an age is that of the last look, not of the sample. A look is taken at the same sample wherever the log is
cut, and under the shard's clock, so that one host with a wrong clock is not a day older than the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine import evidence, verdict
from engine.columns import Array, Spec, allocate_one, grow, put, take
from engine.components import worth
from engine.components.worth import COLD, SEEDED
from engine.errors import SnapshotError
from engine.pairs import Pairs
from engine.roster import Roster
from engine.state import Marks, TickMarks


class Trials:
    """What both versions of each entity of a roster of twins have come to."""

    def __init__(self) -> None:
        self.forecasts = allocate_one(worth.Forecasts, worth.FORECASTS, 0)
        self.pages = allocate_one(worth.Pages, worth.PAGES, 0)
        self.evidence = allocate_one(evidence.Evidence, evidence.EVIDENCE, 0)

    def grow(self, roster: Roster) -> None:
        """Room for all twins of the roster."""
        rows, entities = len(roster.names), len(roster.entities)
        if len(self.forecasts.samples) < rows:
            (self.forecasts,) = grow([self.forecasts], worth.SERIES, len(roster.rows.link.entity))
        if len(self.pages.number) < entities:
            (self.pages,) = grow([self.pages], worth.ENTITY, len(roster.ents.open.members))
            (self.evidence,) = grow([self.evidence], evidence.ENTITY, len(roster.ents.open.members))

    def keep(self, rows: Array, entities: Array) -> None:
        """Go on with these twins, counted anew; their numbers in order."""
        self.forecasts = worth.Forecasts(*(column[rows] for column in self.forecasts))
        self.pages = worth.Pages(*(column[entities] for column in self.pages))
        self.evidence = evidence.Evidence(*(column[entities] for column in self.evidence))

    def settle(self, roster: Roster) -> None:
        """Settle the bets on both versions of all entities; once a look."""
        evidence.settle(self.evidence, self.forecasts, roster.rows.link.entity[: len(roster.names)])

    def enter(
        self, own: Roster, k: int, looked_ms: int, row: Array, at: Array, twin: Array, mine: Marks, theirs: Marks
    ) -> None:  # fmt: skip
        """The forecasts of both versions of n samples, for which there is room.

        row, mine: of all samples of a batch, rows of the shard and what it says; at (n,): which of them are meant;
        twin, theirs: of these, rows in roster k and what the twins say. looked_ms: event time of the last look.
        """
        e, seed = own.rows.link.entity[row[at]], own.ents.seed
        age_ms = np.where(seed.since_ms[e] < 0, 0, looked_ms - seed.since_ms[e])
        worth.enter(
            twin, worth.buckets(age_ms), seed.source[e] == k, mine.kind[at], theirs.kind, mine.off[at], mine.band[at],
            theirs.off, theirs.band, self.forecasts,
        )  # fmt: skip

    def page(self, own: Roster, pairs: Pairs, k: int, mine: TickMarks, theirs: TickMarks) -> None:
        """The ticks that a stretch of the log has closed, in both versions; at: index of a sample in the same batch."""
        told, owners = list[tuple[int, int, int, int, int]](), pairs.owners()
        for is_twin, ticks in enumerate((mine, theirs)):
            for n in np.flatnonzero(ticks.decision == verdict.ALERT).tolist():
                e = int(ticks.entity[n])
                twin, owner = (e, int(owners[e])) if is_twin else (int(pairs.twin[e]), e)
                if twin >= 0:
                    is_seeded = (own.ents.seed.source[owner] == k) != bool(is_twin)
                    told.append((int(ticks.at[n]), is_twin, twin, SEEDED if is_seeded else COLD, int(ticks.ts_ms[n])))
        for _, _, twin, version, ts_ms in sorted(told):
            worth.page(self.pages, twin, version, ts_ms)

    def export(self, roster: Roster) -> dict[str, Array]:
        """Arrays of the state, as a roster names its own."""
        return {
            group + name: array
            for group, part, spec, size in self._parts(roster)
            for name, array in take(part, spec, np.arange(size)).items()
        }

    def _parts(self, roster: Roster) -> list[tuple[str, Any, Spec, int]]:
        return [
            ("series.worth.", self.forecasts, worth.FORECASTS, len(roster.names)),
            ("entity.pages.", self.pages, worth.PAGES, len(roster.entities)),
            ("entity.evidence.", self.evidence, evidence.EVIDENCE, len(roster.entities)),
        ]

    @staticmethod
    def restore(arrays: Mapping[str, Array], roster: Roster) -> Trials:
        """What `export` gave; SnapshotError if it is not of this roster."""
        trials = Trials()
        trials.grow(roster)
        try:
            for group, part, spec, size in trials._parts(roster):
                put(part, spec, np.arange(size), {name: arrays[group + name] for name in spec})
        except (KeyError, ValueError) as error:
            raise SnapshotError(f"the account of a trial does not fit ({error}); use an older snapshot") from error
        return trials

    def nbytes(self) -> int:
        """Bytes of the columns."""
        return sum(array.nbytes for part in (self.forecasts, self.pages, self.evidence) for array in part)
