"""App: the routes of the page, behind their gate.

Owns which path leads to which handler, the stream of changes, and logging in. Handlers that ask the file are plain
functions: Starlette runs them in threads, so a slow disk holds up nobody else.

Not obvious: the stream has one kind of event, "something has changed", and no data. A browser that hears it asks for
the live part of the page that it shows, as anybody would who loads it; so there is one way to render a page, and a
message that is lost or comes twice harms nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from agents.review.asking import Asking
from agents.review.gate import Gate
from agents.review.session import name_of
from agents.review.site import STATIC, Site, local
from agents.review.telling import Telling

#: A browser hears at most so often of changes, and of nothing at least so often.
CHANGE_S, SILENCE_S, LOOK_S = 0.5, 15.0, 0.1
#: Pages that are open at once; each is one waiting coroutine.
MOST_STREAMS = 200


class Ways:
    """Logging in and out, the stream, and whether the page lives. gate: set when it stands."""

    gate: Gate

    def __init__(self, site: Site, stopping: asyncio.Event) -> None:
        self._site = site
        self._stopping = stopping
        self._streams = 0

    async def login(self, request: Request) -> Response:
        """The form, and what it leads to."""
        form = request.scope["form"]
        back = local(form.get("next") or request.query_params.get("next", "/"))
        if request.method == "POST":
            session = self.gate.log_in(form)
            if session is not None:
                return RedirectResponse(back, 303, {"set-cookie": self.gate.cookie(session)})
            return self._site.page(request, "login.html", code=403, next=back, is_wrong=True)
        return self._site.page(request, "login.html", next=back, is_wrong=False)

    async def logout(self, request: Request) -> Response:
        """End the session."""
        nobody = request.scope["session"]._replace(is_in=False, number="0", expires_s=0)
        return RedirectResponse("/login", 303, {"set-cookie": self.gate.cookie(nobody)})

    async def name(self, request: Request) -> Response:
        """Under which name answers are given."""
        form, session = request.scope["form"], request.scope["session"]
        found = name_of(form.get("name", "")) or session.name
        back = local(form.get("next", "/"))
        return RedirectResponse(back, 303, {"set-cookie": self.gate.cookie(session._replace(name=found))})

    async def events(self, _request: Request) -> Response:
        """The stream of changes."""
        if self._streams >= MOST_STREAMS:
            return PlainTextResponse(f"{self._streams} pages are open already.\n", 503)
        return StreamingResponse(self._changes(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    async def _changes(self) -> AsyncIterator[str]:
        self._streams += 1
        try:
            yield "retry: 2000\n\n"
            told, quiet_s = self._site.store.version, 0.0
            while not self._stopping.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), LOOK_S)
                quiet_s += LOOK_S
                if told != self._site.store.version and quiet_s >= CHANGE_S:
                    told, quiet_s = self._site.store.version, 0.0
                    yield f"event: changed\ndata: {told}\n\n"
                elif quiet_s >= SILENCE_S:
                    quiet_s = 0.0
                    yield ": still here\n\n"
        finally:
            self._streams -= 1

    async def health(self, _request: Request) -> Response:
        """Does it live?"""
        return PlainTextResponse("ok\n")

    async def hello(self, _request: Request) -> Response:
        """The least that this server can answer: what benchmarks compare with."""
        return PlainTextResponse("hello\n")


def app_of(site: Site, *, stopping: asyncio.Event, **gate: object) -> Gate:
    """The whole application. gate: hosts, person and limits of the Gate."""
    ways, asking, telling = Ways(site, stopping), Asking(site), Telling(site)
    routes = [
        Route("/", asking.queue), Route("/item/{name}", asking.item),
        Route("/answer", asking.answer, methods=["POST"]), Route("/undo", asking.undo, methods=["POST"]),
        Route("/alerts", telling.alerts), Route("/incident/{name}", telling.incident),
        Route("/series", telling.series), Route("/entity", telling.entity), Route("/search", telling.search),
        Route("/fleet", telling.fleet), Route("/drift", telling.drift),
        Route("/experiments", telling.experiments), Route("/experiment/{name}", telling.experiment),
        Route("/compare", telling.compare), Route("/snapshots", telling.snapshots), Route("/help", telling.help),
        Route("/login", ways.login, methods=["GET", "POST"]), Route("/logout", ways.logout, methods=["POST"]),
        Route("/name", ways.name, methods=["POST"]), Route("/events", ways.events),
        Route("/healthz", ways.health), Route("/hello", ways.hello),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]  # fmt: skip

    def failed(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 404:
            return site.missing(request, "There is no such page.")
        return PlainTextResponse(
            f"{error}\n" if isinstance(error, HTTPException) else "A defect of Graft; see the log.\n", status
        )

    application = Starlette(routes=routes, exception_handlers={HTTPException: failed, 500: failed})
    ways.gate = Gate(application, sessions=site.sessions, **gate)  # type: ignore[arg-type]
    return ways.gate
