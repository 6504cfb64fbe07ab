"""What answers teach: much at first and ever less, sisters less than the entity itself, nothing that cannot be taken
back; and nobody else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import feedback, lessons
from engine.components import habit as habits
from engine.components.habit import HOUR_MS
from engine.errors import BadSample
from engine.lessons import Lessons
from engine.parcel import merge, split
from engine.shard import Shard
from engine.snapshot import pack, unpack
from tests.engine.components.feed import assert_plain_json
from tests.engine.logs import CONFIG, START_MS, admit, cold, fleet_log

HOSTS = 4


@pytest.fixture
def shard() -> Shard:
    """Hosts 0 and 1 last paged for m0, host 2 for m1, host 3 never."""
    found = cold()
    found.process(fleet_log(admit(found, HOSTS, 2), 100))
    life = found.roster.ents.life
    for e, metric in ((0, 0), (1, 0), (2, 1)):
        life.about[e, 0], life.share[e, 0] = found.row_of(f'm{metric}{{host="h{e}"}}'), 0.9
        life.about[e, 1], life.share[e, 1] = found.row_of(f'm{1 - metric}{{host="h{e}"}}'), 0.1
    return found


def answer(shard: Shard, said: str, number: int = 0, host: int = 0, **options: Any) -> dict[str, Any]:
    """The experiment record of an answer about m0 of a host."""
    window = {name: options.pop(name) for name in ("from_ms", "until_ms") if name in options}
    label = {
        "schema": "graft.label/1", "id": f"{said}-{number}-{host}", "at_ms": 5, "answer": said, "by": "ann",
        "series": f'm0{{host="h{host}"}}', "target": {"topic": "metrics", "partition": 0}, **window,
    }  # fmt: skip
    order = feedback.order_for(label, None, **options)
    (record,) = shard.apply(json.loads(json.dumps(order)), control_partition=0, next_offset=number + 1)
    assert_plain_json([record])
    return dict(record.value)


def gates(shard: Shard) -> list[float]:
    return [float(one) for one in shard.roster.ents.entity.gate[:HOSTS]]


@pytest.mark.parametrize(("said", "sign"), [("false_alarm", 1), ("incident", -1)])
def test_an_answer_moves_its_entity_most_its_sisters_less_and_no_stranger(shard: Shard, said: str, sign: int) -> None:
    told = answer(shard, said)
    own, sister, other, never = (sign * one for one in gates(shard))
    assert own > sister > other > never == 0.0
    assert other < sister / 4
    assert [one["entity"] for one in told["effects"]][:2] == ["host=h0", "host=h1"]
    first = told["effects"][0]
    assert first["what"].startswith("host=h0 needs")
    assert first["after"]["page_gate"] == pytest.approx(gates(shard)[0], abs=1e-6)
    assert first["before"]["page_gate"] == 0.0


@pytest.mark.parametrize("said", ["false_alarm", "incident"])
def test_each_answer_of_the_same_kind_moves_less_and_none_for_good(shard: Shard, said: str) -> None:
    seen = [0.0]
    for k in range(60):
        answer(shard, said, k)
        seen.append(abs(gates(shard)[0]))
    steps = np.diff(seen)
    assert (steps[1:20] <= steps[:19] + 1e-6).all()
    assert lessons.LOUDEST - 1e-6 <= gates(shard)[0] <= lessons.QUIETEST + 1e-6


def test_one_wrong_answer_among_right_ones_costs_little(shard: Shard) -> None:
    for k in range(4):
        answer(shard, "false_alarm", k)
    right = gates(shard)[0]
    answer(shard, "incident", 9)
    assert 0.5 * right < gates(shard)[0] < right


@given(st.permutations([("incident", 0), ("incident", 1), ("false_alarm", 0), ("false_alarm", 0), ("false_alarm", 1)]))
def test_answers_teach_the_same_in_whatever_order_they_come(said: list[tuple[str, int]]) -> None:
    found = []
    for one in (said, sorted(said)):
        lesson = Lessons()
        for word, host in one:
            lesson.hear(f"host=h{host}", incidents=word == "incident", others=word != "incident", at_ms=1)
        found.append(lesson.export())
    assert found[0] == found[1]


def test_an_answer_that_is_overridden_leaves_what_the_other_alone_would_have(shard: Shard) -> None:
    other = Shard.restore(shard.export(), CONFIG)
    answer(shard, "incident", 1)
    answer(shard, "false_alarm", 2, undone={"answer": "incident", "weight": 1.0})
    answer(other, "false_alarm", 2)
    assert gates(shard) == pytest.approx(gates(other), abs=1e-5)
    assert shard.lessons.export() == other.lessons.export()


def test_an_answer_counts_as_much_as_its_author(shard: Shard) -> None:
    seen = []
    for weight in (0.0, 0.5, 1.0):
        again = Shard.restore(shard.export(), CONFIG)
        answer(again, "false_alarm", weight=weight)
        seen.append(gates(again)[0])
    assert seen[0] == 0.0 < seen[1] < seen[2]


def test_what_would_not_have_paged_says_little_of_pages_unless_it_was_an_incident(shard: Shard) -> None:
    seen = {}
    for said in ("false_alarm", "incident"):
        for page in (0.2, 1.0, 2.5):
            again = Shard.restore(shard.export(), CONFIG)
            label = {
                "schema": "graft.label/1", "id": "l", "at_ms": 5, "answer": said, "by": "ann", "escalation": "e",
            }  # fmt: skip
            question = {
                "series": 'm0{host="h0"}', "entity": "host=h0", "page": page,
                "follows": [{"topic": "metrics", "partition": 0, "offset": 0}],
            }  # fmt: skip
            again.apply(feedback.order_for(label, question), control_partition=0, next_offset=1)
            seen[said, page] = gates(again)[0]
    assert 0.0 < seen["false_alarm", 0.2] < 0.1 * seen["false_alarm", 1.0]
    assert seen["false_alarm", 1.0] == seen["false_alarm", 2.5]
    assert seen["incident", 0.2] == seen["incident", 1.0] < 0.0


def test_unsure_changes_nothing(shard: Shard) -> None:
    before = {name: array.tobytes() for name, array in shard.export().arrays.items()}
    assert answer(shard, "unsure")["effects"] == []
    assert {name: array.tobytes() for name, array in shard.export().arrays.items()} == before


def test_expected_is_about_its_hours_and_not_about_the_entity(shard: Shard) -> None:
    noon = START_MS - START_MS % (24 * HOUR_MS) + 12 * HOUR_MS
    told = answer(shard, "expected", from_ms=noon + 1, until_ms=noon + HOUR_MS + 1)
    assert gates(shard) == [0.0] * HOSTS
    habit = shard.roster.ents.habit
    assert np.flatnonzero(habit.days[0]).tolist() == [12, 13]
    assert not habit.days[1:HOSTS].any()
    needed = [habits.needed(habit, 0, noon + hour * HOUR_MS + HOUR_MS // 2) > 0 for hour in range(-2, 4)]
    assert needed == [False, False, True, True, False, False]
    assert "around 12 h" in told["effects"][0]["what"]
    answer(shard, "incident", 2, undone={"answer": "expected", "from_ms": noon + 1, "until_ms": noon + HOUR_MS + 1})
    assert not habit.days.any()


def test_expected_is_forgotten_when_nothing_comes_at_that_hour() -> None:
    """A day without it is enough: it is a habit that was told and not seen."""
    shard = cold()
    batch = fleet_log(admit(shard, 1, 2), 3 * 1440)
    day = np.searchsorted(batch.ts_ms, START_MS + 1440 * 60_000)
    first = batch._replace(**{name: getattr(batch, name)[:day] for name in ("row", "ts_ms", "value", "offset")})
    shard.process(first._replace(next_offset=int(batch.offset[day])))
    answer(shard, "expected", from_ms=shard.clock_ms + 2 * HOUR_MS)
    assert (shard.roster.ents.habit.days[0] >= habits.DAYS).any()
    shard.process(batch)
    assert not (shard.roster.ents.habit.days[0] >= habits.DAYS).any()


def test_lessons_survive_a_restart_a_split_and_a_merge(shard: Shard) -> None:
    answer(shard, "false_alarm", 0, 0)
    answer(shard, "incident", 1, 2)
    state = shard.export()
    again = Shard.restore(unpack(pack(state.manifest, state.arrays)), CONFIG)
    assert again.export().manifest == state.manifest
    taken, kept = split(state, ["host=h0"])
    assert (set(taken.manifest["lessons"]), set(kept.manifest["lessons"])) == ({"host=h0"}, {"host=h2"})
    whole = Shard.restore(merge(kept, taken), CONFIG)
    assert whole.lessons.export() == shard.lessons.export()


def test_a_state_without_lessons_is_read_and_one_with_junk_is_refused(shard: Shard) -> None:
    state = shard.export()
    assert "lessons" not in state.manifest
    assert Lessons.restore({}).tallies == {}
    for junk in ([], {"a": 1}, {"a": [1]}, {"a": [-1, 0, 0]}, {"a": ["x", 0, 0]}, {"a": [float("nan"), 0, 0]}):
        with pytest.raises((TypeError, ValueError)):
            Lessons.restore(junk)


def test_the_memory_of_lessons_is_bounded() -> None:
    lesson = Lessons()
    for k in range(lessons.MOST_TAUGHT + 50):
        lesson.hear(f"host=h{k}", incidents=1.0, others=0.0, at_ms=k)
    assert len(lesson.tallies) == lessons.MOST_TAUGHT
    assert "host=h0" not in lesson.tallies


@pytest.mark.parametrize(
    "junk",
    [
        {"weight": 2},
        {"weight": "much"},
        {"weight": None},
        {"undone": [1]},
        {"undone": {"weight": -1}},
        {"page": "high"},
    ],
)
def test_an_order_with_junk_is_refused_and_changes_nothing(shard: Shard, junk: dict[str, Any]) -> None:
    before = shard.export()
    order = {
        "id": "x", "kind": "label", "target": {"entity": "host=h0"}, "params": {"answer": "false_alarm", **junk},
    }  # fmt: skip
    with pytest.raises(BadSample):
        shard.apply(order, control_partition=0, next_offset=1)
    after = shard.export()
    assert after.arrays.keys() == before.arrays.keys()
    assert all(after.arrays[name].tobytes() == one.tobytes() for name, one in before.arrays.items())
    assert "lessons" not in after.manifest
