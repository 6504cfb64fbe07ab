"""Settings of our Kafka clients: what the guarantee needs, what speed needs, and then what the user wants.

Owns the librdkafka properties of every consumer, producer and administrator that Graft opens. Opens none itself.

Not obvious: the user's properties are laid on top verbatim, except those on which recovery rests (OWNED) and those
that would let anyone pose as the broker. They may hold secrets: never log what these functions return.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from engine.errors import ConfigError

#: What librdkafka itself has to say, through the limits of agents/log.py; it comes out while something polls.
CLIENT_LOG: Final = logging.getLogger("agents.kafka")


def _at_most_a_warning(line: logging.LogRecord) -> bool:
    if line.levelno > logging.WARNING:
        line.levelno, line.levelname = logging.WARNING, "WARNING"
    return True


# To librdkafka each attempt that fails is an error; to us it is one when we give up, and then we say so ourselves.
CLIENT_LOG.addFilter(_at_most_a_warning)


class _Silent:
    def log(self, *_: object) -> None:
        """Nothing."""


#: Swallows librdkafka's lines, for a command that tells the reason itself, in one sentence.
SILENT: Final = _Silent()

#: What confluent_kafka's clients are made from; invariant there, so spelt as there.
Properties = dict[str, str | int | float | bool]

_STATE = "a restart would lose or repeat samples"

#: property -> why it is not the user's to set, or where it is set instead. Aliases of librdkafka included.
OWNED: Final[Mapping[str, str]] = {
    "group.id": "set kafka.group instead",
    "group.instance.id": "two workers with one name would throw each other out; Graft derives it from its state",
    "enable.auto.commit": f"positions are saved with the state, and {_STATE}",
    "auto.commit.enable": f"positions are saved with the state, and {_STATE}",
    "enable.auto.offset.store": f"positions are saved with the state, and {_STATE}",
    "auto.offset.reset": "a lost position must be seen and counted as a gap, not jumped over",
    "enable.idempotence": "a retried alert would be written twice",
    "acks": "an alert that one broker has seen can still be lost",
    "request.required.acks": "an alert that one broker has seen can still be lost",
    "partitioner": "records of one series would lie in different partitions for different writers",
    "transactional.id": "Graft makes its records repeatable by their ids and opens no transactions",
    "delivery.report.only.error": "Graft waits for each acknowledgement before it saves its position",
    "enable.partition.eof": "Graft does not read such events",
    "partition.assignment.strategy": "Graft moves single partitions, and only cooperative-sticky does that",
    "test.mock.num.brokers": "it would put a broker that forgets in the place of yours; run `graft demo` for that",
}

#: Values that switch the check of the broker's certificate off; compared in lower case.
_UNCHECKED: Final[Mapping[str, tuple[str, ...]]] = {
    "enable.ssl.certificate.verification": ("false", "f", "0", "no"),
    "ssl.endpoint.identification.algorithm": ("none",),
}

_COMMON: Final[Mapping[str, str]] = {
    "client.id": "graft",
    # A topic misspelt in the configuration must be an error, not a new topic of one partition.
    "allow.auto.create.topics": "false",
}

_CONSUMER: Final[Mapping[str, str]] = {
    # The position belongs to the state (shard.next_offset); what the group stores is advice, written by us after a
    # save.
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    # The default jumps to the end without a word when retention has passed us by.
    "auto.offset.reset": "error",
    # A rebalance takes only the partitions that move; the others go on.
    "partition.assignment.strategy": "cooperative-sticky",
    # A worker that is killed is replaced after this; with a static name a restart within it moves nothing.
    "session.timeout.ms": "30000",
    # The longest a batch, its flush and its checkpoint may take before the group takes the partitions away.
    "max.poll.interval.ms": "120000",
    # Off by default; costs a tenth of bare consume (1.23 against 1.37 M records/s), and without it a bit flipped on the
    # way becomes a value.
    "check.crcs": "true",
    # The default of 1,000 stalls a consumer that keeps up for a second each time its queue was full: 3 to 7 times
    # slower. 1 against 5 gave 1.14x.
    "fetch.queue.backoff.ms": "1",
    # How long a broker may hold back an answer while it has nothing. One that wakes up at the next record, as Apache
    # Kafka does, loses nothing by it; one that does not (the embedded one) made every alert wait for half of 500.
    "fetch.wait.max.ms": "100",
    # Prefetched records a partition and bytes in all: the defaults allow 64 MiB a consumer, and what is prefetched
    # is thrown away at a rebalance. The caps cost nothing that could be measured.
    "queued.min.messages": "10000",
    "queued.max.messages.kbytes": "16384",
}

#: The consumer protocol (KIP-848) takes these from the broker and refuses to start with them.
_CLASSIC_ONLY: Final = ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy")

_PRODUCER: Final[Mapping[str, str]] = {
    # Retries neither repeat nor reorder.
    "enable.idempotence": "true",
    "acks": "all",
    # The hash of the Java clients (librdkafka's own default is CRC32), so that a key goes where theirs would.
    "partitioner": "murmur2_random",
    # Below max.poll.interval.ms: a flush that cannot succeed has to fail while the partitions are still ours.
    "delivery.timeout.ms": "100000",
    # A full queue is back-pressure; the default would hold 1 GiB.
    "queue.buffering.max.kbytes": "65536",
}


#: Properties that one kind of client takes and the other only warns of. The user has one table for both.
_CONSUMERS_ALONE: Final = frozenset({
    "check.crcs", "coordinator.query.interval.ms", "fetch.error.backoff.ms", "fetch.max.bytes",
    "fetch.message.max.bytes", "fetch.min.bytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.protocol",
    "group.protocol.type", "group.remote.assignor", "heartbeat.interval.ms", "isolation.level",
    "max.partition.fetch.bytes", "max.poll.interval.ms", "partition.assignment.strategy", "queued.max.messages.kbytes",
    "queued.min.messages", "session.timeout.ms",
})  # fmt: skip
_PRODUCERS_ALONE: Final = frozenset({
    "batch.num.messages", "batch.size", "compression.codec", "compression.level", "compression.type",
    "delivery.timeout.ms", "enable.gapless.guarantee", "linger.ms", "message.send.max.retries", "message.timeout.ms",
    "queue.buffering.backpressure.threshold", "queue.buffering.max.kbytes", "queue.buffering.max.messages",
    "queue.buffering.max.ms", "queuing.strategy", "request.timeout.ms", "retries", "sticky.partitioning.linger.ms",
})  # fmt: skip


def consumer_config(
    properties: Mapping[str, Any], *, group: str, instance_id: str = "", insecure: bool = False
) -> Properties:
    """For `confluent_kafka.Consumer`. properties: bootstrap.servers and the user's own.

    instance_id: name of this member that survives a restart (static membership); empty: none.

    >>> consumer_config({"bootstrap.servers": "localhost:9092"}, group="graft")["auto.offset.reset"]
    'error'
    """
    own = {**_COMMON, **_CONSUMER, "group.id": group}
    if instance_id:
        own["group.instance.id"] = instance_id
    given = _without(checked(properties, insecure=insecure), _PRODUCERS_ALONE)
    if given.get("group.protocol", "").lower() == "consumer":
        own = {key: value for key, value in own.items() if key not in _CLASSIC_ONLY}
    return {**own, **given}


def producer_config(properties: Mapping[str, Any], *, insecure: bool = False) -> Properties:
    """For `confluent_kafka.Producer`. properties: bootstrap.servers and the user's own.

    >>> producer_config({"bootstrap.servers": "localhost:9092", "linger.ms": 20})["linger.ms"]
    '20'
    """
    return {**_COMMON, **_PRODUCER, **_without(checked(properties, insecure=insecure), _CONSUMERS_ALONE)}


def admin_config(properties: Mapping[str, Any], *, insecure: bool = False) -> Properties:
    """For `confluent_kafka.admin.AdminClient`."""
    given = checked(properties, insecure=insecure)
    return {**_COMMON, **_without(given, _CONSUMERS_ALONE | _PRODUCERS_ALONE)}


def checked(properties: Mapping[str, Any], *, insecure: bool = False) -> dict[str, str]:
    """The user's properties as texts; ConfigError for one that may not be set.

    >>> checked({"bootstrap.servers": "b:9092", "log.connection.close": False})
    {'bootstrap.servers': 'b:9092', 'log.connection.close': 'false'}
    """
    texts = {key: _text(value) for key, value in properties.items()}
    if not texts.get("bootstrap.servers", "").strip():
        raise ConfigError('No broker is named; set kafka.bootstrap, for example "localhost:9092".')
    for key, value in texts.items():
        if key in OWNED:
            raise ConfigError(
                f"kafka.properties has {key} = {value}, which Graft sets itself: {OWNED[key]}. Remove it."
            )
        if value.strip().lower() in _UNCHECKED.get(key, ()) and not insecure:
            raise ConfigError(
                f"kafka.properties has {key} = {value}: anyone could pose as the broker. Name the broker's authority "
                "in ssl.ca.location, or set kafka.insecure = true if you accept that."
            )
    return texts


def _without(properties: Mapping[str, str], others: frozenset[str]) -> dict[str, str]:
    return {key: value for key, value in properties.items() if key not in others}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
