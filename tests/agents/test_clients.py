"""Laws of the client settings: librdkafka takes them, users can add to them, nobody can undo the guarantee."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from agents.clients import CLIENT_LOG, OWNED, admin_config, checked, consumer_config, producer_config
from agents.embedded import EmbeddedBroker
from engine.errors import ConfigError

HERE = {"bootstrap.servers": "127.0.0.1:1"}


def test_librdkafka_takes_what_is_built(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("t")
    here = {"bootstrap.servers": embedded.bootstrap, "linger.ms": 1}
    producer = Producer(producer_config(here))
    producer.produce("t", b"x", key=b"k")
    assert producer.flush(20) == 0
    consumer = Consumer(consumer_config(here, group="g", instance_id="worker-0"))
    consumer.close()
    assert "t" in AdminClient(admin_config(here)).list_topics(timeout=20).topics


def test_the_guarantee_is_set() -> None:
    consumer = consumer_config(HERE, group="g")
    assert consumer["enable.auto.commit"] == consumer["enable.auto.offset.store"] == "false"
    assert consumer["auto.offset.reset"] == "error"
    assert consumer["check.crcs"] == "true"
    producer = producer_config(HERE)
    assert (producer["acks"], producer["enable.idempotence"]) == ("all", "true")
    assert producer["partitioner"] == "murmur2_random"


def test_a_flush_fails_before_the_group_takes_the_partitions() -> None:
    longest = int(consumer_config(HERE, group="g")["max.poll.interval.ms"])
    assert int(producer_config(HERE)["delivery.timeout.ms"]) < longest


@pytest.mark.parametrize("name", sorted(OWNED))
def test_what_the_guarantee_rests_on_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        consumer_config({**HERE, name: "x"}, group="g")
    with pytest.raises(ConfigError, match=name):
        producer_config({**HERE, name: "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enable.ssl.certificate.verification", False),
        ("enable.ssl.certificate.verification", "False"),
        ("enable.ssl.certificate.verification", "0"),
        ("ssl.endpoint.identification.algorithm", "none"),
        ("ssl.endpoint.identification.algorithm", " NONE "),
    ],
)
def test_an_unchecked_broker_wants_a_word(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=r"pose as the broker.*kafka\.insecure"):
        checked({**HERE, name: value})
    assert name in checked({**HERE, name: value}, insecure=True)


def test_a_checked_broker_does_not() -> None:
    assert checked({**HERE, "enable.ssl.certificate.verification": True})
    assert checked({**HERE, "ssl.endpoint.identification.algorithm": "https"})


def test_other_properties_go_through_verbatim_and_win() -> None:
    given = {**HERE, "sasl.mechanism": "SCRAM-SHA-512", "session.timeout.ms": 6000, "client.id": "mine"}
    built = consumer_config(given, group="g")
    assert built["sasl.mechanism"] == "SCRAM-SHA-512"
    assert built["session.timeout.ms"] == "6000"
    assert built["client.id"] == "mine"


def test_the_consumer_protocol_drops_what_it_refuses() -> None:
    built = consumer_config({**HERE, "group.protocol": "consumer"}, group="g")
    assert "session.timeout.ms" not in built
    assert "partition.assignment.strategy" not in built
    Consumer({**built, "log_level": 2}).close()


def test_each_kind_of_client_gets_what_it_understands() -> None:
    """librdkafka warns of each other property, in its own words and past the user's log format."""
    given = {**HERE, "fetch.min.bytes": 10, "linger.ms": 7, "sasl.mechanism": "PLAIN"}
    assert "linger.ms" not in consumer_config(given, group="g")
    assert "fetch.min.bytes" not in producer_config(given)
    assert not {"linger.ms", "fetch.min.bytes"} & set(admin_config(given))
    for built in (consumer_config(given, group="g"), producer_config(given), admin_config(given)):
        assert built["sasl.mechanism"] == "PLAIN"


def test_no_broker_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"kafka\.bootstrap"):
        checked({})


def test_a_refusal_does_not_tell_other_values() -> None:
    with pytest.raises(ConfigError) as caught:
        checked({**HERE, "sasl.password": "hunter2", "acks": "1"})
    assert "hunter2" not in str(caught.value)


def test_an_attempt_that_fails_is_no_error_yet(caplog: pytest.LogCaptureFixture) -> None:
    CLIENT_LOG.error("%s [%s] %s", "FAIL", "graft#producer-1", "refused")
    CLIENT_LOG.info("said")
    assert next(line.levelname for line in caplog.records if line.name == CLIENT_LOG.name) == "WARNING"
