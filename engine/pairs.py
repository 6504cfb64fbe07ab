"""Pairs: which twin belongs to which series and which entity of a shard, for one roster of twins.

Owns the numbers of both sides, kept as arrays so that nobody has to look up names. Knows nothing of models.

Not obvious: each roster counts for itself, in its own order of first sight. What is found here is true until either
side gains or gives up something.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.errors import SnapshotError
from engine.roster import Roster


class Pairs:
    """row: of each row of the shard, that of its twin; twin: of each entity of the shard, its twin. -1: it has none."""

    def __init__(self) -> None:
        self.row = np.empty(0, np.int32)
        self.twin = np.empty(0, np.int32)

    @staticmethod
    def of(own: Roster, twins: Roster) -> Pairs:
        """Those of a state that was read. SnapshotError if a twin belongs to nobody."""
        pairs = Pairs()
        pairs.fit(own)
        for numbers, names, number_of in (
            (pairs.row, twins.names, own.row_of),
            (pairs.twin, twins.entities, own.entity_of),
        ):
            owners = np.array([number_of(name) for name in names], np.int64)
            if (owners < 0).any():
                raise SnapshotError("a twin in this state belongs to nothing in it; use an older snapshot")
            numbers[owners] = np.arange(len(owners))
        return pairs

    def fit(self, own: Roster) -> None:
        """Room for all series and entities of the shard."""
        self.row = _longer(self.row, len(own.rows.link.entity))
        self.twin = _longer(self.twin, len(own.ents.open.members))

    def add(self, own: Roster, rows: Array, twins: Roster, theirs: Array) -> None:
        """Rows of the shard and their twins."""
        self.fit(own)
        self.row[rows] = theirs
        self.twin[own.rows.link.entity[rows]] = twins.rows.link.entity[theirs]

    def keep(self, rows: Array, entities: Array) -> None:
        """Of the twins only those that are kept, bool; these are counted anew."""
        for numbers, is_kept in ((self.row, rows), (self.twin, entities)):
            new = np.append(np.where(is_kept, np.cumsum(is_kept) - 1, -1), -1)
            numbers[:] = new[numbers]

    def owners(self) -> Array:
        """Of each twin the entity of the shard that it belongs to."""
        owned = np.flatnonzero(self.twin >= 0)
        return owned[np.argsort(self.twin[owned])]

    def has_borrowed(self, twins: Roster, es: Array) -> Array:
        """Which entities of the shard have a twin that has borrowed, bool."""
        twin = self.twin[es]
        return (twin >= 0) & (twins.ents.seed.source[twin] >= 0)


def _longer(numbers: Array, room: int) -> Array:
    if len(numbers) >= room:
        return numbers
    return np.concatenate([numbers, np.full(room - len(numbers), -1, numbers.dtype)])
