"""Laws of what Graft says of itself: progress decides, nothing grows with the fleet, and a token guards the details."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agents import telemetry
from agents.progress import Progress, ShardProgress
from agents.secret import Secret
from agents.telemetry import Deliveries, View
from agents.web.server import serve
from engine.errors import OutsideError

NOW_MS = 1_767_225_600_000


def shard(partition: int = 0) -> ShardProgress:
    return ShardProgress(
        topic="metrics",
        partition=partition,
        next_offset=90,
        end_offset=100,
        saved_offset=80,
        replaying=False,
        state_bytes=4096,
        ledger={"learned": 85, "late": 5},
        counters={"series": 7, "entities": 2, "clock_ms": NOW_MS - 1000, "firing": 1},
    )


def detector(*, age_ms: int = 500, ready: bool = True) -> Progress:
    return Progress(
        pid=7,
        started_ms=NOW_MS - 60_000,
        at_ms=NOW_MS - age_ms,
        ready=ready,
        counters={"records": 90},
        sent={"alerts": 3},
        dead={"json": 2},
        waiting=0,
        shards=(shard(0), shard(1)),
    )


DELIVERIES = Deliveries({("ops", "queued"): 2}, 300.0, {"ops": {"delivered": 4}}, {"ops": 0.5})


def view(*detectors: Progress, deliveries: Deliveries | None = DELIVERIES) -> View:
    return View(NOW_MS, detectors, deliveries, {"version": "0.1.0"})


def values(shown: View) -> dict[tuple[str, ...], float]:
    # Labels come back in the order of their names.
    families = text_string_to_metric_families(telemetry.exposition(shown).decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_the_exposition_is_read_by_prometheus() -> None:
    found = values(view(detector()))
    assert found["graft_build_info", "0.1.0"] == 1
    assert found["graft_records_total",] == 90
    assert found["graft_lag_records", "1", "metrics"] == 10
    assert found["graft_ledger_records_total", "late", "0", "metrics"] == 5
    assert found["graft_unsaved_records", "0", "metrics"] == 10
    assert found["graft_event_timestamp_seconds", "0", "metrics"] == (NOW_MS - 1000) / 1000
    assert found["graft_dead_letters_total", "json"] == 2
    assert found["graft_alert_deliveries_total", "ops", "delivered"] == 4
    assert all(name[0].startswith("graft_") for name in found)


def test_no_detector_and_no_notifier_is_shown_as_such() -> None:
    found = values(view(deliveries=None))
    assert found["graft_records_total",] == 0
    assert not any(name[0].startswith("graft_outbox") for name in found)


@pytest.mark.parametrize(
    ("shown", "is_live", "is_ready"),
    [
        (view(detector()), True, True),
        (view(detector(ready=False)), True, False),
        (view(detector(), detector(age_ms=31_000)), False, False),
        (view(), True, True),
    ],
)
def test_progress_decides(shown: View, is_live: bool, is_ready: bool) -> None:
    assert telemetry.passed(telemetry.live(shown)) == is_live
    assert telemetry.passed(telemetry.ready(shown)) == is_ready


def test_a_sink_that_is_down_is_degraded_only() -> None:
    text = telemetry.verbose(telemetry.ready(view(detector())))
    assert "[~] deliveries: oldest alert waits 300 s" in text


def asked(requests: list[tuple[str, dict[str, str]]], *, token: Secret | None = None) -> list[tuple[int, str]]:
    async def ask() -> list[tuple[int, str]]:
        runner, port = await serve("127.0.0.1:0", lambda: view(detector(ready=False)), token=token)
        answers = []
        try:
            async with aiohttp.ClientSession() as session:
                for path, headers in requests:
                    async with session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as answer:
                        answers.append((answer.status, await answer.text()))
        finally:
            await runner.cleanup()
        return answers

    return asyncio.run(ask())


def test_the_routes() -> None:
    answers = asked([(path, {}) for path in ("/livez", "/readyz", "/readyz?verbose", "/metrics", "/")])
    assert [status for status, _ in answers] == [200, 503, 503, 200, 404]
    assert answers[0][1] == "ok\n"
    assert "[-] shards-0: 2 shards, 20 records behind" in answers[2][1]
    assert "graft_lag_records" in answers[3][1]


def test_a_token_guards_all_that_has_a_detail() -> None:
    good, bad = {"Authorization": "Bearer canary"}, {"Authorization": "Bearer other"}
    asks: list[tuple[str, dict[str, Any]]] = [
        ("/livez", {}), ("/livez?verbose", {}), ("/metrics", {}), ("/metrics", bad), ("/metrics", good)
    ]  # fmt: skip
    answers = asked(asks, token=Secret("canary"))
    assert [status for status, _ in answers] == [200, 401, 401, 401, 200]
    assert not any("canary" in text for _, text in answers)


def test_an_address_in_use_is_one_sentence() -> None:
    async def twice() -> None:
        runner, port = await serve("127.0.0.1:0", view)
        try:
            with pytest.raises(OutsideError, match="cannot be had"):
                await serve(f"127.0.0.1:{port}", view)
        finally:
            await runner.cleanup()

    asyncio.run(twice())


def test_the_series_of_metrics_do_not_grow_with_the_fleet() -> None:
    assert len(values(view(detector(), detector()))) < 2 * len(values(view(detector())))
