"""/metrics and the probes: read by the real parser, bounded labels, a token where it belongs, progress not process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents.progress import Progress, ShardProgress
from agents.secret import Secret
from agents.web import checks, exposition
from agents.web.exposition import Exposition
from agents.web.server import Server
from agents.web.standing import FlowStanding, SinkStanding, Standing
from engine.errors import OutsideError

ROOT = Path(__file__).parents[3]
NOW_S = 1_000_000.0
SHARD = ShardProgress(
    topic="metrics", partition=3, next_offset=90, end_offset=100, saved_offset=80, replaying=False, state_bytes=4096,
    ledger={"learned": 80, "dead_letter": 10}, counters={"series": 7, "entities": 2, "unknown": 1.0},
)  # fmt: skip
PROGRESS = Progress(
    pid=1, started_ms=0, at_ms=int(NOW_S * 1000) - 2000, ready=True, counters={"records": 90}, sent={"alerts": 2},
    dead={"json": 10}, waiting=0, shards=(SHARD,),
)  # fmt: skip


def standing(**fields: Any) -> Standing:
    plain = Standing(
        version="1", now_s=NOW_S, up_s=500.0, progress=(PROGRESS,),
        sinks=(SinkStanding("webhook", "closed", {"delivered": 2}, 0.5, {"sent": 2, "queued": 1}),),
        flows=(FlowStanding("tuner", 5, 1),), reader_turned_s=NOW_S - 1, reader_assigned=True, flows_assigned=True,
        oldest_queued_s=NOW_S - 30, taken={"new": 2, "known": 1, "stale": 0}, drift={("level", "ordered"): 1},
        labels={("expected", "applied"): 1}, questions={"asked": 3}, open_questions={"asked": 1, "folded": 0},
        reader={"gaps": 1}, sent={"control": 4}, dead={"json": 1, "drift": 2},
    )  # fmt: skip
    return plain._replace(**fields)


def detector(age_s: float, **fields: Any) -> Progress:
    """Another one, last heard of so long ago."""
    at_ms = int((NOW_S - age_s) * 1000)
    return msgspec.structs.replace(PROGRESS, **{"at_ms": at_ms, **fields})


def samples(now: Standing) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus reads; no sample may come twice."""
    found = [
        ((sample.name, tuple(sorted(sample.labels.items()))), sample.value)
        for family in text_string_to_metric_families(Exposition(lambda: now).text().decode())
        for sample in family.samples
    ]
    assert len(found) == len(dict(found))
    return dict(found)


def names(found: list[checks.Check]) -> dict[str, bool | None]:
    return {check.name: check.ok for check in found}


def test_metrics_are_what_the_parser_reads() -> None:
    found = samples(standing())
    assert found["graft_lag_records", (("partition", "3"), ("topic", "metrics"))] == 10
    assert found["graft_unsaved_records", (("partition", "3"), ("topic", "metrics"))] == 10
    assert found["graft_ledger_records_total", (("outcome", "learned"), ("topic", "metrics"))] == 80
    assert found["graft_dead_letters_total", (("reason", "json"),)] == 11
    assert found["graft_dead_letters_total", (("reason", "drift"),)] == 2
    assert found["graft_sent_records_total", (("topic", "control"),)] == 4
    assert found["graft_notifier_gaps_total", ()] == 1
    assert found["graft_series", ()] == 7
    assert found["graft_alert_deliveries_total", (("outcome", "delivered"), ("sink", "webhook"))] == 2
    assert found["graft_alert_delivery_seconds_sum", (("sink", "webhook"),)] == 0.5
    assert found["graft_outbox_deliveries", (("sink", "webhook"), ("state", "queued"))] == 1
    assert found["graft_outbox_oldest_seconds", ()] == 30
    assert found["graft_review_queue_length", (("status", "asked"),)] == 1
    assert found["graft_sink_circuit_open", (("sink", "webhook"),)] == 0


@pytest.mark.parametrize("other", [detector(86_400.0), detector(1.0, ended=True)])
def test_a_detector_that_is_gone_is_no_part_of_now(other: Progress) -> None:
    """Its file stays behind; what it has counted in its life goes on counting."""
    found, alone = samples(standing(progress=(other, PROGRESS))), samples(standing())
    counted = {"graft_records_total", "graft_sent_records_total", "graft_dead_letters_total"}
    counted |= {"graft_detector_heartbeat_timestamp_seconds"}
    assert {key: value for key, value in found.items() if key[0] not in counted} == {
        key: value for key, value in alone.items() if key[0] not in counted
    }
    assert found["graft_records_total", ()] == 180


def test_a_partition_that_two_tell_of_is_of_the_newer_one() -> None:
    moved = msgspec.structs.replace(SHARD, next_offset=95)
    found = samples(standing(progress=(detector(1.0, shards=(moved,)), PROGRESS)))
    assert found["graft_lag_records", (("partition", "3"), ("topic", "metrics"))] == 5
    assert found["graft_series", ()] == 7
    assert found["graft_detectors_ready", ()] == 2


def test_what_the_detector_counts_is_shown() -> None:
    sources = [path for part in ("detector", "recovery") for path in (ROOT / "agents" / part).glob("*.py")]
    keys = [match[1] for path in sources for match in re.finditer(r"counters\[([^]]+)\] \+=", path.read_text())]
    counted = {word for key in keys for word in re.findall(r'"(\w+)"', key)}
    assert {"records", "uploads", "snapshots_put_off"} <= counted <= {name for name, _, _ in exposition._LIFE}


def test_every_metric_is_ours_helped_and_bounded() -> None:
    allowed = {
        "version", "topic", "partition", "outcome", "reason", "sink", "state", "flow", "kind", "answer", "status",
    }  # fmt: skip
    for family in text_string_to_metric_families(Exposition(standing).text().decode()):
        assert family.name.startswith("graft_")
        assert family.documentation
        for sample in family.samples:
            assert set(sample.labels) <= allowed


def test_nothing_running_yet_is_still_an_answer() -> None:
    empty = standing(progress=(), sinks=(), flows=(), reader_turned_s=0.0, oldest_queued_s=None, drift={}, labels={})
    assert b"graft_detectors_ready 0.0" in Exposition(lambda: empty).text()


@pytest.mark.parametrize(
    ("fields", "alive", "ready"),
    [
        ({}, True, True),
        ({"progress": (detector(60.0),)}, True, False),  # fetches a shard's state
        ({"progress": (detector(200.0),)}, False, False),
        ({"progress": (detector(86_400.0),)}, False, False),
        ({"progress": (detector(200.0),), "up_s": 10.0}, True, False),
        ({"progress": (detector(200.0, ended=True),)}, True, True),
        ({"progress": (detector(200.0), PROGRESS)}, False, False),  # the other one hangs
        ({"progress": (detector(200.0, ended=True), PROGRESS)}, True, True),
        ({"progress": (detector(86_400.0), PROGRESS)}, True, True),
        ({"progress": (detector(86_400.0), detector(60.0, ended=True))}, True, True),
        ({"reader_turned_s": NOW_S - 100}, False, False),
        ({"reader_turned_s": 0.0}, False, False),
        ({"reader_turned_s": 0.0, "up_s": 5.0}, True, True),
        ({"reader_assigned": False}, True, False),
        ({"flows_assigned": False}, True, False),
        ({"progress": ()}, True, True),
        ({"sinks": (SinkStanding("w", "open", {}, 0.0, {}),)}, True, True),
    ],
)
def test_probes(fields: dict[str, Any], alive: bool, ready: bool) -> None:
    now = standing(**fields)
    assert checks.passed(checks.alive(now)) is alive
    assert checks.passed(checks.ready(now)) is ready


def test_a_sink_that_is_down_is_degraded_not_unready() -> None:
    pause = checks.ready(standing(sinks=(SinkStanding("w", "closed", {}, 0.0, {}, held_s=120.0),)))[-1]
    assert (pause.ok, pause.detail) == (None, "circuit closed, asks for a pause of 120 s more")
    found = names(checks.ready(standing(sinks=(SinkStanding("w", "open", {}, 0.0, {}),))))
    assert found["sink w"] is None


def test_a_worker_that_replays_is_not_ready() -> None:
    assert names(checks.ready(standing(progress=(detector(2.0, ready=False),))))["shards"] is False


Ask = Callable[..., Coroutine[Any, Any, tuple[int, str]]]


def with_server(
    story: Callable[[Ask], Coroutine[Any, Any, None]], *, now: Standing, token: Secret | None = None
) -> None:
    async def scene() -> None:
        server = Server(lambda: now, host="127.0.0.1", port=0, token=token)
        await server.start()

        async def ask(path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
            async with (
                aiohttp.ClientSession() as session,
                session.request(method, f"http://127.0.0.1:{server.port}{path}", headers=headers) as response,
            ):
                return response.status, await response.text()

        try:
            await story(ask)
        finally:
            await server.stop()

    asyncio.run(scene())


def test_server() -> None:
    async def story(ask: Ask) -> None:
        assert await ask("/livez") == (200, "livez ok\n")
        status, text = await ask("/readyz?verbose")
        assert status == 200
        assert text.splitlines()[0] == "[+]detector: last sign of life 2 s ago"
        assert (await ask("/metrics"))[0] == 200
        assert (await ask("/"))[0] == 404
        assert (await ask("/metrics", "POST"))[0] == 405

    with_server(story, now=standing())


def test_what_failed_is_named_without_asking() -> None:
    async def story(ask: Ask) -> None:
        status, text = await ask("/readyz")
        assert (status, text) == (503, "[-]partitions: waiting for alerts\nreadyz failed\n")

    with_server(story, now=standing(reader_assigned=False))


def test_token() -> None:
    async def story(ask: Ask) -> None:
        assert (await ask("/metrics"))[0] == 401
        assert (await ask("/metrics", Authorization="Bearer wrong"))[0] == 401
        assert (await ask("/metrics", Authorization="Bearer tökén".encode().decode("latin-1")))[0] == 401
        assert (await ask("/metrics", Authorization="Bearer t0k"))[0] == 200
        assert (await ask("/livez"))[0] == 200

    with_server(story, now=standing(), token=Secret("t0k"))


def test_bytes_that_are_no_text_are_no_token() -> None:
    async def scene() -> None:
        server = Server(standing, host="127.0.0.1", port=0, token=Secret("t0k"))
        await server.start()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
            writer.close()
        finally:
            await server.stop()

    asyncio.run(scene())


def test_an_address_in_use_is_one_sentence(free_port: int) -> None:
    async def scene() -> None:
        first = Server(standing, host="127.0.0.1", port=free_port)
        second = Server(standing, host="127.0.0.1", port=free_port)
        await first.start()
        with pytest.raises(OutsideError, match=r"web\.listen"):
            await second.start()
        await first.stop()

    asyncio.run(scene())
