"""The real engine through the same kills, with fewer of them: state bit for bit, alerts by id and payload."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.faults.harness import KILLED, START_MS, World, Zygote, judge, opened

HOSTS, METRICS = 6, 2
POINTS = ("mid-batch", "produced", "flushed", "snapshot-half", "snapshot-synced", "saved")


@pytest.fixture
def world(real_zygote: Zygote, tmp_path: Path) -> Iterator[World]:
    with opened(real_zygote, tmp_path, plain=False) as made:
        yield made


def feed(world: World, ticks: int) -> None:
    """Metrics of some hosts every ten seconds; each host is out of order for a while now and then."""
    for _ in range(ticks):
        tick, world.fed = world.fed, world.fed + 1
        for host in range(HOSTS):
            is_bad = tick % 300 > 280 and tick // 300 % HOSTS == host
            for metric in range(METRICS):
                value = world.random.gauss(50, 2) + (80 if is_bad else 0)
                body = {"name": f"m{metric}", "value": value, "timestamp": START_MS + tick * 10_000, "host": f"h{host}"}
                world.send(orjson.dumps(body), host % world.partitions)
    world.producer.flush()


@pytest.mark.slow
def test_killed_at_every_point_in_turn(world: World) -> None:
    feed(world, 500)
    rng, hits = random.Random(1), 0
    for life in range(24):
        feed(world, 25)
        point = POINTS[life % len(POINTS)]
        status = world.live(failpoint=f"{point}:{rng.randint(1, 2)}", consume_records=100, snapshot_records=60)
        hits += status == KILLED
    assert world.live(consume_records=1_000, snapshot_records=2_000) == 0
    findings = judge(world)
    assert findings.clean, findings
    assert hits >= 20
    assert len(world.told("alerts")) >= 2, "a test without alerts proves nothing"
