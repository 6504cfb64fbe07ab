"""What a seed order lends, read from a topic that is made up: whole and as announced, or refused with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError

from agents.recovery import seed_topic
from agents.recovery.seed_topic import FETCH_S, Parcel, Seeds, cut, key_of, opened, packed, parcel_of
from engine.config import ENGINE_VERSION
from engine.errors import BadSample, SnapshotError
from engine.prior import Prior
from engine.snapshot import pack
from engine.transfer import read_prior
from tests.engine.transfer.towns import Town, source

KEY = b"k" * 32


@pytest.fixture(scope="module")
def prior() -> Prior:
    return read_prior(source(Town(seed=1)))


class Message:
    def __init__(self, key: bytes = b"", value: bytes = b"", error: int | None = None) -> None:
        self._key, self._value, self._error = key, value, error

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value

    def error(self) -> Any:
        return None if self._error is None else KafkaError(self._error)


END = Message(error=KafkaError._PARTITION_EOF)


class Consumer:
    """Gives out its log, `at_once` messages a call."""

    def __init__(self, log: Sequence[Message], at_once: int = 8) -> None:
        self.log, self.at_once, self.closed, self.began = list(log), at_once, False, -1

    def assign(self, places: list[Any]) -> None:
        self.began = places[0].offset

    def consume(self, _count: int, wait_s: float) -> list[Message]:
        assert wait_s == 0, "it never waits"
        found, self.log = self.log[: self.at_once], self.log[self.at_once :]
        return found

    def close(self) -> None:
        self.closed = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def wanted(prior: Prior, data: bytes, **changes: Any) -> Parcel:
    return Parcel(prior.digest, len(data), sha256(data).hexdigest(), len(cut(data)), 5)._replace(**changes)


def pieces(prior: Prior, data: bytes) -> list[Message]:
    return [Message(key_of(prior.digest, k), piece) for k, piece in enumerate(cut(data))]


def seeds(log: Sequence[Message], **options: Any) -> tuple[Seeds, Consumer]:
    consumer = Consumer(log, options.pop("at_once", 8))
    return Seeds(lambda: consumer, "graft.state", **options), consumer


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seed_topic, "CHUNK_BYTES", 1000)


def test_the_pieces_are_the_prior_whatever_lies_between_them(prior: Prior) -> None:
    data = packed(prior, None)
    alien = [Message(b"metrics-0/1/3", b"x" * 400), Message(key_of("0" * 16, 0), b"y"), Message(b"metrics-0", b"{}")]
    log = [one for piece in pieces(prior, data) for one in (*alien, piece)]
    reader, consumer = seeds(log, at_once=3)
    turns = 1
    while (found := reader.get(wanted(prior, data))) is None:
        turns += 1
    assert isinstance(found, Prior)
    assert found.digest == prior.digest
    assert turns > 3
    assert (consumer.closed, consumer.began) == (True, 5)
    # Other shards of this worker, and a second look, read nothing again.
    assert reader.get(wanted(prior, data)) is found


def test_pieces_that_were_written_again_lie_later(prior: Prior) -> None:
    """An earlier upload of which compaction has taken a part."""
    data = packed(prior, None)
    reader, _ = seeds([*pieces(prior, data)[1:2], *pieces(prior, data)])
    found = None
    while found is None:
        found = reader.get(wanted(prior, data))
    assert isinstance(found, Prior)


def test_what_is_not_there_is_an_answer(prior: Prior) -> None:
    data = packed(prior, None)
    reader, consumer = seeds([*pieces(prior, data)[:2], END])
    told = reader.get(wanted(prior, data))
    assert isinstance(told, str)
    assert told.startswith(f"2 of the {len(cut(data))} pieces of {prior.digest} are on graft.state from offset 5 on")
    assert consumer.closed


@pytest.mark.parametrize("code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_a_topic_that_cannot_be_read_is_an_answer(prior: Prior, code: int) -> None:
    reader, _ = seeds([Message(error=code)])
    assert isinstance(reader.get(wanted(prior, packed(prior, None))), str)


def test_a_silent_broker_is_waited_for_and_not_for_ever(prior: Prior) -> None:
    clock = Clock()
    reader, _ = seeds([Message(error=KafkaError._TRANSPORT)], clock=clock)
    one = wanted(prior, packed(prior, None))
    assert reader.get(one) is None
    clock.now = FETCH_S - 1
    assert reader.get(one) is None
    clock.now = FETCH_S + 1
    assert "no more came within" in str(reader.get(one))


def test_damaged_and_foreign_bytes_are_refused(prior: Prior) -> None:
    data = packed(prior, None)
    bent = data[:-1] + bytes([data[-1] ^ 1])
    reader, _ = seeds(pieces(prior, bent), at_once=1000)
    assert "sha256" in str(reader.get(wanted(prior, data)))
    reader, _ = seeds(pieces(prior, bent), at_once=1000)
    assert "cannot be used" in str(reader.get(wanted(prior, bent)))
    reader, _ = seeds([Message(key_of(prior.digest, k), b"z" * len(data)) for k in range(2)], at_once=1000)
    assert "more than" in str(reader.get(wanted(prior, data)))


def test_a_later_order_for_the_same_is_read_anew(prior: Prior) -> None:
    """What failed once is not remembered against it."""
    data = packed(prior, None)
    consumers = [Consumer([END]), Consumer(pieces(prior, data), 1000)]
    reader = Seeds(lambda: consumers.pop(0), "graft.state")
    assert isinstance(reader.get(wanted(prior, data)), str)
    assert isinstance(reader.get(wanted(prior, data, begin=50)), Prior)


def test_where_there_is_a_key_only_what_is_signed_is_lent(prior: Prior) -> None:
    assert opened(packed(prior, KEY), KEY).digest == prior.digest
    for foreign in (packed(prior, None), packed(prior, b"x" * 32)):
        with pytest.raises(SnapshotError):
            opened(foreign, KEY)


def test_a_prior_of_another_engine_is_refused(prior: Prior) -> None:
    for manifest in ({"kind": "prior", "engine": "4"}, {"kind": "source", "engine": "5"}):
        with pytest.raises(SnapshotError, match="wanted a prior of"):
            opened(pack(manifest, prior.arrays()), None)


def test_a_number_that_is_none_is_refused(prior: Prior) -> None:
    arrays = prior.arrays()
    manifest = {"kind": "prior", "engine": ENGINE_VERSION}
    for name in ("ratio", "lagged", "channels"):
        bad = arrays | {name: np.full_like(arrays[name], np.nan)}
        with pytest.raises(SnapshotError, match=name):
            opened(pack(manifest, bad), None)
    opened(pack(manifest, arrays | {"step": np.full_like(arrays["step"], np.nan)}), None)
    for name, array in (("far", arrays["far"].astype(np.float64)), ("strength", -arrays["strength"])):
        with pytest.raises(SnapshotError, match=name):
            opened(pack(manifest, arrays | {name: array}), None)


GOOD = {"action": "add", "digest": "0" * 16, "sha256": "1" * 64, "size": 10, "pieces": 1, "begin": 0}


@pytest.mark.parametrize(
    "bad",
    [
        {"digest": None}, {"sha256": "1" * 63}, {"size": 0}, {"size": 1 << 40}, {"pieces": 0}, {"pieces": 11},
        {"begin": -1}, {"begin": 1.0}, {"begin": True}, {"begin": 1 << 63}, {"begin": None},
    ],
)  # fmt: skip
def test_an_order_that_does_not_say_what_it_lends_is_bad(bad: dict[str, Any]) -> None:
    assert parcel_of({"kind": "seed", "params": GOOD}) == Parcel("0" * 16, 10, "1" * 64, 1, 0)
    with pytest.raises(BadSample):
        parcel_of({"kind": "seed", "params": GOOD | bad})


def test_other_orders_lend_nothing() -> None:
    for order in (
        {"kind": "label", "params": GOOD},
        {"kind": "seed"},
        {"kind": "seed", "params": {"action": "withdraw"}},
    ):
        assert parcel_of(order) is None


def test_the_key_of_a_piece_with_a_million_digits_is_none_of_ours(prior: Prior) -> None:
    data = packed(prior, None)
    alien = Message(key_of(prior.digest) + b"/" + b"1" * 10_000, b"x")
    reader, _ = seeds([alien, *pieces(prior, data)], at_once=1000)
    assert isinstance(reader.get(wanted(prior, data)), Prior)


def test_what_cannot_be_used_in_it_is_an_answer(prior: Prior) -> None:
    """And not the end of a worker, at every start again."""
    arrays = prior.arrays() | {"classes": np.frombuffer(b"7", np.uint8)}
    data = pack({"kind": "prior", "engine": ENGINE_VERSION}, arrays)
    reader, _ = seeds(pieces(prior, data), at_once=1000)
    assert "cannot be used" in str(reader.get(wanted(prior, data)))
