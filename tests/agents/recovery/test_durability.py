"""Checkpoints, barriers and starts, with broker and disk made up: what happens in which order, and when not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from agents.detector.holdings import Holdings
from agents.recovery.durability import Durability
from agents.recovery.held import Arrival, Held, Owed, Place
from agents.recovery.outputs import Outputs
from agents.recovery.positions import LogEnds, LogName, Positions
from agents.recovery.state_topic import Kept, Manifest, StateTopic
from agents.recovery.store import DiskFull, StateStore
from engine import snapshot
from engine.errors import OutsideError
from tests.faults.plain_shard import PlainParts

PLACE, LOG = Place("metrics", 0), LogName(None, None)
PARTS = PlainParts()


class World:
    """Notes what is done, in order. room: saves that the disk still takes. behind: the broker acknowledges nothing."""

    def __init__(self, *, room: int = 99, behind: bool = False) -> None:
        self.room, self.behind = room, behind
        self.done: list[str] = []
        self.said: list[str] = []
        self.waits_s: list[float] = []
        self.durability = Durability(
            outputs=self, positions=self, commit=lambda *_: self.done.append("commit"), log_name=lambda _: LOG,
            warn=self.said.append, uploads=self,
        )  # type: ignore[arg-type]  # fmt: skip

    def flushed(self, timeout_s: float) -> bool:
        self.waits_s.append(timeout_s)
        return not self.behind

    def send(self, _records: Any) -> None:
        self.done.append("send")

    def save(self, _held: Held, _log: LogName) -> None:
        if self.room == 0:
            raise DiskFull("The disk is full.")
        self.room -= 1
        self.done.append("save")

    def finish(self, _helds: Any) -> None:
        self.done.append("upload")

    def change(self) -> list[Owed]:
        self.done.append("change")
        return [Owed("experiments", "k", {"id": "1"})]


def held(partition: int = 0) -> Held:
    place = Place("metrics", partition)
    shard = PARTS.new_shard(place)
    return Held(place=place, shard=shard, decoder=PARTS.new_decoder(place, shard), replay_until=0)


def test_what_an_order_has_caused_leaves_after_all_that_knows_of_it() -> None:
    world = World()
    assert world.durability.barrier(held(), world.change)
    assert world.done == ["save", "change", "save", "upload", "send", "commit"]


def test_a_full_disk_puts_an_order_off_and_stops_nothing() -> None:
    world, one = World(room=0), held()
    assert not world.durability.checkpoint(one)
    assert not world.durability.barrier(one, world.change)
    assert (world.done, one.owed) == ([], [])
    assert "The disk is full." in world.said[1]
    world.room = 2
    assert world.durability.barrier(one, world.change)


def test_a_broker_that_is_behind_is_waited_for_once() -> None:
    world, helds = World(behind=True), [held(one) for one in range(5)]
    assert world.durability.checkpoint_each(helds) == helds
    assert world.waits_s == [10.0, 0.0, 0.0, 0.0, 0.0]
    world.behind = False
    assert world.durability.checkpoint_each(helds) == []


def test_a_rebuilt_past_is_saved_with_what_tells_of_it_and_not_before() -> None:
    """A checkpoint on the way is one of a shard that is not there yet; the first one that is has the records in it."""
    world, one = World(room=1), held()
    one.arrival = Arrival(100, world.change)
    one.shard.next_offset = 99
    assert world.durability.checkpoint(one)
    assert world.done == ["save", "commit"]
    one.shard.next_offset = 100
    world.done.clear()
    assert not world.durability.checkpoint(one)
    assert (world.done, one.owed) == (["change"], [])
    assert one.arrival is not None
    world.room = 9
    world.done.clear()
    assert world.durability.checkpoint(one)
    assert world.done == ["change", "save", "upload", "send", "commit", "save", "commit"]
    assert one.arrival is None
    assert one.barriers == 1
    other = held()
    other.arrival = Arrival(-1, world.change)
    world.done.clear()
    assert world.durability.barrier(other, world.change)
    assert world.done[:5] == ["change", "save", "upload", "send", "commit"]


def test_a_broker_that_is_behind_puts_the_arrival_off() -> None:
    world, one = World(behind=True), held()
    one.arrival = Arrival(-1, world.change)
    assert not world.durability.checkpoint(one, 0.0)
    assert not world.durability.barrier(one, world.change)
    assert world.done == []


def test_a_record_that_the_client_refuses_is_the_outside_world() -> None:
    class Producer:
        def produce(self, *_: Any, **__: Any) -> None:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))

    outputs = Outputs(Producer(), prefix="graft.", source="graft/x")  # type: ignore[arg-type]
    with pytest.raises(OutsideError, match=r"graft\.experiments does not take a record of \d+ bytes"):
        outputs.send([Owed("experiments", "k", {"id": "1"})])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore(tmp_path) as made:
        yield made


def positions(store: StateStore, said: list[str], control_id: str | None = None) -> Positions:
    return Positions(store=store, restore=PARTS.restore, warn=said.append, config_hash="x", control_id=control_id)


def saved(store: StateStore, next_offset: int, **options: Any) -> Held:
    one = held()
    one.shard.next_offset = next_offset
    one.shard.control_offsets = {0: 50}
    positions(store, [], **options).save(one, LOG)
    return one


class Unreadable:
    def find(self, _places: Any) -> Any:
        raise OutsideError("graft.state was not read to its end within 60 s.")


def holdings(store: StateStore, said: list[str]) -> Holdings:
    world = World()
    durability = Durability(
        outputs=world, positions=positions(store, said), commit=lambda *_: None, log_name=lambda _: LOG,
        warn=said.append,
    )  # type: ignore[arg-type]  # fmt: skip
    return Holdings(
        positions=durability.positions, durability=durability, new_shard=PARTS.new_shard,
        new_decoder=PARTS.new_decoder, ends=lambda _: LogEnds(9_000, 9_500), log_name=lambda _: LOG,
        taken=lambda _: None, warn=said.append, states=Unreadable(),
    )  # type: ignore[arg-type]  # fmt: skip


def test_a_state_topic_that_cannot_be_read_is_not_an_empty_one(store: StateStore) -> None:
    """To begin anew would throw away what was learned, and write over it."""
    with pytest.raises(OutsideError, match=r"upload_interval_s = 0"):
        holdings(store, []).take([PLACE])
    assert store.list() == []


def test_a_state_topic_that_cannot_be_read_is_not_needed_where_the_disk_has_a_state(store: StateStore) -> None:
    saved(store, 9_100)
    said: list[str] = []
    assert holdings(store, said).take([PLACE]) == {PLACE: 9_100}
    assert "Going on with what is on disk" in said[0]


@pytest.mark.parametrize(("before", "now", "kept"), [("a", "a", True), ("a", "b", False), ("a", None, True)])
def test_positions_in_a_control_topic_hold_for_that_topic_alone(
    store: StateStore, before: str, now: str | None, kept: bool
) -> None:
    saved(store, 9_100, control_id=before)
    said: list[str] = []
    loaded = positions(store, said, control_id=now).load(PLACE, LOG, LogEnds(0, 9_500))
    assert loaded is not None
    assert loaded.shard.control_offsets == ({0: 50} if kept else {})
    assert len(said) == (0 if kept else 1)


def test_a_checkpoint_without_all_that_belongs_to_it_is_refused_for_the_next_older(store: StateStore) -> None:
    state = saved(store, 9_100).shard.export()
    shell = {"topic": "metrics", "partition": 0, "cluster_id": None, "topic_id": None, "next_offset": 9_200}
    data = snapshot.pack({**state.manifest, "kind": "checkpoint", "shell": shell}, state.arrays)
    store.save("metrics", 0, 9_200, data)
    said: list[str] = []
    loaded = positions(store, said).load(PLACE, LOG, LogEnds(0, 9_500))
    assert loaded is not None
    assert loaded.shard.next_offset == 9_100
    assert "config_hash" in said[0]


def test_all_reading_of_the_state_topic_at_one_start_has_one_deadline() -> None:
    """It happens inside a rebalance, and the group waits two minutes for that."""
    now_s = [0.0]

    class Reader:
        def assign(self, _places: Any) -> None: ...
        def close(self) -> None: ...

        def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
            return 0, 0

        def consume(self, *_: Any) -> list[Any]:
            now_s[0] += 1
            return []

    states = StateTopic(Reader, "graft.state", 1, clock=lambda: now_s[0])
    assert states.find([PLACE]) == {PLACE: []}
    manifest = Manifest(
        id="x", topic="metrics", partition=0, next_offset=1, size=1, sha256="", chunks=1, generation="g", slot=0
    )
    for _ in range(3):
        with pytest.raises(OutsideError, match="within 90 s"):
            states.fetch(Kept(manifest, 0, 1, {0: 0}))
    assert now_s[0] < 95
