"""Fixtures for the page's tests: a site over a file of its own, and a browser that is a few lines of ASGI."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from agents.review.app import app_of
from agents.review.gate import Hosts
from agents.review.outbox import Outbox
from agents.review.reader import Heard, Reader
from agents.review.session import COOKIE, Sessions
from agents.review.site import Site
from agents.review.states import States
from agents.review.store import Store
from agents.settings import Review, Settings, State
from benchmarks import review_data as made

NOW_S = made.START_MS / 1000 + 3600


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Producer:
    """A broker's end: takes messages, or fails with what it is told."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.failure: Any = None
        self._told: list[Callable[[], None]] = []

    def produce(self, topic: str, value: bytes, key: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        failure = self.failure
        if failure is None:
            self.sent.append((topic, key, value))
        self._told.append(lambda: on_delivery(failure, None))

    def flush(self, _timeout_s: float) -> int:
        for one in self._told:
            one()
        self._told.clear()
        return 0


class Failure:
    """A KafkaError's one method that is used."""

    def str(self) -> str:
        return "Local: Message timed out"


class Scene:
    """A site, its parts, and a browser with one cookie."""

    def __init__(self, folder: Path, *, token: str = "", undo_s: float = 4.0, listen: str = "127.0.0.1") -> None:
        self.now_s = NOW_S
        self.producer = Producer()
        self.store = Store(folder / "review.db", clock=lambda: self.now_s)
        review = Review(undo_s=undo_s)
        settings = Settings(environment="eu", review=review, state=State(dir=str(folder / "state")))
        self.reader = Reader(lambda _: None, self.store, prefix="graft.", clock=lambda: self.now_s)
        self.reader.heard = Heard(answers=True, since_s=self.now_s, behind=0)
        self.outbox = Outbox(
            self.store, lambda: self.producer, topic="graft.feedback", undo_s=undo_s, clock=lambda: self.now_s
        )
        states = States(_no_topic, list, settings, changed=self.store.changed)
        states.look = lambda: None  # type: ignore[method-assign]
        self.sessions = Sessions(self.store.secret(), token)
        self.site = Site(
            store=self.store, reader=self.reader, outbox=self.outbox, states=states, sessions=self.sessions,
            settings=settings, clock=lambda: self.now_s,
        )  # fmt: skip
        self.app = app_of(
            self.site, stopping=asyncio.Event(), hosts=Hosts(listen), person="ada", clock=lambda: self.now_s
        )
        self.cookie = ""

    def file(self, *records: tuple[str, Mapping[str, Any]]) -> None:
        """Records as if they had been read."""
        made.fill(self.store, iter(records), seen_s=self.now_s)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, form: Mapping[str, str], *, csrf: str | None = None, **headers: str) -> Answer:
        """A form as a page that was loaded before would send it."""
        token = self.csrf() if csrf is None else csrf
        body = urlencode({**form, "csrf": token}).encode()
        return self.ask(
            "POST", path, body=body, headers={"content-type": "application/x-www-form-urlencoded", **headers}
        )

    def csrf(self) -> str:
        text = self.get("/login").text
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', text)
        assert found, text
        return found[1]

    def ask(self, method: str, path: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """One request, in a loop of its own; keeps the cookie."""
        route, _, query = path.partition("?")
        given = {"host": "127.0.0.1:8081", **(headers or {})}
        if self.cookie:
            given.setdefault("cookie", f"{COOKIE}={self.cookie}")
        if body:
            given.setdefault("content-length", str(len(body)))
        scope = {
            "type": "http", "method": method, "path": route, "raw_path": route.encode(), "root_path": "",
            "query_string": query.encode(), "scheme": "http", "http_version": "1.1", "server": ("127.0.0.1", 8081),
            "client": ("127.0.0.1", 1),
            "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()],
        }  # fmt: skip
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await asyncio.sleep(3600)
            return None

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(self.app(scope, receive, send))
        start = sent[0]
        found = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        if match := re.match(rf"{COOKIE}=([^;]*)", found.get("set-cookie", "")):
            self.cookie = match[1]
        return Answer(start["status"], found, b"".join(one.get("body", b"") for one in sent[1:]))

    def close(self) -> None:
        self.store.close()


def _no_topic() -> Any:
    raise AssertionError("no test of pages reads the state topic")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.close()


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Callable[..., Scene]]:
    """`scenes(token="x")`: a site with settings of its own."""
    opened: list[Scene] = []

    def make(**settings: Any) -> Scene:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(Scene(folder, **settings))
        return opened[-1]

    yield make
    for one in opened:
        one.close()
