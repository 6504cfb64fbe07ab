"""A trigger and a resolve to one sink, to see whether it works before the night it is needed: `graft alert test`.

Owns the test alert and what is shown of the exchange: every request with its secrets masked, and the answers. Goes
through the same sink and the same guarded client as real alerts; only the outbox is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from agents.secret import MASK, Secret, mask
from agents.sinks.config import Posts, SinkConfig, masked_url, names_of, urls_of
from agents.sinks.delivery import Answer, Outcome
from agents.sinks.guard import RefusedError, check_name, host_of
from agents.sinks.http import Client
from agents.sinks.notice import FIRING, RESOLVED, Notice, Post, Request
from agents.sinks.table import build
from engine.errors import OutsideError
from engine.series import stable_id

#: Headers whose value is a credential or made with one.
_CREDENTIALS = ("authorization", "webhook-signature")


class Exchange(NamedTuple):
    """One request and its answer; url, headers and body are fit to be shown. state: firing or resolved."""

    destination: str
    state: str
    url: str
    headers: dict[str, str]
    body: str
    ok: bool
    status: int
    detail: str


async def send_test(sink: SinkConfig, *, environment: str, now_s: float, post: Post | None = None) -> list[Exchange]:
    """Send both to every destination of the sink. post: another way out, for a dry run; default: the real one."""
    if post is not None:
        return await _exchanges(sink, environment=environment, now_s=now_s, post=post)
    async with Client() as client:
        return await _exchanges(sink, environment=environment, now_s=now_s, post=client.post)


async def dry(_request: Request) -> Answer:
    """A `post` that sends nothing."""
    return Answer(Outcome.DELIVERED, 0, "not sent")


async def _exchanges(sink: SinkConfig, *, environment: str, now_s: float, post: Post) -> list[Exchange]:
    seen: list[Request] = []

    async def watched(request: Request) -> Answer:
        seen.append(request)
        return await post(request)

    exchanges = []
    for _, one in build([sink], post=watched):
        for notice in notices(environment, int(now_s * 1000)):
            seen.clear()
            answer = await one.send([notice], now_s=now_s)
            exchanges.append(_shown(one.destination, notice.state, seen, answer))
    return exchanges


async def resolve(sinks: Sequence[SinkConfig], *, timeout_s: float) -> None:
    """Look every host up, once; OutsideError for the first that no request could go to."""
    for sink, name in zip(sinks, names_of(sinks), strict=True):
        for url in urls_of(sink):
            host = host_of(url)
            try:
                async with asyncio.timeout(timeout_s):
                    await check_name(host, allow_private=isinstance(sink, Posts) and sink.allow_private)
            except TimeoutError:
                raise OutsideError(f"{name}: {host} was not resolved within {timeout_s:g} s.") from None
            except OSError as error:
                why = str(error) if isinstance(error, RefusedError) else f"{host} does not resolve: {error.strerror}"
                raise OutsideError(f"{name}: {why}.") from None


def notices(environment: str, now_ms: int) -> tuple[Notice, Notice]:
    """Beginning and end of an incident that says of itself that it is a test."""
    incident = stable_id("test", environment, now_ms)
    first = _record(environment, incident, FIRING, now_ms)
    last = _record(environment, incident, RESOLVED, now_ms)
    return (
        Notice(first["id"], incident, FIRING, first, first),
        Notice(last["id"], incident, RESOLVED, first, last),
    )


def _record(environment: str, incident: str, state: str, now_ms: int) -> dict[str, Any]:
    return {
        "schema": "graft.alert/1",
        "id": stable_id("test", incident, state),
        "at_ms": now_ms,
        "environment": environment,
        "entity": "host=graft-test",
        "series": 'graft_test{host="graft-test"}',
        "state": state,
        "incident": incident,
        "number": 1,
        "started_ms": now_ms,
        "ended_ms": now_ms if state == RESOLVED else None,
        "severity": 9.0,
        "confidence": 1.0,
        "value": 93.0,
        "expected": 41.0,
        "lower": 30.0,
        "upper": 52.0,
        "contributors": [],
        "components": [],
        "borrowed": {},
        "because": "This is a test of Graft; nothing is wrong.",
        "links": [],
        "follows": [],
    }


def _shown(destination: str, state: str, seen: Sequence[Request], answer: Answer) -> Exchange:
    if not seen:
        return Exchange(destination, state, "", {}, "", answer.outcome is Outcome.DELIVERED, 0, answer.detail)
    request = seen[0]
    headers = {key: MASK if key.lower() in _CREDENTIALS else value for key, value in request.headers.items()}
    return Exchange(
        destination, state, masked_url(request.url), headers,
        mask(request.body.decode(), request.secrets),
        answer.outcome is Outcome.DELIVERED, answer.status, mask(answer.detail, request.secrets),
    )  # fmt: skip


def secrets_of(sink: SinkConfig) -> tuple[Secret, ...]:
    """Every secret in a sink's settings, for masks."""
    found = [getattr(sink, name) for name in sink.__struct_fields__]
    flat = [one for value in found for one in (value if isinstance(value, tuple) else (value,))]
    return tuple(one for one in flat if isinstance(one, Secret) and one)
