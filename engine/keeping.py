"""Keeping: a roster that goes on with some of its entities, in place.

Owns that what is left is counted anew and that the room of the others is given back. The result is what a split of the
exported state would leave (`engine/parcel.py`), and a test holds it to that; here nothing is written out and read.

Not obvious: the links between rows, entities and blocks are those of a parcel, by their names there, so that there is
one list of them.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from engine import state as layout
from engine.columns import Array, Table, allocate
from engine.components import block as blocks
from engine.parcel import LINKS
from engine.roster import FIRST_ENTITIES, FIRST_POOL, FIRST_ROWS, Roster


class Kept(NamedTuple):
    """Numbers of those that were kept, in order, before they were counted anew."""

    rows: Array
    entities: Array


def keep(roster: Roster, is_kept: Array) -> Kept:
    """Go on with the entities of which `is_kept` is true, bool (entities,)."""
    series, count = len(roster.names), roster.block_count
    rows = is_kept[roster.rows.link.entity[:series]]
    of = roster.rows.link.block[:series][rows]
    is_left = np.zeros(count, bool)
    is_left[of[of >= 0]] = True
    kept = {"series": np.flatnonzero(rows), "entity": np.flatnonzero(is_kept), "block": np.flatnonzero(is_left)}
    _keep_blocks(roster, kept["block"])
    roster.rows = layout.Rows(*_columns(roster.rows, layout.SERIES, kept["series"], FIRST_ROWS))
    roster.ents = layout.Entities(*_columns(roster.ents, layout.ENTITY, kept["entity"], FIRST_ENTITIES))
    columns: dict[str, Any] = {"series": roster.rows, "entity": roster.ents, "block": roster.block}
    for name, to in LINKS.items():
        group, *path = name.split(".")
        array = reduce(getattr, path, columns[group])[: len(kept[group])]
        new = np.full({"series": series, "entity": len(is_kept), "block": count}[to] + 1, -1)
        new[kept[to]] = np.arange(len(kept[to]))
        array[...] = new[array]
    for texts, numbers in (
        (roster.names, kept["series"]), (roster.classes, kept["series"]), (roster.entities, kept["entity"]),
    ):  # fmt: skip
        texts[:] = [texts[n] for n in numbers.tolist()]
    roster.count_anew()
    return Kept(kept["series"], kept["entity"])


def _columns(parts: Any, table: Table, kept: Array, least: int) -> list[Any]:
    fresh = allocate(table, max(len(kept), least))
    for old, new, (_, spec) in zip(parts, fresh, table.values(), strict=True):
        for source, target, column in zip(old, new, spec.values(), strict=True):
            before = (slice(None),) * column.axis
            target[(*before, slice(len(kept)))] = source[(*before, kept)]
    return fresh


def _keep_blocks(roster: Roster, kept: Array) -> None:
    """Packed, in order, as a state that was restored has them."""
    block, pool = blocks.empty_blocks(max(len(kept), FIRST_ENTITIES)), roster.pool
    for source, target in zip(roster.block, block, strict=True):
        target[: len(kept)] = source[kept]
    old, capacity = roster.block.start[kept], block.capacity[: len(kept)]
    size = {one: blocks.size(one) for one in set(capacity.tolist())}
    ends = np.cumsum([size[one] for one in capacity.tolist()], dtype=np.int64)
    roster.pool_used = int(ends[-1]) if len(ends) else 0
    roster.pool = np.zeros(max(roster.pool_used, FIRST_POOL), np.float32)
    for one, length in size.items():
        at, inside = np.flatnonzero(capacity == one), np.arange(length)
        block.start[at] = ends[at] - length
        roster.pool[block.start[at, None] + inside] = pool[old[at, None] + inside]
    roster.block, roster.block_count = block, len(kept)
