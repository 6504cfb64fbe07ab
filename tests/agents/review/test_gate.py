"""The gate: hosts, sessions, the token, forms of other sites, limits; and no secret where it could be read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from agents.review.gate import HEADERS, TRIES_A_MINUTE, Gate, Hosts
from agents.review.session import Session, Sessions
from benchmarks import review_data as made
from tests.agents.review.conftest import NOW_S, Scene

TOKEN = "correct horse battery staple"
PAGES = ("/", "/alerts", "/fleet", "/experiments", "/snapshots", "/search?q=x", "/events", "/hello", "/help")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8081", 200), ("localhost:8081", 200), ("LOCALHOST", 200), ("[::1]:8081", 200),
        ("evil.example:8081", 421), ("127.0.0.1.evil.example", 421), ("", 421), ("10.0.0.1", 421), ("[::1", 421),
    ],
)  # fmt: skip
def test_only_its_own_names_lead_to_the_page(scene: Scene, host: str, status: int) -> None:
    assert scene.get("/hello", host=host).status == status


def test_an_address_that_others_reach_goes_by_addresses_and_by_names_that_were_told() -> None:
    hosts = Hosts("0.0.0.0", ("graft.example",), machine=("box7",))
    allowed = {
        name: hosts.allows(name) for name in ("10.1.2.3:80", "[fe80::1]:80", "graft.example", "box7:1", "evil.example")
    }
    assert allowed == {**dict.fromkeys(allowed, True), "evil.example": False}


@pytest.mark.parametrize("path", [*PAGES[:6], "/static/review.css", "/nothing", "/login"])
def test_each_answer_carries_the_security_headers(scene: Scene, path: str) -> None:
    found = scene.get(path)
    assert HEADERS.items() <= found.headers.items()
    assert found.headers["cache-control"] == ("max-age=3600" if path.startswith("/static") else "no-store")
    assert "server" not in found.headers


def test_the_policy_allows_nothing_from_elsewhere() -> None:
    policy = dict(one.strip().partition(" ")[::2] for one in HEADERS["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert "unsafe" not in HEADERS["content-security-policy"]


def test_a_session_is_httponly_and_strict_and_given_once(scene: Scene) -> None:
    first = scene.get("/")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {one.strip() for one in first.headers["set-cookie"].split(";")}
    assert "set-cookie" not in scene.get("/").headers


@pytest.mark.parametrize("path", ["/answer", "/undo", "/name", "/logout", "/login"])
def test_a_form_without_its_token_is_refused(scene: Scene, path: str) -> None:
    scene.file(("escalations", made.escalation(1)))
    form = {"answer": "incident", "about": made.escalation(1)["escalation"], "kind": "question"}
    other = scene.sessions.form_token(Session("other", "x", False, int(NOW_S) + 100))
    for csrf in ("", "0" * 64, other, "ü"):
        assert scene.post(path, form, csrf=csrf).status == 403
    assert scene.get(path).status in (200, 404, 405)
    with scene.store.reading() as db:
        assert db.execute("SELECT count(*) FROM answers").fetchone()[0] == 0


def test_a_form_of_another_site_is_refused(scene: Scene) -> None:
    assert scene.post("/name", {"name": "x"}, **{"sec-fetch-site": "cross-site"}).status == 403
    assert scene.post("/name", {"name": "x"}, **{"sec-fetch-site": "same-site"}).status == 403
    assert scene.post("/name", {"name": "x"}, **{"sec-fetch-site": "same-origin"}).status == 303


@pytest.mark.parametrize("kind", ["", "multipart/form-data; boundary=x", "application/json", "text/plain"])
def test_only_urlencoded_forms_are_read(scene: Scene, kind: str) -> None:
    assert scene.post("/name", {"name": "x"}, **{"content-type": kind}).status == 415


def test_bodies_have_limits(scene: Scene) -> None:
    assert scene.post("/name", {"name": "x" * 20_000}).status == 413
    # One that lies about its length.
    assert scene.post("/name", {"name": "x" * 20_000}, **{"content-length": "10"}).status == 413
    assert scene.post("/name", {"name": "x"}, **{"content-length": "-1"}).status == 413
    assert scene.post("/name", {str(n): "x" for n in range(50)}).status == 400
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    assert scene.ask("POST", "/name", body=b"name=%ff%fe", headers=urlencoded).status in (400, 403)


def ends(app: Any, *, path: str = "/", method: str = "GET", **limits: float) -> list[int]:
    """Statuses of a gate around an application, for a request whose body never comes."""
    gate = Gate(
        app, sessions=Sessions(b"s" * 32), hosts=Hosts("127.0.0.1"), person="ada", clock=lambda: NOW_S, **limits
    )
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    seen: list[int] = []

    async def receive() -> Any:
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    asyncio.run(asyncio.wait_for(gate(scope, receive, send), 5))
    return seen


async def hangs(*_: object) -> None:
    await asyncio.sleep(3600)


def test_a_body_that_does_not_come_and_a_page_that_takes_too_long_end() -> None:
    assert ends(hangs, method="POST", body_s=0.05) == [408]
    assert ends(hangs, request_s=0.05) == [503]


@pytest.fixture
def guarded(scenes: Callable[..., Scene]) -> Scene:
    return scenes(token=TOKEN, listen="0.0.0.0")


@pytest.mark.parametrize("path", PAGES)
def test_without_the_token_there_is_nothing_to_see(guarded: Scene, path: str) -> None:
    guarded.file(("escalations", made.escalation(1)))
    found = guarded.get(path)
    assert found.status in (303, 401)
    assert b"web-0" not in found.body
    assert guarded.get(path, **{"hx-request": "true"}).status == 401
    assert guarded.post("/answer", {"answer": "incident"}).status == 401


def log_in(scene: Scene, token: str, **form: str) -> int:
    return scene.post("/login", {"token": token, "name": "Grace", **form}).status


def test_with_the_token_one_is_in_and_stays_in_until_one_logs_out(guarded: Scene) -> None:
    assert log_in(guarded, "wrong") == 403
    assert guarded.get("/").status == 303
    assert log_in(guarded, TOKEN, next="/fleet") == 303
    page = guarded.get("/")
    assert page.status == 200
    assert "Grace" in page.text
    assert guarded.post("/logout", {}).status == 303
    assert guarded.get("/").status == 303


def test_a_session_is_over_after_a_shift_of_nothing(guarded: Scene) -> None:
    log_in(guarded, TOKEN)
    guarded.now_s += 7 * 3600
    assert guarded.get("/").status == 200, "and renewed by use"
    guarded.now_s += 7 * 3600
    assert guarded.get("/").status == 200
    guarded.now_s += 13 * 3600
    assert guarded.get("/").status == 303


def test_a_cookie_that_was_changed_or_made_under_another_token_is_none(guarded: Scene, scenes: Any) -> None:
    log_in(guarded, TOKEN)
    good = guarded.cookie
    for bad in (
        good[:-1] + ("0" if good[-1] != "0" else "1"),
        good.replace(".1.", ".0.", 1),
        "x" * 2000,
        "a.b",
        "ü",
        "",
    ):
        guarded.cookie = bad
        assert guarded.get("/").status == 303
    other = Sessions(guarded.store.secret(), "another token")
    assert other.read(good, NOW_S) is None
    assert Sessions(guarded.store.secret(), TOKEN).read(good, NOW_S) is not None


def test_one_cannot_let_oneself_in(guarded: Scene) -> None:
    guarded.get("/login")
    number, _, *rest = guarded.cookie.split(".")
    guarded.cookie = ".".join([number, "1", *rest])
    assert guarded.get("/").status == 303


def test_guessing_is_slow(guarded: Scene) -> None:
    statuses = [log_in(guarded, f"guess {n}") for n in range(TRIES_A_MINUTE + 3)]
    assert statuses == [403] * TRIES_A_MINUTE + [429] * 3
    assert log_in(guarded, TOKEN) == 429, "and the right one does not tell itself apart"
    guarded.now_s += 61
    assert log_in(guarded, TOKEN) == 303


def test_a_script_may_send_the_token_as_a_header(guarded: Scene) -> None:
    guarded.file(("escalations", made.escalation(1)))
    bearer = {"authorization": f"Bearer {TOKEN}", "x-graft-person": "robot"}
    form = {"answer": "incident", "kind": "question", "about": made.escalation(1)["escalation"]}
    assert guarded.get("/", authorization="Bearer wrong").status == 303
    found = guarded.get("/", **bearer)
    assert found.status == 200
    assert "set-cookie" not in found.headers
    assert guarded.post("/answer", form, csrf="", **bearer).status == 200
    with guarded.store.reading() as db:
        assert db.execute("SELECT person FROM answers").fetchone()[0] == "robot"


def test_a_link_from_elsewhere_asks_again_from_here_before_it_asks_for_the_token(guarded: Scene) -> None:
    log_in(guarded, TOKEN)
    cookie, guarded.cookie = guarded.cookie, ""
    found = guarded.get("/item/x", **{"sec-fetch-site": "cross-site"})
    assert found.status == 200
    assert 'http-equiv="refresh"' in found.text
    guarded.cookie = cookie
    assert guarded.get("/item/x", **{"sec-fetch-site": "same-origin"}).status == 404


@pytest.mark.parametrize("goal", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_logging_in_leads_nowhere_else(guarded: Scene, goal: str) -> None:
    assert guarded.post("/login", {"token": TOKEN, "next": goal}).headers["location"] == "/"


def test_the_token_is_in_no_page_no_cookie_and_no_log(guarded: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log_in(guarded, "a wrong secret")
    log_in(guarded, TOKEN)
    texts = [guarded.get(path).text for path in ("/", "/snapshots", "/help")]
    for secret in (TOKEN, "a wrong secret"):
        assert secret not in caplog.text
        assert secret not in guarded.cookie
        assert not any(secret in text for text in texts)
