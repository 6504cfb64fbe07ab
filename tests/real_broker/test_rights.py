"""A broker with passwords and access control: what is missing is named, and the least rights that Graft needs suffice.

The list below is the one that the documentation gives to administrators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from agents.clients import consumer_config, producer_config
from agents.topics import ensure_topics, topic_plans
from engine.errors import OutsideError
from tests.real_broker.kafka import RealKafka

pytestmark = pytest.mark.real_broker

LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
#: (resource, name, pattern, operation) for the user `graft` with input topic `metrics`, group `graft`, prefix `graft.`.
LEAST_RIGHTS = [
    (ResourceType.TOPIC, "metrics", LITERAL, AclOperation.READ),
    (ResourceType.GROUP, "graft", PREFIXED, AclOperation.READ),
    (ResourceType.TOPIC, "graft.", PREFIXED, AclOperation.READ),
    (ResourceType.TOPIC, "graft.", PREFIXED, AclOperation.WRITE),
    (ResourceType.TOPIC, "graft.", PREFIXED, AclOperation.CREATE),
    (ResourceType.TOPIC, "graft.", PREFIXED, AclOperation.DESCRIBE_CONFIGS),
]
_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
LIMIT_S = 60.0


@pytest.fixture
def guarded(
    _kafka_can_run: None, tmp_path: Path, free_ports: Callable[[int], list[int]]
) -> Iterator[tuple[RealKafka, dict[str, Any]]]:
    """A Kafka whose second listener wants a password, and the properties of its user, who may do nothing yet."""
    port, controller_port, guarded_port = free_ports(3)
    plain, controller, client = (f"127.0.0.1:{number}" for number in (port, controller_port, guarded_port))
    extra = {
        "listeners": f"PLAINTEXT://{plain},CONTROLLER://{controller},CLIENT://{client}",
        "advertised.listeners": f"PLAINTEXT://{plain},CLIENT://{client}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
        "listener.name.client.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": f'{_LOGIN} required user_graft="right";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    user = {
        "bootstrap.servers": client,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "graft",
        "sasl.password": "right",
        "log_level": 0,
    }
    with RealKafka(tmp_path / "kafka", port=port, controller_port=controller_port, extra=extra) as node:
        yield node, user


def test_a_wrong_password_is_named_and_not_shown(guarded: tuple[RealKafka, dict[str, Any]]) -> None:
    _, user = guarded
    with pytest.raises(OutsideError, match=r"[Aa]uthentication") as caught:
        ensure_topics({**user, "sasl.password": "hunter2"}, topic_plans(), timeout_s=3)
    assert "hunter2" not in str(caught.value)


def test_least_rights_suffice_and_a_missing_one_is_named(guarded: tuple[RealKafka, dict[str, Any]]) -> None:
    node, user = guarded
    node.create_topic("metrics")
    with pytest.raises(OutsideError, match=r"Topic graft\.alerts .* grant CREATE on topic graft\.alerts"):
        ensure_topics(user, topic_plans())
    _grant(node)
    assert len(ensure_topics(user, topic_plans()).created) == 8
    assert ensure_topics(user, topic_plans()).remarks == ()
    _send_and_read(user)


def _grant(node: RealKafka) -> None:
    rights = [
        AclBinding(kind, name, pattern, "User:graft", "*", operation, AclPermissionType.ALLOW)
        for kind, name, pattern, operation in LEAST_RIGHTS
    ]
    admin = node.admin()
    for future in admin.create_acls(rights).values():
        future.result(timeout=30)


def _send_and_read(user: dict[str, Any]) -> None:
    errors: list[Any] = []
    producer = Producer(producer_config(user))
    producer.produce("graft.alerts", b"x", on_delivery=lambda error, _: errors.append(error))
    assert (producer.flush(LIMIT_S), errors) == (0, [None])
    consumer = Consumer(consumer_config(user, group="graft"))
    try:
        consumer.commit(offsets=[TopicPartition("metrics", 0, 0)], asynchronous=False)
        consumer.assign([TopicPartition("graft.alerts", 0, 0), TopicPartition("metrics", 0, 0)])
        message = consumer.poll(LIMIT_S)
        assert message is not None
        assert (message.error(), message.value()) == (None, b"x")
    finally:
        consumer.close()
