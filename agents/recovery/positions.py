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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, Protocol

import orjson

from agents.failpoint import failpoint
from agents.recovery.held import Held, Owed, Place, ShardLike
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
    """What is asked of agents.recovery.store.StateStore."""

    def save(self, topic: str, partition: int, next_offset: int, data: bytes, /) -> object: ...
    def newest_first(self, topic: str, partition: int, /) -> Iterator[tuple[str, bytes]]: ...
    def set_aside(self, name: str, /) -> None: ...


class Remote(NamedTuple):
    """A snapshot that is elsewhere (state_topic.py). fetch: its bytes, or SnapshotError."""

    name: str
    next_offset: int
    fetch: Callable[[], bytes]


class Loaded(NamedTuple):
    """What a snapshot gives back."""

    shard: ShardLike
    owed: list[Owed]
    state_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Loads and saves the shards of one worker.

    restore: State -> shard. warn: takes one sentence for the operator. config_hash: of all that changes verdicts.
    partitions: how many each input topic has now. counters: restores, snapshots_refused, partitions_raised.
    raised: topics of which that has been said. control_id: which log the control topic is; None where nobody says.
    """

    store: Store
    restore: Callable[[State, str], ShardLike]
    warn: Callable[[str], None]
    config_hash: str
    key: bytes | None = None
    partitions: dict[str, int] = field(default_factory=dict)
    counters: Counter[str] = field(default_factory=Counter)
    raised: set[str] = field(default_factory=set)
    clock: Callable[[], float] = time.monotonic
    control_id: str | None = None

    def save(self, held: Held, log: LogName) -> None:
        """Make the state of a shard durable, in place of nothing: older snapshots stay until they are pruned."""
        state = held.shard.export()
        shell = {
            "cluster_id": log.cluster_id,
            "topic_id": log.topic_id,
            "control_topic_id": self.control_id,
            "topic": held.place.topic,
            "partition": held.place.partition,
            "partitions": self.partitions.get(held.place.topic),
            "next_offset": held.shard.next_offset,
            "config_hash": self.config_hash,
            "owed": orjson.loads(orjson.dumps([[*one] for one in held.owed], option=orjson.OPT_SERIALIZE_NUMPY)),
        }
        data = snapshot.pack({**state.manifest, "kind": "checkpoint", "shell": shell}, state.arrays, key=self.key)
        self.store.save(held.place.topic, held.place.partition, held.shard.next_offset, data)
        held.saved_offset = held.shard.next_offset
        held.saved_at_s = self.clock()
        held.saves += 1
        held.state_bytes = len(data)

    def saved(self, held: Held) -> bytes | None:
        """The bytes of the newest save of this life, as they lie on the disk; None if somebody has taken them away."""
        found = (data for name, data in self.store.newest_first(*held.place) if _offset(name) == held.saved_offset)
        return next(found, None)

    def load(self, place: Place, log: LogName, ends: LogEnds, remote: Sequence[Remote] = ()) -> Loaded | None:
        """The newest snapshot that is whole and belongs to this log; None when there is none.

        Any such snapshot is right, an older one only costs reading more of the log again; so each refusal is said
        aloud and the next older one is tried. remote: newest first; used where it is newer than what lies here, and
        then saved here.
        """
        self._check_partition(place)
        left = list(remote)
        for name, data in self.store.newest_first(*place):
            while left and left[0].next_offset > _offset(name):
                if (loaded := self._open_remote(place, log, ends, left.pop(0))) is not None:
                    return loaded
            try:
                return self._open(place, log, ends, data)
            except SnapshotError as error:
                self._refuse(name, place, error)
                self.store.set_aside(name)
        opened = (self._open_remote(place, log, ends, one) for one in left)
        return next((loaded for loaded in opened if loaded is not None), None)

    def _open_remote(self, place: Place, log: LogName, ends: LogEnds, one: Remote) -> Loaded | None:
        try:
            data = one.fetch()
            loaded = self._open(place, log, ends, data)
        except SnapshotError as error:
            self._refuse(one.name, place, error)
            return None
        failpoint("restored")
        self.store.save(place.topic, place.partition, loaded.shard.next_offset, data)
        self.counters["restores"] += 1
        return loaded

    def _refuse(self, name: str, place: Place, error: SnapshotError) -> None:
        self.counters["snapshots_refused"] += 1
        self.warn(f"Snapshot {name} of {place} is not used: {error} Trying the next older one.")

    def _open(self, place: Place, log: LogName, ends: LogEnds, data: bytes) -> Loaded:
        state = snapshot.unpack(data, key=self.key)
        try:
            return self._opened(place, log, ends, state, len(data))
        except (KeyError, TypeError, ValueError) as error:
            raise SnapshotError(f"its manifest is not as it must be: {error!r}.") from error

    def _opened(self, place: Place, log: LogName, ends: LogEnds, state: State, size: int) -> Loaded:
        manifest, arrays = state
        shell: dict[str, Any] = manifest.pop("shell", {})
        manifest.pop("kind", None)
        _check(shell, place, log, ends)
        if shell["config_hash"] != self.config_hash:
            self.warn(f"The configuration of {place} has changed; it holds from offset {shell['next_offset']} on.")
        self._check_partitions(place.topic, shell.get("partitions"))
        shard = self.restore(State(manifest, arrays), place.topic)
        ids = (self.control_id, shell.get("control_topic_id"))
        if None not in ids and ids[0] != ids[1] and shard.control_offsets:
            shard.control_offsets.clear()
            self.warn(f"The control topic was made anew; {place} reads it from its beginning.")
        return Loaded(shard, [Owed(*one) for one in shell["owed"]], size)

    def _check_partition(self, place: Place) -> None:
        """A partition that was not there when this worker started."""
        known = self.partitions.get(place.topic, place.partition + 1)
        if place.partition >= known:
            self.partitions[place.topic] = place.partition + 1
            self._raised(place.topic, known)

    def _check_partitions(self, topic: str, before: int | None) -> None:
        """More partitions than when the state was saved."""
        if before is not None and before < self.partitions.get(topic, before):
            self._raised(topic, before)

    def _raised(self, topic: str, before: int) -> None:
        """Said once a topic and life; the next checkpoint remembers the new number."""
        if topic in self.raised:
            return
        self.raised.add(topic)
        self.counters["partitions_raised"] += 1
        self.warn(
            f"Topic {topic} had {before} partitions and has {self.partitions[topic]} now. Writers that choose the "
            "partition by key send series to other partitions than before: such a series starts anew in its new shard "
            "and falls silent in its old one, which may be reported as absence. Expect both until they have been "
            "learned again."
        )


def _offset(name: str) -> int:
    """Next offset of a snapshot by the name that the store gives it."""
    return int(PurePath(name).stem)


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
