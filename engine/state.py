"""State: all columns of a shard, grouped as the fold reads them.

Owns which components a series and an entity have (the tables SERIES and ENTITY), the links between rows, entities and
blocks, and the buffers in which the fold leaves its results. A new component is a file in `components/` and a line
here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine import alerts, recipe
from engine.columns import Array, Column, Spec, allocate, grow
from engine.components import (
    carry,
    change,
    entity,
    familiar,
    guard,
    habit,
    hinkley,
    level,
    presence,
    recent,
    season,
    tail,
    trial,
    wander,
)
from engine.components.block import Block, empty_blocks

# The clock of a shard: event time; votes for a later one, that time, the entity that voted last and for which time;
# when absence was last looked for; the end of the last hole in the log; the shortest step of the series that come.
CLOCK, AHEAD, AHEAD_MS, VOTER, VOTED_MS, SWEPT, RESUMED, FASTEST = range(8)
CLOCKS = 8
# The cursor of a call: closed ticks and events so far.
TICKS, EVENTS = range(2)
CURSORS = 2

#: Bits of an entity: the sample at work lies in a window that is not learned; such a one has reported in the open tick;
#: and in the tick before.
COMING, MARKED, AFTER = 1, 2, 4
#: Numbers that a row or an entity keeps at most while a sample or a tick is scored that is not to be learned.
KEPT = 1024

#: Entries that a fresh series' own histogram starts with.
SERIES_ROWS = 300.0


class Link(NamedTuple):
    """Where a row belongs: its entity, its place in a block, the last tick that it reported in."""

    entity: Array
    block: Array
    slot: Array
    tick: Array


class Shown(NamedTuple):
    """What was last said of a series, and the distribution of its own evidence (one histogram a row).

    value: what it was said of, in the recipe's unit.
    """

    value: Array
    expected: Array
    band: Array
    severe: Array
    counts: Array
    unit: Array
    mass: Array
    quantiles: Array
    gate: Array


class Open(NamedTuple):
    """The tick that an entity is collecting: its time, reports so far, reports still due; blocks; absent series.

    loudest: the largest page of a single series in it. marked: bits, see MARKED.
    """

    tick_ms: Array
    number: Array
    here: Array
    due: Array
    members: Array
    first_block: Array
    absent: Array
    closed_ms: Array
    loudest: Array
    marked: Array


LINK: Spec = {
    "entity": Column(np.int32, -1),
    "block": Column(np.int32, -1),
    "slot": Column(np.int32, -1),
    "tick": Column(np.int32, -1),
}
SHOWN: Spec = {
    "value": Column(np.float64, np.nan),
    "expected": Column(np.float64, np.nan),
    "band": Column(np.float32, np.nan),
    "severe": Column(np.float32, 1.0),
    "counts": Column(np.float32, after=(tail.BINS,)),
    "unit": Column(np.float32, 1.0),
    "mass": Column(np.float32, SERIES_ROWS),
    "quantiles": Column(np.float32, after=(tail.QUANTILES,)),
    "gate": Column(np.float32),
}
OPEN: Spec = {
    "tick_ms": Column(np.int64, -1),
    "number": Column(np.int32),
    "here": Column(np.int32),
    "due": Column(np.int32),
    "members": Column(np.int32),
    "first_block": Column(np.int32, -1),
    "absent": Column(np.int32),
    "closed_ms": Column(np.int64, -1),
    "loudest": Column(np.float32),
    "marked": Column(np.uint8),
}


class Rows(NamedTuple):
    """Columns with one row a series."""

    link: Link
    recipe: recipe.Recipe
    level: level.Level
    season: season.Season
    change: change.Change
    presence: presence.Presence
    shown: Shown
    trial: trial.Trial
    carry: carry.Carry
    familiar: familiar.Familiar
    spread: hinkley.Hinkley
    wander: wander.Wander
    recent: recent.Recent
    guard: guard.Guard


class Entities(NamedTuple):
    """Columns with one row an entity."""

    open: Open
    entity: entity.Entity
    habit: habit.Habit
    life: alerts.Life
    seed: guard.Seed


#: name -> (type, columns); the order is that of `Rows` and of `Entities`.
SERIES: dict[str, tuple[Any, Spec]] = {
    "link": (Link, LINK),
    "recipe": (recipe.Recipe, recipe.COLUMNS),
    "level": (level.Level, level.COLUMNS),
    "season": (season.Season, season.COLUMNS),
    "change": (change.Change, change.COLUMNS),
    "presence": (presence.Presence, presence.COLUMNS),
    "shown": (Shown, SHOWN),
    "trial": (trial.Trial, trial.COLUMNS),
    "carry": (carry.Carry, carry.COLUMNS),
    "familiar": (familiar.Familiar, familiar.COLUMNS),
    "spread": (hinkley.Hinkley, hinkley.COLUMNS),
    "wander": (wander.Wander, wander.COLUMNS),
    "recent": (recent.Recent, recent.COLUMNS),
    "guard": (guard.Guard, guard.COLUMNS),
}
ENTITY: dict[str, tuple[Any, Spec]] = {
    "open": (Open, OPEN),
    "entity": (entity.Entity, entity.COLUMNS),
    "habit": (habit.Habit, habit.COLUMNS),
    "life": (alerts.Life, alerts.COLUMNS),
    "seed": (guard.Seed, guard.SEED),
}


def fresh_rows(rows: int) -> Rows:
    """Room for `rows` series."""
    return Rows(*allocate(SERIES, rows))


def fresh_entities(entities: int) -> Entities:
    """Room for `entities` entities."""
    return Entities(*allocate(ENTITY, entities))


def grow_rows(rows: Rows, size: int) -> Rows:
    """The same series with room for `size`."""
    return Rows(*grow(rows, SERIES, size))


def grow_entities(entities: Entities, size: int) -> Entities:
    """The same entities with room for `size`."""
    return Entities(*grow(entities, ENTITY, size))


def grow_blocks(block: Block, size: int) -> Block:
    """The same blocks with room for `size`."""
    longer = empty_blocks(size)
    for old, new in zip(block, longer, strict=True):
        new[: len(old)] = old
    return longer


class Marks(NamedTuple):
    """Results for each sample of a batch, written by the fold; NaN is no answer.

    off: value less expected, exact where both are large; band: half its width; kind: what the series was
    taken for.
    """

    expected: Array
    off: Array
    band: Array
    severity: Array
    confidence: Array
    page: Array
    decision: Array
    outcome: Array
    kind: Array


class TickMarks(NamedTuple):
    """Results for each closed tick, in order; at: index of the sample that closed it."""

    entity: Array
    ts_ms: Array
    at: Array
    severity: Array
    confidence: Array
    page: Array
    decision: Array


def fresh_marks(samples: int) -> Marks:
    """Room for the results of `samples` samples."""
    floats: list[Any] = [np.full(samples, np.nan, np.float32) for _ in range(6)]
    return Marks._make([*floats, *(np.zeros(samples, dtype) for dtype in (np.int8, np.int8, np.uint8))])


def fresh_ticks(ticks: int) -> TickMarks:
    """Room for `ticks` closed ticks."""
    return TickMarks(
        np.empty(ticks, np.int32),
        np.empty(ticks, np.int64),
        np.empty(ticks, np.int32),
        np.full(ticks, np.nan, np.float32),
        np.full(ticks, np.nan, np.float32),
        np.full(ticks, np.nan, np.float32),
        np.zeros(ticks, np.int8),
    )


class Context(NamedTuple):
    """Settings and scratch of one call. clock: int64 (8,) is state; the rest is not.

    is_twin: the samples were accepted before, by the shard itself, whose clock it is. kept (2, KEPT): what of a row,
    and of an entity, is put back afterwards.
    """

    clock: Array
    table: Array
    work: Array
    scratch: Array
    sums: Array
    means: Array
    channel: Array
    share: Array
    cursor: Array
    kept: Array
    per_day: float
    offset_ms: int
    series_count: int
    is_large: bool
    is_twin: bool
