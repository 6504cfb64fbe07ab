"""States: a real shard on a real state topic, and what the pages make of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agents.clients import SILENT, consumer_config
from agents.embedded import EmbeddedBroker
from agents.recovery.held import Place
from agents.recovery.state_topic import CHUNK_BYTES, GENERATION, Manifest, StateTopic, key_of
from agents.review import fleet
from agents.review.schema import connect, connect_reader
from agents.review.states import DAY_MS, EntityStanding, States
from agents.settings import Settings
from engine.shard import Shard
from engine.snapshot import pack
from tests.engine import logs

PLACE = Place("metrics", 0)


@pytest.fixture(scope="module")
def shard() -> Shard:
    """Three hosts of four metrics that were watched for a day and a half; one host has stopped, one is new."""
    found = logs.cold()
    rows = logs.admit(found, 3, 4)
    found.process(logs.fleet_log(rows, 2160, seed=3))
    return found


def upload(broker: EmbeddedBroker, data: bytes, *, offset: int, generation: str = "a" * 16) -> None:
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker.bootstrap})
    pieces = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
    manifest = Manifest(
        id=f"metrics-0-{offset}", topic="metrics", partition=0, next_offset=offset, size=len(data),
        sha256=sha256(data).hexdigest(), chunks=len(pieces), generation=generation, slot=0,
    )  # fmt: skip
    headers: Any = [(GENERATION, generation.encode())]
    for number, piece in enumerate(pieces):
        producer.produce("graft.state", piece, key_of(PLACE) + b"/0/%d" % number, headers=headers)
    producer.produce("graft.state", msgspec.json.encode(manifest), key_of(PLACE), headers=headers)
    assert producer.flush(10) == 0


class Scene:
    def __init__(self, broker: EmbeddedBroker) -> None:
        from confluent_kafka import Consumer

        def consumer() -> Any:
            config = consumer_config({"bootstrap.servers": broker.bootstrap}, group="g")
            return Consumer({**config, "enable.partition.eof": True}, logger=SILENT)

        self.changes = 0
        self.states = States(
            lambda: StateTopic(consumer, "graft.state", 1), lambda: [PLACE, PLACE, Place("metrics", 1)],
            Settings(environment="eu"), changed=self._changed,
        )  # fmt: skip

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker({"graft.state": 1}) as found:
        yield found


def test_what_the_newest_state_knows_is_shown(broker: EmbeddedBroker, shard: Shard) -> None:
    state = shard.export()
    upload(broker, pack(state.manifest, state.arrays), offset=shard.next_offset)
    scene = Scene(broker)
    scene.states.read()
    assert (scene.states.why, scene.changes) == ("", 1)
    (one,) = scene.states.uploads
    assert (one.place, one.next_offset, one.why) == (PLACE, shard.next_offset, "")
    name = shard.roster.names[0]
    learned = scene.states.learned(name)
    assert learned is not None
    assert learned.entity == shard.roster.entities[0]
    assert math.isclose(learned.mean, float(shard.roster.rows.level.mean[0]))
    assert learned.sd > 0
    assert len(learned.profile) == 96
    # A daily sine of 10 around 50: what is expected over the day spans about that.
    assert 12 < np.ptp(learned.profile) < 28
    day = fleet.day_of(learned)
    assert day is not None
    assert all(low < value < high for low, value, high in zip(day["lower"], day["value"], day["upper"], strict=True))
    assert scene.states.learned("nobody") is None
    assert scene.states.series_of(shard.roster.entities[0]) == shard.roster.names[:4]
    assert scene.states.matching("M1", 2) == [one for one in shard.roster.names if "m1" in one][:2]


def test_a_state_is_read_once_and_again_when_there_is_a_newer_one(broker: EmbeddedBroker, shard: Shard) -> None:
    state = shard.export()
    data = pack(state.manifest, state.arrays)
    upload(broker, data, offset=5)
    scene = Scene(broker)
    scene.states.read()
    first = scene.states.shards()[0]
    scene.states.read()
    assert scene.states.shards()[0] is first
    upload(broker, data, offset=9, generation="b" * 16)
    scene.states.read()
    assert scene.states.uploads[0].next_offset == 9
    assert scene.states.shards()[0] is not first


def test_a_state_that_cannot_be_read_is_named_and_the_others_are_shown(broker: EmbeddedBroker) -> None:
    upload(broker, b"no snapshot", offset=5)
    scene = Scene(broker)
    scene.states.read()
    (one,) = scene.states.uploads
    assert one.why
    assert scene.states.shards() == []
    assert scene.states.why == ""


def test_a_broker_that_does_not_answer_is_told_and_what_was_read_stays(broker: EmbeddedBroker, shard: Shard) -> None:
    state = shard.export()
    upload(broker, pack(state.manifest, state.arrays), offset=5)
    scene = Scene(broker)
    scene.states.read()
    broker.down()
    scene.states._topic = _away  # type: ignore[assignment]
    scene.states.read()
    assert scene.states.why == "No broker answered."
    assert len(scene.states.shards()) == 1


def _away() -> StateTopic:
    from engine.errors import OutsideError

    raise OutsideError("No broker answered.")


def standing(**more: Any) -> EntityStanding:
    usual: dict[str, Any] = {
        "entity": "host=a", "place": PLACE, "state": "idle", "series": 4, "absent": 0, "history_ms": 3.0 * DAY_MS,
        "samples": 4000.0, "is_on_trial": False, "source": "", "borrowed": 0.0,
    }  # fmt: skip
    return EntityStanding(**{**usual, **more})


@pytest.mark.parametrize(
    ("more", "kind", "why"),
    [
        ({}, "settled", "It has been watched for 3 d; it stands on its own."),
        ({"history_ms": 3_600_000.0}, "young", "is known after 23 h more"),
        ({"is_on_trial": True}, "trial", "is tried beside it"),
        ({"borrowed": 0.4, "source": "us"}, "borrowing", "40 % of what it is compared with still comes from us"),
        ({"absent": 4}, "silent", "none of its series"), ({"absent": 1}, "settled", "1 of its 4 series are silent"),
        ({"state": "pending", "history_ms": 0.0}, "asking", "question is open"),
        ({"state": "resolving", "absent": 4}, "firing", "alert goes on"),
        ({"state": "firing", "is_on_trial": True}, "firing", "alert goes on"),
    ],
)  # fmt: skip
def test_an_entity_is_in_one_kind_and_says_why(more: dict[str, Any], kind: str, why: str) -> None:
    one = standing(**more)
    assert fleet.kind_of(one) == kind
    assert why.lower() in fleet.line_of(one, None).why.lower()


def test_the_fleet_counts_each_entity_once_the_least_settled_first(
    broker: EmbeddedBroker, shard: Shard, tmp_path: Path
) -> None:
    state = shard.export()
    upload(broker, pack(state.manifest, state.arrays), offset=5)
    scene = Scene(broker)
    scene.states.read()
    connect(tmp_path / "review.db").close()
    db = connect_reader(tmp_path / "review.db")
    found = fleet.fleet_of(scene.states.shards(), db, wanted="all", page=1)
    assert sum(found.counts.values()) == found.total == 3
    assert (found.tiles["entities"], found.tiles["series"]) == (3, 12)
    few = [fleet.fleet_of(scene.states.shards(), db, wanted=kind, page=1).total for kind in fleet.ORDER]
    assert sum(few) == 3
    db.close()
