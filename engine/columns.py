"""Columns: the state of one component for many rows, as a named tuple of arrays.

A component declares what it keeps per row (`Column`), and everything that is the same for all components - allocate,
grow, take rows out, put rows in, reset a row - is done here from that declaration. That is what lets a shard be
split, merged, snapshotted and seeded by generic code.

Not obvious, two things. (1) `before` is for bucket-major arrays ([96, n] for a profile), because at one moment all
rows read the same bucket; row-major costs up to twelve times more at 100,000 rows. (2) The scalars of all components of
a row lie side by side in one record, and a column is a view of it with the record's stride: a sample reads and writes
fifty of them, which would be fifty cache lines in fifty arrays, and is four in a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
T = TypeVar("T", bound=tuple[Array, ...])


class Column(NamedTuple):
    """One array of a component: dtype, the value of a fresh row, and extra axes before or after the row axis.

    is_apart: not in the record of the row, because few rows need it.
    """

    dtype: type
    fill: float = 0
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    is_apart: bool = False

    @property
    def axis(self) -> int:
        """Position of the row axis."""
        return len(self.before)

    def fresh(self, rows: int) -> Array:
        """Arrays of unused rows."""
        return np.full((*self.before, rows, *self.after), self.fill, self.dtype)


Spec = Mapping[str, Column]
#: name -> (type of its columns, their declaration), for all components of a row.
Table = Mapping[str, tuple[Any, Spec]]
#: Records begin at cache lines.
LINE_BYTES = 64


def allocate(table: Table, rows: int) -> list[Any]:
    """Fresh columns of all components for `rows` rows, in the order of the table."""
    record = _record(table, rows)

    def column(of: str, name: str, declared: Column) -> Array:
        if not _is_in_record(declared):
            return declared.fresh(rows)
        array = record[f"{of}.{name}"]
        array[...] = declared.fill
        return array

    return [kind(*(column(of, name, spec[name]) for name in spec)) for of, (kind, spec) in table.items()]


def allocate_one(kind: type[T], spec: Spec, rows: int) -> T:
    """Fresh columns of one component alone."""
    columns: T = allocate({"": (kind, spec)}, rows)[0]
    return columns


def grow(parts: Iterable[Any], table: Table, rows: int) -> list[Any]:
    """The same columns with room for `rows` rows; new rows are fresh."""
    larger = allocate(table, rows)
    for old, new, (_, spec) in zip(parts, larger, table.values(), strict=True):
        for source, target, column in zip(old, new, spec.values(), strict=True):
            np.moveaxis(target, column.axis, 0)[: source.shape[column.axis]] = np.moveaxis(source, column.axis, 0)
    return larger


def _is_in_record(column: Column) -> bool:
    return not column.before and not column.after and not column.is_apart


def _record(table: Table, rows: int) -> Array:
    """Room for the scalars of all components: an array of records, each beginning at a cache line."""
    fields: list[tuple[str, Any]] = [
        (f"{of}.{name}", np.dtype(column.dtype))
        for of, (_, spec) in table.items()
        for name, column in spec.items()
        if _is_in_record(column)
    ]
    # The large ones first, so that nothing lies between the fields.
    fields.sort(key=lambda field: -int(field[1].itemsize))
    names, formats = [name for name, _ in fields], [format_ for _, format_ in fields]
    offsets = np.cumsum([0, *(format_.itemsize for format_ in formats)]).tolist()
    size = max(-(-offsets[-1] // LINE_BYTES), 1) * LINE_BYTES
    padded = np.dtype({"names": names, "formats": formats, "offsets": offsets[:-1], "itemsize": size})
    room = np.zeros(rows * size + LINE_BYTES, np.uint8)
    begin = -room.ctypes.data % LINE_BYTES
    return room[begin : begin + rows * size].view(padded)


def take(columns: T, spec: Spec, rows: Array) -> dict[str, Array]:
    """Copies of the given rows, row axis first, ready for a snapshot."""
    return {
        name: np.ascontiguousarray(np.moveaxis(np.take(array, rows, axis=spec[name].axis), spec[name].axis, 0))
        for name, array in zip(spec, columns, strict=True)
    }


def put(columns: T, spec: Spec, rows: Array, arrays: Mapping[str, Array]) -> None:
    """Write what `take` gave into the given rows, in place. ValueError where shape or dtype is another."""
    for name, array in zip(spec, columns, strict=True):
        column, given = spec[name], arrays[name]
        wanted = (len(rows), *column.before, *column.after)
        if given.shape != wanted or given.dtype != column.dtype:
            raise ValueError(f"{name} is {given.dtype} {given.shape}; wanted {np.dtype(column.dtype)} {wanted}")
        np.moveaxis(array, column.axis, 0)[rows] = given


def reset(columns: T, spec: Spec, row: int) -> None:
    """Make one row as if it had never been seen, in place."""
    for name, array in zip(spec, columns, strict=True):
        np.moveaxis(array, spec[name].axis, 0)[row] = spec[name].fill
