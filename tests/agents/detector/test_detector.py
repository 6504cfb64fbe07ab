"""The detector as a process of its own: a group of two, signals, failures that must stop it, and what it tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from agents import progress
from agents.embedded import Api
from tests.faults.harness import KILLED, ROOT, World, Zygote, judge, opened

#: The group notices a death after this.
SHORT = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 300}


def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def zygotes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Zygote, Zygote]]:
    folder = tmp_path_factory.mktemp("zygotes")
    made = Zygote(folder / "one"), Zygote(folder / "two")
    yield made
    for one in made:
        one.close()


@pytest.fixture
def world(zygotes: tuple[Zygote, Zygote], tmp_path: Path) -> Iterator[World]:
    with opened(zygotes[0], tmp_path) as made:
        yield made


def held(folder: Path) -> dict[int, int]:
    """Next offset by partition, as the progress file tells."""
    return {shard.partition: shard.next_offset for one in progress.read_all(folder) for shard in one.shards}


def test_a_signal_ends_it_with_everything_saved(world: World) -> None:
    world.feed(100)
    pid = world.zygote.start(world.job(until="signal", grouped=True, snapshot_records=10_000))
    until(lambda: sum(held(world.folder / "state").values()) == 100)
    os.kill(pid, signal.SIGTERM)
    assert world.zygote.end() == 0
    assert judge(world).clean
    told = world.told("alerts")
    assert len(told) == len({one["id"] for one in told}) > 0
    (last,) = progress.read_all(world.folder / "state")
    assert {shard.saved_offset for shard in last.shards} == {50}
    assert last.counters["records"] == 100
    assert last.ended


def test_a_restart_goes_on_where_the_state_stands(world: World) -> None:
    # The embedded broker does not let a static member back in before its old session has ended; a real one does.
    for _ in range(3):
        world.feed(50)
        assert world.live(grouped=True, properties=SHORT) == 0
    assert judge(world).clean
    told = world.told("alerts")
    assert len(told) == len({one["id"] for one in told})


def test_two_workers_share_and_one_is_killed(world: World, zygotes: tuple[Zygote, Zygote]) -> None:
    """The survivor has no snapshot of what it takes over; it folds from the beginning and says the same."""
    world.feed(200)
    options = {"until": "signal", "grouped": True, "properties": SHORT}
    one = world.job(**options)
    two = world.job(**{**options, "state_dir": str(world.folder / "other")})
    first = zygotes[0].start(one)
    until(lambda: len(held(world.folder / "state")) == 2)
    second = zygotes[1].start(two)
    until(lambda: len(held(world.folder / "state")) == 1 and len(held(world.folder / "other")) == 1)
    world.feed(100)
    os.kill(first, signal.SIGKILL)
    assert zygotes[0].end() == KILLED
    until(lambda: sum(held(world.folder / "other").values()) == 300)
    os.kill(second, signal.SIGTERM)
    assert zygotes[1].end() == 0
    (world.folder / "state").rename(world.folder / "first")
    (world.folder / "other").rename(world.folder / "state")
    assert judge(world).clean


def test_two_workers_share_and_the_survivor_goes_on_from_the_state_topic(
    world: World, zygotes: tuple[Zygote, Zygote]
) -> None:
    """As above, but with uploads: it does not begin at the beginning."""
    world.feed(200)
    options = {"until": "signal", "grouped": True, "properties": SHORT, "upload_interval_s": 0.001}
    other = {**options, "state_dir": str(world.folder / "other")}
    first = zygotes[0].start(world.job(**options))
    until(lambda: sum(held(world.folder / "state").values()) == 200)
    second = zygotes[1].start(world.job(**other))
    until(lambda: len(held(world.folder / "state")) == 1 and len(held(world.folder / "other")) == 1)
    until(lambda: len(world.log("graft.state")) > 0)
    world.feed(100)
    os.kill(first, signal.SIGKILL)
    assert zygotes[0].end() == KILLED
    until(lambda: sum(held(world.folder / "other").values()) == 300)
    os.kill(second, signal.SIGTERM)
    assert zygotes[1].end() == 0
    (last,) = progress.read_all(world.folder / "other")
    assert last.counters["restores"] == 2
    assert last.counters["records"] < 200, "with neither it would have been 300"
    (world.folder / "state").rename(world.folder / "first")
    (world.folder / "other").rename(world.folder / "state")
    assert judge(world).clean


def test_a_worker_that_is_to_spare_is_ready(zygotes: tuple[Zygote, Zygote], tmp_path: Path) -> None:
    """Else a rolling update of more workers than partitions would wait for ever."""
    with opened(zygotes[0], tmp_path, partitions=1) as world:
        world.feed(20)
        options = {"until": "signal", "grouped": True, "properties": SHORT}
        pids = [
            zygote.start(world.job(**{**options, "state_dir": str(tmp_path / name)}))
            for zygote, name in zip(zygotes, ("one", "two"), strict=True)
        ]

        def ready() -> list[bool]:
            return [one.ready for name in ("one", "two") for one in progress.read_all(tmp_path / name)]

        until(lambda: ready() == [True, True])
        assert sorted([*held(tmp_path / "one"), *held(tmp_path / "two")]) == [0]
        for pid, zygote in zip(pids, zygotes, strict=True):
            os.kill(pid, signal.SIGKILL)
            zygote.end()


def test_what_cannot_be_delivered_stops_it(world: World) -> None:
    """A dead letter that the broker refuses is not skipped: exit status 3, and the next life sends it."""
    world.feed(20)
    world.send(b"{", 0)
    world.producer.flush()
    world.broker.fail(Api.PRODUCE, [KafkaError.TOPIC_AUTHORIZATION_FAILED] * 3)
    assert world.zygote.live(world.job()) == 3
    assert "not delivered" in world.zygote.log.read_text()
    world.broker.forgive(Api.PRODUCE)
    assert world.live() == 0
    assert len(world.log("graft.dlq")) == 1
    assert judge(world).clean


def test_a_state_of_another_cluster_is_refused(zygotes: tuple[Zygote, Zygote], tmp_path: Path) -> None:
    """The same topic name and folder, another log: offsets of the former one mean nothing here."""
    for records in (200, 60):
        with opened(zygotes[0], tmp_path) as world:
            world.feed(records)
            assert world.live() == 0
            assert judge(world).clean
    assert "another cluster" in zygotes[0].log.read_text()


def test_damage_costs_time_only(world: World) -> None:
    for _ in range(2):
        world.feed(100)
        assert world.live() == 0
    for path in sorted((world.folder / "state" / "shards").rglob("*.snap"))[-1:]:
        path.write_bytes(path.read_bytes()[:-7])
    world.feed(20)
    assert world.live() == 0
    assert judge(world).clean


@pytest.mark.slow
def test_the_command_refuses_in_one_sentence(tmp_path: Path) -> None:
    for text, status, word in (
        ('[kafka]\nbootstrap = "127.0.0.1:1"\n', 2, "input"),
        ('[kafka]\nbootstrap = "127.0.0.1:1"\n[[inputs]]\ntopic = "m"\n', 3, "127.0.0.1:1"),
    ):
        path = tmp_path / "graft.toml"
        path.write_text(f'{text}[state]\ndir = "{tmp_path}/state"\n')
        command = [sys.executable, "-m", "agents.detector", "-c", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == status, done.stderr
        assert word in done.stderr
        assert "Traceback" not in done.stderr
