"""The thin flows without a broker: nothing is done before it is kept, nothing escapes, twice the same is once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.came import Came, parsed
from agents.flows.review_desk import Desk
from agents.flows.reviewer import Reviewer
from agents.flows.thin import Flow, Out
from agents.flows.tuner import Tuner
from agents.recovery.outputs import Outputs
from engine.errors import BadSample, OutsideError
from engine.feedback import order_for
from engine.retune import Tuner as Decider

SERIES = 'cpu{host="a"}'
FOLLOWS = [{"topic": "metrics", "partition": 3, "offset": 7}]
DRIFT = {
    "schema": "graft.drift/1", "id": "d1", "at_ms": 5, "entity": "host=a", "series": SERIES, "kind": "level",
    "before": {"level": 1.0, "mean": 1.0, "sd": 0.5, "season_level": 0.0},
    "after": {"level": 3.0}, "because": "moved", "follows": FOLLOWS,
}  # fmt: skip
ESCALATION = {
    "schema": "graft.escalation/1", "id": "x", "escalation": "e1", "state": "opened", "at_ms": 5, "entity": "host=a",
    "series": SERIES, "follows": FOLLOWS,
}  # fmt: skip
LABEL = {
    "schema": "graft.label/1", "id": "l1", "at_ms": 6, "escalation": "e1", "series": None, "entity": None,
    "answer": "expected", "by": "ann", "target": None,
}  # fmt: skip


class Broker:
    """Stands in for the producer: keeps what was sent once it is flushed; may refuse."""

    def __init__(self) -> None:
        self.pending: list[tuple[str, dict[str, Any]]] = []
        self.kept: list[tuple[str, dict[str, Any]]] = []
        self.down = False

    def produce(self, topic: str, /, **message: Any) -> None:
        self.pending.append((topic, message))

    def poll(self, _timeout: float, /) -> int:
        return 0

    def flush(self, _timeout: float, /) -> int:
        for topic, message in self.pending:
            if self.down:
                failure = SimpleNamespace(str=lambda: "refused")
                message["on_delivery"](failure, SimpleNamespace(topic=lambda name=topic: name))
            else:
                self.kept.append((topic, message))
        self.pending.clear()
        return 0

    def __len__(self) -> int:
        return len(self.pending)

    def records(self, topic: str) -> list[Any]:
        return [orjson.loads(message["value"]) for name, message in self.kept if name == topic]

    def reasons(self) -> list[str]:
        return [dict(m["headers"])["graft.err.reason"].decode() for name, m in self.kept if name == "graft.dlq"]


class Event:
    def __init__(self, value: bytes | None, offset: int) -> None:
        self.message = SimpleNamespace(
            topic="t", partition=0, offset=offset, timestamp=1.5, key=b"k", value=value, headers={}
        )
        self.acked = False

    def ack(self) -> bool:
        self.acked = True
        return True


async def stream(events: list[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event


def bytes_of(record: Any) -> bytes | None:
    return record if record is None or isinstance(record, bytes) else orjson.dumps(record)


def run(flow: Flow, *records: Any) -> list[Event]:
    events = [Event(bytes_of(record), offset) for offset, record in enumerate(records)]

    async def scene() -> None:
        # A defect makes the flow wait for the end of the process; here, for a moment.
        with pytest.raises(asyncio.TimeoutError) if flow_failures else _nothing():
            await asyncio.wait_for(flow.run(stream(events)), 0.2 if flow_failures else 10)

    asyncio.run(scene())
    return events


class _nothing:  # noqa: N801 - reads as a statement
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


flow_failures: list[str] = []


@pytest.fixture(autouse=True)
def _no_failures() -> Iterator[None]:
    flow_failures.clear()
    yield
    flow_failures.clear()


def made(broker: Broker, history: list[Any] | None = None) -> tuple[Flow, Flow, Flow, list[BaseException]]:
    failures: list[BaseException] = []
    out = Out(Outputs(broker, prefix="graft.", source="/test"), engine="1")
    reviewer = Reviewer(
        Desk(questions_per_hour=4), order_for, out, history=lambda: iter([bytes_of(one) for one in history or []])
    )
    tuner = Tuner(Decider(), out)
    make = lambda name, handler: Flow(name, handler, out, fail=failures.append)  # noqa: E731 - a shorthand
    return (
        make("tuner", tuner.on_drift),
        make("desk", reviewer.on_escalation),
        make("reviewer", reviewer.on_label),
        failures,
    )


def test_drift_becomes_an_order_that_names_what_it_follows_from() -> None:
    broker = Broker()
    tuner, *_ = made(broker)
    events = run(tuner, DRIFT, {**DRIFT, "id": "d2", "kind": "gap"})
    (order,) = broker.records("graft.control")
    assert order["target"]["partition"] == 3
    assert order["follows"] == [*FOLLOWS, {"topic": "t", "partition": 0, "offset": 0}]
    assert [event.acked for event in events] == [True, True]


def test_the_same_drift_in_another_life_gives_the_same_order_id() -> None:
    broker = Broker()
    for _ in range(2):
        run(made(broker)[0], DRIFT)
    assert len({order["id"] for order in broker.records("graft.control")}) == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (None, "tombstone"), (b"", "json"), (b"{", "json"), (b"[]", "shape"), (b"\xff", "json"), (b'{"a":NaN}', "json"),
        (b"[" * 5000, "json"), ({}, "schema"), ({"schema": "graft.drift/2"}, "schema"), ({"schema": 1}, "schema"),
        ({"schema": "graft.drift/1", "kind": "level"}, "drift"), ({**DRIFT, "series": "b", "before": None}, "drift"),
        ({**DRIFT, "series": "b", "follows": []}, "drift"), ({**DRIFT, "at_ms": "x"}, "drift"),
        (b'"' + b"x" * 300_000 + b'"', "oversize"),
    ],
)  # fmt: skip
def test_what_is_no_drift_is_a_dead_letter_with_its_bytes(record: Any, reason: str) -> None:
    broker = Broker()
    tuner, *_, failures = made(broker)
    events = run(tuner, record, DRIFT)
    assert broker.reasons() == [reason]
    assert len(broker.records("graft.control")) == 1, "the next one is handled"
    assert all(event.acked for event in events)
    assert failures == []


def test_nothing_is_acknowledged_before_the_order_is_kept() -> None:
    broker = Broker()
    tuner, *_, failures = made(broker)
    broker.down = True
    flow_failures.append("the broker is down")
    events = run(tuner, DRIFT, DRIFT)
    assert [event.acked for event in events] == [False, False], "nor is the next one begun"
    assert isinstance(failures[0], OutsideError)


def test_a_defect_stops_the_flow_unacknowledged() -> None:
    broker = Broker()

    async def defect(_came: Came) -> None:
        raise ZeroDivisionError

    failures: list[BaseException] = []
    flow = Flow("x", defect, Out(Outputs(broker, prefix="graft.", source="/t"), engine="1"), fail=failures.append)
    flow_failures.append("a defect")
    events = run(flow, DRIFT, DRIFT)
    assert [event.acked for event in events] == [False, False]
    assert isinstance(failures[0], ZeroDivisionError)
    assert broker.kept == []


def test_an_answer_becomes_an_order() -> None:
    broker = Broker()
    _, desk, reviewer, _ = made(broker)
    run(desk, ESCALATION)
    run(reviewer, LABEL, LABEL)
    orders = broker.records("graft.control")
    assert {order["id"] for order in orders} == {orders[0]["id"]}
    assert orders[0]["target"] == {"topic": "metrics", "partition": 3, "series": SERIES, "entity": "host=a"}
    assert broker.reasons() == []


def test_the_first_answer_counts_in_every_process() -> None:
    """The topic says which one it was: to the same desk, to the next life's, and to another worker's."""
    broker = Broker()
    _, desk, reviewer, _ = made(broker, history=[ESCALATION])
    contrary = {**LABEL, "id": "l2", "answer": "incident", "by": "bob"}
    run(desk, ESCALATION)
    run(reviewer, LABEL, contrary)
    told = broker.records("graft.escalations")
    assert told == [{
        "schema": "graft.escalation/1", "id": told[0]["id"], "state": "answered", "at_ms": 6, "environment": None,
        "entity": "host=a", "series": SERIES, "escalation": "e1", "opened_ms": None, "answer": "expected", "by": "ann",
        "label": "l1", "reason": None, "from_ms": None, "until_ms": None, "weight": 1.0,
        "follows": [*FOLLOWS, {"topic": "t", "partition": 0, "offset": 0}],
    }]  # fmt: skip
    assert broker.reasons() == ["closed_escalation"]
    *_, again, _ = made(broker, history=[ESCALATION, *told])
    run(again, contrary, LABEL)
    assert broker.reasons() == ["closed_escalation"] * 2
    assert {order["params"]["by"] for order in broker.records("graft.control")} == {"ann"}
    assert len({record["id"] for record in broker.records("graft.escalations")}) == 1


def test_an_answer_given_through_another_worker_is_heard_of() -> None:
    """One worker of the group hears the questions, another the answers; before, the topic had only the question."""
    broker, history = Broker(), [ESCALATION]
    *_, reviewer, _ = made(broker, history=history)
    run(reviewer, {**LABEL, "escalation": "nobody"})
    history.append({**ESCALATION, "state": "answered", "label": "l0"})
    run(reviewer, LABEL)
    assert broker.reasons() == ["unknown_escalation", "closed_escalation"]


def test_an_answer_without_a_question_closes_none() -> None:
    broker = Broker()
    *_, reviewer, _ = made(broker)
    run(reviewer, {**LABEL, "escalation": None, "series": SERIES, "target": {"topic": "metrics", "partition": 3}})
    assert len(broker.records("graft.control")) == 1
    assert broker.records("graft.escalations") == []


def test_an_answer_that_comes_before_its_question_asks_the_topic() -> None:
    broker = Broker()
    *_, reviewer, _ = made(broker, history=[b"junk", ESCALATION])
    run(reviewer, LABEL)
    assert len(broker.records("graft.control")) == 1


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ({"escalation": "nobody"}, "unknown_escalation"), ({"answer": "perhaps"}, "answer"), ({"answer": []}, "answer"),
        ({"escalation": ["e1"]}, "unknown_escalation"), ({"series": "other"}, "label"), ({"by": ""}, "label"),
        ({"id": None}, "label"), ({"target": 5}, "label"),
    ],
)  # fmt: skip
def test_answers_that_do_not_count(label: dict[str, Any], reason: str) -> None:
    broker = Broker()
    _, desk, reviewer, failures = made(broker)
    run(desk, ESCALATION)
    run(reviewer, {**LABEL, **label})
    assert broker.reasons() == [reason]
    assert broker.records("graft.control") == []
    assert failures == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(DRIFT)), JSON), st.dictionaries(st.sampled_from(sorted(LABEL)), JSON))
def test_junk_in_any_field_is_refused_or_works(drift: dict[str, Any], label: dict[str, Any]) -> None:
    broker = Broker()
    tuner, desk, reviewer, failures = made(broker)
    run(desk, ESCALATION)
    run(tuner, {**DRIFT, **drift})
    run(reviewer, {**LABEL, **label})
    assert failures == []


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    reason = "none"
    try:
        parsed(Came("t", 0, 0, 0, None, data), schema="graft.drift/1")
    except BadSample as error:
        reason = error.reason
    assert reason in {"none", "json", "shape", "schema"}
