"""Laws of the desk: each question once, the first answer counts, a budget of questions, a bound on memory."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.flows.review_desk import HOUR_MS, Desk, Status
from engine.errors import BadSample


def escalation(name: Any = "e", state: Any = "opened", at_ms: Any = 0) -> dict[str, Any]:
    return {"escalation": name, "state": state, "at_ms": at_ms}


def test_budget_counts_event_time() -> None:
    desk = Desk(questions_per_hour=2)
    found = [desk.take(escalation(f"e{n}", at_ms=1000 + n)) for n in range(4)]
    assert found == [Status.ASKED, Status.ASKED, Status.FOLDED, Status.FOLDED]
    assert desk.take(escalation("later", at_ms=1000 + HOUR_MS // 2)) is Status.ASKED
    assert desk.take(escalation("soon", at_ms=1001 + HOUR_MS // 2)) is Status.FOLDED
    assert desk.open_count() == {"asked": 3, "folded": 3}


def test_a_fraction_of_a_question_and_none() -> None:
    rare = Desk(questions_per_hour=0.5)
    assert [rare.take(escalation(str(n), at_ms=1 + n * HOUR_MS)) for n in range(3)] == [
        Status.ASKED, Status.FOLDED, Status.ASKED,
    ]  # fmt: skip
    assert Desk(questions_per_hour=0).take(escalation()) is Status.FOLDED


def test_folded_questions_may_be_answered() -> None:
    desk = Desk(questions_per_hour=0)
    desk.take(escalation())
    assert desk.question_for({"escalation": "e", "id": "l"}) == escalation()


def test_the_same_record_twice_is_no_news() -> None:
    desk = Desk(questions_per_hour=1)
    assert desk.take(escalation()) is Status.ASKED
    assert desk.take(escalation()) is None
    assert desk.counters == {"asked": 1}


@pytest.mark.parametrize(
    ("states", "label_id", "reason"),
    [
        ((), "l", "unknown_escalation"),
        (("opened", "expired"), "l", "closed_escalation"),
        (("opened", "label:l"), "other", "closed_escalation"),
        (("opened", "label:l", "answered"), "other", "closed_escalation"),
        (("expired", "opened"), "l", "closed_escalation"),
        (("opened",), "l", None),
        (("opened", "label:l"), "l", None),
        (("opened", "label:l", "answered"), "l", None),
        (("opened", "answered"), "l", None),
        (("answered", "opened"), "l", None),
    ],
)
def test_which_answers_count(states: tuple[str, ...], label_id: str, reason: str | None) -> None:
    """An answer that is read again after a restart meets a question that its order has closed already: the same id."""
    desk = Desk(questions_per_hour=9)
    for state in states:
        if state.startswith("label:"):
            desk.take({**escalation(state="answered"), "label": state.removeprefix("label:")})
        else:
            desk.take(escalation(state=state))
    if reason is None:
        assert desk.question_for({"escalation": "e", "id": label_id})
        return
    with pytest.raises(BadSample) as caught:
        desk.question_for({"escalation": "e", "id": label_id})
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "record", [{}, escalation(None), escalation(""), escalation([]), escalation("x" * 256), escalation(state="odd")]
)
def test_what_cannot_be_filed(record: dict[str, Any]) -> None:
    with pytest.raises(BadSample):
        Desk(questions_per_hour=1).take(record)


def test_a_label_without_escalation_needs_no_question() -> None:
    desk = Desk(questions_per_hour=1)
    assert desk.question_for({"escalation": None}) is None


def test_memory_is_bounded() -> None:
    desk = Desk(questions_per_hour=1, cap=10)
    for n in range(100):
        desk.take(escalation(str(n)))
    assert sum(desk.open_count().values()) == 10
    assert desk.counters["forgotten"] == 90
    with pytest.raises(BadSample, match="unknown_escalation"):
        desk.question_for({"escalation": "0"})


@given(st.lists(st.tuples(st.integers(0, 10 * HOUR_MS), st.integers(0, 50)), max_size=80), st.floats(0, 10))
def test_never_more_questions_than_the_budget(steps: list[tuple[int, int]], per_hour: float) -> None:
    desk = Desk(questions_per_hour=per_hour)
    asked = [at for at, name in steps if desk.take(escalation(str(name), at_ms=at)) is Status.ASKED]
    span_h = (max(at for at, _ in steps) - min(at for at, _ in steps)) / HOUR_MS if steps else 0
    assert len(asked) <= max(1.0, per_hour) + span_h * per_hour + 1e-6 if per_hour else not asked


@pytest.mark.parametrize(("first", "second"), list(itertools.product(("opened", "answered", "expired"), repeat=2)))
def test_closed_stays_closed(first: str, second: str) -> None:
    desk = Desk(questions_per_hour=9)
    desk.take(escalation(state=first))
    desk.take(escalation(state=second))
    closed = first != "opened" or second != "opened"
    assert sum(desk.open_count().values()) == (not closed)
