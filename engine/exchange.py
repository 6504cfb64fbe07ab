"""Exchange: entities and their twins change places.

Owns what goes along: what a version has learned. Where a series is, when it was heard of and what was told of it is the
shard's and stays. Decides nothing.
"""

from __future__ import annotations

import numpy as np

from engine import state as layout
from engine.columns import Array, put, take
from engine.components import block as blocks
from engine.components import guard
from engine.pairs import Pairs
from engine.roster import Roster

#: The components that are learned.
_LEARNED = {
    "recipe", "level", "season", "change", "shown", "trial", "carry", "familiar", "spread", "wander", "recent",
    "entity", "habit",
}  # fmt: skip


def swap(own: Roster, es: Array, twins: Roster, pairs: Pairs) -> None:
    """Let entities of a shard and their twins in one roster change places. Each of them has one."""
    theirs = pairs.twin[es]
    _, mine = own.members_of_all(es)
    for group, columns, others, rows, other_rows in (
        (layout.SERIES, own.rows, twins.rows, mine, pairs.row[mine]),
        (layout.ENTITY, own.ents, twins.ents, es, theirs),
    ):
        for name in _LEARNED.intersection(group):
            spec, a, b = group[name][1], getattr(columns, name), getattr(others, name)
            ours = take(a, spec, rows)
            put(a, spec, rows, take(b, spec, other_rows))
            put(b, spec, other_rows, ours)
    _swap(own.ents.open.loudest, es, twins.ents.open.loudest, theirs)
    _swap_blocks(own, own.blocks_of_all(es)[1], twins, twins.blocks_of_all(theirs)[1])
    own.rows.guard.other[mine] = 1.0 - own.rows.guard.other[mine]
    # What joins later borrows where the seeded version is.
    source = twins.ents.seed.source
    source[theirs] = np.where(source[theirs] >= 0, guard.REFUSED, 0)


def _swap_blocks(own: Roster, mine: Array, twins: Roster, theirs: Array) -> None:
    for a, b in ((own.block.ticks, twins.block.ticks), (own.block.solve_at, twins.block.solve_at)):
        _swap(a, mine, b, theirs)
    capacity = own.block.capacity[mine]
    for one in np.unique(capacity).tolist():
        at, inside = np.flatnonzero(capacity == one), np.arange(blocks.size(one))
        places, there = (roster.block.start[of[at], None] + inside for roster, of in ((own, mine), (twins, theirs)))
        _swap(own.pool, places, twins.pool, there)


def _swap(a: Array, at: Array, b: Array, there: Array) -> None:
    kept = a[at]
    a[at], b[there] = b[there], kept
