"""Prefetch: ask the processor for memory before it is needed.

Owns one instruction, and which lines of a sample's state are asked for. It changes no result: the plain twin of
`prefetch` does nothing at all.

Not obvious: the state of ten thousand series does not fit into the cache, and almost half of a sample's time was spent
in waiting for it. Which state a sample needs is known several samples before, from the rows in the batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from engine.columns import LINE_BYTES, Array
from engine.components import entity, season, tail
from engine.components.block import NEAR, Block, lags, places
from engine.kernel import inline
from engine.state import Entities, Rows

#: So many samples before it is needed: the series' own record; then what the record points at.
FAR_AHEAD, AHEAD = 16, 8


def prefetch(array: Any, index: Any, offset: Any) -> None:
    """Ask for the line that is `offset` bytes beyond `array[index]`; index: of the first axis.

    The address is not read, so it may lie beyond the end.
    """


@overload(prefetch)
def _compiled(array: Any, index: Any, offset: Any) -> Any:  # noqa: ARG001  # numba gives it the types
    def ask(array: Any, index: Any, offset: Any) -> None:
        _instruction(array, index, offset)  # type: ignore[call-arg]  # numba gives the first

    return ask


@intrinsic
def _instruction(_typing: Any, array: Any, index: Any, offset: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        there = context.make_array(signature.args[0])(context, builder, values[0])
        stride = builder.extract_value(there.strides, 0)
        wide = stride.type
        index_, offset_ = (value if value.type == wide else builder.sext(value, wide) for value in values[1:])
        begin = builder.ptrtoint(there.data, wide)
        address = builder.add(builder.add(begin, builder.mul(index_, stride)), offset_)
        where, number = cgutils.voidptr_t, ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [where, number, number, number])
        instruction = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, kind, "llvm.prefetch.p0i8"
        )
        # To be read; to be kept in all caches; data.
        builder.call(instruction, [builder.inttoptr(address, where), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, index, offset), emit


@inline
def fetch_ahead(
    row_of: Array, ts_of: Array, at: int, rows: Rows, ents: Entities, block: Block, pool: Array, offset_ms: int
) -> None:
    """Ask for the state of the samples that come FAR_AHEAD and AHEAD after `at`."""
    if at + FAR_AHEAD < len(row_of):
        far: Any = np.uint64(row_of[at + FAR_AHEAD])
        _fetch_record(far, rows)
    if at + AHEAD < len(row_of):
        row: Any = np.uint64(row_of[at + AHEAD])
        slot = season.slot_of(ts_of[at + AHEAD], offset_ms)
        prefetch(rows.season.profile, slot, 4 * np.int64(row))
        prefetch(rows.season.visits, slot, np.int64(row))
        prefetch(rows.season.spread, slot // season.SLOTS_AN_HOUR, 4 * np.int64(row))
        _fetch_histogram(rows.shown.counts, row, 0, np.float64(rows.shown.quantiles[row, tail.MIDDLE]))
        e: Any = np.uint64(rows.link.entity[row])
        _fetch_entity(e, ents)
        _fetch_metric(rows.link.block[row], rows.link.slot[row], block, pool)


@inline
def _fetch_record(row: int, rows: Rows) -> None:
    """One column of each component: their scalars share four lines."""
    prefetch(rows.link.tick, row, 0)
    prefetch(rows.recipe.last, row, 0)
    prefetch(rows.level.mean, row, 0)
    prefetch(rows.change.mean, row, 0)
    prefetch(rows.change.level, row, 0)
    prefetch(rows.presence.last_ms, row, 0)
    prefetch(rows.shown.quantiles, row, 0)
    prefetch(rows.shown.gate, row, 0)


@inline
def _fetch_histogram(counts: Array, index: int, offset: int, middle: float) -> None:
    """Two lines about the median, where the next entry will most likely fall."""
    begin = offset + 4 * (tail.bin_of(middle) - 4)
    prefetch(counts, index, begin)
    prefetch(counts, index, begin + LINE_BYTES)


@inline
def _fetch_entity(e: int, ents: Entities) -> None:
    prefetch(ents.open.tick_ms, e, 0)
    prefetch(ents.open.due, e, 0)
    prefetch(ents.entity.ticks, e, 0)
    prefetch(ents.entity.severe, e, 0)
    prefetch(ents.life.state, e, 0)
    prefetch(ents.entity.mass, e, 0)
    prefetch(ents.entity.middle, e, 0)
    prefetch(ents.entity.top, e, 0)
    prefetch(ents.entity.quantiles, e, 0)
    prefetch(ents.entity.usual_peak, e, 0)


@inline
def _fetch_metric(b: int, j: int, block: Block, pool: Array) -> None:
    """What the joint model keeps of one metric. When the last one of the tick has come, all of it is near."""
    if b < 0:
        return
    c = block.capacity[b]
    back, start = lags(c), block.start[b]
    _, covariance, forecast, conditional, inverse, residual, residual_inverse, _ = places(c)
    _fetch_lines(pool, start + covariance + j * (back + 1) * c, (back + 1) * c)
    _fetch_lines(pool, start + forecast + j * back * c, back * c)
    _fetch_lines(pool, start + conditional + j * NEAR * c, NEAR * c)
    for section in (inverse, residual, residual_inverse):
        _fetch_lines(pool, start + section + j * c, c)


@inline
def _fetch_lines(pool: Array, begin: int, numbers: int) -> None:
    for k in range(0, numbers, LINE_BYTES // 4):
        prefetch(pool, begin, 4 * k)


@inline
def fetch_histograms(own: entity.Entity, e: int) -> None:
    """An entity's histograms of ticks, when one is about to be scored; those of hours can be waited for."""
    for k in range(entity.TICKLY):
        middle = own.middle[e, k] if k < entity.CHANNELS else own.quantiles[e, tail.MIDDLE]
        _fetch_histogram(own.counts, e, 4 * tail.BINS * k, np.float64(middle))
