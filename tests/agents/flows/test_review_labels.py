"""Labels from anybody: forged, from elsewhere, from the future, replayed, in floods. What does not count is a dead
letter with its reason; what counts, counts once; two people who differ are both seen."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from agents import signing
from agents.flows.review_desk import Desk
from agents.flows.review_labels import AHEAD_MS, HOUR_MS, MOST_AN_HOUR, LabelGate
from agents.flows.reviewer import Reviewer
from agents.flows.thin import Flow, Out
from agents.recovery.outputs import Outputs
from agents.secret import Secret
from engine.errors import BadSample
from engine.feedback import order_for
from tests.agents.flows.test_tuner_and_reviewer import ESCALATION, LABEL, Broker, bytes_of, run

NOW = 1000 * HOUR_MS
KEYS = {"ann": Secret("a key"), "bob": Secret("another")}


def label(**changes: Any) -> dict[str, Any]:
    return {**LABEL, "at_ms": NOW, "environment": "prod", **changes}


def signed(key: Secret, **changes: Any) -> dict[str, Any]:
    one = label(**changes)
    return {**one, "signature": signing.signature(one, key)}


def refused(gate: LabelGate, one: dict[str, Any], now_ms: int = NOW) -> str | None:
    try:
        gate.check(one, now_ms=now_ms)
    except BadSample as error:
        return error.reason
    return None


class Scene:
    """A reviewer with one open question, without a broker."""

    def __init__(self, gate: LabelGate | None = None, history: list[Any] | None = None) -> None:
        self.broker, self.failures = Broker(), list[BaseException]()
        out = Out(Outputs(self.broker, prefix="graft.", source="/test"), engine="1")
        past = history if history is not None else [ESCALATION]
        self.reviewer = Reviewer(
            Desk(questions_per_hour=4), order_for, out, history=lambda: iter([bytes_of(one) for one in past]), gate=gate
        )
        self._flow = Flow("reviewer", self.reviewer.on_label, out, fail=self.failures.append)

    def say(self, *labels: dict[str, Any]) -> None:
        run(self._flow, *labels)
        assert self.failures == []

    def orders(self) -> list[dict[str, Any]]:
        return self.broker.records("graft.control")


def test_another_environment_is_not_ours() -> None:
    gate = LabelGate(environment="prod")
    assert refused(gate, label()) is None
    assert refused(gate, label(environment=None)) is None
    assert refused(gate, label(environment="test")) == "environment"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"until_ms": NOW + AHEAD_MS}, None), ({"until_ms": NOW + AHEAD_MS + 1}, "window"),
        ({"at_ms": NOW + AHEAD_MS}, None), ({"at_ms": NOW + AHEAD_MS + 1}, "label"), ({"at_ms": None}, "label"),
        ({"at_ms": True}, "label"), ({"at_ms": -1}, "label"), ({"at_ms": "1"}, "label"),
    ],
)  # fmt: skip
def test_nobody_has_seen_the_future(changes: dict[str, Any], reason: str | None) -> None:
    assert refused(LabelGate(), label(**changes)) == reason


def test_a_window_that_lies_elsewhere_than_the_question_is_refused() -> None:
    opened = {**ESCALATION, "at_ms": NOW, "opened_ms": NOW, "expires_ms": NOW + HOUR_MS}
    scene = Scene(history=[opened])
    scene.reviewer.desk.advance(NOW + 100 * HOUR_MS)
    scene.say(
        label(id="early", from_ms=NOW - 90 * HOUR_MS, until_ms=NOW - 50 * HOUR_MS),
        label(id="late", from_ms=NOW + 50 * HOUR_MS, until_ms=NOW + 60 * HOUR_MS),
        label(id="long", from_ms=NOW - 169 * HOUR_MS, until_ms=NOW),
        label(id="right", from_ms=NOW - HOUR_MS, until_ms=NOW),
    )
    assert scene.broker.reasons() == ["window"] * 3
    assert [order["params"]["until_ms"] for order in scene.orders()] == [NOW]


def test_where_there_are_keys_only_their_owners_count() -> None:
    gate = LabelGate(keys=KEYS)
    assert refused(gate, signed(KEYS["ann"])) is None
    assert refused(gate, label()) == "unsigned"
    assert refused(gate, {**signed(KEYS["ann"]), "answer": "incident"}) == "forged"
    assert refused(gate, signed(KEYS["bob"])) == "forged"
    assert refused(gate, signed(KEYS["ann"], by="cleo")) == "forged"
    assert refused(gate, {**label(), "signature": 7}) == "forged"
    assert refused(gate, {**label(), "signature": "ä"}) == "forged"
    assert refused(LabelGate(), label()) is None


def test_a_signature_is_of_the_content_and_not_of_the_order_of_its_fields() -> None:
    one = signed(KEYS["ann"])
    again = dict(reversed(list(orjson.loads(orjson.dumps(one)).items())))
    assert signing.is_signed(again, KEYS["ann"])


def test_a_flood_of_one_person_ends_at_the_limit_and_touches_nobody_else() -> None:
    gate = LabelGate()
    flood = [label(id=f"l{k}", at_ms=NOW + k) for k in range(3 * MOST_AN_HOUR)]
    found = [refused(gate, one) for one in flood]
    assert found == [None] * MOST_AN_HOUR + ["rate"] * (2 * MOST_AN_HOUR)
    assert [refused(gate, one) for one in flood[:MOST_AN_HOUR]] == [None] * MOST_AN_HOUR, "the same again is no flood"
    assert refused(gate, label(id="b", by="bob")) is None
    assert refused(gate, label(id="back", at_ms=0)) == "rate", "the time of a person does not run backwards"
    later = NOW + HOUR_MS
    assert refused(gate, label(id="later", at_ms=later), later) is None


def test_what_is_over_the_limit_is_a_dead_letter_and_not_lost() -> None:
    scene = Scene()
    anywhere = {"escalation": None, "series": "m", "target": {"topic": "metrics", "partition": 0}, "at_ms": 6}
    flood = [{**LABEL, **anywhere, "id": f"l{k}"} for k in range(MOST_AN_HOUR + 5)]
    scene.say(*flood, *flood)
    assert set(scene.broker.reasons()) == {"rate"}
    assert {order["id"] for order in scene.orders()} == {order_for(one, None)["id"] for one in flood[:MOST_AN_HOUR]}


def test_somebody_else_may_override_and_the_shard_takes_the_first_answer_back() -> None:
    scene = Scene()
    first = {**LABEL, "answer": "expected", "from_ms": 1, "until_ms": 2}
    second = {**LABEL, "id": "l2", "by": "bob", "answer": "incident", "overrides": "l1"}
    scene.say(first, {**second, "by": "ann", "id": "l3"}, second, second)
    assert scene.broker.reasons() == ["override"]
    one, two, again = (order["params"] for order in scene.orders())
    assert "undone" not in one
    assert two["undone"] == {"answer": "expected", "weight": 1.0, "from_ms": 1, "until_ms": 2}
    assert len({order["id"] for order in scene.orders()}) == 2
    assert again["answer"] == "incident"
    told = scene.broker.records("graft.escalations")
    assert [(one["answer"], one["by"], one.get("overrides")) for one in told[:2]] == [
        ("expected", "ann", None), ("incident", "bob", "l1"),
    ]  # fmt: skip
    assert len({one["id"] for one in told}) == 2
    scene.say(first)
    assert scene.broker.records("graft.experiments")[1:] == [], "the same label again is nobody's second opinion"
    # After a restart the topic alone says which answer stands.
    after = Scene(history=[ESCALATION, *told])
    after.say(first, {**LABEL, "id": "l4", "by": "cleo", "overrides": "l1"})
    assert after.broker.reasons() == ["closed_escalation"] * 2
    after.say({**LABEL, "id": "l5", "by": "cleo", "overrides": "l2", "answer": "false_alarm"})
    assert after.orders()[0]["params"]["undone"]["answer"] == "incident"


def test_two_people_who_differ_are_both_seen() -> None:
    scene = Scene()
    scene.say(LABEL, {**LABEL, "id": "l2", "by": "bob", "answer": "incident"})
    assert scene.broker.reasons() == ["closed_escalation"]
    (conflict,) = scene.broker.records("graft.experiments")
    assert (conflict["kind"], conflict["finding"]) == ("label", "conflict")
    assert (conflict["counts"]["by"], conflict["counts"]["answer"]) == ("ann", "expected")
    assert (conflict["differs"]["by"], conflict["differs"]["answer"]) == ("bob", "incident")


def test_whoever_is_often_overridden_counts_less() -> None:
    questions = [{**ESCALATION, "escalation": f"e{k}", "entity": f"host=h{k}", "id": f"x{k}"} for k in range(30)]
    scene = Scene(history=questions)
    for k in range(29):
        scene.say(
            {**LABEL, "id": f"a{k}", "escalation": f"e{k}", "by": "ann", "answer": "incident"},
            {**LABEL, "id": f"b{k}", "escalation": f"e{k}", "by": "bob", "answer": "false_alarm", "overrides": f"a{k}"},
            {**LABEL, "id": f"c{k}", "escalation": f"e{k}", "by": "cleo", "answer": "false_alarm"},
        )  # fmt: skip
    scene.say({**LABEL, "id": "last", "escalation": "e29", "by": "ann", "answer": "incident"})
    weights = {order["params"]["by"]: order["params"]["weight"] for order in scene.orders()}
    assert weights["ann"] < 0.2
    assert weights["bob"] == 1.0


def test_event_time_alone_lets_a_question_be_asked() -> None:
    """Nothing else may come on any topic for hours; the detector's clock goes on."""
    scene = Scene(history=[])

    async def story() -> None:
        await scene.reviewer.on_escalation(
            Flow_came({**ESCALATION, "at_ms": NOW, "opened_ms": NOW, "expires_ms": NOW + HOUR_MS})
        )
        clock = asyncio.create_task(scene.reviewer.keep_time(lambda: NOW + HOUR_MS // 2))
        for _ in range(200):
            await asyncio.sleep(0.02)
            if scene.broker.records("graft.escalations"):
                break
        clock.cancel()

    asyncio.run(story())
    (asked,) = scene.broker.records("graft.escalations")
    assert (asked["state"], asked["escalation"]) == ("asked", "e1")
    assert asked["follows"] == ESCALATION["follows"]


def test_nobody_is_asked_about_pages_of_last_week() -> None:
    """A worker that is new reads the whole history of the topic."""
    page = {
        "schema": "graft.alert/1", "alert": "p", "state": "firing", "at_ms": NOW, "started_ms": NOW, "entity": "host=a",
        "series": "cpu", "follows": [],
    }  # fmt: skip
    for later_h, is_asked in ((1, True), (25, False)):
        scene = Scene(history=[])
        scene.reviewer._now_ms = lambda hours=later_h: NOW + hours * HOUR_MS
        asyncio.run(scene.reviewer.on_alert(Flow_came(page)))
        assert bool(scene.reviewer.desk.advance(NOW + HOUR_MS)) == is_asked


def Flow_came(record: dict[str, Any]) -> Any:  # noqa: N802 - reads as what it makes
    from agents.came import Came

    return Came("graft.escalations", 0, 0, NOW, None, bytes_of(record))
