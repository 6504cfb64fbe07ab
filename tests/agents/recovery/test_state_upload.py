"""Uploads that are torn: never over the last whole one, and the newest state is what is waited for."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents.recovery import state_topic
from agents.recovery.held import Place
from agents.recovery.state_upload import Uploader

PIECES = 3


class Topic:
    """A producer that acknowledges when asked to. kept: newest value by key, as a compacted topic keeps it."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.is_slow = False
        self._waiting: list[Any] = []

    def produce(self, _topic: str, *, key: bytes, value: bytes, on_delivery: Any, **_: Any) -> None:
        self.kept[key] = value
        self._waiting.append(on_delivery)

    def poll(self, _wait_s: float) -> None:
        if not self.is_slow:
            waiting, self._waiting = self._waiting, []
            for delivered in waiting:
                delivered(None, None)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        self.now_s += 0.5
        return self.now_s


def held(name: str) -> Any:
    return SimpleNamespace(
        place=Place(name, 0), saves=0, uploaded_saves=0, uploaded_at_s=0.0, upload_slot=0, saved_offset=0, data=b""
    )


@pytest.fixture
def topic() -> Topic:
    return Topic()


@pytest.fixture
def uploader(topic: Topic) -> Uploader:
    return Uploader(
        producer=topic, topic="state", home=lambda _place: 0, read=lambda one: one.data, interval_s=60.0,
        max_bytes=1 << 30, warn=lambda _text: None, clock=Clock(), counters=Counter(),
    )  # fmt: skip


def save(one: Any, letter: bytes) -> None:
    one.saves += 1
    one.saved_offset = one.saves
    one.data = letter * (PIECES * state_topic.CHUNK_BYTES - 1)


def whole(topic: Topic, one: Any) -> bytes:
    """What its next owner would read."""
    key = state_topic.key_of(one.place)
    manifest = msgspec.json.decode(topic.kept[key], type=state_topic.Manifest)
    return b"".join(topic.kept[key + b"/%d/%d" % (manifest.slot, piece)] for piece in range(manifest.chunks))


def test_what_is_under_way_gives_way_to_the_newest_save(topic: Topic, uploader: Uploader) -> None:
    one = held("a")
    save(one, b"1")
    topic.is_slow = True
    uploader.turn([one])
    save(one, b"2")
    topic.is_slow = False
    uploader.finish([one])
    assert one.uploaded_saves == one.saves
    assert whole(topic, one) == one.data


def test_torn_uploads_leave_the_last_whole_one_as_it_is(topic: Topic, uploader: Uploader) -> None:
    one, other = held("a"), held("b")
    save(one, b"1")
    uploader.finish([one])
    first = whole(topic, one)
    topic.is_slow = True
    for letter in (b"2", b"3", b"4"):
        save(one, letter)
        uploader.finish([one])
        assert whole(topic, one) == first
    uploader.turn([one])
    save(other, b"5")
    uploader.finish([other])
    assert whole(topic, one) == first
    topic.is_slow = False
    for _ in range(4 * PIECES):
        uploader.turn([one, other])
    assert whole(topic, one) == one.data, "a torn one is due again at once"
    assert whole(topic, other) == other.data
