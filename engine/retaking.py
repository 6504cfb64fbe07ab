"""Retaking: an entity goes on with what it had learned at an older time. The approximation of un-learning.

Owns which parts of an older state come back, and when they cannot. To be used where the log no longer reaches back to
the older state, so that what came between cannot be folded again.

Not obvious, what it is not: what the entity has learned since, outside of the window too, is lost with it; and a
second version that is on trial beside it (`engine/twins.py`) keeps what it has learned. Sums are not taken back one by
one, because none of them holds the samples of the window apart: each has decayed, been bounded and been measured by
the others since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import frozen
from engine import state as layout
from engine.columns import Array, Table, put, take
from engine.errors import BadSample
from engine.windows import Window

if TYPE_CHECKING:
    from engine.roster import Roster


def retake(own: Roster, older: Roster, window: Window) -> list[str]:
    """Give the entity of a window, or its one series, what it had learned in an older state; what came back, in words.

    BadSample (`order`) where it was not there, or has changed to its other version since; then nothing has changed.
    """
    e, then = own.entity_of(window.entity), older.entity_of(window.entity)
    if e < 0 or then < 0:
        raise BadSample("order", f"{window.entity} is not in the older snapshot.")
    if own.ents.seed.source[e] != older.ents.seed.source[then]:
        raise BadSample("order", f"{window.entity} goes on with another of its two versions since the older snapshot.")
    names = [own.names[row] for row in own.members_of(e).tolist()]
    names = [name for name in names if window.series in (None, name) and older.row_of(name) >= 0]
    kinds = [(own.rows.recipe.kind[own.row_of(name)], older.rows.recipe.kind[older.row_of(name)]) for name in names]
    names = [name for name, (a, b) in zip(names, kinds, strict=True) if a == b]
    if not names:
        raise BadSample("order", "no series of the window is in the older snapshot as it is now.")
    here, there = (np.array([one.row_of(name) for name in names]) for one in (own, older))
    _copy(own.rows, older.rows, layout.SERIES, frozen.SERIES, here, there)
    told = [f"{len(names)} series"]
    if window.series is None:
        _copy(own.ents, older.ents, layout.ENTITY, frozen.ENTITY, np.array([e]), np.array([then]))
        told.append("the entity's distributions")
        if _copy_blocks(own, older, e, then):
            told.append("its joint model")
    return told


def _copy(
    own: Any, older: Any, table: Table, learned: Mapping[str, Sequence[str]], here: Array, there: Array
) -> None:  # fmt: skip
    for name, fields in learned.items():
        spec = table[name][1]
        columns, others = getattr(own, name), getattr(older, name)
        now, then = take(columns, spec, here), take(others, spec, there)
        put(columns, spec, here, {field: (then if field in fields else now)[field] for field in spec})


def _copy_blocks(own: Roster, older: Roster, e: int, then: int) -> bool:
    """The joint models, if they are of the same metrics."""
    mine, theirs = own.blocks_of(e), older.blocks_of(then)

    def shape(roster: Roster, blocks: list[int]) -> list[tuple[int, list[str]]]:
        return [
            (
                int(roster.block.capacity[b]),
                [roster.names[row] for row in roster.block.member[b, : roster.block.width[b]]],
            )
            for b in blocks
        ]

    if shape(own, mine) != shape(older, theirs):
        return False
    for a, b in zip(mine, theirs, strict=True):
        part, other = own.part(a), older.part(b)
        for name in frozen.BLOCK:
            part[name][...] = other[name]
        part["vectors"][list(frozen.VECTORS)] = other["vectors"][list(frozen.VECTORS)]
        part["history"][...] = 0.0
        own.block.ticks[a], own.block.solve_at[a] = older.block.ticks[b], older.block.solve_at[b]
    return True
