"""Batch: the samples of one shard in log order, as columns. The only thing that enters `Shard.process`.

Rule: a Kafka record is never split over two batches, and `next_offset` counts every record read, with or without
samples, so that the ledger can account for each offset exactly once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Rows = NDArray[np.int32]
Floats = NDArray[np.float64]


#: The largest value: below what stands for "no limit" (cgroups: 2^63 less a page of up to 64 KiB); its square is still
#: a float32.
LARGEST = 2.0**63 - 2.0**16


class Batch(NamedTuple):
    """Samples in log order; n samples out of the records [first offset, next_offset).

    row: int32 (n,), from `Shard.admit`. ts_ms: int64 (n,), the sample's own time, epoch milliseconds.
    value: float64 (n,), at most LARGEST in size, or NaN where the sender said that it has none (a gap, never a zero).
    offset: int64 (n,), the record of each sample, not decreasing.
    dead: int64 (k,), offsets of records that went to the dead-letter topic, whole or in part; sorted, unique.
    empty: int64 (k,), offsets of records that legitimately hold no sample (tombstones, strings only); sorted, unique.
    """

    row: Rows
    ts_ms: Ints
    value: Floats
    offset: Ints
    next_offset: int
    dead: Ints = np.empty(0, np.int64)
    empty: Ints = np.empty(0, np.int64)

    @staticmethod
    def of(row: object, ts_ms: object, value: object, offset: object, next_offset: int) -> Batch:
        """From anything array-like; for tests and file readers.

        >>> Batch.of([0], [1_000], [1.5], [7], 8).next_offset
        8
        """
        return Batch(
            np.ascontiguousarray(row, np.int32),
            np.ascontiguousarray(ts_ms, np.int64),
            np.ascontiguousarray(value, np.float64),
            np.ascontiguousarray(offset, np.int64),
            next_offset,
        )

    def since(self, offset: int) -> Batch:
        """Without the samples of records before `offset`.

        >>> Batch.of([0, 0], [1_000, 2_000], [1.5, 2.5], [7, 8], 9).since(8).value.tolist()
        [2.5]
        """
        at = int(np.searchsorted(self.offset, offset))
        end = max(self.next_offset, offset)
        return Batch(self.row[at:], self.ts_ms[at:], self.value[at:], self.offset[at:], end, self.dead, self.empty)
