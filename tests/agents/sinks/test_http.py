"""The client: every failure is an answer, nothing is followed, little is read, nothing secret is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from agents.secret import Secret
from agents.sinks import http
from agents.sinks.delivery import Outcome
from agents.sinks.http import ANSWER_CAP_BYTES, DETAIL_CAP, Client
from agents.sinks.notice import Request

TOKEN = Secret("canary-4711")


def request(url: str, *, total_timeout_s: float = 5.0) -> Request:
    return Request(url, {"X": "y"}, b'{"a":1}', True, 1.0, total_timeout_s, (TOKEN,))


def test_redirects_are_not_followed(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        tool.answers = [web.Response(status=302, headers={"Location": tool.url + "/elsewhere"})]
        async with Client() as client:
            answer = await client.post(request(tool.url + "/hook"))
        assert (answer.outcome, answer.status) == (Outcome.RETRY, 302)
        assert [one.path for one in tool.seen] == ["/hook"]

    with_tool(story)


def test_retry_after_is_heard(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        tool.answers = [web.Response(status=429, headers={"Retry-After": "17"})]
        async with Client() as client:
            assert (await client.post(request(tool.url))).retry_after_s == 17.0

    with_tool(story)


def test_ten_megabytes_cost_little(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        tool.answers = [web.Response(status=500, body=b"x" * 10_000_000)]
        async with Client() as client:
            answer = await client.post(request(tool.url))
        assert (answer.status, len(answer.detail)) == (500, DETAIL_CAP)
        assert ANSWER_CAP_BYTES == 65536

    with_tool(story)


def test_a_hanging_tool_and_a_dead_one(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        tool.hang = True
        async with Client() as client:
            answer = await client.post(request(tool.url, total_timeout_s=0.2))
            assert (answer.outcome, answer.status, answer.detail) == (Outcome.RETRY, 0, "no answer within 0.2 s")
            answer = await client.post(request("http://127.0.0.1:1/secret-path-xyz?token=abc"))
            assert (answer.outcome, answer.status) == (Outcome.RETRY, 0)
            assert "secret-path-xyz" not in answer.detail
            assert "abc" not in answer.detail

    with_tool(story)


def test_an_echoed_secret_is_masked(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        tool.answers = [web.Response(status=401, text=f"bad key {TOKEN.reveal()}")]
        async with Client() as client:
            assert (await client.post(request(tool.url))).detail == "bad key ***"

    with_tool(story)


def test_an_echoed_path_is_masked_as_it_is_in_errors(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        tool.answers = [web.Response(status=401, text="no thanks /hook/PATHTOKEN with q=QUERYTOKEN")]
        async with Client() as client:
            answer = await client.post(request(tool.url + "/hook/PATHTOKEN?q=QUERYTOKEN"))
        assert answer.detail == "no thanks /*** with /***"

    with_tool(story)


def test_a_yes_whose_words_never_end_is_a_yes(with_tool: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_S", 0.2)

    async def story(tool: Any) -> None:
        tool.stall = True
        tool.answers = [202, 503]
        async with Client() as client:
            first = await client.post(request(tool.url, total_timeout_s=30.0))
            second = await client.post(request(tool.url, total_timeout_s=30.0))
            assert (first.outcome, first.status, first.detail) == (Outcome.DELIVERED, 202, "said 202")
            assert (second.outcome, second.status) == (Outcome.RETRY, 503)
            monkeypatch.setattr(http, "BODY_S", 5.0)
            third = await client.post(request(tool.url, total_timeout_s=0.3))
            assert (third.outcome, third.status) == (Outcome.DELIVERED, 200), "the whole request's time counts too"

    with_tool(story)


def test_garbage_for_an_answer(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        tool.answers = [web.Response(status=200, body=b"\xff\xfe", headers={"Content-Encoding": "gzip"})]
        async with Client() as client:
            assert (await client.post(request(tool.url))).outcome is Outcome.DELIVERED

    with_tool(story)
