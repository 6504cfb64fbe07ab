"""kill -9 of workers and of the broker on a real Kafka, at random moments under load: nothing of it can be seen after.

The named crash points are tests/faults'; here the group, its static members, the log on disk and the client's own
recovery are the real ones. How the oracle knows of orders: see site.py.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable

import pytest

from agents import progress
from tests.real_broker.kafka import RealKafka
from tests.real_broker.site import Process, Site, children, firings, judge, kill_9, outages, until

pytestmark = [pytest.mark.real_broker, pytest.mark.slow]

HOSTS, MINUTES = 8, 1_700
ILL = outages(hosts=HOSTS, first=700, every=60, last=MINUTES - 60)
DEPLOYS = [(host, 730 + 100 * host) for host in range(HOSTS)]


def load(site: Site, *, per_second: int) -> Process:
    """Some 40,000 records, with an outage an hour, and a deploy now and then."""
    start_ms = int(time.time() * 1000) - MINUTES * 60_000
    story = {"start_ms": start_ms, "hosts": HOSTS, "ill": ILL, "deploys": DEPLOYS}
    return site.feed(until_minute=MINUTES, per_second=per_second, **story)


def finish(site: Site, worker: Process, feeder: Process) -> None:
    """Everything read, and an orderly end."""
    assert feeder.end() == 0, feeder.said
    until(site.is_read, "all of the log is read")
    assert worker.stop() == 0, worker.said[-3000:]
    assert "Traceback" not in worker.said


def assert_nothing_is_seen(site: Site) -> None:
    findings = judge(site)
    assert findings.clean, findings
    assert len(firings(site)) >= 5, "a test without alerts proves nothing"


def test_a_worker_killed_at_random_moments(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    site, rng = site_on(kafka, "killed"), random.Random(5)
    feeder = load(site, per_second=1_800)
    for life in range(8):
        worker = site.detector()
        if life % 4 == 3:
            time.sleep(rng.uniform(0.5, 2.0))  # in the middle of its start
        else:
            until(site.held, "the worker holds its partitions")
            time.sleep(rng.uniform(0.0, 1.5))
        assert worker.running, worker.said[-3000:]
        worker.kill()
    worker = site.detector()
    finish(site, worker, feeder)
    assert_nothing_is_seen(site)


def test_a_worker_stopped_under_load(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """SIGTERM ends it in time, with everything saved: not one record is told twice."""
    site, rng = site_on(kafka, "stopped"), random.Random(6)
    feeder = load(site, per_second=3_000)
    for _ in range(4):
        worker = site.detector()
        until(site.held, "the worker holds its partitions")
        time.sleep(rng.uniform(0.0, 1.5))
        assert worker.stop() == 0, worker.said[-3000:]
    finish(site, site.detector(), feeder)
    assert_nothing_is_seen(site)
    told = [one["id"] for topic in ("alerts", "escalations", "drift") for one in site.told(topic)]
    assert len(told) == len(set(told))


def test_a_worker_killed_and_its_disk_lost(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """The next one has an empty state directory and goes on from the state topic, not from the beginning."""
    site = site_on(kafka, "diskless")
    feeder = load(site, per_second=3_000)
    worker = site.detector()
    until(lambda: (life := site.lives()) and life.counters.get("uploads", 0) >= 4, "states lie on the state topic")
    worker.kill()
    shutil.rmtree(site.state())
    worker = site.detector()
    restored = until(site.held, "the worker holds its partitions")
    assert min(restored.values()) > 0
    finish(site, worker, feeder)
    (life,) = progress.read_all(site.state())
    assert life.counters["restores"] == site.partitions
    assert life.counters["records"] < sum(high for _, high in site.ends().values())
    assert_nothing_is_seen(site)


def test_both_processes_killed_with_orders_under_way(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """The whole `graft run`: people answer by `graft label`, and the supervisor starts again what dies meanwhile."""
    site, rng = site_on(kafka, "whole"), random.Random(7)
    graft = site.graft_run(more='[[sinks]]\nkind = "console"\n[web]\nlisten = "127.0.0.1:0"\n')
    feeder = load(site, per_second=1_500)
    parts = ("agents.detector", "agents.flows.app", "agents.detector", "agents.flows.app")
    for host, part in enumerate(parts):
        until(lambda: sum(site.held().values()) > 2_000, "the detector reads")
        pid = until(lambda: children(graft.popen.pid).get(part), f"{part} runs")  # noqa: B023
        time.sleep(rng.uniform(0.5, 1.5))
        answer = site.label(f'mem.used_percent{{host="web-{host}"}}', ("false_alarm", "incident")[host % 2])
        assert answer.end() == 0, answer.said
        time.sleep(rng.uniform(0.0, 1.0))
        kill_9(pid)
        until(lambda: children(graft.popen.pid).get(part, pid) != pid, f"{part} runs again")  # noqa: B023
    until(lambda: len({one["id"] for one in site.told("experiments")}) >= len(parts), "all orders are applied")
    finish(site, graft, feeder)
    assert_nothing_is_seen(site)


def test_a_broker_killed_under_load(fragile_kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """Twice, the second time with the detector killed while it is away. Nobody starts anything but the broker."""
    site = site_on(fragile_kafka, "broker")
    feeder = load(site, per_second=1_500)
    worker = site.graft_run("--only", "detector")
    for kill_worker in (False, True):
        read = sum(until(site.held, "the worker holds its partitions").values())
        until(lambda: sum(site.held().values()) > read + 1_000, "the worker goes on reading")  # noqa: B023
        fragile_kafka.kill()
        time.sleep(1.0)
        if kill_worker and (life := site.lives()):
            kill_9(life.pid)
        fragile_kafka.restart()
    finish(site, worker, feeder)
    assert_nothing_is_seen(site)
