"""Two workers in one group on a real Kafka: one joins under load and leaves again, and the whole is as if one had read.

Detector alone: see site.py. Each worker has a state directory of its own, as on two machines; who takes a partition
over goes on from the state topic, and says what was said since that state once more, under the same ids.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest

from tests.real_broker.kafka import RealKafka
from tests.real_broker.site import Folded, Process, Site, firings, judge, outages, until

pytestmark = [pytest.mark.real_broker, pytest.mark.slow]

HOSTS, MINUTES = 12, 1_500
ILL = outages(hosts=HOSTS, first=700, every=60, last=MINUTES - 60)


def start_ms() -> int:
    """The story ends now."""
    return int(time.time() * 1000) - MINUTES * 60_000


def load(site: Site, *, per_second: int) -> Process:
    """Some 54,000 records, with an outage an hour."""
    return site.feed(until_minute=MINUTES, start_ms=start_ms(), hosts=HOSTS, ill=ILL, per_second=per_second)


def two_share(site: Site) -> tuple[Process, Process]:
    """Two workers that have two partitions each; the second came later."""
    one = site.detector("one")
    until(lambda: len(site.held("one")) == 4, "the first has all partitions")
    two = site.detector("two")
    until(lambda: len(site.held("one")) == len(site.held("two")) == 2, "each has two partitions")
    return one, two


def assert_as_if_one_had_read(site: Site) -> None:
    assert all(high > 0 for _, high in site.ends().values()), "a partition without a host proves nothing"
    findings = judge(site, "one", "two")
    assert findings.clean, findings
    assert len(firings(site)) >= 5, "a test without alerts proves nothing"


def test_a_second_worker_joins_and_leaves_under_load(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    site = site_on(kafka, "shared-load", 4)
    feeder = load(site, per_second=1_800)
    one, two = two_share(site)
    read = sum(site.held("two").values())
    until(lambda: sum(site.held("two").values()) > read or not feeder.running, "the second reads")
    assert feeder.running, "the load ended too early to prove anything"
    # A static member leaves without a word, so that a restart moves nothing; the group notices after its session.
    assert two.stop() == 0, two.said[-3000:]
    until(lambda: len(site.held("one")) == 4, "the first has all partitions again")
    assert feeder.end() == 0, feeder.said
    until(lambda: site.is_read("one"), "all of the log is read")
    assert one.stop() == 0, one.said[-3000:]
    assert_as_if_one_had_read(site)


def test_ctrl_c_leaves_the_group_and_sigterm_keeps_the_place(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """A worker that is stopped by hand does not come again; one that is told to stop is mostly started anew."""
    admin = kafka.admin()
    for how, left in ((signal.SIGTERM, 2), (signal.SIGINT, 1)):
        site = site_on(kafka, f"left-{left}", 4)
        one, two = two_share(site)
        two.popen.send_signal(how)
        assert two.end() == 0, two.said[-3000:]
        described = admin.describe_consumer_groups([site.topic])[site.topic].result(10)
        assert len(described.members) == left
        assert one.stop() == 0, one.said[-3000:]


def test_a_worker_frozen_past_its_session_lets_go(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """SIGSTOP until the other has taken over, then SIGCONT: the zombie forgets what it held and joins anew."""
    site = site_on(kafka, "frozen", 4)
    feeder = load(site, per_second=1_800)
    one, two = two_share(site)
    one.popen.send_signal(signal.SIGSTOP)
    until(lambda: len(site.held("two")) == 4, "the second has taken over")
    one.popen.send_signal(signal.SIGCONT)
    until(lambda: len(site.held("one")) == len(site.held("two")) == 2, "each has two partitions again")
    assert feeder.end() == 0, feeder.said
    until(lambda: site.is_read("one", "two"), "all of the log is read")
    for worker in (one, two):
        assert worker.stop() == 0, worker.said[-3000:]
    assert_as_if_one_had_read(site)


def test_retention_overtakes_a_worker_that_is_down(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    """A loud gap with the exact count and no silent jump; then it goes on, to the state that the oracle has."""
    site, begin_ms, half = site_on(kafka, "forgotten"), start_ms(), MINUTES // 2
    job = {"start_ms": begin_ms, "hosts": HOSTS, "ill": ILL}
    assert site.feed(until_minute=half, **job).end() == 0
    worker = site.detector()
    until(site.is_read, "the first half is read")
    assert worker.stop() == 0, worker.said[-3000:]
    stood = {partition: high for partition, (_, high) in site.ends().items()}
    folded = {partition: Folded(site, partition) for partition in stood}
    for partition, one in folded.items():
        one.take(site.log(site.topic, partition))

    assert site.feed(from_minute=half, until_minute=half + 100, **job).end() == 0
    lost = {0: 137, 1: 0}
    site.kafka.delete_records(site.topic, {partition: stood[partition] + lost[partition] for partition in stood})
    worker = site.detector()
    until(site.is_read, "it goes on behind the gap")
    assert site.feed(from_minute=half + 100, until_minute=MINUTES, **job).end() == 0
    until(site.is_read, "it goes on after the gap")
    assert worker.stop() == 0, worker.said[-3000:]

    for partition, one in folded.items():
        if lost[partition]:
            one.lose(stood[partition] + lost[partition])
        one.take(site.log(site.topic, partition))
    assert f"{site.topic}[0]: 137 records from offset {stood[0]} on are gone" in worker.said
    assert [one["evidence"]["records"] for one in site.told("drift") if one["kind"] == "gap"] == [137]
    assert site.states()[0].manifest["ledger"]["gap"] == 137
    findings = judge(site, folded=folded)
    assert findings.clean, findings
    assert len(firings(site)) >= 5, "a test without alerts proves nothing"
