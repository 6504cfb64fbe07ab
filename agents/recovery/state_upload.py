"""State upload: sends checkpoints that are safe on disk to the state topic as well, a little in each turn.

Owns when a shard's state is uploaded and how much is under way. Reads the file that positions.py has just
written, so it never holds up a checkpoint; layout and reading are state_topic.py's.

Not obvious: it has a producer of its own. In that of the outputs a slow state topic would delay every flush, and with
it every checkpoint. And nothing here is ever fatal: an upload that fails, is killed or is thrown away half way leaves
what was there before; the next owner of the shard only reads more of the log again.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
from confluent_kafka import KafkaException

from agents.failpoint import failpoint
from agents.recovery import state_topic
from agents.recovery.held import Held, Place
from agents.recovery.state_topic import GENERATION, Manifest, key_of
from engine.errors import GraftError

#: Pieces that the broker has not acknowledged: enough to keep a connection busy, and all that the memory holds.
UNDER_WAY = 2
#: How long a worker waits for the broker that gives shards back, ends, or has just obeyed an order: a next owner
#: without that state would obey it later in the log.
FINISH_WAIT_S = 5.0


@dataclass(slots=True, kw_only=True)
class Upload:
    """One under way. saves: which save of the shard this is. sent, acked: pieces; the manifest is the last of them."""

    held: Held
    saves: int
    data: bytes
    manifest: Manifest
    sent: int = 0
    acked: int = 0
    failure: str = ""


@dataclass(slots=True, kw_only=True)
class Uploader:
    """Uploads the states of one worker, one after the other.

    read: the newest saved bytes of a shard. max_bytes: larger states are not uploaded (a broker that keeps little).
    """

    producer: Any
    topic: str
    home: Callable[[Place], int]
    read: Callable[[Held], bytes | None]
    interval_s: float
    max_bytes: int
    warn: Callable[[str], None]
    clock: Callable[[], float]
    counters: Counter[str]
    current: Upload | None = None
    too_large: set[Place] = field(default_factory=set)

    def turn(self, helds: Iterable[Held]) -> None:
        """A little of what is under way, or begin what is due. Never waits."""
        self.producer.poll(0)
        if self.current is None:
            due = [held for held in helds if self._due(held)]
            if due:
                self._begin(min(due, key=lambda held: held.uploaded_at_s))
        else:
            self._advance(self.current)

    def finish(self, helds: Sequence[Held]) -> None:
        """The newest saved state of each, before anything goes on; gives up after FINISH_WAIT_S in all."""
        until_s = self.clock() + FINISH_WAIT_S
        for held in helds:
            if self.current is not None and (self.current.held is not held or self.current.saves != held.saves):
                self._tear(self.current)
            if self.current is None and held.uploaded_saves != held.saves:
                self._begin(held)
            while self.current is not None and self.clock() < until_s:
                self.producer.poll(0.02)
                self._advance(self.current)
            if held.uploaded_saves != held.saves:
                self.warn(f"The state of {held.place} is not on {self.topic} yet; its next owner reads more again.")
            if self.current is not None:
                self._tear(self.current)

    def _tear(self, one: Upload) -> None:
        """Give up what is under way: no upload, and so due again at once."""
        one.held.uploaded_at_s = self.clock() - self.interval_s
        self.current = None

    def forget(self, places: Sequence[Place]) -> None:
        """These shards are another worker's now."""
        if self.current is not None and self.current.held.place in places:
            self.current = None

    def _due(self, held: Held) -> bool:
        return held.uploaded_saves != held.saves and self.clock() - held.uploaded_at_s >= self.interval_s

    def _begin(self, held: Held) -> None:
        held.uploaded_at_s = self.clock()
        try:
            data = self.read(held)
        except GraftError as error:
            self.counters["uploads_failed"] += 1
            self.warn(f"The state of {held.place} is not uploaded: {error}")
            return
        if data is None:
            held.uploaded_saves = held.saves
            return
        if len(data) > self.max_bytes:
            self._leave_out(held, len(data))
            return
        self.current = Upload(held=held, saves=held.saves, data=data, manifest=_manifest(held, data))
        self._advance(self.current)

    def _leave_out(self, held: Held, size: int) -> None:
        held.uploaded_saves = held.saves
        if held.place not in self.too_large:
            self.too_large.add(held.place)
            self.warn(
                f"The state of {held.place} has {size} bytes, and the broker keeps {self.max_bytes} safely: it is not "
                f"uploaded to {self.topic}. A worker without the folder of this one would begin from the start."
            )

    def _advance(self, one: Upload) -> None:
        chunks = one.manifest.chunks
        while not one.failure and one.sent < chunks and one.sent - one.acked < UNDER_WAY:
            first = one.sent * state_topic.CHUNK_BYTES
            piece = one.data[first : first + state_topic.CHUNK_BYTES]
            if not self._produce(one, b"/%d/%d" % (one.manifest.slot, one.sent), piece):
                return
        if chunks <= 2 * one.acked < 2 * chunks:
            failpoint("uploaded-half")
        if one.acked == one.sent == chunks:
            self._produce(one, b"", msgspec.json.encode(one.manifest))
        if one.failure:
            self.counters["uploads_failed"] += 1
            self.warn(f"The state of {one.held.place} did not get to {self.topic}: {one.failure} It is tried again.")
            self.current = None
        elif one.acked == chunks + 1:
            failpoint("uploaded")
            self.counters["uploads"] += 1
            one.held.uploaded_saves, one.held.upload_slot = one.saves, one.manifest.slot
            self.current = None

    def _produce(self, one: Upload, suffix: bytes, value: bytes) -> bool:
        """False: no room now."""

        def delivered(error: Any, _message: Any) -> None:
            if error is None:
                one.acked += 1
            else:
                one.failure = f"{error.str()}."

        try:
            self.producer.produce(
                self.topic, key=key_of(one.held.place) + suffix, value=value, partition=self.home(one.held.place),
                headers=[(GENERATION, one.manifest.generation.encode())], on_delivery=delivered,
            )  # fmt: skip
        except BufferError:
            return False
        except KafkaException as error:
            one.failure = f"{error.args[0].str()}."
            return False
        one.sent += 1
        return True


def _manifest(held: Held, data: bytes) -> Manifest:
    """Into the slot that no whole upload is in, however often this one is torn."""
    topic, partition = held.place
    return Manifest(
        id=f"{topic}-{partition}@{held.saved_offset}", topic=topic, partition=partition,
        next_offset=held.saved_offset, size=len(data), sha256=sha256(data).hexdigest(),
        chunks=-(-len(data) // state_topic.CHUNK_BYTES), generation=secrets.token_hex(8), slot=1 - held.upload_slot,
    )  # fmt: skip
