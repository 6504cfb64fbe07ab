"""One POST to an incident tool, and what came back, whatever happens.

Owns the HTTP client: guarded addresses, timeouts, no redirects, no proxy from the environment, no cookies, a cap on
what is read of the answer. Every failure becomes an Answer; only cancellation passes. Knows nothing of alerts.

Not obvious: the answer is not decompressed and only its first bytes are read, because it is shown to people and never
parsed: a tool that answers with 10 MB costs 64 KiB.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import yarl

from agents.secret import MASK, mask
from agents.sinks.delivery import Answer, Outcome, classify
from agents.sinks.guard import GuardedResolver, Lookup, RefusedError, check_host, host_of, system_lookup
from agents.sinks.notice import Request, clipped

ANSWER_CAP_BYTES = 64 * 1024
#: What of an answer is kept for logs and the outbox.
DETAIL_CAP = 300
#: How long the body of an answer is waited for once its status is there.
BODY_S = 2.0


class Client:
    """Posts requests; `async with Client() as client: await client.post(request)`."""

    def __init__(self, *, lookup: Lookup = system_lookup, clock: Callable[[], float] = time.time) -> None:
        self._lookup = lookup
        self._clock = clock
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what is open; the client may be used again."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def post(self, request: Request) -> Answer:
        """Send it; an Answer in every case."""
        try:
            url = yarl.URL(request.url)
            check_host(host_of(url), allow_private=request.allow_private)
            return await self._exchange(url, request)
        except (RefusedError, aiohttp.InvalidURL) as error:
            return Answer(Outcome.REJECTED, 0, _told(error, request))
        except TimeoutError:
            return Answer(Outcome.RETRY, 0, f"no answer within {request.total_timeout_s:g} s")
        except aiohttp.ClientConnectorError as error:
            # A refused address of a name may be a hiccup of the resolver; it is tried again, and loud.
            return Answer(Outcome.RETRY, 0, _told(error, request))
        except (aiohttp.ClientError, OSError, ssl.SSLError, UnicodeError, ValueError) as error:
            return Answer(Outcome.RETRY, 0, _told(error, request))

    async def _exchange(self, url: yarl.URL, request: Request) -> Answer:
        timeout = aiohttp.ClientTimeout(total=request.total_timeout_s, sock_connect=request.connect_timeout_s)
        async with self._session(allow_private=request.allow_private).post(
            url, data=request.body, headers=request.headers, timeout=timeout, allow_redirects=False
        ) as response:
            body = await _head(response)
            detail = _shown(" ".join(body.decode("utf-8", "replace").split()), request)
            return classify(response.status, detail, response.headers.get("Retry-After"), now_s=self._clock())

    def _session(self, *, allow_private: bool) -> aiohttp.ClientSession:
        if allow_private not in self._sessions:
            resolver = GuardedResolver(allow_private=allow_private, lookup=self._lookup)
            # No kept connections: alerts are rare, and a stale one makes a retry of the first alert of the night.
            connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
            self._sessions[allow_private] = aiohttp.ClientSession(
                connector=connector, trust_env=False, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._sessions[allow_private]


async def _head(response: aiohttp.ClientResponse) -> bytes:
    """At most ANSWER_CAP_BYTES of the body, and what came of it within BODY_S; the rest is never read."""
    parts: list[bytes] = []
    length = 0
    # The status is the answer. A tool that said 202 has the alert, whatever becomes of its words.
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(BODY_S):
            async for part in response.content.iter_any():
                parts.append(part)
                length += len(part)
                if length >= ANSWER_CAP_BYTES:
                    break
    response.close()
    return b"".join(parts)[:ANSWER_CAP_BYTES]


def _told(error: BaseException, request: Request) -> str:
    """An error for people."""
    # The connector wraps what our resolver says in a sentence that leaves it out.
    told = error.__cause__ if isinstance(error.__cause__, RefusedError) else error
    return _shown(str(told) if isinstance(told, RefusedError) else f"{type(told).__name__}: {told}", request)


def _shown(text: str, request: Request) -> str:
    """For logs and the outbox: without the URL's path and query (often a token) and all secrets."""
    parts = urlsplit(request.url)
    for piece in (parts.path, parts.query):
        if len(piece) > 1:
            text = text.replace(piece, "/" + MASK)
    return clipped(mask(text, request.secrets), DETAIL_CAP)
