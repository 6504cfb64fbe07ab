"""Ledger: each consumed offset ends in exactly one counter, so that nothing can be lost or counted twice unseen.

Rule: the sum of the counters equals the number of offsets that the shard has advanced, always; tests and /metrics
check it. A record with several samples counts once, under the best thing that happened to one of them; a record of
which any part went to the dead-letter topic counts as a dead letter, so that counter equals that topic's records.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.batch import Batch
from engine.columns import Array
from engine.fold import CONFLICT, DUPLICATE, LATE, LEARNED, MISSING, SCORED_ONLY

#: skipped: offsets that hold no record (transaction markers, compacted away); gap: lost to retention.
COUNTERS = (
    "learned", "scored_only", "missing", "late", "duplicate", "dead_letter", "empty", "shed", "skipped", "gap",
)  # fmt: skip
#: Outcome of a sample -> (rank, counter); the lowest rank of a record decides.
_RANK = np.full(6, 9, np.int8)
_ORDER = ("learned", "scored_only", "missing", "late", "duplicate")
for _outcome, _rank in ((LEARNED, 0), (SCORED_ONLY, 1), (MISSING, 2), (LATE, 3), (DUPLICATE, 4), (CONFLICT, 4)):
    _RANK[_outcome] = _rank


class Ledger:
    """Counters of one shard."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._counts.update(counts or {})

    def __getitem__(self, counter: str) -> int:
        return self._counts[counter]

    def counts(self) -> dict[str, int]:
        """A copy, in the order of COUNTERS."""
        return dict(self._counts)

    @property
    def total(self) -> int:
        """Offsets accounted for."""
        return sum(self._counts.values())

    def add(self, counter: str, records: int) -> None:
        """Count records that never became samples."""
        self._counts[counter] += records

    def count_batch(self, batch: Batch, consumed: int, outcome: Array, first_offset: int) -> None:
        """Account for the offsets [first_offset, batch.next_offset). first_offset -1: the shard begins here."""
        # A record that was cut by a stop in mid-batch is counted with its rest.
        consumed = int(np.searchsorted(batch.offset[:consumed], batch.next_offset))
        offset = batch.offset[:consumed]
        starts = np.flatnonzero(np.diff(offset, prepend=-1))
        rank = np.minimum.reduceat(_RANK[outcome[:consumed]], starts) if consumed else np.empty(0, np.int8)
        alive = offset[starts]
        dead = batch.dead[batch.dead < batch.next_offset]
        empty = batch.empty[batch.empty < batch.next_offset]
        if first_offset >= 0:
            dead, empty = dead[dead >= first_offset], empty[empty >= first_offset]
        if len(dead):
            rank = rank[~np.isin(alive, dead)]
        for place, records in enumerate(np.bincount(rank, minlength=len(_ORDER))):
            self._counts[_ORDER[place]] += int(records)
        self._counts["dead_letter"] += len(dead)
        self._counts["empty"] += len(empty)
        if first_offset >= 0:
            seen = len(rank) + len(dead) + len(empty)
            self._counts["skipped"] += int(batch.next_offset - first_offset - seen)
