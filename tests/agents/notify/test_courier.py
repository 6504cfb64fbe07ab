"""The courier against a tool that listens: once per incident, in order, whatever the tool does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agents.notify.courier import Courier, InThread, Terms
from agents.notify.gate import Circuit, Gate
from agents.notify.outbox import Incoming, Outbox
from agents.sinks.config import AlertmanagerSink, SinkConfig, WebhookSink
from agents.sinks.http import Client
from agents.sinks.table import build

HOME = ("graft.alerts", 0)
START_S = 1_767_225_700.0
Record = dict[str, Any]


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s


async def directly(work: Callable[[], Any]) -> Any:
    return work()


class Desk:
    """An outbox, a courier, a clock."""

    def __init__(self, path: Path, config: SinkConfig, client: Client) -> None:
        ((_, sink),) = build([config], post=client.post)
        self.clock = Clock()
        late_s = {sink.destination: config.max_alert_age_s}
        self.box = Outbox(path, destinations=[sink.destination], late_s=late_s)
        self.box.own([HOME], settled={}, now_s=0.0)
        self.offset = 0
        self.courier = Courier(
            sink, self.box, Gate(per_minute=6000), Terms(config.max_alert_age_s, config.give_up_s),
            run=InThread(directly), clock=self.clock, random=lambda: 0.5,
        )  # fmt: skip

    def take(self, *records: Record) -> None:
        for record in records:
            incoming = Incoming(*HOME, self.offset, record)
            self.offset += 1
            self.box.accept([incoming], {HOME: self.offset}, now_s=self.clock())

    async def until_idle(self, *, most_s: float = 0.0) -> None:
        """Step; where the courier wants to wait, let that time pass, up to most_s in all."""
        end_s = self.clock.now_s + most_s
        while True:
            wait_s = await self.courier.step()
            if wait_s > 0 and self.clock.now_s + wait_s > end_s:
                return
            self.clock.now_s += wait_s


@pytest.fixture
def play(with_tool: Any, tmp_path: Path) -> Callable[..., None]:
    def run(story: Any, config: Callable[[str], SinkConfig]) -> None:
        async def scene(tool: Any) -> None:
            async with Client() as client:
                desk = Desk(tmp_path / "outbox.db", config(tool.url), client)
                await story(tool, desk)
                desk.box.close()

        with_tool(scene)

    return run


def hook(url: str) -> SinkConfig:
    return WebhookSink(url=url + "/hook", allow_private=True, total_timeout_s=0.5)


def manager(url: str) -> SinkConfig:
    return AlertmanagerSink(url=url)


def ids(tool: Any) -> list[str]:
    return [one.headers["webhook-id"] for one in tool.seen]


def test_trigger_then_resolve(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        desk.take(alert_record(), alert_record("resolved"))
        await desk.until_idle()
        assert ids(tool) == ["a1-firing", "a1-resolved"]
        assert desk.box.counts() == {("webhook", "sent"): 2}

    play(story, hook)


def test_an_outage_of_half_an_hour_loses_and_reorders_nothing(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        records = [alert_record(id=f"id-{n}", incident=f"i-{n % 3}", started_ms=n) for n in range(6)]
        desk.take(*records)
        end_s = START_S + 1800

        def answer(_seen: Any) -> web.Response:
            return web.Response(status=503 if desk.clock.now_s < end_s else 200)

        tool.answers = [answer] * 1000
        await desk.until_idle(most_s=4000)
        good = ids(tool)[-6:]
        assert sorted(good) == sorted(f"id-{n}" for n in range(6))
        assert all(good.index(f"id-{n}") < good.index(f"id-{n + 3}") for n in range(3)), "order per incident"
        assert len(tool.seen) < 80, "an open breaker asks once in 30 s"
        assert desk.courier.gate.circuit is Circuit.CLOSED

    play(story, hook)


def test_a_lost_reply_is_sent_again_under_the_same_id(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        tool.hang = True
        desk.take(alert_record())
        await desk.courier.step()
        tool.hang = False
        await desk.until_idle(most_s=60)
        assert ids(tool) == ["a1-firing", "a1-firing"]
        assert tool.seen[0].body == tool.seen[1].body

    play(story, hook)


def test_refused_is_parked_and_loud(play: Any, alert_record: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        tool.answers = [400]
        desk.take(alert_record(), alert_record("resolved"))
        await desk.until_idle(most_s=600)
        assert len(tool.seen) == 1
        assert desk.box.counts() == {("webhook", "parked"): 1, ("webhook", "folded"): 1}

    play(story, hook)
    assert "parked" in caplog.text


def test_given_up_after_a_day(play: Any, alert_record: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        tool.answers = [500] * 10_000
        desk.take(alert_record())
        await desk.until_idle(most_s=90_000)
        assert desk.box.counts() == {("webhook", "parked"): 1}
        assert 280 < len(tool.seen) < 700

    play(story, hook)
    assert "did not take in 24 h" in caplog.text


def test_old_alerts_are_sent_and_marked_late(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        desk.take(alert_record(), alert_record(id="b", incident="b", at_ms=int(START_S * 1000) - 901_000))
        await desk.until_idle()
        assert ids(tool) == ["a1-firing"], "its end may be close behind"
        await desk.until_idle(most_s=61)
        assert [one.headers.get("graft-late") for one in tool.seen] == [None, "true"]

    play(story, hook)


def test_retry_after_holds(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        tool.answers = [web.Response(status=429, headers={"Retry-After": "100"})]
        desk.take(alert_record())
        assert await desk.courier.step() == 0.0
        assert await desk.courier.step() == 100.0
        await desk.until_idle(most_s=101)
        assert len(tool.seen) == 2

    play(story, hook)


def test_a_long_pause_is_told_once(play: Any, alert_record: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        tool.answers = [web.Response(status=503, headers={"Retry-After": "3600"})]
        desk.take(alert_record())
        await desk.until_idle(most_s=301)
        assert len(tool.seen) == 2, "an hour is cut to five minutes"

    play(story, hook)
    assert caplog.text.count("asks for a pause of 300 s") == 1


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 409, 410])
def test_what_is_about_us_or_the_way_is_waited_for(play: Any, alert_record: Any, status: int) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        tool.answers = [status] * 6
        desk.take(*(alert_record(id=f"id-{n}", incident=f"i-{n}") for n in range(10)))
        for _ in range(5):
            await desk.courier.step()
        assert desk.courier.gate.circuit is Circuit.OPEN, "and /readyz says so"
        await desk.until_idle(most_s=600)
        assert desk.box.counts() == {("webhook", "sent"): 10}

    play(story, hook)


def test_bad_ones_in_a_batch_are_found_one_by_one(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        def answer(seen: Any) -> web.Response:
            bad = any(alert["labels"]["incident"] == "bad" for alert in seen.json)
            return web.Response(status=400 if bad else 200)

        tool.answers = [answer] * 100
        desk.courier._repeat_s = 1e12
        desk.take(*(alert_record(id=name, incident=name) for name in ("one", "bad", "two")))
        await desk.until_idle(most_s=300)
        assert [len(seen.json) for seen in tool.seen] == [3, 1, 1, 1], "never the whole batch again"
        assert desk.box.counts() == {("alertmanager", "sent"): 2, ("alertmanager", "parked"): 1}

    play(story, manager)


def test_a_refused_batch_goes_one_by_one_through_the_gate(play: Any, alert_record: Any) -> None:
    """A tool that dies in between is seen by the breaker, not asked 64 times; the rate holds."""

    async def story(tool: Any, desk: Desk) -> None:
        tool.answers = [400, 200] + [503] * 5
        desk.courier.gate.per_minute = 2.0
        desk.courier._repeat_s = 1e12
        desk.take(*(alert_record(id=f"id-{n}", incident=f"i-{n}") for n in range(64)))
        assert [await desk.courier.step() for _ in range(2)] == [0.0, 0.0]
        assert await desk.courier.step() == pytest.approx(30.0), "two a minute, whatever was refused"
        desk.courier.gate.per_minute, desk.courier.gate.tokens = 6000.0, 100.0
        for _ in range(9):
            await desk.courier.step()
        assert [len(seen.json) for seen in tool.seen] == [64, 1, 1, 1, 1, 1, 1]
        assert desk.courier.gate.circuit is Circuit.OPEN
        await desk.until_idle(most_s=600)
        assert desk.box.counts() == {("alertmanager", "sent"): 64}

    play(story, manager)


def test_many_repeats_leave_none_out_and_hold_up_no_new_alert(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        desk.take(*(alert_record(id=f"id-{n:03}", incident=f"i-{n:03}") for n in range(200)))
        await desk.until_idle()
        tool.seen.clear()
        desk.clock.now_s += 61.0
        await desk.courier.step()
        desk.take(alert_record(id="new", incident="new"))
        await desk.courier.step()
        told = [{alert["labels"]["incident"] for alert in seen.json} for seen in tool.seen]
        assert (len(told[0]), told[1]) == (64, {"new"})
        await desk.until_idle()
        assert len(set().union(*({alert["labels"]["incident"] for alert in seen.json} for seen in tool.seen))) == 201
        assert len(tool.seen) == 5

    play(story, manager)


def test_an_end_behind_a_beginning_that_backs_off_costs_no_polling(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        tool.answers = [web.Response(status=503, headers={"Retry-After": "20"})]
        desk.take(alert_record(), alert_record("resolved"))
        await desk.courier.step()
        desk.courier.gate.held_until_s = 0.0
        assert await desk.courier.step() == pytest.approx(20.5, abs=0.01)

    play(story, hook)


def test_alertmanager_hears_what_burns_every_minute_and_the_end_for_five(play: Any, alert_record: Any) -> None:
    async def story(tool: Any, desk: Desk) -> None:
        desk.take(alert_record())
        end_ms = int(START_S * 1000)
        await desk.until_idle(most_s=180.5)
        assert 4 <= len(tool.seen) <= 5
        ends = [seen.json[0]["endsAt"] for seen in tool.seen]
        assert ends == sorted(ends)
        desk.take(alert_record("resolved", ended_ms=end_ms))
        before = len(tool.seen)
        await desk.until_idle(most_s=900)
        after = tool.seen[before:]
        assert 5 <= len(after) <= 7
        assert {seen.json[0]["endsAt"] for seen in after} == {"2026-01-01T00:01:40.000Z"}
        assert len({str(seen.json[0]["labels"]) for seen in tool.seen}) == 1

    play(story, manager)


def test_crash_between_yes_and_mark_means_the_same_id_again(with_tool: Any, alert_record: Any, tmp_path: Path) -> None:
    class Crash(BaseException):
        pass

    def point(name: str) -> None:
        if name == "answered":
            raise Crash

    async def scene(tool: Any) -> None:
        async with Client() as client:
            desk = Desk(tmp_path / "outbox.db", hook(tool.url), client)
            desk.take(alert_record())
            desk.courier._point = point
            with pytest.raises(Crash):
                await desk.courier.step()
            desk.box.close()
            again = Desk(tmp_path / "outbox.db", hook(tool.url), client)
            await again.until_idle()
            again.box.close()
        assert ids(tool) == ["a1-firing", "a1-firing"]

    with_tool(scene)


@pytest.fixture(autouse=True)
def _no_leftover_tasks() -> Iterator[None]:
    yield
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
