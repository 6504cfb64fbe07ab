"""Kafka for this folder's tests: one that all share, and one of their own for those that break it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.real_broker.kafka import RealKafka, absent_program


@pytest.fixture(scope="session")
def _kafka_can_run(missing: Callable[[str], None]) -> None:
    reason = absent_program()
    if reason:
        missing(reason)


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
