"""Pager: the incident tool of the demo, a webhook receiver on loopback. What arrives here would have woken somebody.

Owns the listening socket and the list of what came. Knows nothing of the ground truth.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: A page is a few KiB; more is refused unread.
MOST_BYTES = 1 << 20
#: Pages kept; a demo sends a dozen.
MOST_PAGES = 10_000


class Pager:
    """`with Pager() as pager`: listens; `pager.pages()` is what came, by id, firing ones."""

    def __init__(self) -> None:
        self._came: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        pager = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                is_fine = length <= MOST_BYTES and pager.take(self.rfile.read(length))
                self.send_response(204 if is_fine else 400)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base's
                """Nothing: the screen is somebody else's."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where to send pages."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def take(self, body: bytes) -> bool:
        """Keep one page; False if it is none. A retry of the same id is the same page."""
        try:
            record = json.loads(body)
            name = str(record["id"])
        except (ValueError, TypeError, KeyError):
            return False
        with self._lock:
            if len(self._came) < MOST_PAGES:
                self._came[name] = record
        return True

    def pages(self) -> int:
        """Distinct incidents that somebody was woken for."""
        with self._lock:
            return len({one.get("incident") for one in self._came.values() if one.get("state") == "firing"})

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
