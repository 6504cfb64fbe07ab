"""The HTTP server of the worker: GET /metrics, /livez, /readyz, and nothing else.

Owns routes, the token and the limits. Faust's own web server stays off: it listens on all addresses and gives away
tables. The probes need no token, for a kubelet has none, and say nothing that is worth one.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

from aiohttp import web

from agents.secret import Secret
from agents.web import checks
from agents.web.checks import Check
from agents.web.exposition import CONTENT_TYPE, Exposition
from agents.web.standing import Standing
from engine.errors import OutsideError

log = logging.getLogger(__name__)

#: A client that sends its headers slowly, or a body, has nothing to say to us.
MAX_BODY_BYTES = 1024
_MARKS = {True: "[+]", False: "[-]", None: "[~]"}


class Server:
    """`await start()`; `port` is the one it really has."""

    def __init__(self, standing: Callable[[], Standing], *, host: str, port: int, token: Secret | None = None) -> None:
        self.port = port
        self._host = host
        self._standing = standing
        self._token = token
        self._exposition = Exposition(standing)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. OutsideError when the address is taken."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            await self.stop()
            raise OutsideError(
                f"web.listen is {self._host}:{self.port}, which cannot be listened on: {error.strerror}. "
                "Choose another port, or 0 for any."
            ) from error
        self.port = int(self._runner.addresses[0][1])
        log.info("listening on http://%s:%d (/metrics, /livez, /readyz)", self._host, self.port)

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return web.Response(status=401, text="a bearer token is wanted\n", headers={"WWW-Authenticate": "Bearer"})
        return web.Response(body=self._exposition.text(), headers={"Content-Type": CONTENT_TYPE})

    def _allowed(self, request: web.Request) -> bool:
        if self._token is None:
            return True
        # aiohttp's own way back to the bytes that came.
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, f"Bearer {self._token.reveal()}".encode())

    async def _livez(self, request: web.Request) -> web.Response:
        return _told(checks.alive(self._standing()), "livez", verbose="verbose" in request.query)

    async def _readyz(self, request: web.Request) -> web.Response:
        return _told(checks.ready(self._standing()), "readyz", verbose="verbose" in request.query)


def _told(found: list[Check], name: str, *, verbose: bool) -> web.Response:
    ok = checks.passed(found)
    lines = [f"{_MARKS[check.ok]}{check.name}: {check.detail}" for check in found if verbose or check.ok is False]
    return web.Response(status=200 if ok else 503, text="\n".join([*lines, f"{name} {'ok' if ok else 'failed'}", ""]))
