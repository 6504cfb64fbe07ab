"""An outage, seen live, labelled and un-learned: the state is the one of whoever knew of the window, bit for bit.

The oracle folds the log once, from its beginning, with a fresh shard: the window is marked at the snapshot that the
rebuild has begun from, and each order applied where its record says. Killed at every point of the way, the worker or
its child, nothing is lost: the next life does it again.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.recovery.held import Place
from engine.snapshot import diff
from engine.windows import IN_TIME, Window
from tests.faults.harness import KILLED, START_MS, World, Zygote, fold_some, opened, same

HOSTS, METRICS, STEP_MS = 4, 2, 10_000
BEFORE, OUTAGE, AFTER = 400, 60, 60
ENTITY = "host=h1"


@pytest.fixture
def world(real_zygote: Zygote, tmp_path: Path) -> Iterator[World]:
    with opened(real_zygote, tmp_path, plain=False) as made:
        yield made


def feed(world: World, ticks: int, *, add: float = 0.0) -> None:
    """Metrics of some hosts every ten seconds; add: on those of the host that is out of order."""
    for _ in range(ticks):
        tick, world.fed = world.fed, world.fed + 1
        for host in range(HOSTS):
            for metric in range(METRICS):
                value = world.random.gauss(50, 2) + (add if f"host=h{host}" == ENTITY else 0.0)
                at_ms = START_MS + tick * STEP_MS
                body = {"name": f"m{metric}", "value": value, "timestamp": at_ms, "host": f"h{host}"}
                world.send(orjson.dumps(body), host % world.partitions)
    world.producer.flush()


def window_ms() -> tuple[int, int]:
    return START_MS + BEFORE * STEP_MS, START_MS + (BEFORE + OUTAGE) * STEP_MS


def label(world: World, name: str = "label-1", **changes: Any) -> None:
    """What `engine.feedback.order_for` makes of an answer with a window."""
    begin, end = window_ms()
    order: dict[str, Any] = {
        "schema": "graft.order/1",
        "id": name,
        "kind": "label",
        "at_ms": end,
        "target": {"topic": "metrics", "partition": 1, "series": 'm0{host="h1"}', "entity": ENTITY},
        "params": {"answer": "incident", "by": "ana", "from_ms": begin, "until_ms": end},
    }
    world.send(orjson.dumps(order | changes), 0, "graft.control")
    world.producer.flush()


def outage(world: World, **options: Any) -> None:
    """A life before the window, and one that sees and learns it."""
    feed(world, BEFORE)
    assert world.live(snapshot_records=100_000, **options) == 0
    feed(world, OUTAGE, add=60.0)
    feed(world, AFTER)
    assert world.live(snapshot_records=100_000, **options) == 0


def unlearned(world: World) -> list[dict[str, Any]]:
    """Records of what has become of windows, each once."""
    return list({one["id"]: one for one in world.told("experiments") if one.get("kind") == "unlearn"}.values())


def oracle(world: World, marked_at: int) -> Any:
    """The fold of the whole log by a shard that is told of the window at an offset."""
    begin, end = window_ms()
    place = Place("metrics", 1)
    shard = world.parts.new_shard(place)
    decoder = world.parts.new_decoder(place, shard)
    shard.next_offset = 0
    log = world.log("metrics", 1)
    orders = {orjson.loads(one.value())["id"]: one for one in world.log("graft.control")}
    told = {one["id"]: one for one in world.told("experiments") if one["id"] in orders}
    stops: list[tuple[int, int, Any]] = [(marked_at, -1, None)]
    for name, one in told.items():
        if one["applied_at"]["partition"] == 1:
            stops.append((one["applied_at"]["offset"], orders[name].offset(), orjson.loads(orders[name].value())))
    for at, control, order in sorted(stops, key=lambda one: one[:2]):
        fold_some(shard, decoder, [one for one in log if shard.next_offset <= one.offset() < at])
        if order is None:
            shard.windows.add(Window(ENTITY, None, begin, end, "label-1", IN_TIME), now_ms=0)
        else:
            shard.apply(order, control_partition=0, next_offset=control + 1)
    fold_some(shard, decoder, [one for one in log if one.offset() >= shard.next_offset])
    return shard


def check(world: World, *, finding: str = "exact") -> dict[str, Any]:
    (told,) = unlearned(world)[-1:]
    assert told["finding"] == finding, told
    assert told["window"]["entity"] == ENTITY
    state = world.states()[1]
    expected = oracle(world, told["from_offset"])
    expected.control_offsets = {int(k): v for k, v in state.manifest["control_offsets"].items()}
    assert same(expected.export(), state), diff(expected.export(), state)
    return told


def test_an_outage_that_is_labelled_is_unlearned(world: World) -> None:
    outage(world)
    learned = world.states()[1]
    label(world)
    assert world.live(until="unlearned", snapshot_records=100_000) == 0
    told = check(world)
    assert told["from_offset"] > 0
    assert told["snapshot"].endswith(".snap")
    assert told["window"]["state"] == "in_time"
    var = [one.arrays["series.level.var"].max() for one in (learned, world.states()[1])]
    assert var[0] > 5 * var[1]
    # And it goes on from there, also in a next life.
    feed(world, 40)
    assert world.live(snapshot_records=100_000) == 0
    check(world)
    assert len(unlearned(world)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("point", ["unlearn-taken", "unlearn-saved"])
def test_a_worker_that_is_killed_while_it_takes_over_loses_nothing(world: World, point: str) -> None:
    outage(world)
    label(world)
    assert world.live(until="unlearned", failpoint=point, snapshot_records=100_000) == KILLED
    feed(world, 10)
    assert world.live(until="unlearned", snapshot_records=100_000) == 0
    check(world)
    assert len(unlearned(world)) == 1


@pytest.mark.slow
def test_a_worker_that_is_killed_on_the_way_falls_back_to_the_former_past(world: World) -> None:
    """Its log is read again in small steps, each of which is saved."""
    outage(world)
    label(world)
    options: dict[str, Any] = {"until": "unlearned", "consume_records": 20, "snapshot_records": 20}
    assert world.live(failpoint="unlearn-taken", **options) == KILLED
    before = world.states()[1]
    assert b"label-1" in before.arrays["text.windows"].tobytes()
    assert world.live(failpoint="produced:12", **options) in (KILLED, 0)
    assert world.live(**options) == 0
    check(world)


def child_of(worker: int, within_s: float = 60.0) -> int:
    """Process id of the rebuild that a worker has begun."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"agents.detector.unlearning" in words and str(worker).encode() in words:
                return int(path.parent.name)
        time.sleep(0.02)
    raise AssertionError("no rebuild was begun")


@pytest.mark.slow
def test_a_rebuild_that_is_killed_is_done_again(world: World) -> None:
    outage(world)
    label(world)
    worker = world.zygote.start(world.job(until="unlearned", snapshot_records=100_000))
    os.kill(child_of(worker), signal.SIGKILL)
    assert world.zygote.end() == 0
    check(world)


@pytest.mark.slow
def test_the_rebuild_ends_with_its_worker(world: World) -> None:
    outage(world)
    label(world)
    worker = world.zygote.start(world.job(until="unlearned", snapshot_records=100_000))
    child = child_of(worker)
    os.kill(worker, signal.SIGKILL)
    assert world.zygote.end() == KILLED
    until_s = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
    assert world.live(until="unlearned", snapshot_records=100_000) == 0
    check(world)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["unlearn-half", "unlearn-written"])
def test_a_rebuild_that_never_succeeds_is_an_answer(world: World, point: str) -> None:
    """Each child is killed where it stands; after three the window stays learned, and that is said."""
    outage(world)
    learned = world.states()[1].arrays["series.level.mean"].tobytes()
    label(world)
    assert world.live(until="unlearned", failpoint=point, snapshot_records=100_000) == 0
    (told,) = unlearned(world)
    assert told["finding"] == "refused"
    assert told["window"]["state"] == "settled"
    assert world.states()[1].arrays["series.level.mean"].tobytes() == learned


@pytest.mark.slow
def test_other_orders_hold_where_they_did(world: World) -> None:
    """Before the window, in it, after it, and while it is being rebuilt."""
    quieter = {"params": {"answer": "false_alarm", "by": "bea"}}
    feed(world, BEFORE)
    label(world, "before", **quieter)
    assert world.live(snapshot_records=100_000) == 0
    feed(world, OUTAGE // 2, add=60.0)
    assert world.live(snapshot_records=100_000) == 0
    label(world, "in it", **quieter)
    assert world.live(snapshot_records=100_000) == 0
    feed(world, OUTAGE - OUTAGE // 2, add=60.0)
    feed(world, AFTER)
    label(world, "after", **quieter)
    assert world.live(snapshot_records=100_000) == 0
    label(world)
    worker = world.zygote.start(world.job(until="unlearned", snapshot_records=100_000))
    child_of(worker)
    feed(world, 20)
    label(world, "meanwhile", **quieter)
    label(world, "for nobody", target={"topic": "metrics", "partition": 1, "entity": "host=nobody"}, **quieter)
    assert world.zygote.end() == 0
    check(world)
    assert {one["id"] for one in world.told("experiments")} >= {"before", "in it", "after", "meanwhile", "label-1"}


@pytest.mark.slow
def test_a_shard_that_has_moved_is_rebuilt_from_the_beginning_of_its_log(world: World) -> None:
    """The next owner has the newest state alone."""
    uploading = {"upload_interval_s": 3600, "chunk_bytes": 900_000}
    outage(world, **uploading)
    shutil.rmtree(world.folder / "state")
    label(world)
    assert world.live(until="unlearned", snapshot_records=100_000, **uploading) == 0
    told = check(world)
    assert (told["from_offset"], told["snapshot"]) == (0, "the beginning of the log")


@pytest.mark.slow
def test_an_answer_that_comes_again_or_early_rebuilds_nothing(world: World) -> None:
    begin, end = window_ms()
    feed(world, BEFORE // 2)
    assert world.live(snapshot_records=100_000) == 0
    label(world, "early")
    assert world.live(until="unlearned", snapshot_records=100_000) == 0
    outage_ticks = BEFORE - BEFORE // 2
    feed(world, outage_ticks)
    feed(world, OUTAGE, add=60.0)
    feed(world, AFTER)
    label(world, "early")
    label(world, "again")
    label(world, "upside down", params={"answer": "incident", "by": "ana", "from_ms": end, "until_ms": begin})
    assert world.live(until="unlearned", snapshot_records=100_000) == 0
    assert unlearned(world) == []
    letters = [dict(one.headers()) for one in world.log("graft.dlq")]
    assert [one["graft.err.reason"] for one in letters] == [b"order"]
    assert len([one for one in world.told("experiments") if one["id"] in ("early", "again")]) == 2
