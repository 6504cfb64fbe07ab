"""The watch over the Faust group, on the embedded broker: quiet while it gets on, loud when it stands still."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agents.clients import consumer_config
from agents.embedded import EmbeddedBroker
from agents.flows.flow_watch import Standstill, places_of, watch
from engine.errors import OutsideError


def consumer(broker: EmbeddedBroker) -> Any:
    from confluent_kafka import Consumer

    return Consumer(consumer_config({"bootstrap.servers": broker.bootstrap}, group="flows"))


def test_places_and_a_standstill() -> None:
    from confluent_kafka import Producer, TopicPartition

    with EmbeddedBroker({"t": 2}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for _ in range(3):
            producer.produce("t", b"x", partition=0)
        producer.flush(10)
        eyes = consumer(broker)
        assert places_of(eyes, ["t"]) == {("t", 0): (0, 3), ("t", 1): (0, 0)}
        eyes.commit(offsets=[TopicPartition("t", 0, 3)], asynchronous=False)
        assert places_of(eyes, ["t"]) == {("t", 0): (3, 3), ("t", 1): (0, 0)}
        producer.produce("t", b"x", partition=0)
        producer.flush(10)
        eyes.close()
        moments = iter(range(0, 1000, 60))
        with pytest.raises(OutsideError, match="does not take them"):
            asyncio.run(watch(
                lambda: consumer(broker), ["t"], clock=lambda: float(next(moments)), look_s=0.01
            ))  # fmt: skip


def test_a_partition_that_gets_on_is_no_standstill() -> None:
    watched = Standstill()
    place = ("t", 0)
    for step in range(100):
        assert watched.look({place: (step, 1000)}, now_s=step * 60.0) == {place: 0.0}
    assert watched.look({place: (99, 1000)}, now_s=100 * 60.0) == {place: 60.0}
    watched.forget(place)
    assert watched.look({place: (99, 1000)}, now_s=101 * 60.0) == {place: 0.0}
    assert watched.look({}, now_s=1e9) == {}


class Eyes:
    """A group that stands before the marker of a transaction: an end beyond the position, and no record."""

    def __init__(self, *, looks: int) -> None:
        self.assigned: list[int] = []
        self._looks = looks

    def list_topics(self, topic: str, **_: float) -> Any:
        self._looks -= 1
        if self._looks < 0:
            raise Enough
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions={0: None})})

    def committed(self, partitions: list[Any], **_: float) -> list[Any]:
        partitions[0].offset = 5
        return partitions

    def get_watermark_offsets(self, *_: Any, **__: float) -> tuple[int, int]:
        return 0, 6

    def assign(self, places: list[Any]) -> None:
        self.assigned += [place.offset for place in places]

    def consume(self, _number: int, _wait_s: float) -> list[Any]:
        return []

    def unassign(self) -> None: ...
    def close(self) -> None: ...


class Enough(Exception):  # noqa: N818 - ends the scene
    """The eyes have looked often enough."""


def test_the_marker_of_a_transaction_is_no_record() -> None:
    eyes, moments = Eyes(looks=8), iter(range(0, 1000, 60))
    with pytest.raises(Enough):
        asyncio.run(watch(lambda: eyes, ["t"], clock=lambda: float(next(moments)), look_s=0.001))
    assert eyes.assigned == [5, 5], "looked for each time that it has stood still for long enough"
