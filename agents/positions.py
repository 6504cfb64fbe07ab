"""Positions: where a shard starts, and the checkpoint that says so. State holds the position; nothing else is asked.

Owns what the shell adds to a shard's manifest (`shell`: which log, under which configuration, what is still owed) and
the choice between the snapshots on disk. Knows no consumer and no producer.

Not obvious: the offsets that the group has committed are advisory and are never read. A committed offset without the
state that goes with it is a promise that nobody can keep: the models would have a hole that no ledger shows. So a
shard without a usable snapshot starts at the beginning of its partition (or at the end, `start = "latest"`), and
anchors that choice with a snapshot before the first record is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from agents.held import Held, Owed, Place, ShardLike
from engine import snapshot
from engine.errors import SnapshotError
from engine.snapshot import State

Start = Literal["earliest", "latest"]


class LogEnds(NamedTuple):
    """A partition as the broker knows it. low: oldest offset that is kept; high: the offset the next record gets."""

    low: int
    high: int


class LogName(NamedTuple):
    """Which log a state is the fold of. A topic that was deleted and made again is another log, although its offsets
    look the same; None where the broker does not say."""

    cluster_id: str | None
    topic_id: str | None

    def contradicts(self, other: LogName) -> bool:
        """Whether the two cannot be one log; what is not known contradicts nothing."""
        return any(mine and its and mine != its for mine, its in zip(self, other, strict=True))


class Store(Protocol):
    """What is asked of agents.store.StateStore."""

    def save(self, topic: str, partition: int, next_offset: int, data: bytes, /) -> object: ...
    def newest_first(self, topic: str, partition: int, /) -> Iterator[tuple[str, bytes]]: ...
    def set_aside(self, name: str, /) -> None: ...


class Loaded(NamedTuple):
    """What a snapshot gives back."""

    shard: ShardLike
    owed: list[Owed]
    state_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Loads and saves the shards of one worker.

    restore: State -> shard. warn: takes one sentence for the operator. config_hash: of all that changes verdicts.
    """

    store: Store
    restore: Callable[[State, str], ShardLike]
    warn: Callable[[str], None]
    config_hash: str
    key: bytes | None = None
    clock: Callable[[], float] = time.monotonic

    def save(self, held: Held, log: LogName) -> None:
        """Make the state of a shard durable, in place of nothing: older snapshots stay until they are pruned."""
        state = held.shard.export()
        shell = {
            "cluster_id": log.cluster_id,
            "topic_id": log.topic_id,
            "topic": held.place.topic,
            "partition": held.place.partition,
            "next_offset": held.shard.next_offset,
            "config_hash": self.config_hash,
            "owed": orjson.loads(orjson.dumps([[*one] for one in held.owed], option=orjson.OPT_SERIALIZE_NUMPY)),
        }
        data = snapshot.pack({**state.manifest, "kind": "checkpoint", "shell": shell}, state.arrays, key=self.key)
        self.store.save(held.place.topic, held.place.partition, held.shard.next_offset, data)
        held.saved_offset = held.shard.next_offset
        held.saved_at_s = self.clock()
        held.state_bytes = len(data)

    def load(self, place: Place, log: LogName, ends: LogEnds) -> Loaded | None:
        """The newest snapshot that is whole and belongs to this log; None when there is none.

        Any such snapshot is right, an older one only costs reading more of the log again; so each refusal is said
        aloud and the next older one is tried.
        """
        for name, data in self.store.newest_first(*place):
            try:
                return self._open(place, log, ends, data)
            except SnapshotError as error:
                self.warn(f"Snapshot {name} of {place} is not used: {error} Trying the next older one.")
                self.store.set_aside(name)
        return None

    def _open(self, place: Place, log: LogName, ends: LogEnds, data: bytes) -> Loaded:
        manifest, arrays = snapshot.unpack(data, key=self.key)
        shell: dict[str, Any] = manifest.pop("shell", {})
        manifest.pop("kind", None)
        _check(shell, place, log, ends)
        if shell["config_hash"] != self.config_hash:
            self.warn(f"The configuration of {place} has changed; it holds from offset {shell['next_offset']} on.")
        shard = self.restore(State(manifest, arrays), place.topic)
        return Loaded(shard, [Owed(*one) for one in shell["owed"]], len(data))


def _check(shell: dict[str, Any], place: Place, log: LogName, ends: LogEnds) -> None:
    if not shell:
        raise SnapshotError("it is no checkpoint of a worker (a source snapshot?).")
    if (shell["topic"], shell["partition"]) != place:
        raise SnapshotError(f"it is of {shell['topic']}[{shell['partition']}].")
    if log.contradicts(LogName(shell["cluster_id"], shell["topic_id"])):
        raise SnapshotError("it belongs to another cluster or to a former topic of this name (topic id differs).")
    if shell["next_offset"] > ends.high:
        raise SnapshotError(f"its next offset {shell['next_offset']} lies beyond the end of the log, {ends.high}.")


def first_offset(ends: LogEnds, start: Start) -> int:
    """Where a shard without a snapshot begins."""
    return ends.low if start == "earliest" else ends.high


def unsaved(helds: Sequence[Held]) -> list[Held]:
    """The shards that have moved since their last snapshot."""
    return [held for held in helds if held.owed or held.saved_offset != held.shard.next_offset]
