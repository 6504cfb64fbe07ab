"""Laws of the desk: one question for one matter, the best first, within a budget; the first answer counts; the same
records give the same decisions, however they come; a bound on memory."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.flows.review_budget import HOUR_MS, MOST_TEAMS, Budget
from agents.flows.review_desk import AGAIN_MS, GATHER_MS, Desk
from engine.errors import BadSample

MINUTE_MS = 60_000
#: A whole minute, so that what follows is as it reads.
T = 1000 * HOUR_MS


def escalation(name: Any = "e", state: Any = "opened", at_ms: Any = T, **more: Any) -> dict[str, Any]:
    """A question of its own entity and its own metric, so that nothing is folded by chance."""
    head = {"escalation": name, "state": state, "at_ms": at_ms, "entity": f"host={name}", "series": f"{name}"}
    return head | {"opened_ms": at_ms, "expires_ms": at_ms + 2 * HOUR_MS if type(at_ms) is int else None} | more


def about(name: str, host: str, *, at_ms: int = T, **more: Any) -> dict[str, Any]:
    """A question about cpu and disk of a host."""
    contributors = [
        {"series": f'cpu{{host="{host}"}}', "share": 0.7},
        {"series": f'disk{{host="{host}"}}', "share": 0.3},
    ]
    more = {"contributors": contributors, "series": f'cpu{{host="{host}"}}', "page": 1.0, "confidence": 0.5} | more
    return escalation(name, at_ms=at_ms, entity=f"host={host}", **more)


def play(desk: Desk, *records: dict[str, Any], until_ms: int) -> list[tuple[str, str, str | None]]:
    """(state, escalation, into) of each decision."""
    told = [one for record in records for one in desk.take(record)]
    told += desk.advance(until_ms)
    return [(one["state"], one["escalation"], one["into"]) for one in told]


def names_asked(desk: Desk, *records: dict[str, Any], until_ms: int) -> list[str]:
    return [name for state, name, _ in play(desk, *records, until_ms=until_ms) if state == "asked"]


def test_the_budget_is_of_event_time_and_what_is_over_it_waits() -> None:
    desk = Desk(questions_per_hour=2)
    records = [escalation(f"e{n}", at_ms=T + n) for n in range(4)]
    told = play(desk, *records, until_ms=T + GATHER_MS)
    assert sorted(state for state, *_ in told) == ["asked", "asked", "folded", "folded"]
    assert desk.open_count() == {"asked": 2, "folded": 2}
    later = play(desk, until_ms=T + GATHER_MS + HOUR_MS - 1)
    assert later == []
    assert [state for state, *_ in play(desk, until_ms=T + GATHER_MS + HOUR_MS)] == ["asked", "asked"]


def test_what_waits_is_not_asked_once_it_is_over() -> None:
    desk = Desk(questions_per_hour=0.25)
    asked = names_asked(desk, escalation("a"), escalation("b"), escalation("c", at_ms=T + 1), until_ms=T + 9 * HOUR_MS)
    assert len(asked) == 1


def test_a_fraction_of_a_question_and_none() -> None:
    rare = Desk(questions_per_hour=0.5)
    records = [escalation(str(n), at_ms=T + n * HOUR_MS, expires_ms=T + 9 * HOUR_MS) for n in range(3)]
    assert len(names_asked(rare, *records, until_ms=T + 2 * HOUR_MS + GATHER_MS)) == 2
    assert play(Desk(questions_per_hour=0), escalation(), until_ms=T + HOUR_MS) == [("folded", "e", None)]


def test_folded_questions_may_be_answered() -> None:
    desk = Desk(questions_per_hour=0)
    desk.take(escalation())
    question = desk.question_for({"escalation": "e", "id": "l"})
    assert question is not None
    assert question.record == escalation()


def test_the_most_informative_of_a_minute_is_asked_first() -> None:
    """Near the threshold and near a coin, and shared by more of the fleet."""
    sure = about("sure", "a", confidence=0.98)
    far = about("far", "b", page=2.9, series='disk{host="b"}', contributors=[])
    open_ = about("open", "c", series='mem{host="c"}', contributors=[])
    for order in itertools.permutations([sure, far, open_]):
        assert names_asked(Desk(questions_per_hour=1), *order, until_ms=T + GATHER_MS) == ["open"]
    shared = [about(f"s{n}", f"h{n}", confidence=0.9) for n in range(9)]
    alone = escalation("alone", page=1.0, confidence=0.9)
    assert names_asked(Desk(questions_per_hour=1), alone, *shared, until_ms=T + GATHER_MS) == ["s0"]


def test_the_same_wobble_again_and_again_is_one_question() -> None:
    """Opened, lapsed or answered, and opened again: for a day nobody is asked a second time."""
    for end in ("expired", "answered"):
        desk, told = Desk(questions_per_hour=4), []
        for n in range(6):
            at_ms = T + n * 3 * HOUR_MS
            told += play(desk, about(f"e{n}", "a", at_ms=at_ms), until_ms=at_ms + 10 * MINUTE_MS)
            told += play(desk, about(f"e{n}", "a", at_ms=at_ms + 2 * HOUR_MS, state=end), until_ms=0)
        assert told == [("asked", "e0", None), *(("folded", f"e{n}", "e0") for n in range(1, 6))]
        later = T + 2 * AGAIN_MS
        assert names_asked(desk, about("later", "a", at_ms=later), until_ms=later + GATHER_MS) == ["later"]


def test_a_question_that_an_alert_overtook_may_be_asked_of_the_alert() -> None:
    """Nobody could have answered it in ten minutes."""
    desk = Desk(questions_per_hour=4)
    at_ms = T + 10 * MINUTE_MS
    assert names_asked(desk, about("e", "a"), about("e", "a", state="expired", at_ms=at_ms), until_ms=at_ms) == ["e"]
    desk.take_page({**PAGE, "at_ms": at_ms, "started_ms": at_ms})
    assert names_asked(desk, until_ms=at_ms + GATHER_MS) == ["p1"]


def test_sisters_with_the_same_matter_at_the_same_time_are_one_question() -> None:
    fleet = [about(f"e{n}", f"h{n}", at_ms=T + n * 1000) for n in range(5)]
    told = play(Desk(questions_per_hour=4), *fleet, until_ms=T + GATHER_MS)
    assert sorted(told) == [("asked", "e0", None), *(("folded", f"e{n}", "e0") for n in range(1, 5))]


def test_another_metric_another_host_later_or_another_cause_is_another_question() -> None:
    other_metric = about("m", "b", series='disk{host="b"}', contributors=[{"series": 'disk{host="b"}', "share": 1.0}])
    later = about("l", "c", at_ms=T + 3 * HOUR_MS)
    asked = names_asked(Desk(questions_per_hour=4), about("e", "a"), other_metric, later, until_ms=T + 4 * HOUR_MS)
    assert sorted(asked) == ["e", "l", "m"]


def test_a_budget_for_each_team() -> None:
    desk = Desk(questions_per_hour=1, team_label="team")
    records = [
        escalation(f"{team}{n}", series=f'm{n}{team}{{host="h",team="{team}"}}') for team in "ab" for n in range(3)
    ]
    assert names_asked(desk, *records, until_ms=T + GATHER_MS) == ["a2", "b2"]


def test_teams_are_bounded_and_read_from_the_canonical_text() -> None:
    budget = Budget(per_hour=1, team_label="team")
    assert budget.team_of(r'm{team="a\"b",x="team=\"c\""}') == r"a\"b"
    assert {budget.team_of(series) for series in ('m{subteam="a"}', "m", 'team="a"')} == {""}
    budget = Budget(per_hour=1, team_label="team")
    seen = {budget.team_of(f'm{{team="{n}"}}') for n in range(3 * MOST_TEAMS)}
    assert len(seen) == MOST_TEAMS + 1
    assert budget.team_of('m{team="299"}') == ""
    budget.spend("", T)
    assert budget.free_ms("") == T + HOUR_MS


PAGE = {
    "schema": "graft.alert/1", "alert": "p1", "state": "firing", "at_ms": T, "started_ms": T, "entity": "host=a",
    "series": 'cpu{host="a"}', "page": 1.1, "confidence": 0.9, "contributors": [], "because": "so", "incident": "i",
    "environment": "default", "follows": [{"topic": "metrics", "partition": 0, "offset": 4}],
}  # fmt: skip


def test_a_page_is_asked_about_when_there_is_nothing_better_to_ask() -> None:
    desk = Desk(questions_per_hour=1)
    assert desk.take_page(PAGE) == []
    (asked,) = desk.advance(T + GATHER_MS)
    assert (asked["state"], asked["escalation"], asked["about"], asked["because"]) == ("asked", "p1", "alert", "so")
    assert desk.question_for({"escalation": "p1", "id": "l"}) is not None
    (over,) = desk.advance(T + AGAIN_MS + HOUR_MS)
    assert (over["state"], over["escalation"]) == ("expired", "p1")
    with pytest.raises(BadSample, match="expired"):
        desk.question_for({"escalation": "p1", "id": "l"})
    better = Desk(questions_per_hour=1)
    better.take_page(PAGE)
    assert names_asked(better, escalation(page=1.0, confidence=0.5), until_ms=T + GATHER_MS) == ["e"]
    assert better.take_page({**PAGE, "state": "resolved"}) == []


def test_a_page_later_in_the_day_is_another_question_and_one_that_follows_closely_is_not() -> None:
    for later_ms, count in ((HOUR_MS, 1), (6 * HOUR_MS, 2)):
        desk = Desk(questions_per_hour=4)
        desk.take_page(PAGE)
        told = desk.advance(T + GATHER_MS)
        told += desk.take_page({**PAGE, "alert": "p2", "at_ms": T + later_ms, "started_ms": T + later_ms})
        told += desk.advance(T + later_ms + GATHER_MS)
        assert [one["state"] for one in told] == ["asked"] * count


def test_a_record_from_the_far_future_ends_no_waiting() -> None:
    desk = Desk(questions_per_hour=1)
    desk.take(escalation("a"))
    desk.take(escalation("b"))
    assert desk.take(escalation("far", at_ms=1 << 52), latest_ms=T + MINUTE_MS // 2) == []
    assert names_asked(desk, until_ms=T + GATHER_MS) == ["b"]


def test_what_cannot_be_filed_decides_nothing_either() -> None:
    """What is decided must leave; a record that raises would swallow it."""
    desk = Desk(questions_per_hour=1)
    desk.take(escalation("a"))
    for junk in (escalation(None, at_ms=T + HOUR_MS), escalation("x", state="odd", at_ms=T + HOUR_MS)):
        with pytest.raises(BadSample):
            desk.take(junk)
    assert names_asked(desk, until_ms=T + HOUR_MS) == ["a"]


def test_the_same_record_twice_is_no_news() -> None:
    desk = Desk(questions_per_hour=1)
    assert names_asked(desk, escalation(), escalation(), until_ms=T + GATHER_MS) == ["e"]
    assert play(desk, escalation(), until_ms=T + HOUR_MS) == []


@pytest.mark.parametrize(
    ("states", "label_id", "reason"),
    [
        ((), "l", "unknown_escalation"),
        (("opened", "expired"), "l", "closed_escalation"),
        (("opened", "label:l"), "other", "closed_escalation"),
        (("opened", "label:l", "answered"), "other", "closed_escalation"),
        (("expired", "opened"), "l", "closed_escalation"),
        (("opened",), "l", None),
        (("opened", "asked"), "l", None),
        (("asked",), "l", None),
        (("folded",), "l", None),
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
            desk.take(escalation(state="answered", label=state.removeprefix("label:")))
        else:
            desk.take(escalation(state=state))
    if reason is None:
        assert desk.question_for({"escalation": "e", "id": label_id})
        return
    with pytest.raises(BadSample) as caught:
        desk.question_for({"escalation": "e", "id": label_id})
    assert caught.value.reason == reason


def test_somebody_else_may_override_and_must_say_what() -> None:
    desk = Desk(questions_per_hour=9)
    desk.take(escalation())
    desk.take(escalation(state="answered", label="l1", by="ann", answer="incident"))
    for label in ({"by": "bob"}, {"by": "bob", "overrides": "l0"}, {"by": "ann", "overrides": "l1"}):
        with pytest.raises(BadSample):
            desk.question_for({"escalation": "e", "id": "l2", **label})
    override = {"escalation": "e", "id": "l2", "by": "bob", "overrides": "l1", "answer": "expected"}
    assert desk.question_for(override)
    desk.take(escalation(state="answered", label="l2", by="bob", answer="expected", overrides="l1"))
    left = desk.answered("e")
    assert left is not None
    assert (left.by, left.answer) == ("bob", "expected")
    assert desk.question_for(override)
    with pytest.raises(BadSample, match="said expected before"):
        desk.question_for({**override, "answer": "incident"})
    with pytest.raises(BadSample):
        desk.question_for({"escalation": "e", "id": "l3", "by": "cleo", "overrides": "l1"})


@pytest.mark.parametrize(
    "record", [{}, escalation(None), escalation(""), escalation([]), escalation("x" * 256), escalation(state="odd")]
)
def test_what_cannot_be_filed(record: dict[str, Any]) -> None:
    with pytest.raises(BadSample):
        Desk(questions_per_hour=1).take(record)


def test_a_label_without_escalation_needs_no_question() -> None:
    assert Desk(questions_per_hour=1).question_for({"escalation": None}) is None


def test_memory_is_bounded() -> None:
    desk = Desk(questions_per_hour=1, cap=10)
    for n in range(100):
        desk.take(escalation(str(n), at_ms=T + n))
    desk.advance(T + HOUR_MS)
    assert sum(desk.open_count().values()) == 10
    assert desk.counters["forgotten"] == 90
    with pytest.raises(BadSample, match="unknown_escalation"):
        desk.question_for({"escalation": "0"})


STEPS = st.lists(
    st.tuples(st.integers(0, 20 * HOUR_MS), st.integers(0, 5), st.sampled_from("abc"), st.booleans()), max_size=40
)


def script(steps: list[tuple[int, int, str, bool]]) -> list[dict[str, Any]]:
    """Questions in order of time, some of which end."""
    found = []
    for n, (at, metric, host, ends) in enumerate(sorted(steps)):
        name = f'm{metric}{{host="{host}"}}'
        one = escalation(f"e{n}", at_ms=T + at, entity=f"host={host}", series=name, page=1.0 + metric / 4)
        found.append(one)
        if ends:
            found.append({**one, "state": "expired", "at_ms": T + at + HOUR_MS})
    return sorted(found, key=lambda one: one["at_ms"])


@given(STEPS, st.floats(0, 10))
def test_never_more_questions_than_the_budget(steps: list[tuple[int, int, str, bool]], per_hour: float) -> None:
    desk = Desk(questions_per_hour=per_hour)
    told = [one for record in script(steps) for one in desk.take(record)] + desk.advance(T + 40 * HOUR_MS)
    asked = sorted(one["at_ms"] for one in told if one["state"] == "asked")
    span_h = (asked[-1] - asked[0]) / HOUR_MS if asked else 0
    assert len(asked) <= max(1.0, per_hour) + span_h * per_hour + 1e-6 if per_hour else not asked


@given(STEPS, st.lists(st.integers(0, 21 * HOUR_MS), max_size=30))
def test_the_same_records_give_the_same_decisions_whenever_it_is_looked(
    steps: list[tuple[int, int, str, bool]], looks: list[int]
) -> None:
    plain, looked = (Desk(questions_per_hour=1) for _ in range(2))
    records, end = script(steps), T + 30 * HOUR_MS
    wanted = [one for record in records for one in plain.take(record)] + plain.advance(end)
    found: list[dict[str, Any]] = []
    waiting = sorted(T + at for at in looks)
    for record in records:
        while waiting and waiting[0] < record["at_ms"]:
            found += looked.advance(waiting.pop(0))
        found += looked.take(record)
    assert found + looked.advance(end) == wanted


@given(STEPS, st.integers(0, 80), st.randoms())
def test_a_restart_decides_nothing_twice_and_forgets_no_budget(
    steps: list[tuple[int, int, str, bool]], cut: int, chance: Any
) -> None:
    """The topic is read again in whatever order its partitions give; then all goes on as it would have."""
    plain, first = (Desk(questions_per_hour=1) for _ in range(2))
    records, end = script(steps), T + 30 * HOUR_MS
    wanted = [one for record in records for one in plain.take(record)] + plain.advance(end)
    told = [one for record in records[:cut] for one in first.take(record)]
    again = Desk(questions_per_hour=1)
    history = [*records[:cut], *told]
    if told:
        # The order within one key is the topic's: a question before what is said of it.
        chance.shuffle(history)
        history.sort(key=lambda one: one["state"] != "opened")
    for record in history:
        again.recall(record)
    told += [one for record in records[cut:] for one in again.take(record)] + again.advance(end)
    once = {one["id"]: one for one in told}
    assert sorted(once) == sorted(one["id"] for one in wanted)
    assert len(told) - len(once) == 0


@pytest.mark.parametrize(("first", "second"), list(itertools.product(("opened", "answered", "expired"), repeat=2)))
def test_closed_stays_closed(first: str, second: str) -> None:
    desk = Desk(questions_per_hour=9)
    desk.take(escalation(state=first))
    desk.take(escalation(state=second))
    closed = first != "opened" or second != "opened"
    assert sum(desk.open_count().values()) == (not closed)
