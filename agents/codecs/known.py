"""What the fast path knows by heart: its memory, how it grows, and how it is bounded.

Owns the arrays that columns.py lays out. Knows no format: what an entry means is learned in speculation.py.

Not obvious: entries are only ever added or replaced, so bytes of replaced ones are wasted until the memory is full;
then all of it is forgotten and learned again, which costs one slow pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.codecs.columns import Array, Bytes, Heads, Index, Units, grown
from agents.codecs.json_template import FIELD, VALUE
from agents.codecs.scan import find, insert, move

Piece = tuple[bytes, int, int]


class _Pool:
    """Bytes of all entries, one behind the other."""

    def __init__(self) -> None:
        self.bytes: Bytes = np.zeros(1024, np.uint8)
        self.used = 0

    def add(self, raw: bytes) -> int:
        at = self.used
        self.used += len(raw)
        self.bytes = grown(self.bytes, self.used)
        self.bytes[at : self.used] = np.frombuffer(raw, np.uint8)
        return at


def _index(length: int) -> Index:
    return Index(np.zeros(length, np.uint64), np.full(length, -1, np.int32))


def _roomy(index: Index, entries: int) -> Index:
    """The index, or one of twice the length, so that it is never more than half full."""
    if 2 * entries < len(index.entry):
        return index
    larger = _index(2 * len(index.entry))
    move(index, larger)
    return larger


def _put(array: Array, at: int, value: object, fill: int = 0) -> Array:
    array = grown(array, at + 1, fill)
    array[at] = value
    return array


class KnownUnits:
    """JSON objects; `arrays` is what kernels take."""

    def __init__(self) -> None:
        self.entries = 0
        self._pieces = 0
        self._pool = _Pool()
        self.arrays = Units(
            pool=self._pool.bytes,
            piece=np.zeros((64, 4), np.int32),
            first=np.zeros(16, np.int32),
            size=np.zeros(16, np.int32),
            samples=np.zeros(16, np.int32),
            follower=np.full(17, -1, np.int32),
            lookup=_index(32),
        )

    @property
    def used_bytes(self) -> int:
        return self._pool.used + 16 * self._pieces

    def add(self, digest: np.uint64, pieces: Sequence[Piece]) -> int:
        """Know one more object, or another one of the same shape instead; its entry."""
        old = self.arrays
        entry = find(old.lookup, digest)
        if entry < 0:
            entry = self.entries
            self.entries += 1
        first, piece = self._pieces, grown(old.piece, self._pieces + len(pieces))
        for raw, hole, row in pieces:
            piece[self._pieces] = (self._pool.add(raw), len(raw), hole, row)
            self._pieces += 1
        index = _roomy(old.lookup, self.entries)
        insert(index, digest, entry)
        self.arrays = Units(
            pool=self._pool.bytes,
            piece=piece,
            first=_put(old.first, entry, first),
            size=_put(old.size, entry, len(pieces)),
            samples=_put(old.samples, entry, sum(hole in (VALUE, FIELD) for _, hole, _ in pieces)),
            follower=grown(old.follower, self.entries + 1, -1),
            lookup=index,
        )
        return entry


class KnownHeads:
    """Line-protocol heads; `arrays` is what kernels take."""

    def __init__(self) -> None:
        self.entries = 0
        self._fields = 0
        self._pool = _Pool()
        self.arrays = Heads(
            pool=self._pool.bytes,
            head=np.zeros((16, 2), np.int32),
            field=np.zeros((64, 3), np.int32),
            first=np.zeros(16, np.int32),
            size=np.zeros(16, np.int32),
            follower=np.full(17, -1, np.int32),
            lookup=_index(32),
        )

    @property
    def used_bytes(self) -> int:
        return self._pool.used + 12 * self._fields

    def fields(self, digest: np.uint64, head: bytes) -> dict[bytes, int]:
        """The fields that a head is known with: raw `key=` to row."""
        known, entry = self.arrays, find(self.arrays.lookup, digest)
        if entry < 0 or self._raw(*known.head[entry].tolist()) != head:
            return {}
        first = int(known.first[entry])
        block = known.field[first : first + int(known.size[entry])].tolist()
        return {self._raw(start, length): row for start, length, row in block}

    def _raw(self, start: int, length: int) -> bytes:
        return self._pool.bytes[start : start + length].tobytes()

    def add(self, digest: np.uint64, head: bytes, fields: dict[bytes, int]) -> int:
        """Know a head with these fields, instead of what was known under its hash; its entry."""
        old = self.arrays
        entry = find(old.lookup, digest)
        if entry < 0:
            entry = self.entries
            self.entries += 1
        first, field = self._fields, grown(old.field, self._fields + len(fields))
        for key, row in fields.items():
            field[self._fields] = (self._pool.add(key), len(key), row)
            self._fields += 1
        index = _roomy(old.lookup, self.entries)
        insert(index, digest, entry)
        head_at = self._pool.add(head)
        self.arrays = Heads(
            pool=self._pool.bytes,
            head=_put(old.head, entry, (head_at, len(head))),
            field=field,
            first=_put(old.first, entry, first),
            size=_put(old.size, entry, len(fields)),
            follower=grown(old.follower, self.entries + 1, -1),
            lookup=index,
        )
        return entry
