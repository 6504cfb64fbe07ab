"""State topic: the checkpoints of all shards, kept by the broker, for the worker that has none of its own.

Owns what lies in `PREFIXstate` and how it is read. What is uploaded, and when, is state_upload.py; what makes a
snapshot usable is positions.py, which treats these bytes exactly as those of a file.

    key TOPIC-PARTITION/SLOT/K   one piece of the file, with the upload's generation as a header
    key TOPIC-PARTITION          the manifest, written last: only now the upload exists

A shard's records lie in the state partition of its own number, modulo how many there are.

Not obvious: the topic is compacted, so a new upload overwrites the pieces of an older one. Hence two slots in turn: an
upload that dies half way destroys the last but one, never the one that the manifest names. And pieces of two uploads
may lie between each other (a worker that was frozen and woke up); the generation tells them apart, and the sha256 has
the last word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Any, NamedTuple

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from agents.failpoint import failpoint
from agents.recovery.held import Place
from engine.errors import OutsideError, SnapshotError
from engine.snapshot import MAX_BYTES

SCHEMA = "graft.state/1"
GENERATION = "graft.generation"
#: Below the 1 MB that brokers and clients allow by default, with room for key, header and framing.
CHUNK_BYTES = 900_000
#: Newest uploads of a shard that are considered; what is older is not worth more than folding the log.
CONSIDERED = 3
#: Finding and fetching for the shards that come together are given up after this, all in all: below
#: max.poll.interval.ms, as it happens inside a rebalance. What came back until then is on disk for the next try.
READ_WAIT_S = 90.0
#: Messages of one consume call: at 900 kB each they are a few MB.
AT_ONCE = 8

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload consists of. size: bytes of the file. generation: of this upload alone, 16 hex digits."""

    schema: str = SCHEMA
    id: str
    topic: str
    partition: _Count
    next_offset: _Count
    size: _Count
    sha256: str
    chunks: _Count
    generation: str
    slot: _Count


class Kept(NamedTuple):
    """An upload found on the topic. at, written: state partition and offset there of the manifest; pieces: offset by
    number, perhaps not all."""

    manifest: Manifest
    at: int
    written: int
    pieces: Mapping[int, int]

    def __str__(self) -> str:
        return f"{self.manifest.id} on the state topic"


class StateTopic:
    """Reads the topic. consumer: opens one that only ever assigns; its ends of partitions are events."""

    def __init__(
        self, consumer: Callable[[], Any], topic: str, partitions: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partitions = partitions
        self._clock = clock
        self._until_s = 0.0

    def find(self, places: Sequence[Place]) -> dict[Place, list[Kept]]:
        """Uploads of these shards, newest first; OutsideError when the topic cannot be read. The time for what is found
        to be fetched counts from here."""
        self._until_s = self._clock() + READ_WAIT_S
        wanted = {key_of(place): place for place in places}
        pieces: dict[tuple[bytes, str], dict[int, int]] = {}
        found: dict[Place, list[Kept]] = {place: [] for place in places}
        for message in self._read(self._ends({self.home(place) for place in places})):
            base, slash, rest = (message.key() or b"").partition(b"/")
            place, offset = wanted.get(base), int(message.offset() or 0)
            if place is None:
                continue
            if slash:
                number = rest.rpartition(b"/")[2]
                if number.isdigit():
                    pieces.setdefault((base, _generation(message)), {})[int(number)] = offset
            elif (manifest := _manifest(message, place)) is not None:
                known = pieces.pop((base, manifest.generation), {})
                found[place].append(Kept(manifest, int(message.partition() or 0), offset, known))
        return {place: sorted(kept, key=_age, reverse=True)[:CONSIDERED] for place, kept in found.items()}

    def fetch(self, kept: Kept) -> bytes:
        """The bytes of an upload; SnapshotError when a piece is missing or they are not what was uploaded."""
        manifest = kept.manifest
        numbers = {offset: number for number, offset in kept.pieces.items() if number < manifest.chunks}
        if len(numbers) < manifest.chunks or not 0 < manifest.size <= MAX_BYTES:
            raise SnapshotError(f"{len(numbers)} of its {manifest.chunks} pieces are on the topic.")
        parts: dict[int, bytes] = {}
        for message in self._read({kept.at: (min(numbers), max(numbers) + 1)}):
            number = numbers.get(int(message.offset() or 0))
            if number is not None and _generation(message) == manifest.generation:
                parts[number] = message.value() or b""
            if 2 * len(parts) >= manifest.chunks:
                failpoint("restored-half")
        data = b"".join(parts[number] for number in sorted(parts))
        if sha256(data).hexdigest() != manifest.sha256:
            raise SnapshotError(f"the {len(data)} bytes are not the {manifest.size} that were uploaded (sha256).")
        return data

    def home(self, place: Place) -> int:
        """The state partition of a shard."""
        return place.partition % self._partitions

    def _ends(self, partitions: set[int]) -> dict[int, tuple[int, int]]:
        reader = self._consumer()
        try:
            return {
                one: reader.get_watermark_offsets(TopicPartition(self._topic, one), timeout=10) for one in partitions
            }
        except KafkaException as error:
            raise OutsideError(f"{self._topic} cannot be read: {error.args[0].str()}.") from error
        finally:
            reader.close()

    def _read(self, spans: Mapping[int, tuple[int, int]]) -> Iterator[Message]:
        """What lies in [start, stop) of each partition. Bounded: whatever is written meanwhile is not waited for."""
        stops = {partition: stop for partition, (start, stop) in spans.items() if start < stop}
        reader = self._consumer()
        try:
            reader.assign([TopicPartition(self._topic, one, spans[one][0]) for one in stops])
            while stops:
                if self._clock() > self._until_s:
                    raise OutsideError(f"{self._topic} was not read to its end within {READ_WAIT_S:g} s.")
                for message in reader.consume(AT_ONCE, 0.1):
                    yield from self._inside(message, stops)
        finally:
            reader.close()

    def _inside(self, message: Message, stops: dict[int, int]) -> Iterator[Message]:
        """The message, if it is one and lies before its partition's stop; takes partitions that are done off stops."""
        partition, offset, error = int(message.partition() or 0), int(message.offset() or 0), _error(message)
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise OutsideError(f"{self._topic}[{partition}] cannot be read: {error.str()}.")
        stop = stops.get(partition, 0)
        if error is not None or offset >= stop - 1:
            stops.pop(partition, None)
        if error is None and offset < stop:
            yield message


def key_of(place: Place) -> bytes:
    """Key of a shard's manifest; no topic name has a slash, so its pieces cannot be taken for another's.

    >>> key_of(Place("metrics", 3))
    b'metrics-3'
    """
    return f"{place.topic}-{place.partition}".encode()


def _age(one: Kept) -> tuple[int, int]:
    """Of two at one position (a barrier lies between) the later is the newer."""
    return one.manifest.next_offset, one.written


def _error(message: Message) -> Any:
    return message.error()


def _generation(message: Message) -> str:
    headers = dict(message.headers() or [])
    value = headers.get(GENERATION) or b""
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _manifest(message: Message, place: Place) -> Manifest | None:
    """None for a tombstone, and for what another version or another hand has written there."""
    try:
        manifest = msgspec.json.decode(message.value() or b"null", type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return manifest if manifest.schema == SCHEMA and (manifest.topic, manifest.partition) == place else None
