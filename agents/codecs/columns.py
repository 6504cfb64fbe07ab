"""The arrays that the compiled fast path works on: what was found, and what it knows by heart.

Owns their layout only. All arrays grow by doubling and are handed to kernels as named tuples.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Small = NDArray[np.int32]

#: Why a kernel stopped: all done; a record that it does not know at sight; no room for one more sample.
DONE, UNKNOWN, FULL = 0, 1, 2


class Found(NamedTuple):
    """Samples in log order; record is its record's place in the batch."""

    row: Small
    ts_ms: Ints
    value: NDArray[np.float64]
    record: Small


class Index(NamedTuple):
    """From a hash to the number of an entry: open addressing, -1 is free; its length is a power of two."""

    key: NDArray[np.uint64]
    entry: Small


class Units(NamedTuple):
    """JSON objects known by heart, as pieces: literal bytes, then a hole for a number.

    piece: int32 (p, 4): the literal's start in pool, its length, what the hole is (columns of HOLE), the value's row.
    first, size: the pieces of entry t are first[t] .. first[t] + size[t]. samples: how many of them are values.
    follower: entry t was last followed by follower[t + 1]; follower[0] by what began it all; -1 is nothing yet.
    """

    pool: Bytes
    piece: Small
    first: Small
    size: Small
    samples: Small
    follower: Small
    lookup: Index


class Heads(NamedTuple):
    """Line-protocol heads (`measurement,tags `) known by heart, each with the fields that it was seen with.

    field: int32 (f, 3): the start of `key=` in pool, its length, its row; -1 for a field that never was a number.
    head: int32 (h, 2): start and length of the head's bytes. first, size: its fields.
    """

    pool: Bytes
    head: Small
    field: Small
    first: Small
    size: Small
    follower: Small
    lookup: Index


class Bounds(NamedTuple):
    """Limits as a kernel takes them, and the largest record it reads."""

    max_abs_value: float
    future_ms: int
    max_record_bytes: int


class Job(NamedTuple):
    """All that a kernel works on in one batch.

    data: the records' bytes, joined; record i is data[start[i] : start[i + 1]]. own_ms: the records' own times or -1.
    last: the entry that was matched last, of units and of heads; -1 at first.
    """

    data: Bytes
    start: Ints
    own_ms: Ints
    bounds: Bounds
    units: Units
    heads: Heads
    found: Found
    last: Small


Array = TypeVar("Array", bound=NDArray[Any])


def grown(array: Array, length: int, fill: int = 0) -> Array:
    """The array itself if it has the length, else a copy at least twice as long, with fill behind."""
    if len(array) >= length:
        return array
    larger = np.full((max(length, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    larger[: len(array)] = array
    return larger  # type: ignore[return-value]  # the same dtype, which numpy's types do not follow
