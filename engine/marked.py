"""Marked: the fold over a stretch of the log of which some samples are not to be learned.

Owns how such a sample is folded: as every other, by the same step, and what its series has learned of it is put back
(`engine/frozen.py`); its entity is told that it is coming, so that the tick that it reports in is not learned either.
Which samples are meant is `engine/windows.py`.

Not obvious: a stretch without marks goes to the fold as it is. One with marks is folded in runs, by compiled code, so
that a window over a thousand hosts costs a few microseconds a sample and not a call from Python each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import frozen
from engine.columns import Array
from engine.components.block import Block
from engine.events import DRIFTED, MUTED, SPREAD, Events
from engine.fold import LEARNED, SCORED_ONLY, fold
from engine.kernel import kernel
from engine.recipe import COUNTER
from engine.state import AFTER, COMING, EVENTS, MARKED, Context, Entities, Marks, Rows, TickMarks


def fold_stretch(
    row_of: Array, ts_of: Array, value_of: Array, begin: int, rows: Rows, ents: Entities, block: Block, pool: Array,
    marks: Marks, ticks: TickMarks, events: Events, context: Context, marked: Array | None,
) -> int:  # fmt: skip
    """As `fold`. marked: bool, one a sample; None: none is."""
    columns = (row_of, ts_of, value_of, begin, rows, ents, block, pool, marks, ticks, events, context)
    if marked is None:
        return int(fold(*columns))
    return int(fold_marked(*columns, marked))


@kernel
def fold_marked(
    row_of: Array, ts_of: Array, value_of: Array, begin: int, rows: Rows, ents: Entities, block: Block, pool: Array,
    marks: Marks, ticks: TickMarks, events: Events, context: Context, marked: Array,
) -> int:  # fmt: skip
    """`fold`, for a stretch with marked samples; returns after a sample that something has to be told of."""
    cursor, at = context.cursor, begin
    while at < len(row_of):
        before, until = cursor[EVENTS], at
        while until < len(row_of) and not marked[until]:
            until += 1
        is_marked = until == at
        if is_marked:
            until = at + 1
            done = _one(row_of, ts_of, value_of, at, rows, ents, block, pool, marks, ticks, events, context)
        else:
            done = fold(
                row_of[:until], ts_of[:until], value_of[:until], at, rows, ents, block, pool, marks, ticks, events,
                context,
            )  # fmt: skip
        if done < until or cursor[EVENTS] > before:
            return done
        at = until
    return at


@kernel
def _one(
    row_of: Array, ts_of: Array, value_of: Array, at: int, rows: Rows, ents: Entities, block: Block, pool: Array,
    marks: Marks, ticks: TickMarks, events: Events, context: Context,
) -> int:  # fmt: skip
    """Fold the marked sample `at`."""
    row: Any = np.uint64(row_of[at])
    e: Any = np.uint64(rows.link.entity[row])
    before, was_counter = context.cursor[EVENTS], rows.recipe.kind[row] == COUNTER
    frozen.keep_row(rows, row, context.kept[0])
    ents.open.marked[e] |= COMING
    until = at + 1
    done = fold(
        row_of[:until], ts_of[:until], value_of[:until], at, rows, ents, block, pool, marks, ticks, events, context
    )
    ents.open.marked[e] &= MARKED | AFTER
    # What was known of a value says nothing of a rate: its models have begun again, and stay so.
    if (rows.recipe.kind[row] == COUNTER) == was_counter:
        frozen.put_row_back(rows, row, context.kept[0])
    if marks.outcome[at] == LEARNED:
        marks.outcome[at] = SCORED_ONLY
    for k in range(before, context.cursor[EVENTS]):
        if events.kind[k] == DRIFTED or events.kind[k] == SPREAD:
            events.kind[k] = MUTED
    return int(done)
