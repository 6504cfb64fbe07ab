"""`graft alert test`: both messages go out, and no secret is in what is shown."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from agents.secret import Secret
from agents.sinks import guard
from agents.sinks.config import AlertmanagerSink, ConsoleSink, PagerDutySink, SinkConfig, WebhookSink
from agents.sinks.probe import dry, resolve, secrets_of, send_test
from engine.errors import OutsideError

CANARY = "0123456789abcdefcanary0123456789"
KEY = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_both_arrive_and_the_answer_is_shown(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        sink = PagerDutySink(url=tool.url + "/v2/enqueue", routing_key=Secret(CANARY), allow_private=True)
        tool.answers = [202, 400]
        first, second = await send_test(sink, environment="prod", now_s=1e9)
        assert [one.json["event_action"] for one in tool.seen] == ["trigger", "resolve"]
        assert len({one.json["dedup_key"] for one in tool.seen}) == 1
        assert tool.seen[0].json["routing_key"] == CANARY
        assert (first.ok, first.status, second.ok, second.detail) == (True, 202, False, "said 400")
        assert orjson.loads(first.body)["routing_key"] == "***"
        assert CANARY not in repr((first, second))

    with_tool(story)


@pytest.mark.parametrize(
    "sink",
    [
        PagerDutySink(routing_key=Secret(CANARY)),
        WebhookSink(url=f"https://hooks.example/a?token={CANARY}", secrets=(KEY,)),
        AlertmanagerSink(url="http://am:9093", user="u", password=Secret(CANARY)),
    ],
)
def test_dry_run_sends_nothing_and_shows_no_secret(sink: SinkConfig) -> None:
    shown = asyncio.run(send_test(sink, environment="prod", now_s=1e9, post=dry))
    assert [one.state for one in shown] == ["firing", "resolved"]
    assert all(one.ok for one in shown)
    assert CANARY not in repr(shown)
    assert "v1," not in repr(shown)
    for secret in secrets_of(sink):
        assert secret.reveal() not in repr(shown)


def test_each_replica_is_tried() -> None:
    sink = AlertmanagerSink(urls=("http://one:9093", "http://two:9093"))
    shown = asyncio.run(send_test(sink, environment="prod", now_s=1e9, post=dry))
    assert [one.destination for one in shown] == ["alertmanager"] * 2 + ["alertmanager#2"] * 2


def test_no_token_in_a_path_is_shown() -> None:
    sink = WebhookSink(url=f"https://hooks.example/services/T0/{CANARY}?q={CANARY}")
    (first, _) = asyncio.run(send_test(sink, environment="prod", now_s=1e9, post=dry))
    assert first.url == "https://hooks.example/***"


def test_hosts_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, _port: int) -> list[str]:
        if host == "inside.example":
            return ["10.0.0.5"]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(guard, "system_lookup", lookup)

    def look(**fields: Any) -> None:
        asyncio.run(resolve([WebhookSink(**fields)], timeout_s=1.0))

    look(url="https://inside.example/hook", allow_private=True)
    look(url="https://8.8.8.8/hook")
    with pytest.raises(OutsideError, match=r"webhook: inside.example resolves .*: 10.0.0.5 is loopback"):
        look(url="https://inside.example/hook")
    with pytest.raises(OutsideError, match=r"ops: away.example does not resolve: Name or service not known"):
        look(url="https://away.example/canary", name="ops")
    asyncio.run(resolve([ConsoleSink()], timeout_s=1.0))


def test_console(capsys: pytest.CaptureFixture[str]) -> None:
    shown = asyncio.run(send_test(ConsoleSink(), environment="prod", now_s=1e9))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["FIRING", "RESOLVED"]
    assert [one.ok for one in shown] == [True, True]
