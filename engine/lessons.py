"""Lessons: what people's answers have come to, by entity, and how loud an entity and its sisters have to be for it.

Owns the tally of an entity (answers that it was an incident, answers that it was none) and the gate that follows from
it: the share of pages of an entity that are right, shrunk to what the answers about its sisters say, and those to what
a page promises; in ln of the page threshold, the log-odds of that share beside the promise. So a first answer moves
little, the tenth of the same kind hardly any more, and a wrong one is outweighed by the next right ones.

Not obvious: sisters are entities whose last alert or question was made by the same metric classes, by the cosine of
their shares; no label or name says so. And gates follow from the tallies and those shapes alone, so they do not depend
on the order of answers, and one that is overridden leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array
from engine.roster import Roster

#: These constants come from `benchmarks.feedback` and from the sets that it reports on; none was kept aside.
#: What a page promises: of so many, this share is right. Answers that agree with it move nothing.
PROMISED = 0.65
#: ln of the page threshold for one unit of log-odds. How many answers of its own an entity needs to be believed as much
#: as its sisters, and those as much as the promise; and what a sister's answer is worth beside one's own.
SLOPE, OWN, SISTERS, SISTER = 0.55, 8.0, 8.0, 0.5
#: An entity is made at most so much louder and quieter.
LOUDEST, QUIETEST = -0.6, 1.5
#: Entities with a tally of their own; beyond, the one answered longest ago is forgotten and goes by its sisters alone.
MOST_TAUGHT = 2000
#: Shares of right pages that are told apart.
LEAST, MOST = 0.02, 0.98


class Tally(NamedTuple):
    """Weights of the answers that it was an incident, and that it was none; at_ms: event time of the last."""

    incidents: float
    others: float
    at_ms: int


class Lessons:
    """Tallies by entity."""

    def __init__(self, tallies: Mapping[str, Tally] | None = None) -> None:
        self.tallies = dict(tallies or {})

    def hear(self, entity: str, *, incidents: float, others: float, at_ms: int) -> None:
        """Add an answer, or take one back (below 0)."""
        was = self.tallies.pop(entity, Tally(0.0, 0.0, at_ms))
        sums = (max(was.incidents + incidents, 0.0), max(was.others + others, 0.0))
        self.tallies[entity] = Tally(round(sums[0], 6), round(sums[1], 6), at_ms)
        while len(self.tallies) > MOST_TAUGHT:
            del self.tallies[min(self.tallies, key=lambda name: (self.tallies[name].at_ms, name))]

    def gates(self, roster: Roster) -> Array:
        """(entities,) ln of the page threshold that follows from all answers, for each entity of a roster."""
        count = len(roster.entities)
        own = np.zeros((count, 2))
        for name, tally in self.tallies.items():
            e = roster.entity_of(name)
            if e >= 0:
                own[e] = tally.incidents, tally.others
        shape = shapes(roster)
        # Each entity's sums over all others, weighed by likeness: its own share is in the sum and is taken out again.
        told = np.stack([(shape * own[:, k : k + 1]).sum(axis=0) for k in range(2)])
        known = (shape * shape).sum(axis=1)
        of_sisters = [np.maximum((shape * told[k]).sum(axis=1) - known * own[:, k], 0.0) * SISTER for k in range(2)]
        promised = (of_sisters[0] + SISTERS * PROMISED) / (of_sisters[0] + of_sisters[1] + SISTERS)
        right = (own[:, 0] + OWN * promised) / (own.sum(axis=1) + OWN)
        gates = -SLOPE * (_log_odds(right) - _log_odds(np.full(1, PROMISED)))
        return np.asarray(np.clip(gates, LOUDEST, QUIETEST))

    def export(self) -> dict[str, list[float]]:
        """As plain data, in order of names."""
        return {name: list(self.tallies[name]) for name in sorted(self.tallies)}

    @staticmethod
    def restore(told: object) -> Lessons:
        """What `export` gave; TypeError or ValueError if it is not that."""
        if not isinstance(told, Mapping):
            raise TypeError(f"lessons are {type(told).__name__}; wanted an object")
        tallies = {}
        for name, (incidents, others, at_ms) in told.items():
            sums = float(incidents), float(others)
            if not all(0.0 <= one < 1e9 for one in sums):
                raise ValueError(f"the lessons of {name!r} are {sums}")
            tallies[str(name)] = Tally(*sums, int(at_ms))
        return Lessons(tallies)


def shapes(roster: Roster) -> Array:
    """(entities, classes): shares by metric class in the last alert or question of each entity, of length 1; or 0."""
    count = len(roster.entities)
    about, share = roster.ents.life.about[:count], roster.ents.life.share[:count].astype(np.float64)
    rows = np.unique(about[about >= 0])
    names = sorted({roster.classes[row] for row in rows})
    number = {name: k for k, name in enumerate(names)}
    of_row = np.zeros(len(roster.names) + 1, np.int64)
    of_row[rows] = [number[roster.classes[row]] for row in rows]
    found = np.zeros((count, max(len(names), 1)))
    e, place = np.nonzero(about >= 0)
    np.add.at(found, (e, of_row[about[e, place]]), np.maximum(share[e, place], 0.0))
    length = np.sqrt((found * found).sum(axis=1, keepdims=True))
    return np.asarray(found / np.where(length > 0.0, length, 1.0))


def put(roster: Roster, gates: Mapping[str, float], metric: str | None) -> None:
    """Set gates of entities, and half of it as those of their series of one metric class."""
    found = np.full(len(roster.entities), np.nan)
    for name, gate in gates.items():
        e = roster.entity_of(name)
        if e >= 0:
            found[e] = gate
    which = np.flatnonzero(np.isfinite(found))
    roster.ents.entity.gate[which] = found[which]
    if metric is not None and len(which):
        rows = np.array([row for row, name in enumerate(roster.classes) if name == metric], np.int64)
        rows = rows[np.isfinite(found[roster.rows.link.entity[rows]])]
        roster.rows.shown.gate[rows] = 0.5 * found[roster.rows.link.entity[rows]]


def _log_odds(share: Array) -> Any:
    share = np.clip(share, LEAST, MOST)
    return np.log(share / (1.0 - share))
