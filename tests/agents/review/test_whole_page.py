"""The whole page, as a person on call has it: `graft review` beside an embedded broker, in a real headless Chromium.

Without Chromium the tests of the browser skip visibly, or fail where everything has to be there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from agents.embedded import EmbeddedBroker
from benchmarks import review_data as made
from benchmarks.browser import Browser, chromium

ROOT = Path(__file__).resolve().parents[3]
TOPICS = ("escalations", "alerts", "feedback", "drift", "control", "experiments")
QUESTION = made.escalation(1)["escalation"]


class Whole:
    """A broker, a page, and what a worker would do."""

    def __init__(self, folder: Path, *, settings: str = "", options: tuple[str, ...] = (), **environ: str) -> None:
        self.broker = EmbeddedBroker({f"graft.{name}": 1 for name in TOPICS}).start()
        self.config = folder / "graft.toml"
        self.config.write_text(
            f'environment = "eu"\n[kafka]\nbootstrap = "{self.broker.bootstrap}"\n'
            f'[state]\ndir = "{folder / "state"}"\n{settings}'
        )
        self.options, self.environ = options, environ
        self.errors = folder / "stderr"
        self.begin()

    def begin(self) -> None:
        command = [sys.executable, "-m", "agents.cli", "review", "-c", str(self.config), "--json", *self.options]
        if "--listen" not in self.options:
            command += ["--listen", "127.0.0.1:0"]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT, env={**os.environ, **self.environ}
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.errors.read_text()
        self.listen = orjson.loads(line)["listen"]
        self.url = f"http://{self.listen}"

    def end(self, number: int = signal.SIGINT) -> tuple[int, float]:
        """Stop the page; its status and how long it took."""
        began_s = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(20)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status, time.monotonic() - began_s

    def tell(self, topic: str, *records: dict[str, Any]) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.broker.bootstrap})
        for record in records:
            producer.produce(f"graft.{topic}", orjson.dumps(record), b"k", partition=0)
        assert producer.flush(10) == 0

    def labels(self, count: int, *, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """The first labels on the feedback topic, once there are so many."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "x", "auto.offset.reset": "error"})
        consumer.assign([TopicPartition("graft.feedback", 0, 0)])
        found: list[dict[str, Any]] = []
        end_s = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < end_s:
            found += [orjson.loads(one.value()) for one in consumer.consume(10, 0.2) if one.error() is None]
        consumer.close()
        assert len(found) >= count, f"{len(found)} labels came: {self.errors.read_text()[-2000:]}"
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        self.broker.stop()


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Callable[..., Whole]]:
    opened: list[Whole] = []

    def make(**settings: Any) -> Whole:
        opened.append(Whole(tmp_path, **settings))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def browse(missing: Callable[[str], None]) -> Callable[[Callable[[Browser], Coroutine[Any, Any, None]]], None]:
    """`browse(story)`: runs an async story with a browser of its own; the page must have complained of nothing."""
    path = chromium()
    if path is None:
        missing("no Chromium (apt-get install chromium)")
    assert path is not None

    def run(story: Callable[[Browser], Coroutine[Any, Any, None]]) -> None:
        async def scene() -> None:
            async with Browser(path) as browser:
                await story(browser)
                assert list(browser.errors) == []

        asyncio.run(scene())

    return run


HERE = "document.activeElement.closest('[data-row]')?.dataset.row"


@pytest.mark.slow
def test_a_question_appears_is_answered_by_a_key_and_its_effect_shows(
    whole: Callable[..., Whole], browse: Callable[..., None]
) -> None:
    page = whole(settings="[review]\nundo_s = 0.5\n")

    async def story(browser: Browser) -> None:
        await browser.goto(page.url)
        await browser.until("document.body.innerText.includes('Nothing is in doubt')")
        # It appears without a reload, the asked one first.
        page.tell("escalations", made.escalation(1), made.escalation(2), made.escalation(2, "asked"))
        await browser.until("document.querySelectorAll('.question').length === 2")
        assert await browser.evaluate("document.querySelector('#open-count').innerText.trim().endsWith('2')")
        first = made.escalation(2)["escalation"]
        await browser.press("j")
        assert await browser.evaluate(HERE) == first
        await browser.press("j")
        assert await browser.evaluate(HERE) == QUESTION
        await browser.press("k")
        await browser.press("j")
        await browser.press("Enter")
        await browser.until(f"location.pathname === '/item/{QUESTION}' && document.querySelector('.uplot canvas')")
        # Answered by a key, with its reason.
        await browser.evaluate("document.querySelector('input[name=reason]').focus()")
        await browser.type("a fan")
        await browser.press("f")
        await asyncio.sleep(0.2)
        assert await browser.evaluate("document.querySelector('input[name=reason]').value") == "a fanf", "typing types"
        await browser.press("Escape")
        await browser.press("f")
        await browser.until("document.querySelector('#said')?.innerText.includes('False alarm')")
        (said,) = await asyncio.to_thread(page.labels, 1)
        assert (said["answer"], said["escalation"], said["reason"]) == ("false_alarm", QUESTION, "a fanf")
        # What a worker makes of it shows without a reload.
        await browser.until("document.body.innerText.includes('No effect is recorded yet')")
        page.tell("escalations", made.escalation(1, "answered", label=said["id"], by=said["by"], answer="false_alarm"))
        page.tell("experiments", made.effect(said))
        await browser.until("document.body.innerText.includes('It takes half as much again to page here')")
        await browser.until(
            "document.querySelector('.item .badge.answered') && document.body.innerText.includes('counts')"
        )

    browse(story)
    status, took_s = page.end()
    assert status == 0
    assert took_s < 2


@pytest.mark.slow
def test_undo_help_and_the_focus_after_a_row_has_gone(whole: Callable[..., Whole], browse: Callable[..., None]) -> None:
    page = whole(settings="[review]\nundo_s = 30\n")
    names = [made.escalation(n)["escalation"] for n in range(3)]
    page.tell("escalations", *(one for n in range(3) for one in (made.escalation(n), made.escalation(n, "asked"))))

    async def story(browser: Browser) -> None:
        await browser.goto(page.url)
        await browser.until("document.querySelectorAll('.question').length === 3")
        await browser.press("?")
        await browser.until("document.querySelector('dialog[open]')")
        await browser.press("a")
        await browser.press("Escape")
        await browser.until("!document.querySelector('dialog[open]')")
        await browser.press("j")
        await browser.press("a")
        await browser.until("document.querySelector('#said [data-undo]') && document.querySelector('.saying')")
        await browser.press("u")
        await browser.until("document.querySelector('#said').innerText.includes('before it left')")
        await browser.until("!document.querySelector('.saying')")
        await browser.press("j")
        assert await browser.evaluate(HERE) == names[1], "the focus has stayed where it was"
        page.tell("escalations", made.escalation(1, "answered"))
        await browser.until("document.querySelectorAll('.question').length === 2")
        await browser.until(f"{HERE} === '{names[2]}'")
        # The skip link is the first thing that has the focus.
        await browser.goto(page.url)
        await browser.press("Tab")
        assert await browser.evaluate("document.activeElement.className") == "skip"

    browse(story)
    with pytest.raises(AssertionError, match="0 labels"):
        page.labels(1, timeout_s=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("wide", [1280, 390])
def test_nothing_is_wider_than_the_screen_and_a_hostile_name_does_nothing(
    whole: Callable[..., Whole], browse: Callable[..., None], wide: int
) -> None:
    page = whole()
    name = f'cpu{{host="<img src=x onerror=window.harm=1><script>window.harm=1</script>",path="{"x" * 300}"}}'
    about = {"series": name, "entity": f"host={'y' * 200}", "because": f"{name} is odd."}
    context = {**made.context(name, made.START_MS), "series": name}
    page.tell("escalations", made.escalation(1, **about, context=context), made.escalation(1, "asked"))
    page.tell("alerts", made.alert(0, **about, context=context))
    page.tell("experiments", made.retune(0, **about), made.retune(1, **about))
    page.tell("drift", made.drift(0, **about))

    async def story(browser: Browser) -> None:
        await browser.resize(wide, 800, is_phone=wide < 500)
        await browser.goto(page.url)
        await browser.until("document.querySelector('.question')")
        hrefs = await browser.evaluate("Array.from(document.querySelectorAll('a[href^=\"/\"]')).map((one) => one.href)")
        more = [f"/incident/{made.alert(0)['incident']}", f"/experiment/{made.retune(0)['id']}", "/search?q=cpu",
                f"/compare?id={made.retune(0)['id']}&id={made.retune(1)['id']}"]  # fmt: skip
        for href in dict.fromkeys([*hrefs, *(page.url + one for one in more)]):
            await browser.goto(href)
            over = await browser.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert over <= 0, f"{href} is {over} px wider than the screen"
            assert await browser.evaluate("window.harm === undefined && !document.querySelector('main img')")

    browse(story)


@pytest.mark.slow
def test_a_broker_that_is_away_is_told_and_the_answer_leaves_when_it_is_back(
    whole: Callable[..., Whole], browse: Callable[..., None]
) -> None:
    page = whole(settings="[review]\nundo_s = 0\n")
    page.tell("escalations", made.escalation(1))

    async def story(browser: Browser) -> None:
        await browser.goto(page.url)
        await browser.until("document.querySelector('.question')")
        page.broker.down()
        await browser.until(
            "document.querySelector('#banner').innerText.includes('has not answered since')", timeout_s=30
        )
        await browser.press("a")
        await browser.until("document.querySelector('#said').innerText.includes('sent when it is back')")
        await browser.until(
            "document.querySelector('#banner').innerText.includes('could not be sent yet')", timeout_s=30
        )
        page.broker.up()
        await browser.until("!document.querySelector('#banner').innerText.trim()", timeout_s=40)

    browse(story)
    assert page.labels(1)[0]["answer"] == "incident"


async def fetch(url: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text()


def test_a_page_that_is_killed_goes_on_with_its_file(whole: Callable[..., Whole]) -> None:
    page = whole()
    page.tell("escalations", made.escalation(1))
    wait_for(page, "/", "is 71.3")
    page.end(signal.SIGKILL)
    page.tell("escalations", made.escalation(2))
    page.begin()
    wait_for(page, "/", made.METRICS[2])
    assert asyncio.run(fetch(f"{page.url}/"))[1].count('class="row question"') == 2


def wait_for(page: Whole, path: str, text: str) -> None:
    for _ in range(200):
        if text in asyncio.run(fetch(f"{page.url}{path}"))[1]:
            return
        time.sleep(0.05)
    pytest.fail(f"{text} did not come: {page.errors.read_text()[-1000:]}")


def test_others_are_asked_for_the_token(whole: Callable[..., Whole], missing: Any) -> None:
    settings = '[review]\ntoken = "${env:GRAFT_TEST_TOKEN}"\n'
    page = whole(settings=settings, options=("--listen", "0.0.0.0:0"), GRAFT_TEST_TOKEN="open sesame")
    url = f"http://127.0.0.1:{page.listen.rpartition(':')[2]}"
    assert asyncio.run(fetch(f"{url}/"))[0] == 303
    assert asyncio.run(fetch(f"{url}/", Authorization="Bearer open sesame"))[0] == 200
    assert asyncio.run(fetch(f"{url}/", Host="evil.example"))[0] == 421
    assert page.end(signal.SIGTERM)[0] == 0
    assert "open sesame" not in page.errors.read_text()


def test_open_streams_do_not_hold_up_the_end(whole: Callable[..., Whole]) -> None:
    page = whole()

    async def listening() -> float:
        async with aiohttp.ClientSession() as session:
            streams = [await session.get(f"{page.url}/events") for _ in range(5)]
            first = await streams[0].content.readline()
            assert first.startswith(b"retry")
            page.tell("drift", made.drift(1))
            while b"changed" not in await asyncio.wait_for(streams[0].content.readline(), 10):
                pass
            return (await asyncio.to_thread(page.end))[1]

    assert asyncio.run(listening()) < 2


@pytest.mark.slow
def test_a_head_that_does_not_come_is_not_waited_for(whole: Callable[..., Whole]) -> None:
    page = whole()
    host, _, port = page.listen.rpartition(":")

    async def slow() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        found = await asyncio.wait_for(reader.read(), 15)
        writer.close()
        return found

    async def long() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000)
        found = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return found

    assert asyncio.run(slow()) == b""
    assert b" 400 " in asyncio.run(long())[:20]


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--listen", "0.0.0.0:0"), 2, "there is no review.token"), (("--listen", "here"), 2, "must be host:port"),
        (("--db", "/proc/none.db"), 3, "Name another"), (("--listen", "127.0.0.1:1"), 3, "cannot listen"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(tmp_path: Path, options: tuple[str, ...], status: int, told: str) -> None:
    if options == ("--listen", "127.0.0.1:1"):
        import socket

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            found = command(tmp_path, ("--listen", f"127.0.0.1:{taken.getsockname()[1]}"))
    else:
        found = command(tmp_path, options)
    assert (found.returncode, found.stdout) == (status, "")
    assert told in found.stderr
    assert found.stderr.count("\n") == 1


def command(folder: Path, options: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    config = folder / "graft.toml"
    config.write_text(f'[kafka]\nbootstrap = "127.0.0.1:1"\n[state]\ndir = "{folder}"\n')
    words = [sys.executable, "-m", "agents.cli", "review", "-c", str(config), *options]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
