"""Seeding from outside: what `graft apply` writes to a user's Kafka, and the answers that it waits for.

Owns the order of kind `seed`, the way of what it lends to the state topic, and who has to answer. Knows no formula:
what is lent is made in engine/transfer, and what a worker does with the order stands in engine/seeding.py.

Not obvious: pieces, manifest, order, in this sequence, each acknowledged before the next. An order whose pieces are
not there yet would be refused by a worker that is quick. And whoever waits for answers reads the experiments from
their end *before* the order leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from agents.clients import SILENT, consumer_config, producer_config
from agents.recovery import seed_topic
from agents.settings import Settings, kafka_properties, require_inputs
from agents.topics import Topics, ensure_topics, partitions_of, topic_plans
from engine import seeding
from engine.errors import ConfigError, OutsideError
from engine.prior import Prior
from engine.series import stable_id

FLUSH_S = 30.0
#: One wait for answers; between two of them progress is shown.
POLL_S = 0.25
#: A record of one of our topics that may be an answer is at most this long.
MAX_ANSWER_BYTES = 1 << 20


class Shards(NamedTuple):
    """Who is meant, all shards of these places; and how many partitions the experiments have."""

    places: tuple[tuple[str, int], ...]
    experiments: int


def order_of(
    action: str, digest: str, *, target: Mapping[str, Any], at_ms: int, environment: str, plan: Mapping[str, Any]
) -> dict[str, Any]:
    """The order, without where its pieces lie; the same decision for the same target has the same id."""
    where = (target.get("topic"), target.get("partition"))
    return {
        "schema": "graft.order/1",
        "id": stable_id("seed", action, digest, plan.get("id"), *where),
        "kind": seeding.KIND,
        "target": dict(target),
        "params": {"action": action, "digest": digest, **({"plan": dict(plan)} if plan else {})},
        "environment": environment,
        "because": "graft apply",
        "at_ms": at_ms,
    }


def described(prior: Prior, data: bytes) -> dict[str, Any]:
    """What an order says of the bytes that it lends; `begin` comes when they lie on the topic."""
    if len(data) > seed_topic.MAX_BYTES:
        raise ConfigError(
            f"What would be lent takes {len(data)} bytes; at most {seed_topic.MAX_BYTES} are sent. Plan for fewer "
            "classes, or name the snapshot as seed.snapshot in the configuration."
        )
    told = prior.summary()
    return {
        "size": len(data), "sha256": sha256(data).hexdigest(), "pieces": len(seed_topic.cut(data)),
        "source": {"environment": told.get("environment"), "digest": told.get("source")}, "classes": told["classes"],
    }  # fmt: skip


def shards(settings: Settings, topic: str | None, partition: int | None) -> Shards:
    """The shards that a target means; the topics of ours that are needed are made where they are not there."""
    inputs, names, properties = [one.topic for one in require_inputs(settings)], *_ours(settings)
    if topic is not None and topic not in inputs:
        raise ConfigError(f"--topic is {topic}; the inputs of this configuration are {', '.join(inputs)}.")
    if partition is not None and topic is None and len(inputs) > 1:
        raise ConfigError(f"--partition {partition} of which topic? Name one of {', '.join(inputs)} with --topic.")
    insecure = settings.kafka.insecure
    wide = partitions_of(properties, inputs, insecure=insecure, logger=SILENT)
    absent = sorted(set(inputs) - set(wide))
    if absent:
        raise OutsideError(f"Topic {absent[0]} is not there, or this user may not see it; correct inputs.topic.")
    places = tuple(
        (name, number)
        for name in inputs
        for number in range(wide[name])
        if topic in (None, name) and partition in (None, number)
    )
    if not places:
        raise ConfigError(f"--partition is {partition}; {topic or inputs[0]} has {wide[topic or inputs[0]]} of them.")
    needed = {names.control, names.experiments, names.state}
    plans = topic_plans(settings.topics.prefix, state_partitions=max(wide.values()))
    done = ensure_topics(properties, [one for one in plans if one.name in needed], insecure=insecure)
    if done.unsupported:
        raise OutsideError(f"Topic {done.unsupported[0]} is not there, and this broker makes none; create it.")
    known = partitions_of(properties, [names.experiments], insecure=insecure, logger=SILENT)
    return Shards(places, known.get(names.experiments, 1))


def publish(digest: str, data: bytes, settings: Settings) -> int:
    """The pieces and their manifest on the state topic; offset of the first of them."""
    topic, pieces = Topics.of(settings.topics.prefix).state, seed_topic.cut(data)
    with _sender(settings, topic) as send:
        begin = min(send(seed_topic.key_of(digest, number), piece) for number, piece in enumerate(pieces))
        manifest = {
            "schema": seed_topic.SCHEMA, "id": digest, "size": len(data), "sha256": sha256(data).hexdigest(),
            "pieces": len(pieces), "begin": begin,
        }  # fmt: skip
        send(seed_topic.key_of(digest), orjson.dumps(manifest))
    return begin


def send(order: Mapping[str, Any], settings: Settings) -> int:
    """The order on the control topic; its offset there."""
    with _sender(settings, Topics.of(settings.topics.prefix).control) as write:
        return write(str(order["id"]).encode(), orjson.dumps(order))


@contextmanager
def _sender(settings: Settings, topic: str) -> Iterator[Callable[[bytes, bytes], int]]:
    """Writes to partition 0 and answers with the offset, once the broker has it."""
    from confluent_kafka import KafkaException, Producer

    properties = {**kafka_properties(settings), "delivery.timeout.ms": str(int(FLUSH_S * 1000))}
    producer = Producer(producer_config(properties, insecure=settings.kafka.insecure), logger=SILENT)
    told: list[tuple[Any, int]] = []

    def write(key: bytes, value: bytes) -> int:
        told.clear()
        try:
            producer.produce(
                topic,
                value,
                key,
                partition=0,
                on_delivery=lambda error, one: told.append((error, int(one.offset() or 0))),
            )
            producer.flush(FLUSH_S)
        except KafkaException as error:
            raise OutsideError(f"Nothing was written to {topic}: {error.args[0].str()}.") from None
        if not told or told[0][0] is not None:
            why = told[0][0].str() if told else f"no answer in {FLUSH_S:g} s"
            raise OutsideError(f"Nothing was written to {topic} at {settings.kafka.bootstrap}: {why}.")
        return told[0][1]

    yield write


class Answers:
    """Experiments of seed orders from now on. Close it."""

    def __init__(self, settings: Settings, partitions: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        names, properties = _ours(settings)
        config = consumer_config(properties, group=f"{settings.kafka.group}-apply", insecure=settings.kafka.insecure)
        self._consumer, self._clock = Consumer(config, logger=SILENT), clock
        try:
            ends = [TopicPartition(names.experiments, one) for one in range(partitions)]
            for end in ends:
                end.offset = self._consumer.get_watermark_offsets(end, timeout=10)[1]
            self._consumer.assign(ends)
        except KafkaException as error:
            self._consumer.close()
            raise OutsideError(f"{names.experiments} cannot be read: {error.args[0].str()}.") from None

    def wait(
        self, order: Mapping[str, Any], offset: int, places: Sequence[tuple[str, int]], wait_s: float,
        progress: Callable[[int], None],
    ) -> dict[tuple[str, int], dict[str, Any]]:  # fmt: skip
        """What each shard has answered to the order at that offset of the control topic; waits for all, or wait_s."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        until_s = self._clock() + wait_s
        while len(found) < len(places) and self._clock() < until_s:
            for message in self._consumer.consume(100, POLL_S):
                value = None if message.error() else _answer(message.value(), str(order["id"]), offset)
                if value is not None:
                    at = value["applied_at"]
                    found[str(at["topic"]), int(at["partition"])] = value
            progress(len(found))
        return {place: found[place] for place in places if place in found}

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


def _answer(data: bytes | None, order_id: str, offset: int) -> dict[str, Any] | None:
    if order_id.encode() not in (data or b"") or len(data or b"") > MAX_ANSWER_BYTES:
        return None
    try:
        value = orjson.loads(data or b"")
        is_ours = value["order"]["id"] == order_id and value["control"]["offset"] == offset
        return value if is_ours and isinstance(value["applied_at"]["partition"], int) else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _ours(settings: Settings) -> tuple[Topics, dict[str, Any]]:
    return Topics.of(settings.topics.prefix), kafka_properties(settings)
