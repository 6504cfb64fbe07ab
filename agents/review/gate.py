"""Gate: what every request must pass before the page sees it, and what every answer carries.

Owns hosts, sessions, the token, forms' tokens, limits of body and time, and the security headers. Plain ASGI around the
application; knows none of its pages but the ways in.

    host -> session (cookie, or Bearer for scripts) -> body within its limits -> a form's token -> the page

Not obvious, two things. (1) The host is checked on loopback as well: a page of somebody else whose name is made to
point to 127.0.0.1 (DNS rebinding) runs in this machine's browser. (2) The cookie is SameSite=Strict, so a link from a
chat or a pager comes without it. Such a visitor gets a page that calls itself again, this time from here; only then is
he asked to log in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.review.session import COOKIE, LIFE_S, Session, Sessions, name_of

MAX_BODY_BYTES, BODY_S, MAX_FIELDS = 16_384, 10.0, 40
REQUEST_S = 20.0
#: Never ends by itself.
STREAM = "/events"
#: Open to whoever has not logged in.
OPEN = ("/login", "/healthz")
#: Wrong tokens a minute, all together, before nobody can try for the rest of it.
TRIES_A_MINUTE = 10

HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_AGAIN = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Graft</title>'
    '<meta http-equiv="refresh" content="0"></head><body><p><a href="">Go on</a></p></body></html>'
)


class Hosts:
    """Names by which browsers may call the page. listen: where it listens; more: names from the configuration."""

    def __init__(self, listen: str, more: tuple[str, ...] = (), *, machine: tuple[str, ...] = ()) -> None:
        self._is_loopback = listen in ("127.0.0.1", "::1", "localhost")
        own = () if self._is_loopback else machine
        self._names = {name.lower() for name in ("localhost", "127.0.0.1", "::1", listen, *own, *more)}

    def allows(self, header: str) -> bool:
        """
        >>> Hosts("127.0.0.1").allows("localhost:8081"), Hosts("127.0.0.1").allows("evil.example:8081")
        (True, False)
        >>> Hosts("0.0.0.0").allows("10.1.2.3:8081"), Hosts("127.0.0.1").allows("10.1.2.3")
        (True, False)
        """
        try:
            host = urlsplit(f"//{header}").hostname or ""
        except ValueError:
            return False
        return host in self._names or (not self._is_loopback and _is_address(host))


def _is_address(host: str) -> bool:
    """An address cannot be rebound: there is no name in between."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class Gate:
    """clock: wall clock. person: the name of those who have not told theirs."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        sessions: Sessions,
        hosts: Hosts,
        person: str,
        clock: Callable[[], float] = time.time,
        request_s: float = REQUEST_S,
        body_s: float = BODY_S,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._hosts = hosts
        self._person = person
        self._clock = clock
        self._request_s, self._body_s = request_s, body_s
        self._wrong: list[float] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        guarded = _with_headers(send, is_static=scope["path"].startswith("/static/"))
        if scope["path"] == STREAM:
            await self._pass(scope, receive, guarded)
            return
        begun = [False]

        async def watched(message: Message) -> None:
            begun[0] = True
            await guarded(message)

        try:
            await asyncio.wait_for(self._pass(scope, receive, watched), self._request_s)
        except TimeoutError:
            if not begun[0]:
                late = _refused(503, f"This took longer than {self._request_s:g} s; try again.")
                await late(scope, receive, guarded)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if not self._hosts.allows(headers.get("host", "")):
            answer: Response | None = _refused(
                421, "This page does not go by that name. Call it by the address it listens on, or add the name to "
                "review.hosts.",
            )  # fmt: skip
            await answer(scope, receive, send)  # type: ignore[misc]
            return
        session, is_new, by_header = self._session(headers)
        scope["session"] = session
        scope["form"] = {}
        if is_new and not by_header:
            send = self._with_cookie(send, session)
        answer = self._stop_stranger(scope, headers, session)
        if answer is None and scope["method"] == "POST":
            answer, receive = await self._form(scope, headers, receive, session, by_header=by_header)
        await (answer or self._app)(scope, receive, send)

    def _session(self, headers: Headers) -> tuple[Session, bool, bool]:
        """Whose request this is; is the session new; was it told by a header (which no foreign page can set)."""
        now_s = self._clock()
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._may_try() and self._tried(given.strip()):
            name = name_of(headers.get("x-graft-person", "")) or self._person
            return self._sessions.begin(name, is_in=True, now_s=now_s), True, True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")[:8000]).get(COOKIE)
        except CookieError:
            cookie = None
        found = self._sessions.read(cookie.value, now_s) if cookie is not None else None
        if found is not None:
            # A page that stays open all night goes on: the same session, with its forms, for another shift.
            is_old = found.expires_s - now_s < LIFE_S / 2
            return found._replace(expires_s=int(now_s) + LIFE_S) if is_old else found, is_old, False
        return self._sessions.begin(self._person, is_in=False, now_s=now_s), True, False

    def _stop_stranger(self, scope: Scope, headers: Headers, session: Session) -> Response | None:
        """What somebody gets who has not logged in where he has to."""
        path, site = scope["path"], headers.get("sec-fetch-site", "")
        if not self._sessions.wants_token or session.is_in or path in OPEN or path.startswith("/static/"):
            return None
        if headers.get("hx-request"):
            return Response(status_code=401, headers={"hx-redirect": "/login"})
        if scope["method"] != "GET" or path == STREAM:
            return _refused(401, "Log in first: this needs the token (review.token).")
        if site == "cross-site":
            return HTMLResponse(_AGAIN)
        query = scope["query_string"].decode("latin-1")
        return RedirectResponse(f"/login?next={quote(path + (f'?{query}' if query else ''), safe='')}", 303)

    async def _form(
        self, scope: Scope, headers: Headers, receive: Receive, session: Session, *, by_header: bool
    ) -> tuple[Response | None, Receive]:
        """The fields of a form, and a receive without it; or why it is refused."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            return _refused(415, "A form must come as application/x-www-form-urlencoded."), receive
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _refused(403, "This form was sent by another site."), receive
        try:
            body = await asyncio.wait_for(_body(headers, receive), self._body_s)
        except TimeoutError:
            return _refused(408, f"The form did not come within {self._body_s:g} s."), receive
        if body is None:
            return _refused(413, f"A form has at most {MAX_BODY_BYTES} bytes."), receive
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
        except (ValueError, UnicodeDecodeError):
            return _refused(400, f"The form cannot be read; it has at most {MAX_FIELDS} fields, in UTF-8."), receive
        form = dict(fields)
        given = form.pop("csrf", "") or headers.get("x-csrf", "")
        if not by_header and not self._sessions.is_form_token(session, given):
            return _refused(403, "This form is not of this session; reload the page and try again."), receive
        if scope["path"] == "/login" and not self._may_try():
            return _refused(429, "Too many wrong tokens; wait a minute."), receive
        scope["form"] = form

        async def nothing_more() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        return None, nothing_more

    def log_in(self, form: MutableMapping[str, str]) -> Session | None:
        """The session of somebody who has given the right token; None for a wrong one."""
        if not self._tried(form.get("token", "")):
            return None
        return self._sessions.begin(name_of(form.get("name", "")) or self._person, is_in=True, now_s=self._clock())

    def _may_try(self) -> bool:
        self._wrong = [at_s for at_s in self._wrong if self._clock() - at_s < 60]
        return len(self._wrong) < TRIES_A_MINUTE

    def _tried(self, token: str) -> bool:
        is_right = self._sessions.knows(token)
        if not is_right:
            self._wrong.append(self._clock())
        return is_right

    def _with_cookie(self, send: Send, session: Session) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if not any(one.startswith(f"{COOKIE}=") for one in headers.getlist("set-cookie")):
                    headers.append("set-cookie", self.cookie(session))
            await send(message)

        return sent

    def cookie(self, session: Session) -> str:
        """The header that gives a browser its session."""
        return f"{COOKIE}={self._sessions.written(session)}; HttpOnly; SameSite=Strict; Path=/; Max-Age={LIFE_S}"


def _with_headers(send: Send, *, is_static: bool) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "max-age=3600" if is_static else "no-store")
        await send(message)

    return sent


async def _body(headers: Headers, receive: Receive) -> bytes | None:
    """The body; None if it is too long."""
    told = headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > MAX_BODY_BYTES:
        return None
    parts, size, more = list[bytes](), 0, True
    while more:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > MAX_BODY_BYTES:
            return None
    return b"".join(parts)


def _refused(status: int, sentence: str) -> Response:
    return PlainTextResponse(f"{sentence}\n", status)
