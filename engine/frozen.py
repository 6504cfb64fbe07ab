"""Frozen: what a sample that is only scored leaves as it was.

Owns the lists of columns that are learned, of a series and of an entity; all others go on, as a clock does: where a
series is and when it came, what was last said of it, what is smoothed from tick to tick, the life of the alert. A
column that is new belongs into one of the two, and a test asks for it. What a block learns is left out by
`components/joint` itself, and what is familiar by `components/familiar`.

Not obvious: nothing is left out of the step of a sample. It learns as ever, and what it has learned is put back. So no
formula knows of windows, and the hot path pays nothing for them.
"""

from __future__ import annotations

from typing import Any

from numba import literal_unroll

from engine.columns import Array
from engine.components.block import AGE, MEAN, SEEN, SIGMA_E, SIGMA_G, SIGMA_X
from engine.kernel import inline, kernel
from engine.state import Entities, Rows

#: Learned columns of a series: one number a row; some after the row axis; some before it.
SERIES = {
    "level": ("count", "mean", "var", "step", "last", "far", "prior_rows", "prior_ratio", "prior_step"),
    "season": ("profile", "steady", "visits", "spread", "level", "sigma", "count", "held_mean", "held_sd"),
    "change": ("up", "down", "run", "rest", "after", "mean", "sd", "level", "sigma", "previous"),
    "shown": ("counts", "unit", "mass", "quantiles"),
    "trial": ("state", "slots", "plain", "with_shape", "without"),
    "carry": ("size", "agreed", "power", "along"),
    "familiar": ("value", "weight", "minute"),
    "spread": ("number", "mean", "grown", "least", "fallen", "most", "run", "wait"),
    "wander": ("number", "size", "kept", "last"),
    "guard": ("other",),
}
ENTITY = {
    "entity": (
        "counts", "mass", "unit", "hour_unit", "middle", "top", "quantiles", "present_from", "usual_peak", "page_from",
        "page_slope", "ticks", "hour", "peak", "hour_ticks", "control", "usual", "moving",
    ),
    "habit": ("days", "size", "largest", "ahead", "explained"),
}  # fmt: skip
#: Learned sections of a block, and which of its vectors.
BLOCK = ("covariance", "forecast", "conditional", "inverse", "residual", "residual_inverse")
VECTORS = (MEAN, SIGMA_E, SIGMA_X, SIGMA_G, SEEN, AGE)


@kernel
def keep_row(rows: Rows, row: int, kept: Array) -> None:
    """Note what a series has learned. kept: float64 (KEPT,), in which every number that is meant is exact."""
    n = _keep_slots(_row_slots(rows), row, kept, 0)
    n = _keep_bins(_row_bins(rows), row, kept, n)
    _keep_numbers(_row_numbers(rows), row, kept, n)


@kernel
def put_row_back(rows: Rows, row: int, kept: Array) -> None:
    """What `keep_row` has noted, in place."""
    n = _put_slots(_row_slots(rows), row, kept, 0)
    n = _put_bins(_row_bins(rows), row, kept, n)
    _put_numbers(_row_numbers(rows), row, kept, n)


@kernel
def keep_entity(ents: Entities, e: int, kept: Array) -> None:
    """Note what an entity has learned; see `keep_row`."""
    counts, n = ents.entity.counts[e], 0
    for k in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            kept[n + j] = counts[k, j]
        n += counts.shape[1]
    n = _keep_bins(_entity_bins(ents), e, kept, n)
    _keep_numbers(_entity_numbers(ents), e, kept, n)


@kernel
def put_entity_back(ents: Entities, e: int, kept: Array) -> None:
    """What `keep_entity` has noted, in place."""
    counts, n = ents.entity.counts[e], 0
    for k in range(counts.shape[0]):
        for j in range(counts.shape[1]):
            counts[k, j] = kept[n + j]
        n += counts.shape[1]
    n = _put_bins(_entity_bins(ents), e, kept, n)
    _put_numbers(_entity_numbers(ents), e, kept, n)


@inline
def _row_slots(rows: Rows) -> Any:
    return rows.season.profile, rows.season.steady, rows.season.visits, rows.season.spread


@inline
def _row_bins(rows: Rows) -> Any:
    return rows.shown.counts, rows.shown.quantiles


@inline
def _row_numbers(rows: Rows) -> Any:
    level, season, change, shown, trial, carry, spread, wander = (
        rows.level,
        rows.season,
        rows.change,
        rows.shown,
        rows.trial,
        rows.carry,
        rows.spread,
        rows.wander,
    )
    return (
        level.count, level.mean, level.var, level.step, level.last, level.far, level.prior_rows, level.prior_ratio,
        level.prior_step, season.level, season.sigma, season.count, season.held_mean, season.held_sd, change.up,
        change.down, change.run, change.rest, change.after, change.mean, change.sd, change.level, change.sigma,
        change.previous, shown.unit, shown.mass, trial.state, trial.slots, trial.plain, trial.with_shape,
        trial.without, carry.size, carry.agreed, carry.power, carry.along, spread.number, spread.mean, spread.grown,
        spread.least, spread.fallen, spread.most, spread.run, spread.wait, wander.number, wander.size, wander.kept,
        wander.last,
    )  # fmt: skip


@inline
def _entity_bins(ents: Entities) -> Any:
    own, habit = ents.entity, ents.habit
    return own.mass, own.middle, own.top, own.quantiles, own.usual_peak, own.peak, habit.days, habit.size


@inline
def _entity_numbers(ents: Entities) -> Any:
    own, habit = ents.entity, ents.habit
    return (
        own.unit, own.hour_unit, own.present_from, own.page_from, own.page_slope, own.ticks, own.hour, own.hour_ticks,
        own.control, own.usual, own.moving, habit.largest, habit.ahead, habit.explained,
    )  # fmt: skip


@kernel
def _keep_slots(columns: Any, row: int, kept: Array, n: int) -> int:
    for column in literal_unroll(columns):
        for k in range(column.shape[0]):
            kept[n + k] = column[k, row]
        n += column.shape[0]
    return n


@kernel
def _put_slots(columns: Any, row: int, kept: Array, n: int) -> int:
    for column in literal_unroll(columns):
        for k in range(column.shape[0]):
            column[k, row] = kept[n + k]
        n += column.shape[0]
    return n


@kernel
def _keep_bins(columns: Any, row: int, kept: Array, n: int) -> int:
    for column in literal_unroll(columns):
        for k in range(column.shape[1]):
            kept[n + k] = column[row, k]
        n += column.shape[1]
    return n


@kernel
def _put_bins(columns: Any, row: int, kept: Array, n: int) -> int:
    for column in literal_unroll(columns):
        for k in range(column.shape[1]):
            column[row, k] = kept[n + k]
        n += column.shape[1]
    return n


@kernel
def _keep_numbers(columns: Any, row: int, kept: Array, n: int) -> None:
    for column in literal_unroll(columns):
        kept[n] = column[row]
        n += 1


@kernel
def _put_numbers(columns: Any, row: int, kept: Array, n: int) -> None:
    for column in literal_unroll(columns):
        column[row] = kept[n]
        n += 1
