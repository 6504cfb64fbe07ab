"""A real Alertmanager: fired, seen in its API, told to its receiver, resolved; and the errors it really gives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.sinks.config import AlertmanagerSink
from agents.sinks.delivery import Outcome
from agents.sinks.http import Client
from agents.sinks.notice import FIRING, RESOLVED, Notice
from agents.sinks.table import build

CONFIG = """
route: {{receiver: hook, group_by: ['incident'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
- name: hook
  webhook_configs: [{{url: '{url}/hook', send_resolved: true}}]
"""


@pytest.fixture
def manager_url(
    needs: Callable[[str], str], free_ports: Callable[[int], list[int]], tmp_path: Path
) -> Iterator[Callable[[str], str]]:
    """`manager_url(receiver_url)` starts an Alertmanager that tells the receiver; its base URL."""
    program = needs("prometheus-alertmanager")
    started: list[subprocess.Popen[bytes]] = []

    def start(receiver: str) -> str:
        (port,) = free_ports(1)
        (tmp_path / "am.yml").write_text(CONFIG.format(url=receiver))
        with (tmp_path / "am.log").open("wb") as log:
            started.append(subprocess.Popen(
                [program, f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/am",
                 f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
                stdout=log, stderr=log,
            ))  # fmt: skip
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.kill()
        process.wait()


async def ask(url: str) -> Any:
    def fetch() -> Any:
        with urllib.request.urlopen(url, timeout=5) as response:
            return json.load(response)

    return await asyncio.to_thread(fetch)


async def until(what: Callable[[], Any], *, within_s: float = 20.0) -> Any:
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError):
            found = await what()
            if found:
                return found
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def sink_to(url: str) -> AsyncIterator[Any]:
    await until(lambda: ask(url + "/api/v2/status"))
    async with Client() as client:
        ((_, sink),) = build([AlertmanagerSink(url=url)], post=client.post)
        yield sink


def notice(record: dict[str, Any], first: dict[str, Any]) -> Notice:
    return Notice(record["id"], record["incident"], record["state"], first, record)


def test_fired_seen_told_and_resolved(with_tool: Any, alert_record: Any, manager_url: Any) -> None:
    async def story(tool: Any) -> None:
        url = manager_url(tool.url)
        now_ms = int(time.time() * 1000)
        first = alert_record(started_ms=now_ms - 5000, because='93 "percent", expected 30–52\nü')
        last = alert_record(RESOLVED, started_ms=now_ms - 5000, ended_ms=now_ms, severity=1.0)
        async with sink_to(url) as sink:
            for _ in range(3):
                answer = await sink.send([notice(first, first)], now_s=time.time())
                assert answer.outcome is Outcome.DELIVERED, answer
            (seen,) = await until(lambda: ask(url + "/api/v2/alerts"))
            assert seen["status"]["state"] in ("active", "unprocessed")
            assert (seen["labels"]["severity"], seen["labels"]["host"]) == ("critical", "web-1")
            assert seen["annotations"]["value"] == "93"

            async def told(status: str) -> Any:
                return [one.json for one in tool.seen if one.json["status"] == status]

            (firing,) = await until(lambda: told(FIRING))
            answer = await sink.send([notice(last, first)], now_s=time.time())
            assert answer.outcome is Outcome.DELIVERED, answer
            (resolved,) = await until(lambda: told(RESOLVED))
            assert firing["alerts"][0]["fingerprint"] == resolved["alerts"][0]["fingerprint"]

            async def gone() -> bool:
                return await ask(url + "/api/v2/alerts?active=true") == []

            await until(gone)
            assert len(tool.seen) == 2, "once per incident, with one end"

    with_tool(story)


def test_a_bad_alert_in_a_batch_is_400_and_the_good_one_is_stored(
    with_tool: Any, alert_record: Any, manager_url: Any
) -> None:
    async def story(tool: Any) -> None:
        url = manager_url(tool.url)
        good = alert_record(incident="good")
        bad = alert_record(incident="bad")
        async with sink_to(url) as sink:
            request = sink.request([notice(good, good), notice(bad, bad)], now_s=time.time())
            # Our own labels are always sound, so what it minds is put in by hand.
            body = request.body.replace(b'"rack":"r 3","alertname":"GraftAnomaly"', b'"ra-ck":"r","alertname":"x"', 2)
            spoilt = body.replace(b'"ra-ck":"r"', b'"rack":"r"', 1)
            async with Client() as client:
                answer = await client.post(request._replace(body=spoilt))
            assert (answer.outcome, answer.status) == (Outcome.REJECTED, 400), answer
            (seen,) = await until(lambda: ask(url + "/api/v2/alerts"))
            assert seen["labels"]["incident"] == "good"

    with_tool(story)
