"""Orders are barriers: killed between applying one and its snapshot, the two lives never contradict each other.

Where an order has been applied is told by its experiment record; the oracle folds the log with each order at exactly
that offset, and everything on the alert topic must agree with it, repeats included.
"""

from __future__ import annotations

import random
import shutil
from typing import Any

import orjson
import pytest

from tests.faults.harness import KILLED, World, judge


def order(world: World, number: int, partition: int, gate: float) -> None:
    """One that makes a series much louder or quieter, so that it changes which alerts there are."""
    value: dict[str, Any] = {
        "schema": "graft.order/1",
        "id": f"order-{number}",
        "kind": "retune",
        "target": {"topic": "metrics", "partition": partition, "series": f"s{2 * (number % 4) + partition}"},
        "params": {"gate": gate},
    }
    world.send(orjson.dumps(value), 0, "graft.control")
    world.producer.flush()


def applied(world: World) -> list[dict[str, Any]]:
    """Orders with the place where they hold, from the experiments."""
    orders = {orjson.loads(one.value())["id"]: one for one in world.log("graft.control")}
    found = {one["id"]: one for one in world.told("experiments")}
    return [
        {
            "order": orjson.loads(orders[name].value()),
            "control_offset": orders[name].offset(),
            "partition": one["applied_at"]["partition"],
            "at": one["applied_at"]["offset"],
        }
        for name, one in found.items()
    ]


def contradictions(world: World) -> set[str]:
    """Experiments of which two lives tell different things."""
    first: dict[str, dict[str, Any]] = {}
    return {one["id"] for one in world.told("experiments") if first.setdefault(one["id"], one) != one}


def lives(world: World, point: str, hits: int, **options: Any) -> int:
    """Lives with an order each, most of which end at the point; then one that ends well. Number of orders."""
    rng, seen, number = random.Random(3), 0, 0
    while seen < hits:
        world.feed(40)
        order(world, number, number % 2, rng.choice([-1.2, 1.2, -0.6]))
        number += 1
        world.feed(rng.randrange(1, 40))
        status = world.live(failpoint=f"{point}:{1 + number % 2}", **options)
        seen += status == KILLED
        assert number < 4 * hits, f"{point} was hit {seen} times in {number} lives only"
    world.feed(40)
    assert world.live(**options) == 0
    return number


@pytest.mark.slow
@pytest.mark.parametrize("point", ["control-applied", "snapshot-synced", "snapshot-renamed", "saved"])
def test_killed_around_a_barrier(world: World, point: str) -> None:
    number = lives(world, point, 20 if point == "control-applied" else 8)
    assert not contradictions(world)
    orders = applied(world)
    assert len(orders) == number, "an order was lost, or its experiment was"
    findings = judge(world, orders=orders)
    assert findings.clean, findings


UPLOADING = {"upload_interval_s": 3600, "snapshot_records": 10_000}


def lives_on_other_disks(world: World, **options: Any) -> int:
    """Lives that obey an order, tell of it, and are killed; each next one has the state topic alone. Their number."""
    for number in range(6):
        world.feed(40)
        order(world, number, number % 2, -0.6)
        world.live(failpoint="flushed:1", **UPLOADING, **options)
        shutil.rmtree(world.folder / "state")
    world.feed(40)
    assert world.live(**UPLOADING, **options) == 0
    return 6


def test_an_order_holds_from_the_same_offset_on_another_machine(world: World) -> None:
    number = lives_on_other_disks(world)
    assert not contradictions(world)
    orders = applied(world)
    assert len(orders) == number
    findings = judge(world, orders=orders)
    assert findings.clean, findings


def test_an_order_that_is_told_before_others_can_know_of_it_is_noticed(world: World) -> None:
    lives_on_other_disks(world, mutant="tell-before-upload")
    assert contradictions(world)


def test_an_order_that_nobody_can_use_is_one_dead_letter(world: World) -> None:
    for value in (b"{", b'{"schema":"graft.order/1"}', b'{"schema":"graft.order/9","id":"a","kind":"b"}'):
        world.send(value, 0, "graft.control")
    order(world, 0, 7, 1.0)  # a partition that is not there
    order(world, 1, 0, 1.0)  # a series that is not known yet
    world.producer.flush()
    world.feed(4)
    for _ in range(2):
        assert world.live() == 0
        world.feed(4)
    letters = [dict(one.headers()) for one in world.log("graft.dlq")]
    assert sorted(one["graft.err.offset"] for one in letters) == [b"0", b"1", b"2", b"3"]
    assert {one["graft.err.stage"] for one in letters} == {b"control"}


def test_an_order_whose_effects_leave_before_its_snapshot_is_noticed(world: World) -> None:
    number = lives(world, "control-applied", 6, mutant="apply-without-snapshot")
    assert contradictions(world) or len(applied(world)) < number or not judge(world, orders=applied(world)).clean
