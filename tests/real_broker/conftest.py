"""Kafka for this folder's tests: one that all share, and one of their own for those that break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents.detector.assembly import Parts
from agents.settings import Settings
from tests.real_broker.kafka import RealKafka, absent_program
from tests.real_broker.site import Site


@pytest.fixture(scope="session")
def _kafka_can_run(missing: Callable[[str], None]) -> None:
    reason = absent_program()
    if reason:
        missing(reason)


@pytest.fixture(scope="session")
def warm_models() -> None:
    """Models compiled, here and on disk: later processes start in a second, so that a load is not over before them."""
    Parts(Settings()).warm_up()


@pytest.fixture(scope="session")
def kafka(
    _kafka_can_run: None, tmp_path_factory: pytest.TempPathFactory, free_ports: Callable[[int], list[int]]
) -> Iterator[RealKafka]:
    """A real Kafka for the whole run: use topics and groups of your own names, and leave it running."""
    port, controller_port = free_ports(2)
    with RealKafka(tmp_path_factory.mktemp("kafka"), port=port, controller_port=controller_port) as node:
        yield node


@pytest.fixture
def fragile_kafka(_kafka_can_run: None, tmp_path: Path, free_ports: Callable[[int], list[int]]) -> Iterator[RealKafka]:
    """A real Kafka of this test alone, to be stopped, killed and restarted; five seconds."""
    port, controller_port = free_ports(2)
    with RealKafka(tmp_path / "kafka", port=port, controller_port=controller_port) as node:
        yield node


@pytest.fixture
def site_on(warm_models: None, tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """`site_on(kafka, topic, partitions)` is a user's Graft on a topic of its own; see site.py."""
    made: list[Site] = []

    def make(kafka: RealKafka, topic: str, partitions: int = 2) -> Site:
        made.append(Site(kafka, tmp_path, topic=topic, partitions=partitions))
        return made[-1]

    yield make
    for site in made:
        site.close()
