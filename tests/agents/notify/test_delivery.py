"""Laws of the life of a delivery and of the gate before a destination."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.notify import gate as gates
from agents.notify.gate import Circuit, Gate, Signal
from agents.sinks.delivery import NEXT, Answer, Event, Outcome, State, after_answer, backoff_s, classify, retry_after_s

OK = Answer(Outcome.DELIVERED, 200)
BAD = Answer(Outcome.RETRY, 503)
NO = Answer(Outcome.REJECTED, 400)


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_state_knows_every_event(state: State, event: Event) -> None:
    after = NEXT[state, event]
    if state is State.SENT:
        assert after is State.SENT, "what was delivered is delivered, whatever comes late"
    if event is Event.DELIVERED:
        assert after is State.SENT
    if event is Event.FAILED:
        assert after is state, "a failure alone loses nothing"
    if state in (State.PARKED, State.FOLDED) and after is State.QUEUED:
        assert event is Event.REQUEUED, "only a hand puts it back"


@pytest.mark.parametrize(("circuit", "signal"), list(itertools.product(Circuit, Signal)))
def test_every_circuit_knows_every_signal(circuit: Circuit, signal: Signal) -> None:
    after = gates.NEXT[circuit, signal]
    if signal is Signal.SUCCESS:
        assert after is Circuit.CLOSED
    if signal is Signal.TRIP:
        assert after is Circuit.OPEN
    if after is Circuit.HALF_OPEN:
        assert signal is Signal.DUE


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "delivered"), (202, "delivered"), (204, "delivered"),
        (301, "retry"), (302, "retry"), (307, "retry"),
        (400, "rejected"), (413, "rejected"), (422, "rejected"),
        (401, "retry"), (403, "retry"), (404, "retry"), (405, "retry"), (407, "retry"), (409, "retry"), (410, "retry"),
        (415, "retry"), (408, "retry"), (425, "retry"), (429, "retry"),
        (500, "retry"), (502, "retry"), (503, "retry"), (504, "retry"), (599, "retry"),
    ],
)  # fmt: skip
def test_status(status: int, outcome: str) -> None:
    assert classify(status).outcome == outcome


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("", None), ("soon", None), ("-5", None), ("0", 0.0), (" 120 ", 120.0), ("99999999", 300.0),
        ("9" * 5000, 300.0), ("1.5", None), ("²", None),
        ("Thu, 01 Jan 1970 00:00:30 GMT", 20.0), ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:30 -0000", 20.0), ("Fri, 01 Jan 2100 00:00:00 GMT", 300.0),
    ],
)  # fmt: skip
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, now_s=10.0) == seconds


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_bounded_for_ever(attempts: int, dice: float) -> None:
    assert 0 <= backoff_s(attempts, lambda: dice) <= 300


def step(answer: Answer, *, now_s: float = 100.0, attempts: int = 1) -> tuple[Event, float]:
    return after_answer(answer, attempts=attempts, accepted_s=0, give_up_s=1000, now_s=now_s, random=lambda: 0.5)


def test_answers_become_events() -> None:
    assert step(OK)[0] is Event.DELIVERED
    assert step(NO)[0] is Event.REJECTED
    assert step(BAD, attempts=3) == (Event.FAILED, 102.0)
    assert step(BAD, now_s=1000.0)[0] is Event.EXPIRED
    assert step(OK, now_s=5000.0)[0] is Event.DELIVERED, "late is better than never"


def test_retry_after_is_a_lower_bound_under_the_jitter() -> None:
    assert step(Answer(Outcome.RETRY, 429, retry_after_s=60.0)) == (Event.FAILED, 160.5)


def test_breaker_opens_after_five_failures_and_looks_every_thirty_seconds() -> None:
    gate = Gate(per_minute=6000)
    for failure in range(5):
        assert gate.ready_s(100.0) == 100.0, failure
        gate.taken(100.0)
        gate.answered(BAD, 100.0)
    assert gate.circuit is Circuit.OPEN
    assert gate.ready_s(101.0) == 130.0
    gate.taken(130.0)
    assert gate.circuit is Circuit.HALF_OPEN
    gate.answered(BAD, 131.0)
    assert (gate.circuit, gate.ready_s(140.0)) == (Circuit.OPEN, 161.0)
    gate.taken(161.0)
    gate.answered(OK, 161.0)
    assert (gate.circuit, gate.failures, gate.ready_s(161.0)) == (Circuit.CLOSED, 0, 161.0)


def test_a_refusal_proves_that_the_tool_is_alive() -> None:
    gate = Gate(per_minute=6000)
    for _ in range(4):
        gate.answered(BAD, 1.0)
    gate.answered(NO, 1.0)
    gate.answered(BAD, 1.0)
    assert gate.circuit is Circuit.CLOSED


def test_retry_after_holds_the_whole_destination() -> None:
    gate = Gate(per_minute=6000)
    gate.answered(Answer(Outcome.RETRY, 429, retry_after_s=50.0), 10.0)
    assert gate.ready_s(11.0) == 60.0


def test_bucket_gives_a_burst_then_the_rate() -> None:
    gate = Gate(per_minute=3)
    for _ in range(3):
        assert gate.ready_s(1000.0) == 1000.0
        gate.taken(1000.0)
    assert gate.ready_s(1000.0) == pytest.approx(1020.0)
    assert gate.ready_s(900.0) == pytest.approx(920.0), "a clock that steps back costs nothing"
    assert Gate(per_minute=0.5).ready_s(5.0) == 5.0


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([OK, BAD, NO])), max_size=60), st.floats(1, 600))
def test_never_more_than_burst_and_rate(steps: list[tuple[float, Answer]], per_minute: float) -> None:
    gate, now, sent = Gate(per_minute=per_minute), 50.0, 0
    for wait, answer in steps:
        now += wait
        if gate.ready_s(now) <= now:
            gate.taken(now)
            gate.answered(answer, now)
            sent += 1
    assert sent <= max(1.0, per_minute) + (now - 50.0) * per_minute / 60.0 + 1
    assert gate.ready_s(now) - now <= 300 + 60 / per_minute + 30, "a gate always opens again"
