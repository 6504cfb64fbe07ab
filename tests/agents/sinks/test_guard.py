"""S-table: addresses a sink may not call, however they are written."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from agents.sinks.delivery import Outcome
from agents.sinks.guard import system_lookup
from agents.sinks.http import Client
from agents.sinks.notice import Request

#: (host of the URL, what the resolver says or None for what the system says, refused by default, with allow_private)
TABLE = [
    ("127.0.0.1", None, True, False),
    ("127.8.9.1", None, True, False),
    ("[::1]", None, True, False),
    ("10.0.0.1", None, True, False),
    ("172.16.0.1", None, True, False),
    ("172.31.255.255", None, True, False),
    ("192.168.1.1", None, True, False),
    ("100.64.0.1", None, True, False),
    ("[fd00::1]", None, True, False),
    ("[::ffff:127.0.0.1]", None, True, False),
    ("[::ffff:10.0.0.1]", None, True, False),
    ("[::ffff:7f00:1]", None, True, False),
    ("[::ffff:8.8.8.8]", None, True, False),
    ("[::ffff:169.254.169.254]", None, True, True),
    ("169.254.169.254", None, True, True),
    ("169.254.0.1", None, True, True),
    ("[fe80::1]", None, True, True),
    ("[fe80::1%25eth0]", None, True, True),
    ("0.0.0.0", None, True, True),
    ("[::]", None, True, True),
    ("255.255.255.255", None, True, True),
    ("224.0.0.1", None, True, True),
    ("[ff02::1]", None, True, True),
    ("240.0.0.1", None, True, True),
    ("192.0.2.1", None, True, True),
    ("198.18.0.1", None, True, True),
    ("192.0.0.8", None, True, True),
    ("[64:ff9b::7f00:1]", None, True, True),
    ("[2002:7f00:1::]", None, True, True),
    ("[2001:0:53aa:64c::1]", None, True, True),
    ("[::127.0.0.1]", None, True, True),
    ("[2001:db8::1]", None, True, True),
    ("①②⑦.0.0.1", None, True, False),
    ("127。0。0。1", None, True, False),
    ("１６９.254.169.254", None, True, True),
    ("[fd00:ec2::254]", None, True, True),
    ("100.100.100.200", None, True, True),
    ("168.63.129.16", None, True, True),
    ("cloud.example", ["100.100.100.200"], True, True),
    ("localhost", ["127.0.0.1"], True, False),
    ("0x7f.1", ["127.0.0.1"], True, False),
    ("2130706433", ["127.0.0.1"], True, True),
    ("①②⑦.1", ["127.0.0.1"], True, True),
    ("0177.0.0.1", ["127.0.0.1"], True, True),
    ("127.1", ["127.0.0.1"], True, True),
    ("localtest.example", ["127.0.0.1"], True, False),
    ("mixed.example", ["93.184.216.34", "10.0.0.1"], True, False),
    ("mapped.example", ["::ffff:192.168.0.1"], True, False),
    ("metadata.example", ["169.254.169.254"], True, True),
    ("public.example", ["93.184.216.34"], False, False),
    ("public6.example", ["2606:2800:220:1:248:1893:25c8:1946"], False, False),
    ("8.8.8.8", None, False, False),
    ("[2606:4700::1111]", None, False, False),
]


async def judged(host: str, found: Sequence[str] | None, *, allow_private: bool) -> bool:
    """Whether the client refuses; it is not let out of the house."""
    gone_out: list[str] = []

    async def lookup(name: str, port: int) -> Sequence[str]:
        return found if found is not None else await system_lookup(name, port)

    def no_socket(info: Any) -> socket.socket:
        gone_out.append(str(info[4][0]))
        raise OSError("this test goes nowhere")

    async with Client(lookup=lookup) as client:
        session = client._session(allow_private=allow_private)
        session.connector._socket_factory = no_socket  # type: ignore[union-attr]
        answer = await client.post(request(f"http://{host}:9/", allow_private=allow_private))
    assert answer.status == 0
    return not gone_out


@pytest.mark.parametrize(("host", "found", "refused", "still_refused"), TABLE)
def test_table(host: str, found: list[str] | None, refused: bool, still_refused: bool) -> None:
    assert asyncio.run(judged(host, found, allow_private=False)) == refused
    assert asyncio.run(judged(host, found, allow_private=True)) == still_refused


def request(url: str, *, allow_private: bool = False, total_timeout_s: float = 2.0) -> Request:
    return Request(url, {}, b"{}", allow_private, 1.0, total_timeout_s)


@pytest.mark.parametrize("host", [row[0] for row in TABLE if row[2] and row[1] is None])
def test_the_client_refuses_literals_without_connecting(host: str) -> None:
    async def scene() -> None:
        async with Client() as client:
            answer = await client.post(request(f"http://{host}:9/"))
            assert answer.status == 0
            assert answer.outcome is Outcome.REJECTED, answer

    asyncio.run(scene())


def test_numbers_that_the_system_reads_as_loopback_are_refused(with_tool: Callable[..., None]) -> None:
    async def story(tool: Any) -> None:
        port = tool.url.rpartition(":")[2]
        async with Client() as client:
            for host in ("127.1", "0x7f.1", "2130706433", "localhost", "①②⑦.0.0.1", "127。0。0。1"):
                answer = await client.post(request(f"http://{host}:{port}/"))
                assert answer.outcome is not Outcome.DELIVERED, (host, answer)
                assert answer.status == 0
        assert tool.seen == []

    with_tool(story)


def test_a_name_is_resolved_once_and_the_answer_is_pinned(with_tool: Callable[..., None]) -> None:
    """Rebinding: the second answer of the resolver is never asked for."""

    async def story(tool: Any) -> None:
        answers = [["127.0.0.1"], ["169.254.169.254"]]

        async def lookup(_host: str, _port: int) -> Sequence[str]:
            return answers.pop(0)

        port = tool.url.rpartition(":")[2]
        async with Client(lookup=lookup) as client:
            answer = await client.post(request(f"http://rebind.example:{port}/x", allow_private=True))
            assert answer.outcome is Outcome.DELIVERED, answer
            assert tool.seen[0].headers["Host"] == f"rebind.example:{port}"
            answer = await client.post(request(f"http://rebind.example:{port}/x", allow_private=True))
            assert answer.outcome is Outcome.RETRY
            assert "169.254.169.254" in answer.detail
        assert len(tool.seen) == 1

    with_tool(story)
