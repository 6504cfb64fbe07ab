"""What only a real Kafka can show of our clients and topics, and that it survives what the later tests do to it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import ConfigResource, ResourceType

from agents.clients import consumer_config, producer_config
from agents.flows.flow_watch import holds_record, places_of
from agents.topics import Topics, ensure_topics, partitions_of, topic_plans
from tests.real_broker.kafka import RealKafka

pytestmark = pytest.mark.real_broker

LIMIT_S = 60.0


def produce(kafka: RealKafka, topic: str, values: list[bytes], **settings: Any) -> None:
    """Deliver to partition 0, all acknowledged."""
    errors: list[KafkaError] = []
    producer = Producer(producer_config({"bootstrap.servers": kafka.bootstrap, **settings}))
    for value in values:
        producer.produce(
            topic, value, partition=0, on_delivery=lambda error, _: errors.append(error) if error else None
        )
    assert producer.flush(LIMIT_S) == 0
    assert errors == []


def values(consumer: Consumer, count: int) -> list[bytes | None]:
    """So many good records."""
    got: list[bytes | None] = []
    deadline = time.monotonic() + LIMIT_S
    while len(got) < count and time.monotonic() < deadline:
        got += [message.value() for message in consumer.consume(count, 0.1) if message.error() is None]
    return got


def from_the_start(consumer: Consumer, parts: list[TopicPartition]) -> None:
    """An assignment that knows its positions, as Graft's do: a cooperative one takes only what is new."""
    consumer.incremental_assign([TopicPartition(part.topic, part.partition, 0) for part in parts])


def test_what_is_produced_is_consumed_in_a_group(kafka: RealKafka) -> None:
    kafka.create_topic("smoke", partitions=1)
    wanted = [b"%d" % number for number in range(1_000)]
    produce(kafka, "smoke", wanted)
    consumer = Consumer(consumer_config({"bootstrap.servers": kafka.bootstrap}, group="smoke"))
    try:
        consumer.subscribe(["smoke"], on_assign=from_the_start)
        assert values(consumer, 1_000) == wanted
        consumer.commit(offsets=[TopicPartition("smoke", 0, 1_000)], asynchronous=False)
        assert consumer.committed([TopicPartition("smoke", 0)], timeout=LIMIT_S)[0].offset == 1_000
    finally:
        consumer.close()


def test_two_members_share_and_one_takes_over(kafka: RealKafka) -> None:
    kafka.create_topic("shared", partitions=4)
    settings = {"bootstrap.servers": kafka.bootstrap, "session.timeout.ms": 2_000, "heartbeat.interval.ms": 200}
    one, two = (Consumer(consumer_config(settings, group="shared")) for _ in range(2))
    try:
        for member in (one, two):
            member.subscribe(["shared"], on_assign=from_the_start)
        _until(lambda: (len(one.assignment()), len(two.assignment())) == (2, 2), one, two)
        two.close()
        _until(lambda: len(one.assignment()) == 4, one)
    finally:
        one.close()


def _until(condition: Any, *members: Consumer) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, [member.assignment() for member in members]
        for member in members:
            member.poll(0.05)


def test_our_topics_are_made_as_planned(kafka: RealKafka) -> None:
    here = {"bootstrap.servers": kafka.bootstrap}
    plans = topic_plans("made.", state_partitions=6)
    names = Topics.of("made.")
    assert set(ensure_topics(here, plans).created) == set(names)
    again = ensure_topics(here, plans)
    assert (set(again.existing), again.created, again.remarks) == (set(names), (), ())
    counts = partitions_of(here, names)
    assert counts == {name: 6 if name == names.state else 1 for name in names}
    assert {name for name in names if "compact" in _policy(kafka, name)} == {names.state, names.experiments}


def _policy(kafka: RealKafka, topic: str) -> str:
    admin = kafka.admin()
    (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
    return str(future.result(timeout=30)["cleanup.policy"].value)


def test_a_state_topic_that_forgets_is_remarked_on(kafka: RealKafka) -> None:
    kafka.create_topic("loose.state", partitions=1)
    remarks = ensure_topics({"bootstrap.servers": kafka.bootstrap}, topic_plans("loose.")).remarks
    assert [remark for remark in remarks if "loose.state has cleanup.policy=delete" in remark] == list(remarks)


def test_a_topic_misspelt_is_an_error_and_not_a_new_topic(kafka: RealKafka) -> None:
    here = {"bootstrap.servers": kafka.bootstrap}
    consumer = Consumer(consumer_config(here, group="misspelt"))
    try:
        consumer.subscribe(["metricz"])
        message = consumer.poll(LIMIT_S)
        assert message is not None
        assert message.error() is not None
        assert message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    finally:
        consumer.close()
    assert partitions_of(here, ["metricz"]) == {}


def test_behind_a_transaction_no_record_waits(kafka: RealKafka) -> None:
    """Its end is a marker that no reader gets: a group that has read all stands one before the end for ever."""
    kafka.create_topic("in.transaction", partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": "scripts"})
    producer.init_transactions(LIMIT_S)
    producer.begin_transaction()
    producer.produce("in.transaction", b"answer", partition=0)
    producer.commit_transaction(LIMIT_S)
    eyes = Consumer(consumer_config({"bootstrap.servers": kafka.bootstrap}, group="in.transaction"))
    try:
        eyes.commit(offsets=[TopicPartition("in.transaction", 0, 1)], asynchronous=False)
        assert places_of(eyes, ["in.transaction"]) == {("in.transaction", 0): (1, 2)}
        assert not holds_record(eyes, ("in.transaction", 0), 1)
        assert holds_record(eyes, ("in.transaction", 0), 0)
    finally:
        eyes.close()


def test_acknowledged_records_survive_kill_9(fragile_kafka: RealKafka) -> None:
    fragile_kafka.create_topic("kept", partitions=1)
    produce(fragile_kafka, "kept", [b"before"])
    fragile_kafka.kill()
    fragile_kafka.restart()
    produce(fragile_kafka, "kept", [b"after"])
    consumer = Consumer(consumer_config({"bootstrap.servers": fragile_kafka.bootstrap}, group="kept"))
    try:
        consumer.assign([TopicPartition("kept", 0, 0)])
        assert values(consumer, 2) == [b"before", b"after"]
    finally:
        consumer.close()
