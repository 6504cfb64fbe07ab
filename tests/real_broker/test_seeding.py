"""`graft apply` on a real Kafka: a running group takes a seed; kill -9 and a second worker keep it, bit for bit.

Detector alone: see site.py. The oracle folds each partition's log with the seed order at the offset that the
experiments tell of.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agents import settings as config
from agents.detector.assembly import Parts
from agents.recovery import shardfile
from agents.recovery.held import Place
from engine.prior import Prior
from engine.snapshot import State
from engine.transfer import distil, plan, read_plan, read_prior
from tests.faults.harness import same
from tests.real_broker import feeder
from tests.real_broker.kafka import RealKafka
from tests.real_broker.site import ROOT, Folded, Site, until

pytestmark = [pytest.mark.real_broker, pytest.mark.slow]

#: Two hosts from the beginning; eight from the minute JOINED on.
JOINED, KILLED_AT, MINUTES = 120, 150, 330


def lender(site: Site) -> State:
    """What ten days of the feeder's world have taught: a source snapshot."""
    parts = Parts(config.load(site.toml("lender"), env={}))
    shard: Any = parts.new_shard(Place(site.topic, 0))
    shard.next_offset = 0
    decoder = parts.new_decoder(Place(site.topic, 0), shard)
    job = feeder.Job(bootstrap="", topic="", until_minute=0, start_ms=1_767_225_600_000, hosts=3)
    for day in range(10):
        lines = [
            line.encode()
            for minute in range(1440 * day, 1440 * (day + 1), 2)
            for host in range(job.hosts)
            for line in feeder.lines(job, host, minute)
        ]
        first = shard.next_offset
        offsets = np.arange(first, first + len(lines), dtype=np.int64)
        batch, _ = decoder.decode(list(lines), offsets, np.full(len(lines), -1, np.int64), first + len(lines))
        shard.process(batch)
    return distil(shard.export())


def apply(site: Site, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "agents.cli", "apply", *arguments, "-c", str(site.toml()), "--json"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def folded(site: Site, partition: int, prior: Prior) -> Folded:
    """The oracle."""
    seeds = {one["id"]: one for one in site.told("experiments") if one.get("kind") == "seed"}
    (mine,) = [one for one in seeds.values() if one["applied_at"]["partition"] == partition]
    one, log, at = Folded(site, partition), site.log(site.topic, partition), mine["applied_at"]["offset"]
    one.take([message for message in log if (message.offset() or 0) < at])
    one.shard.apply(mine["order"], control_partition=0, next_offset=mine["control"]["offset"] + 1, lent=prior)
    one.take([message for message in log if (message.offset() or 0) >= at])
    return one


def test_a_seed_reaches_a_group_and_is_kept_through_kills_and_moves(
    kafka: RealKafka, site_on: Callable[..., Site]
) -> None:
    site, start_ms = site_on(kafka, "seeded"), int(time.time() * 1000) - MINUTES * 60_000
    story: dict[str, Any] = {"start_ms": start_ms}
    assert site.feed(until_minute=JOINED, hosts=2, **story).end() == 0
    worker = site.detector()
    until(site.is_stored, "the state of the first hosts is stored")
    source = lender(site)
    target = max(site.states().values(), key=lambda one: len(shardfile.names_of(one)))
    made = plan(source, target)
    prior = read_prior(source, read_plan(json.loads(json.dumps(made.to_dict()))))
    snapshot, planned = site.folder / "eu.snap", site.folder / "plan.json"
    shardfile.write(snapshot, source)
    planned.write_text(json.dumps(made.to_dict()))

    told = apply(site, str(planned), "--snapshot", str(snapshot), "--wait", "60")
    assert [one["finding"] for one in told["answers"]] == ["applied", "applied"]
    assert {one["after"]["sources"][0]["digest"] for one in told["answers"]} == {prior.digest}

    assert site.feed(from_minute=JOINED, until_minute=KILLED_AT, hosts=8, **story).end() == 0
    until(site.is_read, "the new hosts are on trial")
    worker.kill()
    worker = site.detector()
    assert site.feed(from_minute=KILLED_AT, until_minute=240, hosts=8, **story).end() == 0
    until(site.is_read, "their trial is over")
    # A second worker, with a disk of its own, takes a partition.
    two = site.detector("two")
    until(lambda: len(site.held()) == len(site.held("two")) == 1, "each has a partition")
    assert site.feed(from_minute=240, until_minute=MINUTES, hosts=8, **story).end() == 0
    until(lambda: site.is_read("one", "two"), "all is read")
    for one in (worker, two):
        assert one.stop() == 0, one.said[-3000:]

    states = site.states("one", "two")
    expected = {}
    for partition, state in states.items():
        oracle = folded(site, partition, prior)
        oracle.shard.control_offsets = {int(k): v for k, v in state.manifest["control_offsets"].items()}
        assert same(oracle.shard.export(), state), partition
        expected.update({one.value["id"]: one.value for one in oracle.records if one.topic == "experiments"})
    guards = {one["id"]: one for one in site.told("experiments") if one.get("kind") == "guard"}
    assert guards == expected
    judged = {one["entity"]: one["finding"] for one in guards.values()}
    assert set(judged) == {f"host=web-{host}" for host in range(2, 8)}
    assert "adopted" in judged.values()


def test_it_may_be_applied_before_any_worker_was_there(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """The topics are made, the state topic compacted; who comes finds the order."""
    site = site_on(kafka, "early", 1)
    path = site.toml()
    path.write_text(path.read_text().replace('prefix = "early."', 'prefix = "early-new."'))
    done = subprocess.run(
        [sys.executable, "-m", "agents.cli", "apply", "--withdraw", "0" * 16, "--wait", "0", "-c", str(path), "--json"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["unanswered"]) == 1
    assert [json.loads(one.value() or b"")["kind"] for one in site.log("early-new.control")] == ["seed"]
