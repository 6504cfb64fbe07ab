"""An outage on a real Kafka, labelled from the shell and un-learned by a whole `graft run`, through a kill -9.

The answer goes the long way: feedback topic, reviewer, control topic, barrier, rebuild, take-over. The oracle folds the
log with a shard that knows of the window where the rebuild has begun, and each order where its record says.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from engine.snapshot import diff
from engine.windows import Window
from tests.real_broker.kafka import RealKafka
from tests.real_broker.site import Folded, Site, children, kill_9, until

pytestmark = [pytest.mark.real_broker, pytest.mark.slow]

MINUTES, ILL, AFTER = 400, (300, 330), 370
HOST, SERIES = "host=web-1", 'mem.used_percent{host="web-1"}'


def unlearned(site: Site) -> list[dict[str, Any]]:
    return [one for one in site.told("experiments") if one.get("kind") == "unlearn"]


def marked_beforehand(site: Site, partition: int, told: dict[str, Any]) -> Any:
    """The oracle."""
    window, orders = Window(**{**told["window"], "state": 0}), {}
    for message in site.log(f"{site.topic}.control"):
        order = json.loads(message.value() or b"")
        orders.setdefault(order["id"], (message.offset() or 0, order))
    stops: list[tuple[int, int, Any]] = [(told["from_offset"], -1, None)]
    obeyed = {each["id"]: each["applied_at"] for each in site.told("experiments") if each["id"] in orders}
    stops += [(at["offset"], *orders[name]) for name, at in obeyed.items() if at["partition"] == partition]
    folded, log = Folded(site, partition), site.log(site.topic, partition)
    for at, control, order in sorted(stops, key=lambda one: one[:2]):
        folded.take([one for one in log if folded.shard.next_offset <= (one.offset() or 0) < at])
        if order is None:
            folded.shard.windows.add(window, now_ms=0)
        else:
            folded.shard.apply(order, control_partition=0, next_offset=control + 1)
    folded.take([one for one in log if (one.offset() or 0) >= folded.shard.next_offset])
    return folded.shard


def test_an_answer_from_the_shell_is_unlearned(kafka: RealKafka, site_on: Callable[..., Site]) -> None:
    site, start_ms = site_on(kafka, "unlearned"), int(time.time() * 1000) - MINUTES * 60_000
    story: dict[str, Any] = {"start_ms": start_ms, "hosts": 3, "ill": ((1, *ILL),)}
    assert site.feed(until_minute=AFTER, **story).end() == 0
    worker = site.graft_run()
    until(site.is_stored, "the outage is learned and stored")
    since, end = ((start_ms + minute * 60_000) // 1000 for minute in (ILL[0] - 1, ILL[1]))
    told = site.start(
        [sys.executable, "-m", "agents.cli", "label", "-c", str(site.toml()), "--series", SERIES, "--by", "test",
         "--answer", "incident", "--from", str(since), "--until", str(end)],
        "label",
    )  # fmt: skip
    assert told.end() == 0, told.said
    # Somewhere on the way the detector is killed; wherever it was, the supervisor's next one does it.
    until(lambda: any(one.get("before") for one in site.told("experiments")), "the answer is an order that was obeyed")
    kill_9(children(worker.popen.pid)["agents.detector"])
    assert site.feed(from_minute=AFTER, until_minute=MINUTES, **story).end() == 0
    (record,) = until(lambda: unlearned(site), "the window is un-learned")
    assert record["finding"] == "exact", record
    assert record["window"]["entity"] == HOST
    until(site.is_read, "all is read")
    assert worker.stop() == 0, worker.said[-3000:]

    partition, states = record["applied_at"]["partition"], site.states()
    wanted = marked_beforehand(site, partition, record)
    wanted.control_offsets = {int(k): v for k, v in states[partition].manifest["control_offsets"].items()}
    assert diff(wanted.export(), states[partition]) == []
    assert {one["id"] for one in unlearned(site)} == {record["id"]}
