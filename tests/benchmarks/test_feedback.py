"""The simulated reviewer is honest about time, about chance and about its budget; the figures say what was paged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import feedback
from benchmarks.feedback_report import goals
from benchmarks.feedback_run import QUESTIONS_A_DAY, Came, Line, Reviewer, figures, level, run, score
from benchmarks.feedback_world import DAY_MS, HOUR_MS, World
from benchmarks.series_data import fresh, whole_rows

ROWS, DAY, HISTORY = 2900, 288, 1152
#: First rows of the bursts that nobody calls an incident, on days 5 to 9; and of the one that is one.
NOISE, INCIDENT, LENGTH = (1500, 1835, 2150, 2480), 2700, 12


def write(path: Path, seed: int) -> None:
    """Three metrics in five-minute steps, ten days."""
    values = np.random.default_rng(seed).normal(50.0, 1.0, (ROWS, 3))
    label = np.zeros(ROWS, np.uint8)
    label[INCIDENT : INCIDENT + LENGTH] = 1
    for begin in (*NOISE, INCIDENT):
        values[begin + seed : begin + seed + LENGTH] += 12.0
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, X=values, y=label, ts=300 * np.arange(ROWS), train_len=HISTORY)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of three entities."""
    folder = tmp_path_factory.mktemp("data")
    for seed in range(3):
        write(folder / "ASD" / f"e{seed}.npz", seed)
    return folder


@pytest.fixture(scope="module")
def world(data: Path) -> World:
    return World(data, "ASD")


@pytest.fixture(scope="module")
def nobody(world: World) -> Came:
    return run(world, Line(0))


@pytest.mark.parametrize("line", [Line(9), Line(9, is_random=True), Line(9, wrong=1.0)])
def test_an_answer_changes_only_what_comes_later(world: World, nobody: Came, line: Line) -> None:
    came = run(world, line)
    assert came.answered_ms
    first_ms, is_changed = came.answered_ms[0], False
    for member, own, plain in zip(world.members, came.pages, nobody.pages, strict=True):
        same = (own == plain) | (np.isnan(own) & np.isnan(plain))
        assert same[member.ts_ms < first_ms].all()
        is_changed |= not same.all()
    assert is_changed


def test_no_more_answers_than_the_budget_and_none_before_the_scored_part(world: World) -> None:
    for line in (Line(2), Line(99), Line(99, is_random=True)):
        came = run(world, line)
        assert len(came.answered_ms) <= line.answers
        assert all(at_ms >= world.scored_ms for at_ms in came.answered_ms)
        gaps = np.diff(came.answered_ms)
        assert (gaps >= DAY_MS / QUESTIONS_A_DAY - HOUR_MS).all()


def test_the_truth_is_told_but_for_a_share(world: World) -> None:
    for wrong in (0.0, 1.0):
        for one in run(world, Line(99, wrong=wrong)).asked:
            member, at_ms = world.by_key[one["entity"]], one["at_ms"]
            burst = [member.is_incident(at_ms - back) for back in range(0, 3 * HOUR_MS, HOUR_MS // 12)]
            assert one["wrong"] == bool(wrong)
            if not any(burst):
                assert one["answer"] == ("incident" if wrong else "false_alarm")


def test_the_same_line_twice_is_the_same(world: World) -> None:
    for line in (Line(5, seed=3), Line(5, is_random=True, seed=3)):
        one, two = (run(world, line) for _ in range(2))
        assert one.asked == two.asked
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one.pages, two.pages, strict=True))


def test_an_entity_in_the_fleet_is_paged_for_as_if_alone(world: World, nobody: Came) -> None:
    """One log with others changes nothing of it; so figures are those of `benchmarks.quality`."""
    member = world.members[0]
    shard = fresh(3)
    ticks = shard.process(whole_rows(member.ts_ms, member.entity.stream.values, 0)).ticks
    page = np.full(ROWS, np.nan)
    page[np.searchsorted(member.ts_ms, ticks.ts_ms)] = ticks.page
    begin = member.entity.scored_from
    # The last tick of a log closes by itself only when more than one entity goes on.
    np.testing.assert_array_equal(page[begin:-1], nobody.pages[0][begin:-1])


def test_figures_count_pages_in_and_outside_of_events(world: World) -> None:
    pages = [np.zeros(ROWS) for _ in world.members]
    pages[0][[INCIDENT, 1500, 2000]] = 1.0
    found = figures(score(world, Came(pages, [], [])))
    assert (found["right_pages"], found["false_pages"], found["events"]) == (1.0, 2.0, 3.0)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["ev_f1"] == pytest.approx(1 / 3)
    later = figures(score(world, Came(pages, [], []), from_ms=int(world.members[0].ts_ms[1600])))
    assert later["false_pages"] == 1.0


def test_the_level_is_a_threshold_for_all_with_no_more_false_pages(world: World) -> None:
    """Two entities, each with a right page; the false one is smaller than both."""
    pages = [np.zeros(ROWS) for _ in world.members]
    pages[0][[INCIDENT, 1500]] = 2.0, 1.2
    pages[1][INCIDENT + 1] = 1.5
    came = Came(pages, [], [])
    for false, f1, recall in ((0.0, 0.8, 2 / 3), (1.0, 0.8, 2 / 3)):
        found = level(world, came, false)
        assert (found["ev_f1"], found["recall"]) == (pytest.approx(f1), pytest.approx(recall))
        assert found["false_pages"] == 0.0
    assert level(world, came, -1.0)["ev_f1"] == 0.0


def test_a_reviewer_who_is_wrong_half_the_time_is_noticed(world: World) -> None:
    line = Line(99, wrong=0.5)
    reviewer, weights = Reviewer(world, line), []
    shard, asked = world.begin(), run(world, Line(99)).asked
    del shard
    for one in asked * 10:
        question = _question(one)
        weights.append(reviewer.order(question, one["at_ms"])["params"]["weight"])
    assert weights[0] == 1.0
    assert weights[-1] < 0.6


def _question(one: dict[str, Any]) -> Any:
    from agents.flows.review_question import Status, question_of

    record = {
        "escalation": "e", "at_ms": one["at_ms"], "entity": one["entity"], "series": "m00",
        "follows": [{"topic": "metrics", "partition": 0, "offset": 0}],
    }  # fmt: skip
    return question_of(record, Status.ASKED)


def test_goals_are_judged_by_what_came() -> None:
    good = {"false_ratio": 0.4, "recall_lost": 0.0, "gain": 0.03}
    sets = {"ASD": {"chosen": {"20": good}, "random": {"20": {"gain": 0.02}}, "wrong": {"20": {"gain": -0.02}}}}
    assert all(one["is_met"] for one in goals(sets).values())
    sets["ASD"]["chosen"]["20"] = {"false_ratio": 0.51, "recall_lost": 0.0, "gain": 0.029}
    sets["ASD"]["wrong"]["20"] = {"gain": -0.021}
    assert not any(one["is_met"] for one in goals(sets).values())


def test_the_command_prints_one_object(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = feedback.main(["--data", str(data), "--fast", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert status in (0, 1)
    assert set(told["sets"]) == {"ASD"}
    assert len(told["absent"]) == 3
    assert set(told["sets"]["ASD"]["chosen"]["20"]) >= {
        "ev_f1",
        "recall",
        "false_pages",
        "gain",
        "after_gain",
        "over_level",
    }
    assert set(told["goals"]) == {"halved", "useful", "wrong"}
    feedback.main(["--data", str(data), "--fast", "--only", "ASD"])
    assert "nobody answers" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        feedback.main(["--only", "NAB"])
