"""Graft's topics: their names, what they need of the broker, and making those that are not there.

Owns names and settings of topics. Knows nothing of records.

Not obvious: a topic that exists is never changed, only remarked on: its owner may have reasons. And the embedded broker
has no administration, so there `ensure_topics` reports `unsupported` instead of failing; whoever started that broker
makes its topics (agents/embedded.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agents.clients import CLIENT_LOG, admin_config
from engine.errors import OutsideError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka.admin import AdminClient

DEFAULT_PREFIX: Final = "graft."
#: The broker's own default, which its owner chose for a reason.
BROKERS_CHOICE: Final = -1


class Topics(NamedTuple):
    """Full names of the topics that Graft writes.

    >>> Topics.of("graft.").alerts
    'graft.alerts'
    """

    alerts: str
    escalations: str
    feedback: str
    drift: str
    control: str
    experiments: str
    state: str
    dlq: str

    @classmethod
    def of(cls, prefix: str = DEFAULT_PREFIX) -> Topics:
        """The names under a prefix."""
        return cls(*(prefix + name for name in cls._fields))


class TopicPlan(NamedTuple):
    """A topic as it is wanted. compacted: the broker keeps the last record of each key for ever."""

    name: str
    partitions: int = 1
    compacted: bool = False


class Ensured(NamedTuple):
    """What was found and done. remarks: sentences for the log, on topics that are there but not as wanted.

    opaque: topics that should keep their last records, of a broker that cannot tell (the embedded one: it does not).
    """

    created: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()


def topic_plans(prefix: str = DEFAULT_PREFIX, *, state_partitions: int = 1) -> tuple[TopicPlan, ...]:
    """All of Graft's topics. One partition each, so that orders, labels and alerts have one order.

    state_partitions: as many as the widest input topic: a shard's state lies in the partition of its own number.
    """
    names = Topics.of(prefix)
    kept = {names.state: state_partitions, names.experiments: 1}
    return tuple(TopicPlan(name, kept.get(name, 1), name in kept) for name in names)


def ensure_topics(
    properties: Mapping[str, Any],
    plans: Sequence[TopicPlan],
    *,
    replication: int = BROKERS_CHOICE,
    timeout_s: float = 10.0,
    insecure: bool = False,
) -> Ensured:
    """Make the topics that are not there. OutsideError when the broker does not answer or does not allow it.

    properties: bootstrap.servers and the user's own, as for clients.
    """
    # The client must stay referenced while its futures run.
    admin, found = _connect(properties, timeout_s, insecure=insecure)
    absent = [plan for plan in plans if plan.name not in found]
    made = _create(admin, absent, replication, timeout_s)
    existing = [plan for plan in plans if plan.name in found]
    remarks, opaque = _uncompacted(admin, existing, timeout_s)
    return made._replace(
        existing=tuple(plan.name for plan in existing), remarks=(*_narrow(existing, found), *remarks), opaque=opaque
    )


def partitions_of(
    properties: Mapping[str, Any],
    topics: Iterable[str],
    *,
    timeout_s: float = 10.0,
    insecure: bool = False,
    logger: Any = CLIENT_LOG,
) -> dict[str, int]:
    """Number of partitions of those topics that exist. OutsideError when the broker does not answer."""
    _, found = _connect(properties, timeout_s, insecure=insecure, logger=logger)
    return {topic: found[topic] for topic in topics if topic in found}


def _connect(
    properties: Mapping[str, Any], timeout_s: float, *, insecure: bool, logger: Any = CLIENT_LOG
) -> tuple[AdminClient, dict[str, int]]:
    """A client that has reached the broker, and the number of partitions of each topic that this user may see."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    heard: list[KafkaError] = []
    config: dict[str, Any] = {**admin_config(properties, insecure=insecure), "error_cb": heard.append}
    admin = AdminClient(config, logger=logger)
    try:
        listed = admin.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        # That a password is wrong or a port is closed is told to the callback alone; the request just times out.
        admin.poll(0)
        raise OutsideError(
            f"No broker at {config['bootstrap.servers']} answered within {timeout_s:g} s: "
            f"{_telling(heard) or _reason(error.args[0])}. Check kafka.bootstrap, the network and, for a secured "
            "broker, security.protocol and the credentials."
        ) from error
    return admin, {name: len(topic.partitions) for name, topic in listed.items() if topic.error is None}


def _telling(heard: Sequence[KafkaError]) -> str:
    """The first reason that is more than `all brokers are down`."""
    from confluent_kafka import KafkaError as Codes

    return next((_reason(error) for error in heard if error.code() != Codes._ALL_BROKERS_DOWN), "")


def _create(admin: AdminClient, plans: Sequence[TopicPlan], replication: int, timeout_s: float) -> Ensured:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import NewTopic

    if not plans:
        return Ensured()
    wanted = [
        NewTopic(plan.name, num_partitions=plan.partitions, replication_factor=replication, config=_config(plan))
        for plan in plans
    ]
    created: list[str] = []
    unsupported: list[str] = []
    futures = admin.create_topics(wanted, operation_timeout=timeout_s, request_timeout=timeout_s)
    for plan in plans:
        try:
            futures[plan.name].result()
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError._UNSUPPORTED_FEATURE:
                unsupported.append(plan.name)
            elif code != KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was first: just as well
                raise OutsideError(_refused(plan, error.args[0])) from error
        else:
            created.append(plan.name)
    return Ensured(created=tuple(created), unsupported=tuple(unsupported))


def _config(plan: TopicPlan) -> dict[str, str]:
    """Smaller segments than the default of 1 GiB: only what is no longer written to is ever compacted."""
    return {"cleanup.policy": "compact", "segment.bytes": str(128 << 20)} if plan.compacted else {}


def _refused(plan: TopicPlan, error: KafkaError) -> str:
    from confluent_kafka import KafkaError as Codes

    by_hand = f"--create --topic {plan.name} --partitions {plan.partitions}" + (
        " --config cleanup.policy=compact" if plan.compacted else ""
    )
    if error.code() in (Codes.TOPIC_AUTHORIZATION_FAILED, Codes.CLUSTER_AUTHORIZATION_FAILED):
        return (
            f"Topic {plan.name} is not there and this user may not create it: grant CREATE on topic {plan.name} (or on "
            f"the cluster), or let an administrator run `kafka-topics.sh {by_hand}`."
        )
    return (
        f"Topic {plan.name} is not there and the broker did not create it: {_reason(error)}. "
        f"Create it by hand: `kafka-topics.sh {by_hand}`."
    )


def _narrow(plans: Sequence[TopicPlan], found: Mapping[str, int]) -> list[str]:
    """Remarks on topics with another number of partitions than wanted."""
    return [
        f"Topic {plan.name} has {found[plan.name]} partitions; {plan.partitions} were wanted. It stays as it is."
        for plan in plans
        if found[plan.name] < plan.partitions or (plan.partitions == 1 and found[plan.name] > 1)
    ]


def _uncompacted(admin: AdminClient, plans: Sequence[TopicPlan], timeout_s: float) -> tuple[list[str], tuple[str, ...]]:
    """Remarks on topics that have to keep their last records and may not; and those of which nothing is told."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import ConfigResource, ResourceType

    kept = [plan.name for plan in plans if plan.compacted]
    remarks: list[str] = []
    opaque: list[str] = []
    if not kept:
        return [], ()
    asked = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in kept], request_timeout=timeout_s
    )
    for resource, future in asked.items():
        try:
            policy = str(future.result()["cleanup.policy"].value)
        except KafkaException as error:
            if error.args[0].code() == KafkaError._UNSUPPORTED_FEATURE:
                opaque.append(str(resource.name))
            else:
                remarks.append(
                    f"Whether topic {resource.name} is compacted could not be read ({_reason(error.args[0])}); "
                    f"grant DESCRIBE_CONFIGS on topic {resource.name} to have it checked."
                )
            continue
        if "compact" not in policy:
            remarks.append(
                f"Topic {resource.name} has cleanup.policy={policy} and will lose old records; set it to compact."
            )
    return remarks, tuple(opaque)


def _reason(error: KafkaError) -> str:
    """The broker's words without their full stop, or the name of the code."""
    return (error.str() or error.name()).strip().rstrip(".")
