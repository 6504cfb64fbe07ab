"""Columns: the state of one component for many rows, as a named tuple of arrays.

A component declares what it keeps per row (`Column`), and everything that is the same for all components - allocate,
grow, take rows out, put rows in, reset a row - is done here from that declaration. That is what lets a shard be
split, merged, snapshotted and seeded by generic code.

Not obvious: `before` is for bucket-major arrays ([96, n] for a profile), because at one moment all rows read the same
bucket; row-major costs up to twelve times more at 100,000 rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T", bound=tuple[Array, ...])


class Column(NamedTuple):
    """One array of a component: dtype, the value of a fresh row, and extra axes before or after the row axis."""

    dtype: type
    fill: float = 0
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()

    @property
    def axis(self) -> int:
        """Position of the row axis."""
        return len(self.before)

    def fresh(self, rows: int) -> Array:
        """Arrays of unused rows."""
        return np.full((*self.before, rows, *self.after), self.fill, self.dtype)


Spec = Mapping[str, Column]


def allocate(kind: type[T], spec: Spec, rows: int) -> T:
    """Fresh columns for `rows` rows; fields of `kind` are the keys of `spec`, in order."""
    return kind(*(spec[name].fresh(rows) for name in spec))


def grow(columns: T, spec: Spec, rows: int) -> T:
    """The same columns with room for `rows` rows; new rows are fresh."""

    def longer(name: str, array: Array) -> Array:
        column = spec[name]
        extra = column.fresh(rows - array.shape[column.axis])
        return np.ascontiguousarray(np.concatenate([array, extra], axis=column.axis))

    return type(columns)(*(longer(name, array) for name, array in zip(spec, columns, strict=True)))


def take(columns: T, spec: Spec, rows: Array) -> dict[str, Array]:
    """Copies of the given rows, row axis first, ready for a snapshot."""
    return {
        name: np.ascontiguousarray(np.moveaxis(np.take(array, rows, axis=spec[name].axis), spec[name].axis, 0))
        for name, array in zip(spec, columns, strict=True)
    }


def put(columns: T, spec: Spec, rows: Array, arrays: Mapping[str, Array]) -> None:
    """Write what `take` gave into the given rows, in place."""
    for name, array in zip(spec, columns, strict=True):
        np.moveaxis(array, spec[name].axis, 0)[rows] = arrays[name]


def reset(columns: T, spec: Spec, row: int) -> None:
    """Make one row as if it had never been seen, in place."""
    for name, array in zip(spec, columns, strict=True):
        np.moveaxis(array, spec[name].axis, 0)[row] = spec[name].fill
