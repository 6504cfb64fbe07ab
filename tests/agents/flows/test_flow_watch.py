"""The watch over the Faust group, on the embedded broker: quiet while it gets on, loud when it stands still."""

from __future__ import annotations

import asyncio
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
    for step in range(100):
        assert watched.look({("t", 0): (step, 1000)}, now_s=step * 60.0) == 0.0
    assert watched.look({("t", 0): (99, 1000)}, now_s=100 * 60.0) == 60.0
    assert watched.look({}, now_s=1e9) == 0.0
