"""A person's answer: what makes one valid, what order it becomes, and what the order does to the gate."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from engine import feedback
from engine.batch import Batch
from engine.errors import BadSample
from engine.series import Kind, Series
from engine.shard import Shard
from tests.engine.components.feed import assert_finite
from tests.engine.logs import START_MS, admit, cold, fleet_log

SERIES = 'm0{host="h0"}'
QUESTION = {
    "escalation": "q1",
    "series": SERIES,
    "entity": "host=h0",
    "follows": [{"topic": "metrics", "partition": 2, "offset": 17}],
}


def label(answer: object = "false_alarm", **changes: Any) -> dict[str, Any]:
    return {
        "schema": "graft.label/1",
        "id": "l1",
        "at_ms": 5,
        "escalation": None,
        "series": SERIES,
        "entity": "host=h0",
        "answer": answer,
        "from_ms": None,
        "until_ms": None,
        "by": "anna",
        "reason": None,
        "target": {"topic": "metrics", "partition": 0},
    } | changes


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in label().items() if k != key}


REFUSED = {
    "no schema": without("schema"),
    "later schema": label(schema="graft.label/9"),
    "schema is a list": label(schema=[]),
    "no answer": without("answer"),
    "unknown answer": label("yes"),
    "answer is null": label(None),
    "answer in capitals": label("INCIDENT"),
    "no id": without("id"),
    "empty id": label(id=""),
    "id is a number": label(id=7),
    "id too long": label(id="x" * 201),
    "about nothing": label(series=None),
    "by nobody": label(by=""),
    "by a number": label(by=7),
    "escalation that is not open": label(escalation="gone", series=None),
    "by a sentence": label(by="x" * 201),
    "reason is a list": label(reason=["why"]),
    "reason is a book": label(reason="x" * 4001),
    "empty": {},
}
WINDOWS = {
    "a week and more": label(from_ms=0, until_ms=7 * 86_400_000 + 1),
    "backwards": label(from_ms=2, until_ms=1),
    "of nothing": label(from_ms=9, until_ms=9),
    "in words": label(from_ms="yesterday", until_ms="today"),
    "a year": label(from_ms=0, until_ms=365 * 86_400_000),
    "before 1970": label(from_ms=-1),
    "text": label(until_ms="now"),
    "true": label(from_ms=True),
    "a fraction": label(from_ms=0.5),
    "beyond all time": label(until_ms=1 << 60),
}
#: Today these raise TypeError or ValueError, or become an order; tuner.decided (agents/flows) turns the first into
#: BadSample.
LET_THROUGH = {
    "answer is a list": label([]),
    "answer is an object": label({}),
    "target is a list": label(target=[1]),
    "target is text": label(target="abc"),
    "partition is text": label(target={"topic": "metrics", "partition": "zero"}),
    "topic is a number": label(target={"topic": 1, "partition": 0}),
    "series is a number": label(series=5),
    "series is a list": label(series=["a"]),
    "follows is a number": label(follows=5),
}
CASES = [
    *(pytest.param(value, id=name) for name, value in REFUSED.items()),
    *(pytest.param(value, id=name) for name, value in LET_THROUGH.items()),
]


@pytest.mark.parametrize("bad", CASES)
def test_a_malformed_label_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(BadSample) as refusal:
        feedback.order_for(bad, None)
    assert refusal.value.reason == "label"
    assert len(refusal.value.detail) > 20


@pytest.mark.parametrize("bad", [pytest.param(value, id=name) for name, value in WINDOWS.items()])
def test_a_window_that_makes_no_sense_is_refused_as_such(bad: dict[str, Any]) -> None:
    with pytest.raises(BadSample) as refusal:
        feedback.order_for(bad, None)
    assert refusal.value.reason == "window"


@pytest.mark.parametrize("answer", list(feedback.ANSWERS))
def test_each_answer_becomes_an_order_that_can_be_sent(answer: str) -> None:
    feedback.check(label(answer))
    order = feedback.order_for(label(answer), None)
    assert (order["schema"], order["kind"]) == ("graft.order/1", "label")
    assert order["target"] == {"topic": "metrics", "partition": 0, "series": SERIES, "entity": "host=h0"}
    assert (order["params"]["answer"], order["params"]["by"]) == (answer, "anna")
    assert feedback.order_for(label(answer), None) == order
    json.dumps(order, allow_nan=False)


def test_without_a_target_whoever_knows_the_series_is_meant() -> None:
    assert feedback.order_for(label(target=None), None)["target"] == {"series": SERIES, "entity": "host=h0"}


def test_an_escalation_tells_where_the_answer_belongs() -> None:
    order = feedback.order_for(label(series=None, escalation="q1", target={"topic": "x", "partition": 9}), QUESTION)
    assert order["target"] == {"topic": "metrics", "partition": 2, "series": SERIES, "entity": "host=h0"}
    with pytest.raises(BadSample, match="is about"):
        feedback.order_for(label(series="other", escalation="q1"), QUESTION)


def gates(shard: Shard) -> tuple[float, float]:
    return float(shard.roster.ents.entity.gate[0]), float(shard.roster.rows.shown.gate[0])


def answered(shard: Shard, answer: str, *, number: int = 0, series: str = SERIES) -> None:
    order = feedback.order_for(label(answer, id=f"{answer}-{number}-{series}", series=series), None)
    shard.apply(order, control_partition=0, next_offset=number + 1)


@pytest.mark.parametrize(
    ("answer", "sign"), [("false_alarm", 1), ("expected", 0), ("incident", -1), ("unsure", 0), ("new_normal", 0)]
)
def test_an_answer_moves_the_gate_of_its_entity_only(answer: str, sign: int) -> None:
    shard = cold()
    shard.process(fleet_log(admit(shard, 2, 2), 100))
    answered(shard, answer)
    assert np.sign(gates(shard)).tolist() == [sign, sign]
    assert shard.roster.ents.entity.gate[1] == 0


@pytest.mark.parametrize("answer", ["false_alarm", "incident"])
def test_no_number_of_answers_closes_or_opens_the_gate_for_good(answer: str) -> None:
    shard = cold()
    shard.process(fleet_log(admit(shard, 1, 2), 100))
    for k in range(50):
        answered(shard, answer, number=k)
    assert abs(gates(shard)[0]) <= 2.0


def pages_after(answer: str | None) -> np.ndarray:
    """Pages of the ticks that follow an answer; the log is the same."""
    shard = cold()
    rows = admit(shard, 1, 4)
    batch = fleet_log(rows, 400, 6)
    half = 1000
    first = Batch(*(column[:half] for column in batch[:4]), half)
    shard.process(first)
    if answer:
        answered(shard, answer)
    return np.asarray(shard.process(batch).ticks.page)


def test_the_next_page_is_lower_after_a_false_alarm_and_higher_after_an_incident() -> None:
    plain, quieter, louder = pages_after(None), pages_after("false_alarm"), pages_after("incident")
    assert len(plain) == len(quieter) == len(louder)
    assert (quieter < plain).all()
    assert (louder > plain).all()


def test_new_normal_on_a_series_of_a_minute_leaves_no_nan() -> None:
    shard = cold()
    row = shard.admit(Series.of("m0", {"host": "h0"}, Kind.GAUGE))
    shard.process(Batch.of([row], [START_MS], [5.0], [0], 1))
    answered(shard, "new_normal")
    shard.process(Batch.of([row] * 9, START_MS + 60_000 * np.arange(1, 10), np.arange(9.0), np.arange(1, 10), 10))
    assert_finite(shard)
