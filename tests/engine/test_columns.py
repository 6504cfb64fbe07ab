"""Columns: allocate, grow, take, put and reset lose nothing, whatever the place of the row axis."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import state
from engine.columns import LINE_BYTES, Array, Column, Table, allocate, allocate_one, grow, put, reset, take


class Kept(NamedTuple):
    plain: Array
    bucket_major: Array
    wide: Array
    both: Array


SPEC = {
    "plain": Column(np.float64, np.nan),
    "bucket_major": Column(np.float32, 0.5, before=(5,)),
    "wide": Column(np.int32, -1, after=(3,)),
    "both": Column(np.uint8, 7, before=(2,), after=(4,)),
}


TABLE = {"kept": (Kept, SPEC)}


def filled(rows: int, seed: int = 0) -> Kept:
    rng = np.random.default_rng(seed)
    columns = allocate_one(Kept, SPEC, rows)
    for column in columns:
        column[...] = rng.integers(1, 100, column.shape)
    return columns


def test_fresh_rows_have_their_fill_and_shape() -> None:
    columns = allocate_one(Kept, SPEC, 6)
    assert [column.shape for column in columns] == [(6,), (5, 6), (6, 3), (2, 6, 4)]
    assert [column.dtype for column in columns] == [np.float64, np.float32, np.int32, np.uint8]
    assert np.isnan(columns.plain).all()
    assert (columns.both == 7).all()


@given(st.integers(0, 9), st.integers(0, 9))
def test_growing_keeps_the_old_rows_and_adds_fresh_ones(rows: int, more: int) -> None:
    columns = filled(rows)
    larger: Kept = grow([columns], TABLE, rows + more)[0]
    old, new = np.arange(rows), np.arange(rows, rows + more)
    for name, array in take(columns, SPEC, old).items():
        np.testing.assert_array_equal(array, take(larger, SPEC, old)[name])
    fresh = take(allocate_one(Kept, SPEC, more), SPEC, np.arange(more))
    for name, array in take(larger, SPEC, new).items():
        np.testing.assert_array_equal(array, fresh[name])


@given(st.permutations(range(6)), st.permutations(range(8)))
def test_what_is_taken_can_be_put_anywhere(source: list[int], target: list[int]) -> None:
    taken = take(filled(6), SPEC, np.array(source))
    into = filled(8, seed=1)
    before = take(into, SPEC, np.arange(8))
    put(into, SPEC, np.array(target[:6]), taken)
    for name, array in take(into, SPEC, np.array(target[:6])).items():
        assert array.shape[0] == 6
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, taken[name])
    for name, array in take(into, SPEC, np.array(target[6:])).items():
        np.testing.assert_array_equal(array, before[name][target[6:]])


def test_taking_copies() -> None:
    columns = filled(3)
    taken = take(columns, SPEC, np.arange(3))
    for array in taken.values():
        array[...] = 0
    assert all((column > 0).all() for column in columns)


def test_a_reset_row_is_as_if_never_seen() -> None:
    columns = filled(4)
    before = take(columns, SPEC, np.arange(4))
    reset(columns, SPEC, 2)
    fresh = take(allocate_one(Kept, SPEC, 1), SPEC, np.array([0]))
    for name, array in take(columns, SPEC, np.arange(4)).items():
        np.testing.assert_array_equal(array[2], fresh[name][0])
        np.testing.assert_array_equal(array[[0, 1, 3]], before[name][[0, 1, 3]])


@pytest.mark.parametrize("table", [state.SERIES, state.ENTITY], ids=["series", "entity"])
def test_the_scalars_of_a_row_lie_side_by_side(table: Table) -> None:
    scalars = [
        array
        for columns, (_, spec) in zip(allocate(table, 3), table.values(), strict=True)
        for array, column in zip(columns, spec.values(), strict=True)
        if not column.before and not column.after and not column.is_apart
    ]
    begin = min(array.ctypes.data for array in scalars)
    size = scalars[0].strides[0]
    assert begin % LINE_BYTES == size % LINE_BYTES == 0
    assert size - LINE_BYTES < sum(array.itemsize for array in scalars) <= size
    spans = sorted((array.ctypes.data - begin, array.itemsize) for array in scalars)
    assert all(at + width <= after for (at, width), (after, _) in pairwise(spans))
    assert all(array.flags.aligned and array.strides == (size,) for array in scalars)


@pytest.mark.parametrize("group", [state.SERIES, state.ENTITY], ids=["series", "entity"])
def test_the_tables_of_the_state_name_the_fields_in_order(group: dict[str, tuple[type, dict[str, Column]]]) -> None:
    for name, (kind, spec) in group.items():
        assert kind._fields == tuple(spec), name  # type: ignore[attr-defined]
        columns = allocate_one(kind, spec, 3)
        for column, array in zip(spec.values(), columns, strict=True):
            assert array.shape[column.axis] == 3
            assert array.dtype == column.dtype
