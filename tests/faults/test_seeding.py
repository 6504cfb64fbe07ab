"""`graft apply` against a worker that runs: who comes later borrows, and kills and moves keep it, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.cli.main import main
from agents.recovery import shardfile
from engine.parcel import split
from engine.prior import Prior
from engine.shard import Shard
from engine.transfer import plan, read_plan, read_prior
from tests.engine.transfer.towns import DAY, START_MS, STEP_MS, Town, grown, source, values
from tests.faults.harness import KILLED, World, Zygote, judge, opened

HERE = Town(seed=5, hosts=4, level=150.0, scale=3.0)
NUMBERS = values(HERE, DAY)
#: States on the topic are worth having: a few pieces each.
UPLOADING = {"upload_interval_s": 3600, "chunk_bytes": 200_000, "upload_most_bytes": 4 << 20}


@pytest.fixture
def world(real_zygote: Zygote, tmp_path: Path) -> Iterator[World]:
    with opened(real_zygote, tmp_path, plain=False) as made:
        yield made


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Prior]:
    """A source snapshot, a plan for it, and what the two lend."""
    folder = tmp_path_factory.mktemp("seed")
    lender = source(Town(seed=1))
    made = plan(lender, grown(Town(seed=3), days=1))
    snapshot, planned = folder / "eu.snap", folder / "plan.json"
    shardfile.write(snapshot, lender)
    planned.write_text(json.dumps(made.to_dict()))
    return snapshot, planned, read_prior(lender, read_plan(made.to_dict()))


def feed(world: World, hosts: range, ticks: range) -> None:
    """Host n to partition n % 2."""
    for tick in ticks:
        for host in hosts:
            for name, value in zip(HERE.names, NUMBERS[tick, host].tolist(), strict=True):
                body = {"name": name, "value": value, "timestamp": START_MS + tick * STEP_MS, "host": f"h{host}"}
                world.send(orjson.dumps(body), host % world.partitions)
    world.producer.flush()


def apply(world: World, capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    config = world.folder / "graft.toml"
    config.write_text(f'[kafka]\nbootstrap = "{world.broker.bootstrap}"\n[[inputs]]\ntopic = "metrics"\n')
    status = main(["apply", *map(str, arguments), "-c", str(config), "--json"])
    return status, json.loads(capsys.readouterr().out or "{}")


def guards(world: World, host: str) -> list[str]:
    told = {one["id"]: one for one in world.told("experiments") if one["entity"] == f"host={host}"}
    return [one["finding"] for one in told.values()]


def orders(world: World, prior: Prior) -> list[dict[str, Any]]:
    """Seed orders with the places where they hold, from the experiments, for the oracle."""
    return [
        {
            "order": one["order"],
            "control_offset": one["control"]["offset"],
            "partition": one["applied_at"]["partition"],
            "at": one["applied_at"]["offset"],
            "lent": prior if one["order"]["params"]["action"] == "add" else None,
        }
        for one in world.told("experiments")
        if one.get("kind") == "seed"
    ]


def sources(world: World) -> dict[int, list[str]]:
    config = world.parts.config_of("metrics")
    return {k: [p.digest for p in Shard.restore(s, config).roster.priors] for k, s in world.states().items()}


def test_applied_to_a_running_worker_and_kept_through_kills_and_moves(
    world: World, files: tuple[Path, Path, Prior], capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot, planned, prior = files
    feed(world, range(2), range(20))
    assert world.live() == 0
    pid = world.zygote.start(world.job(until="signal", **UPLOADING))
    try:
        status, told = apply(world, capsys, planned, "--snapshot", snapshot, "--wait", 60)
        assert status == 0, told
        assert [one["finding"] for one in told["answers"]] == ["applied", "applied"]
        assert told["unanswered"] == []
        status, again = apply(world, capsys, planned, "--snapshot", snapshot, "--wait", 60)
        assert (status, [one["finding"] for one in again["answers"]]) == (0, ["unchanged", "unchanged"])
        assert again["order"]["id"] == told["order"]["id"]
        # A host that is new since then, while it is on trial: killed in the middle of it.
        feed(world, range(3), range(20, 24))
        time.sleep(1.0)
        os.kill(pid, signal.SIGKILL)
    finally:
        assert world.zygote.end() == KILLED, world.zygote.log.read_text()[-3000:]
    feed(world, range(3), range(24, 40))
    assert world.live() == 0
    assert guards(world, "h2") == ["adopted"]
    assert guards(world, "h0") == guards(world, "h1") == []
    findings = judge(world, orders=orders(world, prior))
    assert findings.clean, findings
    assert sources(world) == {0: [prior.digest], 1: [prior.digest]}
    # Another machine, which has the state topic alone.
    world.live(**UPLOADING)
    other = World(world.broker, world.zygote, world.folder / "other", partitions=2, plain=False)
    other.folder.mkdir()
    feed(world, range(4), range(40, 60))
    assert other.live(**UPLOADING) == 0
    assert sources(other) == {0: [prior.digest], 1: [prior.digest]}
    assert guards(other, "h3") == ["adopted"]
    assert guards(other, "h2") == ["adopted"]
    findings = judge(other, orders=orders(world, prior))
    assert findings.clean, findings


def test_a_worker_that_comes_later_finds_what_is_lent(
    world: World, files: tuple[Path, Path, Prior], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody was there when it was applied; and what was withdrawn meanwhile lends nothing to who comes after."""
    snapshot, planned, prior = files
    feed(world, range(2), range(20))
    status, told = apply(world, capsys, planned, "--snapshot", snapshot, "--wait", 0, "--partition", 0)
    assert (status, len(told["unanswered"])) == (0, 1)
    assert world.live() == 0
    assert sources(world) == {0: [prior.digest], 1: []}
    feed(world, range(4), range(20, 40))
    assert world.live() == 0
    assert (guards(world, "h2"), guards(world, "h3")) == (["adopted"], [])
    status, told = apply(world, capsys, "--withdraw", prior.digest, "--wait", 0)
    assert status == 0
    assert world.live() == 0
    feed(world, range(4), range(40, 50))
    assert world.live() == 0
    assert [one["finding"] for one in world.told("experiments") if one.get("kind") == "seed"] == [
        "applied", "applied", "unchanged",
    ]  # fmt: skip
    findings = judge(world, orders=orders(world, prior))
    assert findings.clean, findings
    # Both shards' entities are whole parcels still.
    part, _ = split(world.states()[0], {"host=h2"})
    assert part.manifest["kind"] == "parcel"


@pytest.mark.parametrize("point", ["control-applied", "snapshot-renamed", "snapshot-synced"])
def test_killed_around_the_barrier_of_a_seed(
    world: World, files: tuple[Path, Path, Prior], capsys: pytest.CaptureFixture[str], point: str
) -> None:
    """Five lives, most of which end there; they never contradict each other."""
    snapshot, planned, prior = files
    feed(world, range(2), range(20))
    assert world.live() == 0
    apply(world, capsys, planned, "--snapshot", snapshot, "--wait", 0)
    kills = 0
    for life in range(5):
        feed(world, range(2), range(20 + life, 21 + life))
        kills += world.live(failpoint=f"{point}:{1 + life % 3}", snapshot_records=10_000) == KILLED
    assert world.live() == 0
    feed(world, range(4), range(25, 40))
    assert world.live() == 0
    assert kills >= 2
    told: dict[str, dict[str, Any]] = {}
    for one in world.told("experiments"):
        assert told.setdefault(one["id"], one) == one
    assert sorted(one["finding"] for one in told.values()) == ["adopted", "adopted", "applied", "applied"]
    mine = {one["partition"]: one for one in orders(world, prior)}
    findings = judge(world, orders=mine.values())
    assert findings.clean, findings


def test_what_is_gone_from_the_state_topic_is_refused_aloud_and_holds_up_nothing(
    world: World, files: tuple[Path, Path, Prior], capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot, planned, _ = files
    feed(world, range(2), range(20))
    apply(world, capsys, planned, "--snapshot", snapshot, "--wait", 0)
    assert world.log("graft.state")
    high = world.log("graft.state")[-1].offset() + 1
    world.broker.delete_records("graft.state", 0, high)
    feed(world, range(2), range(20, 30))
    assert world.live() == 0
    told = [one for one in world.told("experiments") if one.get("kind") == "seed"]
    assert {one["finding"] for one in told} == {"refused"}
    assert "run `graft apply` again" in told[0]["because"]
    assert sources(world) == {0: [], 1: []}
    # And the same order works when its pieces are there.
    apply(world, capsys, planned, "--snapshot", snapshot, "--wait", 0)
    assert world.live() == 0
    assert all(len(digests) == 1 for digests in sources(world).values())
