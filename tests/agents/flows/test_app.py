"""The worker for real, on the embedded broker: alert -> webhook, drift -> order, answer -> order, and its ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.embedded import EmbeddedBroker
from agents.settings import load
from agents.topics import topic_plans

ROOT = Path(__file__).parents[3]
WITHIN_S = 60.0

CONFIG = """
environment = "prod"
[kafka]
bootstrap = "{bootstrap}"
group = "{group}"
# The embedded broker knows no static members, so that a restart waits for the session of the former life to end.
properties = {{ "session.timeout.ms" = "4000" }}
[[inputs]]
topic = "metrics"
[state]
dir = "{folder}/{state}"
[[sinks]]
kind = "webhook"
url = "{url}/hook"
allow_private = true
max_alert_age_s = 1e12
[web]
listen = "127.0.0.1:{port}"
"""

DRIFT = {
    "schema": "graft.drift/1", "id": "d1", "at_ms": 5, "environment": "prod", "entity": "host=a", "kind": "level",
    "series": 'cpu{host="a"}', "before": {"level": 1.0, "mean": 1.0, "sd": 0.5, "season_level": 0.0},
    "after": {"level": 3.0}, "evidence": {}, "because": "moved",
    "follows": [{"topic": "metrics", "partition": 0, "offset": 7}],
}  # fmt: skip
ESCALATION = {
    "schema": "graft.escalation/1", "id": "e1-opened", "escalation": "e1", "state": "opened", "at_ms": 5,
    "entity": "host=a", "series": 'cpu{host="a"}', "follows": [{"topic": "metrics", "partition": 0, "offset": 7}],
}  # fmt: skip
LABEL = {
    "schema": "graft.label/1", "id": "l1", "at_ms": 6, "escalation": "e1", "series": None, "entity": None,
    "answer": "expected", "from_ms": None, "until_ms": None, "by": "ann", "reason": "", "target": None,
}  # fmt: skip


class Place:
    """A broker with our topics, and the worker as a child process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.broker = EmbeddedBroker({plan.name: 1 for plan in topic_plans()})
        self.children: list[subprocess.Popen[str]] = []

    def configure(self, url: str, *, state: str, port: int) -> Path:
        path = self.folder / f"{state}.toml"
        path.write_text(CONFIG.format(
            bootstrap=self.broker.bootstrap, group="graft", folder=self.folder, state=state, url=url, port=port
        ))  # fmt: skip
        return path

    def start(self, url: str, *extra: str, state: str = "state", port: int | None = None) -> subprocess.Popen[str]:
        path = self.configure(url, state=state, port=self.port if port is None else port)
        command = [sys.executable, "-m", "agents.flows.app", "-c", str(path), *extra]
        child = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.children.append(child)
        return child

    def produce(self, topic: str, *records: Any) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.broker.bootstrap})
        for record in records:
            data = record if isinstance(record, bytes) else orjson.dumps(record)
            producer.produce("graft." + topic, data, b"key")
        assert producer.flush(10) == 0

    def read(self, topic: str, count: int) -> list[Any]:
        """The first `count` messages of a topic."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "test"})
        consumer.assign([TopicPartition("graft." + topic, 0, 0)])
        found: list[Any] = []
        deadline = time.monotonic() + WITHIN_S
        while len(found) < count and time.monotonic() < deadline:
            found += [one for one in consumer.consume(100, 0.2) if one.error() is None]
        consumer.close()
        return found

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def place(tmp_path: Path, free_port: int) -> Iterator[Place]:
    one = Place(tmp_path, free_port)
    with one.broker:
        yield one
        for child in one.children:
            if child.poll() is None:
                child.kill()
            child.communicate()


async def until(found: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (got := await asyncio.to_thread(found)):
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.05)
    return got


@pytest.mark.slow
def test_the_whole_worker(place: Place, with_tool: Any, alert_record: Any) -> None:
    async def story(tool: Any) -> None:
        child = place.start(tool.url)
        place.produce("alerts", b"{", alert_record(), alert_record("resolved"))
        place.produce("drift", b"[]", DRIFT, {**DRIFT, "before": None, "id": "d2", "series": "other"}, DRIFT)
        place.produce("feedback", {**LABEL, "escalation": "nobody", "id": "l0"}, LABEL, LABEL)
        place.produce("escalations", ESCALATION)

        orders = [orjson.loads(one.value()) for one in await asyncio.to_thread(place.read, "control", 2)]
        assert {order["kind"] for order in orders} == {"retune", "label"}
        by_kind = {order["kind"]: order for order in orders}
        wanted = {"action": "relevel", "shift": 2.0, "mean": 1.0, "sd": 0.5, "season_level": 0.0}
        assert by_kind["retune"]["params"] == wanted
        assert by_kind["retune"]["follows"][-1] == {"topic": "graft.drift", "partition": 0, "offset": 1}
        assert by_kind["label"]["target"]["partition"] == 0
        questions = [orjson.loads(one.value()) for one in await asyncio.to_thread(place.read, "escalations", 2)][:2]
        assert [(one["state"], one.get("label")) for one in questions] == [("opened", None), ("answered", "l1")]

        await until(lambda: len(tool.seen) == 2)
        assert [one.headers["webhook-id"] for one in tool.seen] == ["a1-firing", "a1-resolved"]

        letters = await asyncio.to_thread(place.read, "dlq", 4)
        reasons = {dict(one.headers())["graft.err.reason"]: one.value() for one in letters}
        assert set(reasons) == {b"json", b"shape", b"drift", b"unknown_escalation"}
        assert reasons[b"json"] == b"{"

        await until(lambda: place.get("/readyz")[0] == 200)
        _, verbose = await asyncio.to_thread(place.get, "/readyz?verbose")
        assert "[+]sink webhook: circuit closed" in verbose
        _, metrics = await asyncio.to_thread(place.get, "/metrics")
        for line in (
            'graft_alert_deliveries_total{outcome="delivered",sink="webhook"} 2.0',
            'graft_drift_total{kind="level",outcome="ordered"} 1.0',
            'graft_labels_total{answer="expected",outcome="applied"}',
            'graft_flow_refused_total{flow="notifier"} 1.0',
        ):
            assert line in metrics, metrics

        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(child.communicate, timeout=30)
        assert child.returncode == 0, errors
        assert time.monotonic() - began < 10
        assert "Traceback" not in errors

        again = place.start(tool.url)
        place.produce("alerts", alert_record(), alert_record(id="b1", incident="b", started_ms=9))
        await until(lambda: len(tool.seen) == 3)
        assert tool.seen[2].headers["webhook-id"] == "b1", "the replayed trigger of the resolved incident is not told"
        again.send_signal(signal.SIGTERM)
        await asyncio.to_thread(again.communicate, timeout=30)
        assert again.returncode == 0
        assert not (ROOT / "graft-flows-data").exists(), "Faust leaves no folder where it is started"

    with_tool(story)


@pytest.mark.slow
def test_killed_while_the_tool_is_down(place: Place, with_tool: Any, alert_record: Any) -> None:
    async def story(tool: Any) -> None:
        tool.answers = [503] * 10_000
        first = place.start(tool.url)
        place.produce("alerts", alert_record(), alert_record("resolved"))
        await until(lambda: len(tool.seen) >= 2)
        first.kill()
        await asyncio.to_thread(first.communicate)
        tool.answers = []
        tool.seen.clear()
        place.start(tool.url)
        await until(lambda: len(tool.seen) >= 2)
        assert [one.headers["webhook-id"] for one in tool.seen] == ["a1-firing", "a1-resolved"]

    with_tool(story)


@pytest.mark.slow
def test_a_lost_disk_repeats_only_what_was_on_its_way(place: Place, with_tool: Any, alert_record: Any) -> None:
    """The outbox is lost: told incidents are learned from the topic, not told again; the open one gets its end."""

    async def story(tool: Any) -> None:
        first = place.start(tool.url)
        place.produce("alerts", alert_record(), alert_record("resolved"), alert_record(id="b1", incident="b"))
        await until(lambda: len(tool.seen) == 3)
        first.send_signal(signal.SIGTERM)
        await asyncio.to_thread(first.communicate, timeout=30)
        for path in (place.folder / "state" / "notifier").glob("outbox*"):
            path.unlink()
        tool.seen.clear()
        place.start(tool.url)
        place.produce("alerts", alert_record("resolved", id="b2", incident="b"))
        await until(lambda: tool.seen)
        await asyncio.sleep(0.5)
        assert [one.headers["webhook-id"] for one in tool.seen] == ["b2"]

    with_tool(story)


@pytest.mark.slow
def test_another_worker_takes_over(place: Place, with_tool: Any, alert_record: Any) -> None:
    """The first dies with an alert untold and an incident open; the second, on another disk, tells the one and ends
    the other, and what the first had told is not told again."""

    async def story(tool: Any) -> None:
        first = place.start(tool.url)
        place.produce("alerts", alert_record())
        await until(lambda: len(tool.seen) == 1)
        await asyncio.sleep(1.5)
        tool.answers = [503] * 10_000
        place.produce("alerts", alert_record(id="b1", incident="b"))
        await until(lambda: len(tool.seen) >= 2)
        first.kill()
        await asyncio.to_thread(first.communicate)
        tool.answers.clear()
        tool.seen.clear()
        place.start(tool.url, state="other", port=0)
        place.produce("alerts", alert_record("resolved"))
        await until(lambda: len(tool.seen) == 2)
        assert sorted(one.headers["webhook-id"] for one in tool.seen) == ["a1-resolved", "b1"]

    with_tool(story)


@pytest.mark.slow
def test_a_broker_that_was_away_is_found_again(place: Place, with_tool: Any, alert_record: Any) -> None:
    async def story(tool: Any) -> None:
        child = place.start(tool.url)
        place.produce("alerts", alert_record())
        await until(lambda: len(tool.seen) == 1)
        place.broker.down()
        await asyncio.sleep(6)
        place.broker.up()
        place.produce("alerts", alert_record("resolved"))
        place.produce("drift", DRIFT)
        await until(lambda: len(tool.seen) == 2)
        orders = await asyncio.to_thread(place.read, "control", 1)
        place.broker.down()
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        _, errors = await asyncio.to_thread(child.communicate, timeout=30)
        assert len(orders) == 1, errors
        assert time.monotonic() - began < 20, "a stop must not wait for a broker that is away"
        assert child.returncode == 0, errors
        assert len(errors.splitlines()) < 300, "repeated errors are limited"

    with_tool(story)


@pytest.mark.slow
def test_dry_run_sends_nothing(place: Place, with_tool: Any, alert_record: Any) -> None:
    async def story(tool: Any) -> None:
        child = place.start(tool.url, "--dry-run")
        place.produce("alerts", alert_record())
        assert child.stdout is not None
        line = await asyncio.to_thread(child.stdout.readline)
        body = await asyncio.to_thread(child.stdout.readline)
        assert line == f"POST {tool.url}/***\n", "a path is often a token"
        assert orjson.loads(body) == alert_record()
        assert tool.seen == []

    with_tool(story)


def test_no_broker_is_one_sentence_and_three(tmp_path: Path, free_port: int) -> None:
    from agents.flows import app

    path = tmp_path / "graft.toml"
    path.write_text(
        CONFIG.format(bootstrap=f"127.0.0.1:{free_port}", group="g", folder=tmp_path, state="s", url="http://h", port=0)
    )
    settings = load(path, env={})
    with pytest.raises(app.OutsideError, match="No broker at"):
        app.wait_for_broker(settings, most_s=0.1, sleep=lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_the_broker_answers_does_not_wait_for_it(
    tmp_path: Path, free_port: int, number: signal.Signals
) -> None:
    path = tmp_path / "graft.toml"
    path.write_text(
        CONFIG.format(bootstrap=f"127.0.0.1:{free_port}", group="g", folder=tmp_path, state="s", url="http://h", port=0)
    )
    command = [sys.executable, "-m", "agents.flows.app", "-c", str(path), "--log", "text"]
    child = subprocess.Popen(command, cwd=ROOT, text=True, stderr=subprocess.PIPE)
    try:
        assert child.stderr is not None
        for line in child.stderr:
            if "refused" in line or "Waiting for the broker" in line:
                break
        began_s = time.monotonic()
        child.send_signal(number)
        said = child.stderr.read()
        assert child.wait(20) == 0, said
        assert time.monotonic() - began_s < 2
        assert "cut short" not in said
    finally:
        child.kill()
        child.communicate()


def test_a_configuration_that_cannot_work_is_two(tmp_path: Path) -> None:
    path = tmp_path / "graft.toml"
    path.write_text("[kafka]\nbootstrap = 5\n")
    command = [sys.executable, "-m", "agents.flows.app", "-c", str(path), "--log", "text"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "bootstrap" in done.stderr
