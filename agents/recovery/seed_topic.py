"""Seed topic: what a seed order lends, on the state topic, and how a running worker gets it from there.

Owns what lies there and the reading, a little in each turn. Who writes it is agents/seeding.py, what an order may say
engine/seeding.py.

    key seed/DIGEST/K   one piece of the packed prior
    key seed/DIGEST     the manifest, written last

The order names digest, size, sha256 and pieces, and the offset from which on they lie in partition 0. No shard's key
looks like these (state_topic.py), and the topic is compacted, so they stay for as long as anybody may read the order.

Not obvious: nothing here waits. The order waits, at the head of the others, while samples go on; and what cannot be
had within FETCH_S is an answer too, so that a broker that has lost a piece holds up nobody for long. The pieces are
named by what they hold: written again they are the same, and lie later. Hence the reading goes on to the end.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, Message, TopicPartition

from agents.recovery.state_topic import AT_ONCE, CHUNK_BYTES
from engine import seeding
from engine.config import ENGINE_VERSION
from engine.errors import BadSample, SnapshotError
from engine.prior import Prior
from engine.snapshot import DIGEST, pack, unpack

SCHEMA = "graft.seed/1"
PARTITION = 0
#: A prior of 25 metric classes and their pairs takes 60 kB, one of 200 at most 4 MB; a shard's state keeps up to eight.
MAX_BYTES, MOST_PIECES, MOST_DIGITS = 16 << 20, 1 << 16, 6
#: So long an order waits for its pieces.
FETCH_S = 15.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Parcel(NamedTuple):
    """What a seed order says of the bytes that it lends. begin: offset of the first piece on the state topic."""

    digest: str
    size: int
    sha256: str
    pieces: int
    begin: int


def packed(prior: Prior, key: bytes | None) -> bytes:
    """The bytes of a prior, signed if there is a key."""
    return pack({"kind": "prior", "engine": ENGINE_VERSION}, prior.arrays(), key=key)


def opened(data: bytes, key: bytes | None) -> Prior:
    """The prior in such bytes, or SnapshotError."""
    manifest, arrays = unpack(data, key=key, max_bytes=MAX_BYTES)
    if manifest.get("kind") != "prior" or manifest.get("engine") != ENGINE_VERSION:
        raise SnapshotError(
            f"it is a {manifest.get('kind')} of engine {manifest.get('engine')}; wanted a prior of {ENGINE_VERSION}."
        )
    # Without a key anybody who may write there is believed, but no number of his poisons a model for good.
    return Prior(arrays)


def cut(data: bytes) -> list[bytes]:
    """The pieces."""
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]


def key_of(digest: str, piece: int | None = None) -> bytes:
    """Key of a piece, or of the manifest.

    >>> key_of("00ff00ff00ff00ff", 2)
    b'seed/00ff00ff00ff00ff/2'
    """
    return f"seed/{digest}{'' if piece is None else f'/{piece}'}".encode()


def parcel_of(order: Mapping[str, Any]) -> Parcel | None:
    """What an order lends; None if it lends nothing. BadSample if it does not say so as it must."""
    params = order.get("params")
    if order.get("kind") != seeding.KIND or not isinstance(params, Mapping) or params.get("action") != seeding.ADD:
        return None
    texts, numbers = (params.get("digest"), params.get("sha256")), [params.get(n) for n in ("size", "pieces", "begin")]
    is_named = all(
        isinstance(text, str) and form.fullmatch(text) for text, form in zip(texts, (DIGEST, _SHA256), strict=True)
    )
    if not is_named or not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise BadSample("order", "a seed order names digest, sha256, size, pieces and begin of what it lends.")
    one = Parcel(str(texts[0]), numbers[0], str(texts[1]), numbers[1], numbers[2])  # type: ignore[arg-type]
    if not 0 < one.size <= MAX_BYTES or not 0 < one.pieces <= min(one.size, MOST_PIECES):
        raise BadSample("order", f"a seed order lends {one.size} bytes in {one.pieces} pieces; at most {MAX_BYTES}.")
    return one


class Seeds:
    """Reads what orders lend, one at a time, and remembers the last. consumer: opens one that only ever assigns."""

    def __init__(
        self,
        consumer: Callable[[], Any],
        topic: str,
        *,
        key: bytes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._key = key
        self._clock = clock
        self._wanted: Parcel | None = None
        self._found: Prior | str | None = None
        self._reader: Any = None
        self._pieces: dict[int, bytes] = {}
        self._until_s = 0.0

    def get(self, wanted: Parcel) -> Prior | str | None:
        """What an order lends; a text tells why it cannot be had; None: not yet, ask again in the next turn."""
        if wanted != self._wanted:
            self._begin(wanted)
        if self._found is None:
            self._found = self._advance(wanted)
        if self._found is not None:
            self.close()
        return self._found

    def close(self) -> None:
        """Stop reading; what was found is kept."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._pieces = None, {}

    def _begin(self, wanted: Parcel) -> None:
        self.close()
        self._wanted, self._found = wanted, None
        self._until_s = self._clock() + FETCH_S
        self._reader = self._consumer()
        self._reader.assign([TopicPartition(self._topic, PARTITION, wanted.begin)])

    def _advance(self, wanted: Parcel) -> Prior | str | None:
        for message in self._reader.consume(AT_ONCE, 0):
            if (why := self._take(wanted, message)) is not None:
                return self._lost(wanted, why)
            if len(self._pieces) == wanted.pieces:
                return self._whole(wanted)
        if self._clock() > self._until_s:
            return self._lost(wanted, f"no more came within {FETCH_S:g} s")
        return None

    def _take(self, wanted: Parcel, message: Message) -> str | None:
        """Keep a piece; why there is no use in going on, if there is none."""
        error: Any = message.error()
        if error is not None:
            return None if error.code() in _PASSING else str(error.str())
        head, _, number = (message.key() or b"").rpartition(b"/")
        if head == key_of(wanted.digest) and _is_number(number) and int(number) < wanted.pieces:
            self._pieces[int(number)] = (message.value() or b"")[: wanted.size]
            if sum(map(len, self._pieces.values())) > wanted.size:
                return f"there are more than the {wanted.size} bytes that were announced"
        return None

    def _lost(self, wanted: Parcel, why: str) -> str:
        return (
            f"{len(self._pieces)} of the {wanted.pieces} pieces of {wanted.digest} are on {self._topic} from offset "
            f"{wanted.begin} on ({why}); run `graft apply` again."
        )

    def _whole(self, wanted: Parcel) -> Prior | str:
        data = b"".join(self._pieces[number] for number in range(wanted.pieces))
        if len(data) != wanted.size or sha256(data).hexdigest() != wanted.sha256:
            return (
                f"the {len(data)} bytes of {wanted.digest} on {self._topic} are not those that were announced (sha256)."
            )
        try:
            return opened(data, self._key)
        except SnapshotError as error:
            return f"{wanted.digest} on {self._topic} cannot be used: {error}"


def _is_number(text: bytes) -> bool:
    """Of a piece: anybody may write a key, and a million digits are none."""
    return text.isdigit() and len(text) <= MOST_DIGITS


#: Of the connection, which the client mends by itself or the time ends.
_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT)
