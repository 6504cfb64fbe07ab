"""The control consumer and what a turn does with orders, with a consumer and shards that are made up."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from agents.detector import loop as loop_module
from agents.detector.controls import MAX_ORDER_BYTES, Controls, order_of
from agents.detector.loop import Loop, Pace
from agents.recovery.held import Held, Place
from engine.errors import BadSample, OutsideError
from engine.orders import ID_CHARACTERS

ONE, TWO = Place("metrics", 0), Place("metrics", 1)


class Message:
    def __init__(self, offset: int, value: bytes = b"", error: Any = None) -> None:
        self._offset, self._value, self._error = offset, value, error

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def error(self) -> Any:
        return self._error


class Consumer:
    """A control topic of one partition. ends: as the broker tells; errors: come before anything else."""

    def __init__(self, log: list[Message], ends: tuple[int, int] = (0, 0)) -> None:
        self.log, self.ends, self.at = log, ends, 0
        self.errors: list[Any] = []

    def assign(self, places: list[Any]) -> None:
        self.at = places[0].offset

    incremental_assign = assign

    def incremental_unassign(self, places: list[Any]) -> None:
        pass

    def get_watermark_offsets(self, _place: Any, **_: Any) -> tuple[int, int]:
        if isinstance(self.ends, KafkaException):
            raise self.ends
        return self.ends

    def consume(self, count: int, _wait_s: float) -> list[Message]:
        found = [Message(-1, error=error) for error in self.errors]
        found += [one for one in self.log if one.offset() >= self.at][:count]
        self.errors.clear()
        self.at = max([self.at, *(one.offset() + 1 for one in found)])
        return found


def order(number: int) -> bytes:
    return orjson.dumps({"schema": "graft.order/1", "id": f"o{number}", "kind": "reset"})


LOG = [Message(offset, order(offset)) for offset in range(11)]


class Shard:
    def __init__(self, position: int) -> None:
        self.next_offset = 100
        self.control_offsets = {0: position}
        self.got: list[str] = []
        self.lent: list[Any] = []

    def row_of(self, _text: str) -> int:
        return 0

    def apply(self, order: Any, **more: Any) -> list[Any]:
        self.got.append(order["id"])
        if "lent" in more:
            self.lent.append(more["lent"])
        return []


def held(place: Place, position: int) -> Held:
    return Held(place=place, shard=Shard(position), decoder=None, replay_until=100, saved_offset=100)  # type: ignore[arg-type]


class Barriers:
    """Applies what it is given, if it may."""

    may = True

    def barrier(self, _held: Held, change: Any) -> bool:
        if self.may:
            change()
        return self.may


class Holdings(dict[Place, Held]):
    def __iter__(self) -> Any:
        return iter(tuple(self.values()))

    @property
    def by_place(self) -> dict[Place, Held]:
        return self


def made(consumer: Consumer, *helds: Held) -> tuple[Loop, list[str]]:
    said: list[str] = []
    counters: Counter[str] = Counter()
    controls = Controls(consumer, "graft.control", [0], said.append, counters)
    controls.follow([one.shard.control_offsets for one in helds])
    loop = Loop(
        assignment=None, holdings=Holdings({one.place: one for one in helds}), controls=controls,
        durability=Barriers(), outputs=None, partitions={"metrics": 2}, pace=Pace(), warn=said.append, report=None,
        clock=lambda: 0.0, counters=counters,
    )  # type: ignore[arg-type]  # fmt: skip
    return loop, said


def test_a_shard_that_comes_while_an_order_waits_misses_none() -> None:
    first, second = held(ONE, 10), held(TWO, 5)
    loop, _ = made(Consumer(LOG), first)
    loop.durability.may = False  # type: ignore[misc]
    loop.obey()
    assert [one.offset() for one in loop.controls.pending] == [10]
    loop.holdings[TWO] = second  # type: ignore[index]
    loop.controls.follow([first.shard.control_offsets, second.shard.control_offsets])
    loop.durability.may = True  # type: ignore[misc]
    loop.obey()
    assert second.shard.got == [f"o{number}" for number in range(5, 11)]  # type: ignore[attr-defined]
    assert first.shard.got == ["o10"]  # type: ignore[attr-defined]


def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    """It ends before the orders that the shard knows: said aloud, and none is ignored for that."""
    one, consumer = held(ONE, 50), Consumer(LOG, (0, 11))
    loop, said = made(consumer, one)
    consumer.errors = [KafkaError(KafkaError._AUTO_OFFSET_RESET)]
    loop.obey()
    loop.obey()
    assert one.shard.got == [f"o{number}" for number in range(11)]  # type: ignore[attr-defined]
    assert "was made anew" in said[0]


def test_orders_that_retention_took_are_told() -> None:
    one, consumer = held(ONE, 2), Consumer(LOG[8:], (8, 11))
    loop, said = made(consumer, one)
    consumer.log, consumer.errors = [], [KafkaError(KafkaError._AUTO_OFFSET_RESET)]
    loop.obey()
    consumer.log = LOG[8:]
    loop.obey()
    assert one.shard.got == ["o8", "o9", "o10"]  # type: ignore[attr-defined]
    assert said == ["Orders before offset 8 of graft.control[0] are gone before they were applied."]


def test_a_topic_that_cannot_be_read_is_told_and_counted() -> None:
    consumer = Consumer(LOG)
    loop, said = made(consumer, held(ONE, 0))
    consumer.errors = [KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)]
    loop.obey()
    assert "cannot be read" in said[0]
    assert loop.counters["client_errors"] == 1


def test_a_broker_that_does_not_answer_is_the_outside_world() -> None:
    consumer = Consumer(LOG)
    loop, _ = made(consumer, held(ONE, 50))
    consumer.ends = KafkaException(KafkaError(KafkaError._TRANSPORT))  # type: ignore[assignment]
    consumer.errors = [KafkaError(KafkaError._AUTO_OFFSET_RESET)]
    with pytest.raises(OutsideError, match="begins and ends"):
        loop.obey()


def test_orders_hold_up_samples_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    one = held(ONE, 0)
    loop, _ = made(Consumer(LOG), one)
    ticks = iter(range(100))
    loop.clock = lambda: float(next(ticks))
    monkeypatch.setattr(loop_module, "OBEY_S", 3.5)
    loop.obey()
    assert len(one.shard.got) == 3  # type: ignore[attr-defined]
    for _ in range(3):
        loop.obey()
    assert len(one.shard.got) == 11  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "value",
    [
        orjson.dumps({"schema": "graft.order/1", "id": "x", "kind": "label", "note": "n" * MAX_ORDER_BYTES}),
        orjson.dumps({"schema": "graft.order/1", "id": "x" * (ID_CHARACTERS + 1), "kind": "label"}),
    ],
)
def test_an_order_whose_echo_would_not_fit_is_refused(value: bytes) -> None:
    with pytest.raises(BadSample):
        order_of(value)


class Seeds:
    """Has what is lent after some turns."""

    def __init__(self, turns: int) -> None:
        self.turns = turns

    def get(self, _parcel: Any) -> str | None:
        self.turns -= 1
        return "what is lent" if self.turns < 0 else None


def seed_order(**changes: Any) -> bytes:
    lends = {"digest": "0" * 16, "sha256": "1" * 64, "size": 10, "pieces": 1, "begin": 0}
    params = {"action": "add", **lends, **changes}
    return orjson.dumps({"schema": "graft.order/1", "id": "seed", "kind": "seed", "params": params})


def test_a_seed_waits_for_its_pieces_and_holds_up_no_turn() -> None:
    """The order stays at the head of the others until it can be obeyed, by each shard with the same."""
    helds = held(ONE, 0), held(TWO, 0)
    loop, _ = made(Consumer([Message(0, seed_order()), Message(1, order(1))]), *helds)
    loop.seeds = Seeds(3)  # type: ignore[assignment]
    for _ in range(3):
        loop.obey()
        assert [one.shard.got for one in helds] == [[], []]  # type: ignore[attr-defined]
        assert not loop.controls.at_end
    loop.obey()
    for one in helds:
        assert one.shard.got == ["seed", "o1"]  # type: ignore[attr-defined]
        assert one.shard.lent == ["what is lent"]  # type: ignore[attr-defined]
        assert one.shard.control_offsets == {0: 2}


def test_a_withdrawal_waits_for_nothing_and_a_seed_that_names_nothing_is_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, buried = held(ONE, 0), []
    log = [Message(0, seed_order(action="withdraw")), Message(1, seed_order(begin=None))]
    loop, _ = made(Consumer(log), one)
    loop.seeds = Seeds(10**6)  # type: ignore[assignment]
    monkeypatch.setattr(Loop, "bury", lambda _, message, reason, *__, **___: buried.append((message.offset(), reason)))
    loop.obey()
    assert one.shard.got == ["seed"]  # type: ignore[attr-defined]
    assert buried == [(1, "order")]
    assert one.shard.control_offsets == {0: 2}


def test_after_a_rebalance_what_lies_ahead_is_read_again() -> None:
    """Messages of a former stay, delivered by the consume() in which the shard went and came back."""
    one, went = held(ONE, 0), []
    loop, _ = made(Consumer(LOG), one)
    loop.assignment = SimpleNamespace(read_from=lambda place, offset: went.append((place, offset)))  # type: ignore[assignment]
    assert loop.step_back(ONE, [Message(150)])  # type: ignore[list-item]
    assert went == [(ONE, 100)]
    assert not loop.step_back(ONE, [Message(100)])  # type: ignore[list-item]
    assert not loop.step_back(TWO, [Message(150)])  # type: ignore[list-item]
