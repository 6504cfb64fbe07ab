"""Held: one shard that this worker holds now, with what the shell must remember beside it.

Owns no behaviour of the fold (engine/shard.py) and no I/O. The two protocols name exactly what the hot path asks of a
shard and of a decoder, so that the plain shard of the tests can stand in for the real one.

Not obvious: `owed` are records that a barrier has caused (experiments, gaps). They do not follow from the data log
alone, so a replay could not make them again; they travel inside the snapshot until the broker has acknowledged them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.batch import Batch
from engine.prior import Prior
from engine.snapshot import State


class Place(NamedTuple):
    """One partition of one topic: what a shard is the fold of."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class RecordLike(Protocol):
    """A record that the engine wants to leave: topic without prefix, key, value."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> dict[str, Any]: ...


class Owed(NamedTuple):
    """A record of a barrier: in the snapshot, and not yet acknowledged."""

    topic: str
    key: str
    value: dict[str, Any]


class VerdictsLike(Protocol):
    """What the shell needs of `engine.shard.Verdicts`."""

    @property
    def records(self) -> Sequence[RecordLike]: ...


class LedgerLike(Protocol):
    """Where each consumed offset has ended."""

    def counts(self) -> dict[str, int]: ...


class ShardLike(Protocol):
    """What the hot path asks of a shard; `engine.shard.Shard` is one."""

    next_offset: int
    control_offsets: dict[int, int]

    @property
    def ledger(self) -> LedgerLike: ...
    @property
    def series_count(self) -> int: ...
    @property
    def entity_count(self) -> int: ...
    def row_of(self, text: str, /) -> int: ...
    def process(self, batch: Batch, /) -> VerdictsLike: ...
    def apply(
        self, order: Mapping[str, Any], /, *, control_partition: int, next_offset: int, lent: Prior | str | None = None
    ) -> Sequence[RecordLike]: ...
    def mark_gap(self, from_offset: int, to_offset: int, /) -> Sequence[RecordLike]: ...
    def export(self) -> State: ...
    def counters(self) -> dict[str, int | float]: ...
    def wants_unlearning(self) -> bool: ...


class DeadLetterLike(Protocol):
    """What a decoder says of a record that it could not use; index counts within the batch."""

    @property
    def index(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...


class DecoderLike(Protocol):
    """Bytes of one partition to columns; `agents.codecs.decoder.Decoder` is one."""

    def decode(
        self,
        values: list[bytes | None],
        offsets: NDArray[np.int64],
        append_ms: NDArray[np.int64],
        next_offset: int,
        /,
    ) -> tuple[Batch, Sequence[DeadLetterLike]]: ...


class Arrival(NamedTuple):
    """Of a rebuilt shard: where the former one stood, and what is told when it has come there."""

    until: int
    records: Callable[[], Sequence[RecordLike]]


@dataclass(slots=True, kw_only=True)
class Held:
    """A shard in this worker's hands.

    replay_until: end of the log when the shard was taken; up to there a former life may already have spoken, so no
    new control may change what is computed (agents/detector/controls.py). caught_up: the log has ended at least once.
    saved_offset: next offset of the newest durable snapshot; -1 when there is none. saved_at_s: monotonic clock.
    saves, uploaded_saves: snapshots of this life, and which of them the state topic has. barriers: changes in this life
    that do not follow from the data log. rewound: the log is read again from before where it was; so many times what
    comes from further on is sent back. arrival: while a rebuilt shard takes the place of this one.
    """

    place: Place
    shard: ShardLike
    decoder: DecoderLike
    replay_until: int
    caught_up: bool = False
    owed: list[Owed] = field(default_factory=list)
    saved_offset: int = -1
    saved_at_s: float = 0.0
    state_bytes: int = 0
    saves: int = 0
    uploaded_saves: int = 0
    uploaded_at_s: float = 0.0
    upload_slot: int = 0
    barriers: int = 0
    rewound: int = 0
    arrival: Arrival | None = None

    @property
    def replaying(self) -> bool:
        """Whether records are being folded that a former life may already have answered."""
        return not self.caught_up and self.shard.next_offset < self.replay_until
