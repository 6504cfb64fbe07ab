"""Laws of the topics: names by prefix, and one clear sentence for each way in which making them can fail.

That compaction and partition counts arrive at a real broker is tested in tests/real_broker/.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from agents import topics as module
from agents.embedded import EmbeddedBroker
from agents.settings import OUR_TOPICS
from agents.topics import TopicPlan, Topics, ensure_topics, partitions_of, topic_plans
from engine.errors import ConfigError, OutsideError


def test_names_carry_the_prefix() -> None:
    assert Topics.of("acme-") == tuple(f"acme-{name}" for name in Topics._fields)
    assert Topics.of().dlq == "graft.dlq"


def test_names_are_those_that_a_user_may_not_watch() -> None:
    assert Topics._fields == OUR_TOPICS


def test_only_what_is_kept_for_ever_is_compacted() -> None:
    plans = {plan.name: plan for plan in topic_plans("g.", state_partitions=12)}
    assert {name for name, plan in plans.items() if plan.compacted} == {"g.state", "g.experiments"}
    assert plans["g.state"].partitions == 12
    assert all(plan.partitions == 1 for name, plan in plans.items() if name != "g.state")


def test_the_embedded_broker_is_tolerated(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("g.alerts", partitions=1)
    done = ensure_topics({"bootstrap.servers": embedded.bootstrap}, topic_plans("g."))
    assert done.existing == ("g.alerts",)
    assert set(done.unsupported) == set(Topics.of("g.")) - {"g.alerts"}
    assert (done.created, done.remarks) == ((), ())


def test_other_partition_counts_are_remarked_on(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("few", partitions=2)
    embedded.create_topic("many", partitions=3)
    plans = [TopicPlan("few", partitions=4), TopicPlan("many", partitions=1)]
    remarks = ensure_topics({"bootstrap.servers": embedded.bootstrap}, plans).remarks
    assert [remark.split(" ")[1] for remark in remarks] == ["few", "many"]


def test_partition_counts_are_told_for_topics_that_exist(embedded: EmbeddedBroker) -> None:
    embedded.create_topic("seven", partitions=7)
    assert partitions_of({"bootstrap.servers": embedded.bootstrap}, ["seven", "none"]) == {"seven": 7}


def test_a_broker_that_is_away_is_one_sentence(free_port: int) -> None:
    here = {"bootstrap.servers": f"127.0.0.1:{free_port}", "log_level": 2}
    with pytest.raises(OutsideError, match=rf"No broker at 127\.0\.0\.1:{free_port} answered within 0\.3 s: .*refused"):
        ensure_topics(here, topic_plans(), timeout_s=0.3)


def test_no_broker_named_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"kafka\.bootstrap"):
        ensure_topics({}, topic_plans())


class Answer(NamedTuple):
    """A future that has failed, or given something."""

    error: int | None
    value: Any = None

    def result(self) -> Any:
        """As `Future.result`."""
        if self.error is not None:
            raise KafkaException(KafkaError(self.error))
        return self.value


class Refusing(NamedTuple):
    """An administrator whose every request ends with one error (the embedded broker cannot be made to do that)."""

    error: int | None
    policy: str = "delete"

    def create_topics(self, wanted: list[Any], **_: Any) -> dict[str, Answer]:
        """Refuse all."""
        return {topic.topic: Answer(self.error) for topic in wanted}

    def describe_configs(self, resources: list[Any], **_: Any) -> dict[Any, Answer]:
        """Refuse all, or tell the policy."""
        entry = type("Entry", (), {"value": self.policy})
        return {resource: Answer(self.error, {"cleanup.policy": entry}) for resource in resources}


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED])
def test_a_missing_right_names_topic_and_right(code: int) -> None:
    admin: Any = Refusing(code)
    with pytest.raises(
        OutsideError, match=r"Topic g\.state .* grant CREATE on topic g\.state .*cleanup\.policy=compact"
    ):
        module._create(admin, [TopicPlan("g.state", compacted=True)], -1, 1.0)


def test_another_refusal_carries_the_brokers_reason() -> None:
    admin: Any = Refusing(KafkaError.INVALID_REPLICATION_FACTOR)
    with pytest.raises(OutsideError, match=r"Topic g\.alerts .*[Rr]eplication factor.*kafka-topics\.sh --create"):
        module._create(admin, [TopicPlan("g.alerts")], -1, 1.0)


def test_a_topic_that_another_worker_made_first_is_fine() -> None:
    admin: Any = Refusing(KafkaError.TOPIC_ALREADY_EXISTS)
    assert module._create(admin, [TopicPlan("g.alerts")], -1, 1.0).created == ()


def test_a_policy_that_cannot_be_read_is_remarked_on() -> None:
    admin: Any = Refusing(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    (remark,), _ = module._uncompacted(admin, [TopicPlan("g.state", compacted=True)], 1.0)
    assert "DESCRIBE_CONFIGS on topic g.state" in remark


def test_a_policy_that_deletes_is_remarked_on() -> None:
    admin: Any = Refusing(None, policy="delete")
    (remark,), _ = module._uncompacted(admin, [TopicPlan("g.state", compacted=True)], 1.0)
    assert "g.state has cleanup.policy=delete" in remark
    both: Any = Refusing(None, policy="compact,delete")
    assert module._uncompacted(both, [TopicPlan("s", compacted=True)], 1.0) == ([], ())


def test_a_broker_that_cannot_tell_is_opaque() -> None:
    silent: Any = Refusing(KafkaError._UNSUPPORTED_FEATURE)
    assert module._uncompacted(silent, [TopicPlan("s", compacted=True)], 1.0) == ([], ("s",))
