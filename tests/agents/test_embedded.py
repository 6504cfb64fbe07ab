"""Laws of the embedded broker: what of Kafka it does, what of it breaks on request, and that it says it forgets."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from agents import embedded as module
from agents.embedded import QUICK_GROUP, Api, EmbeddedBroker
from engine.errors import ConfigError, OutsideError

# A deadline, not a duration: nothing here waits for it when all is well.
LIMIT_S = 20.0
THREADS = Path("/proc/self/task")
FAST = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 50, "retry.backoff.ms": 20}


def send(broker: EmbeddedBroker, topic: str, values: list[bytes], **settings: Any) -> list[Message]:
    """Deliver the values to partition 0 and give the acknowledged messages."""
    reports: list[Message] = []

    def report(error: KafkaError | None, message: Message) -> None:
        assert error is None, error
        reports.append(message)

    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0, **FAST, **settings})
    for value in values:
        producer.produce(topic, value, key=b"k", partition=0, on_delivery=report)
    assert producer.flush(LIMIT_S) == 0
    return reports


@contextmanager
def reader(broker: EmbeddedBroker, group: str = "g", **settings: Any) -> Iterator[Consumer]:
    """A consumer that is closed whatever happens."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "log_level": 2,
            **FAST,
            **settings,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def read(consumer: Consumer, count: int) -> list[Message]:
    """So many good messages."""
    got: list[Message] = []
    deadline = time.monotonic() + LIMIT_S
    while len(got) < count and time.monotonic() < deadline:
        message = consumer.poll(0.05)
        if message is not None and message.error() is None:
            got.append(message)
    return got


def test_what_is_produced_is_consumed_in_order(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    values = [b"%d" % number for number in range(500)]
    send(embedded, "t", values, **{"enable.idempotence": True})
    with reader(embedded) as consumer:
        consumer.subscribe(["t"])
        got = read(consumer, 500)
    assert [message.value() for message in got] == values
    assert [message.offset() for message in got] == list(range(500))


def test_topics_have_the_partitions_asked_for(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("seven", partitions=7)
    metadata = Producer({"bootstrap.servers": embedded.bootstrap}).list_topics(timeout=LIMIT_S)
    assert len(metadata.topics["seven"].partitions) == 7


def test_a_topic_named_by_a_client_gets_four_partitions(embedded: EmbeddedBroker) -> None:
    send(embedded, "by-a-client", [b"x"])
    metadata = Producer({"bootstrap.servers": embedded.bootstrap}).list_topics(timeout=LIMIT_S)
    assert len(metadata.topics["by-a-client"].partitions) == 4


def test_two_members_of_a_group_share_the_partitions(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=4)
    with reader(embedded, **QUICK_GROUP) as one, reader(embedded, **QUICK_GROUP) as two:
        one.subscribe(["t"])
        two.subscribe(["t"])
        deadline = time.monotonic() + LIMIT_S
        while (len(one.assignment()), len(two.assignment())) != (2, 2):
            assert time.monotonic() < deadline, (one.assignment(), two.assignment())
            one.poll(0.05)
            two.poll(0.05)
        shares = [{part.partition for part in member.assignment()} for member in (one, two)]
    assert shares[0] | shares[1] == {0, 1, 2, 3}
    assert not shares[0] & shares[1]


def test_commits_are_kept_for_the_next_member(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    send(embedded, "t", [b"a", b"b", b"c"])
    with reader(embedded) as consumer:
        consumer.commit(offsets=[TopicPartition("t", 0, 2)], asynchronous=False)
    with reader(embedded) as consumer:
        consumer.subscribe(["t"])
        assert read(consumer, 1)[0].value() == b"c"


def test_deleted_records_raise_the_low_watermark_and_are_reported(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    # One batch each: the embedded broker deletes whole batches.
    send(embedded, "t", [b"a", b"b", b"c"], **{"batch.num.messages": 1})
    embedded.delete_records("t", 0, 2)
    with reader(embedded, **{"auto.offset.reset": "error"}) as consumer:
        low, high = consumer.get_watermark_offsets(TopicPartition("t", 0), timeout=LIMIT_S)
        assert (low, high) == (2, 3)
        consumer.assign([TopicPartition("t", 0, 0)])
        message = consumer.poll(LIMIT_S)
        assert message is not None
        assert message.error() is not None
        assert message.error().code() == KafkaError._AUTO_OFFSET_RESET


def test_injected_errors_are_met_and_survived(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    embedded.fail(Api.PRODUCE, [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._TRANSPORT])
    assert [message.offset() for message in send(embedded, "t", [b"x"])] == [0]


def test_a_fatal_error_reaches_the_producer(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    embedded.fail(Api.PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED])
    errors: list[Any] = []
    producer = Producer({"bootstrap.servers": embedded.bootstrap})
    producer.produce("t", b"x", partition=0, on_delivery=lambda error, _: errors.append(error))
    producer.flush(LIMIT_S)
    assert [error.code() for error in errors] == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def test_forgiven_errors_do_not_come(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    embedded.fail(Api.PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 3)
    embedded.forgive(Api.PRODUCE)
    assert len(send(embedded, "t", [b"x"])) == 1


def test_an_outage_ends_with_everything_still_there(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    send(embedded, "t", [b"before"])
    with reader(embedded) as consumer:
        consumer.assign([TopicPartition("t", 0, 0)])
        assert read(consumer, 1)[0].value() == b"before"
        embedded.down()
        producer = Producer({"bootstrap.servers": embedded.bootstrap, "log_level": 2, **FAST})
        producer.produce("t", b"after", partition=0)
        assert producer.flush(0.2) == 1, "delivered to a broker that is down"
        embedded.up()
        assert producer.flush(LIMIT_S) == 0
        assert read(consumer, 1)[0].value() == b"after"


def test_slow_delays_each_answer(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    embedded.slow(300)
    producer = Producer({"bootstrap.servers": embedded.bootstrap})
    producer.produce("t", b"x", partition=0)
    assert producer.flush(0.1) == 1
    embedded.slow(0)
    assert producer.flush(LIMIT_S) == 0


def test_a_partition_without_leader_waits_for_one(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t", partitions=1)
    embedded.set_leader("t", 0, -1)
    producer = Producer(
        {"bootstrap.servers": embedded.bootstrap, "topic.metadata.refresh.fast.interval.ms": 20, **FAST}
    )
    producer.produce("t", b"x", partition=0)
    assert producer.flush(0.2) == 1
    embedded.set_leader("t", 0, 1)
    assert producer.flush(LIMIT_S) == 0


def test_a_signal_does_not_end_it() -> None:
    """The kernel may hand a Ctrl-C to any thread that does not block it."""
    before = set(THREADS.iterdir()) if THREADS.is_dir() else set()
    with EmbeddedBroker({"t": 1}) as broker:
        if not THREADS.is_dir():
            pytest.skip("threads cannot be listed here")
        started = set(THREADS.iterdir()) - before
        assert [thread for thread in started if (thread / "comm").read_text().strip() == "rdk:mock"]
        for thread in started:
            (line,) = [line for line in (thread / "status").read_text().splitlines() if line.startswith("SigBlk:")]
            blocked = int(line.split()[1], 16)
            assert all(blocked >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
        assert len(send(broker, "t", [b"x"])) == 1


def test_it_forgets_and_says_so() -> None:
    with EmbeddedBroker({"t": 1}) as first:
        assert "forgets" in first.forgets
        send(first, "t", [b"x"])
    with EmbeddedBroker() as second:
        metadata = Producer({"bootstrap.servers": second.bootstrap}).list_topics(timeout=LIMIT_S)
        assert "t" not in metadata.topics


def test_start_and_stop_are_told_apart() -> None:
    broker = EmbeddedBroker()
    assert (broker.running, broker.bootstrap) == (False, "")
    with pytest.raises(ConfigError, match="does not run"):
        broker.create_topic("t")
    with broker:
        assert broker.running
        with pytest.raises(ConfigError, match="runs already"):
            broker.start()
    broker.stop()
    assert (broker.running, broker.bootstrap) == (False, "")


def test_a_topic_that_exists_is_refused_with_the_reason(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t")
    with pytest.raises(OutsideError, match="topic_create"):
        embedded.create_topic("t")


def test_no_partitions_is_refused(embedded: EmbeddedBroker) -> None:
    with pytest.raises(ConfigError, match="0 partitions"):
        embedded.create_topic("t", partitions=0)


def test_a_library_without_the_functions_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FUNCTIONS", {"rd_kafka_mock_no_such_thing": (None, ())})
    with pytest.raises(OutsideError, match="has no rd_kafka_mock_no_such_thing"):
        EmbeddedBroker().start()


@given(st.lists(st.binary(min_size=0, max_size=200), min_size=1, max_size=20))
def test_any_bytes_come_back(shared_embedded: EmbeddedBroker, values: list[bytes]) -> None:
    reports = send(shared_embedded, "any-bytes", values)
    first = reports[0].offset()
    with reader(shared_embedded) as consumer:
        consumer.assign([TopicPartition("any-bytes", 0, first)])
        assert [message.value() for message in read(consumer, len(values))] == values
