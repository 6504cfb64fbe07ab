"""Fixtures for the shell's tests: an incident tool that really listens, and alert records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson
import pytest
from aiohttp import web


class Seen(NamedTuple):
    """One request that the tool got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Tool:
    """A loopback HTTP server; `answers` are given in turn, then 200. An answer is a status or a whole response."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.answers: list[Any] = []
        self.hang = False
        #: Answer, begin the body, never end it.
        self.stall = False
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Seen(request.path, dict(request.headers), await request.read()))
        if self.hang:
            await asyncio.sleep(60)
        answer = self.answers.pop(0) if self.answers else 200
        answer = answer(self.seen[-1]) if callable(answer) else answer
        if self.stall:
            stalled = web.StreamResponse(status=answer, headers={"Content-Length": "1000"})
            await stalled.prepare(request)
            await stalled.write(f"said {answer}".encode())
            await asyncio.sleep(60)
        return answer if isinstance(answer, web.StreamResponse) else web.Response(status=answer, text=f"said {answer}")


@asynccontextmanager
async def listening() -> AsyncIterator[Tool]:
    tool = Tool()
    server = web.Server(tool.handle)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    tool.url = f"http://127.0.0.1:{port}"
    try:
        yield tool
    finally:
        await runner.cleanup()


@pytest.fixture
def with_tool() -> Callable[[Callable[[Tool], Coroutine[Any, Any, None]]], None]:
    """`with_tool(story)`: runs an async story with a listening tool, in a loop of its own."""

    def run(story: Callable[[Tool], Coroutine[Any, Any, None]]) -> None:
        async def scene() -> None:
            async with listening() as tool:
                await story(tool)

        asyncio.run(scene())

    return run


@pytest.fixture
def alert_record() -> Callable[..., dict[str, Any]]:
    """A whole alert record; keywords replace fields."""

    def make(state: str = "firing", **fields: Any) -> dict[str, Any]:
        record = {
            "schema": "graft.alert/1", "id": f"a1-{state}", "at_ms": 1_767_225_600_000, "environment": "prod",
            "entity": "host=web-1,rack=r 3", "series": 'cpu.usage_idle{cpu="cpu0",host="web-1"}', "state": state,
            "incident": "0123456789abcdef0123456789abcdef", "number": 1, "started_ms": 1_767_225_600_000,
            "ended_ms": None if state == "firing" else 1_767_225_900_000, "severity": 9.25, "confidence": 0.97,
            "page": 1.7, "value": 93.0, "expected": 41.0, "lower": 30.0, "upper": 52.0,
            "contributors": [
                {"series": 'cpu.usage_idle{cpu="cpu0",host="web-1"}', "share": 0.8, "value": 93.0, "expected": 41.0,
                 "lower": 30.0, "upper": 52.0, "components": [{"name": "level", "share": 1.0}]},
                {"series": 'mem.used{host="web-1"}', "share": 0.2, "value": None, "expected": 1.0, "lower": None,
                 "upper": None, "components": []},
            ],
            "components": [{"name": "level", "share": 0.9}, {"name": "tail", "share": 0.1}],
            "borrowed": {"level": 0.4, "season": 0.0}, "because": "cpu.usage_idle of web-1 is 93, expected 30 to 52.",
            "links": ["javascript:alert(1)", {"href": "https://graphs.example/d/1", "text": "Graph"}],
            "follows": [{"topic": "metrics", "partition": 0, "offset": 7}],
        }  # fmt: skip
        return record | fields

    return make
