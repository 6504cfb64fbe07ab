"""Site: what the page's handlers share: the parts that they ask, and how a page is made of a template.

Owns the templates' environment and what every page shows (open questions, the broker, answers that wait). Knows no
route. Everything that templates print is escaped by Jinja; no handler makes HTML.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from agents.review import history, questions, words
from agents.review.outbox import Outbox, waiting
from agents.review.reader import Reader
from agents.review.session import Session, Sessions
from agents.review.states import States
from agents.review.store import Store
from agents.settings import Settings

HERE = Path(__file__).parent
TEMPLATES, STATIC = HERE / "templates", HERE / "static"


class Site:
    """The parts. clock: wall clock."""

    def __init__(
        self,
        *,
        store: Store,
        reader: Reader,
        outbox: Outbox,
        states: States,
        sessions: Sessions,
        settings: Settings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.reader = reader
        self.outbox = outbox
        self.states = states
        self.sessions = sessions
        self.settings = settings
        self.clock = clock
        self._templates = _environment()

    @cached_property
    def look(self) -> str:
        """Changes with the files below static/, so that no browser keeps old ones."""
        digest = sha256()
        for path in sorted(STATIC.iterdir()):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:12]

    def page(self, request: Request, template: str, *, code: int = 200, **shown: Any) -> Response:
        """A page; its live part alone where htmx asks for that."""
        session: Session = request.scope["session"]
        is_part = request.headers.get("hx-request") == "true"
        with self.store.reading() as db:
            counts, burning, (late, failed) = questions.counts(db), history.firing(db), waiting(db)
        common = {
            "layout": "part.html" if is_part else "base.html",
            "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
            "path": request.url.path, "session": session, "csrf": self.sessions.form_token(session),
            "counts": counts, "burning": burning, "late": late, "failed": failed, "heard": self.reader.heard,
            "bootstrap": self.settings.kafka.bootstrap, "environment": self.settings.environment,
            "now_ms": int(self.clock() * 1000), "look": self.look, "undo_s": self.outbox.undo_s,
        }  # fmt: skip
        return HTMLResponse(self._templates.get_template(template).render({**common, **shown}), code)

    def said(self, request: Request, sentence: str, *, status: int = 200, label: str = "", back: str = "/") -> Response:
        """What came of a form: a line for a page that is open, or a page of its own."""
        session: Session = request.scope["session"]
        template = "said.html" if request.headers.get("hx-request") == "true" else "said_page.html"
        if template == "said_page.html":
            return self.page(request, template, code=status, sentence=sentence, label=label, back=back)
        text = self._templates.get_template(template).render(
            sentence=sentence, label=label, is_wrong=status >= 400, csrf=self.sessions.form_token(session),
            undo_s=self.outbox.undo_s, back=back,
        )  # fmt: skip
        return HTMLResponse(text, status)

    def missing(self, request: Request, what: str) -> Response:
        """404 in one sentence."""
        return self.page(request, "missing.html", code=404, what=what)


def local(path: str) -> str:
    """A path of this site to go back to; anything else leads to the queue.

    >>> local("/item/1?a=b"), local("//evil.example"), local("https://evil.example"), local("/\\\\evil")
    ('/item/1?a=b', '/', '/', '/')
    """
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_ours and len(path) <= 2000 else "/"


def whole(text: str, *, otherwise: int = 1) -> int:
    """The number of a page.

    >>> whole("3"), whole("x"), whole("9" * 99)
    (3, 1, 1)
    """
    return int(text) if text.isdecimal() and len(text) < 7 else otherwise


def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    found.filters |= {
        "moment": words.moment, "iso": words.iso, "clock": words.clock, "lasting": words.length,
        "figure": words.figure, "percent": words.percent, "size": words.size, "rare": words.rare,
        "answer_name": words.answer_name, "chart": chart, "share": _share, "whole_json": _pretty,
    }  # fmt: skip
    found.globals |= {"ANSWERS": words.ANSWERS, "MARKING": words.MARKING, "link": link}
    return found


def link(path: str, **query: object) -> str:
    """A path with a query; empty values are left out.

    >>> link("/series", name='a{b="c"}', page="")
    '/series?name=a%7Bb%3D%22c%22%7D'
    """
    given = {name: value for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(given)}" if given else path


#: Columns of a chart that are numbers, and the samples that one shows.
_LINES = ("value", "expected", "lower", "upper")
SAMPLES = 400


class Chart(NamedTuple):
    """What can be drawn of a context. text: for the script; rows: time, then the four numbers, for the table."""

    text: str
    rows: list[tuple[Any, ...]]


def chart(context: Any, from_ms: Any = None, until_ms: Any = None) -> Chart | None:
    """A context as the script reads it from an attribute; None where it holds nothing that can be drawn."""
    times = context.get("t_ms") if isinstance(context, Mapping) else None
    if not isinstance(times, list):
        return None
    times = times[:SAMPLES]
    is_time = [type(t) is int and 0 <= t < 100_000_000_000_000 for t in times]
    data: dict[str, Any] = {"t": [t for t, good in zip(times, is_time, strict=True) if good]}
    if len(data["t"]) < 2 or data["t"] != sorted(data["t"]):
        return None
    for name in _LINES:
        column = context.get(name)
        column = column[:SAMPLES] if isinstance(column, list) else []
        column = [*column, *[None] * (len(times) - len(column))]
        data[name] = [_drawn(value) for value, good in zip(column, is_time, strict=True) if good]
    if all(value is None for value in data["value"]):
        return None
    rows = list(zip(data["t"], *(data[name] for name in _LINES), strict=True))
    return Chart(orjson.dumps({**data, "from": from_ms, "until": until_ms}).decode(), rows)


def _drawn(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e300 else None  # type: ignore[arg-type]


def _share(value: object) -> float:
    """A share as a width, 0..100."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return round(100 * min(max(float(value), 0.0), 1.0), 1) if is_number else 0.0  # type: ignore[arg-type]


def _pretty(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
