"""first_hours_goals: nothing is met by a number that is not there, and no limit points the wrong way."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import first_hours_goals as goals
from benchmarks.first_hours_cases import CASES
from benchmarks.first_hours_cost import FLEETS, SOURCES, STAGES
from benchmarks.first_hours_goals import MET, MISSED, NOT_MEASURED, NOT_RUN, Limit, Part
from benchmarks.first_hours_made import VARIANTS
from benchmarks.first_hours_report import show

LIMITED = [
    pytest.param(row, part, id=f"{row.head}-{row.name}-{part.path[-1]}") for row in goals.ROWS for part in row.parts
]


def nested(path: tuple[str, ...], figure: Any) -> dict[str, Any]:
    """A result that holds one figure."""
    here: Any = [figure, None, None] if path[-1] == "0" else {path[-1]: figure}
    for key in reversed(path[:-1]):
        here = {key: here}
    found: dict[str, Any] = {"cases": {}} | here
    return found


def good(limit: Limit) -> float:
    return sum(limit) / 2 if isinstance(limit, tuple) else limit


def moved(part: Part, limit: Limit, by: float) -> float:
    """Better than a limit by so much; out of a range by more than its width, whatever the sign."""
    if isinstance(limit, tuple):
        return good(limit) + (0.0 if by > 0 else 9.0)
    return limit + (by if part.direction in {goals.AT_LEAST, goals.ABOVE} else -by)


@pytest.mark.parametrize(("row", "part"), LIMITED)
def test_better_meets_and_worse_misses(row: goals.Row, part: Part) -> None:
    assert part.floor is not None or part.goal is not None
    for limit in (part.floor, part.goal):
        if limit is not None:
            better, worse = (nested(part.path, moved(part, limit, by)) for by in (1e-6, -1e-6))
            assert goals.verdict(better, [(part, limit)]) == MET
            assert goals.verdict(worse, [(part, limit)]) == MISSED
            assert goals.verdict(nested(part.path, None), [(part, limit)]) == NOT_MEASURED
            assert goals.verdict({"cases": {}}, [(part, limit)]) == NOT_RUN
            assert goals.verdict(nested(part.path, float("nan")), [(part, limit)]) == NOT_MEASURED
            if not isinstance(limit, tuple):
                is_strict = part.direction in {goals.ABOVE, goals.BELOW}
                assert goals.verdict(nested(part.path, limit), [(part, limit)]) == (MISSED if is_strict else MET)


@pytest.mark.parametrize(("row", "part"), LIMITED)
def test_a_goal_is_no_easier_than_its_floor_and_points_the_way_its_figure_does(row: goals.Row, part: Part) -> None:
    is_gain = any(
        word in part.path for word in ("ev_f1", "rec_1d", "recall_at_page", "gap_closed", "rate_ok", "refused_far")
    )
    if part.direction != goals.WITHIN:
        assert (part.direction in {goals.AT_LEAST, goals.ABOVE}) == is_gain
        if isinstance(part.floor, float) and isinstance(part.goal, float):
            assert (part.goal >= part.floor) if is_gain else (part.goal <= part.floor)


def test_a_row_of_two_is_met_by_both_and_missed_by_one() -> None:
    a, b = Part(("cases", "x", "a"), goals.AT_LEAST, 1.0, None), Part(("cases", "x", "b"), goals.AT_MOST, 1.0, None)

    def said(**case: float) -> str | None:
        return goals.verdict({"cases": {"x": case}}, [(a, a.floor), (b, b.floor)])

    assert said(a=2.0, b=0.0) == MET
    assert said(a=2.0) == NOT_MEASURED
    assert said(a=0.0) == MISSED
    assert said(a=2.0, b=2.0) == MISSED
    assert goals.verdict({"cases": {}}, [(a, None), (b, None)]) is None


def test_the_table_is_complete_and_names_what_there_is() -> None:
    names = {case.name for case in CASES}
    paths = [part.path for row in goals.ROWS for part in row.parts]
    assert len({(row.head, row.name) for row in goals.ROWS}) == len(goals.ROWS)
    assert {path[1] for path in paths if path[0] == "cases"} == names
    for case in names:
        for key in ("harm_mean", "harm_worst", "seeded_minus_cold"):
            assert any(path[1:3] == (case, key) for path in paths), (case, key)
    assert {path[3] for path in paths if path[2] == "variants"} <= set(VARIANTS)
    dear = [path for path in paths if path[0] == "cost"]
    assert {path[1] for path in dear} == set(FLEETS)
    assert {path[3] for path in dear} <= {str(count) for count in SOURCES}
    assert {"hour", "day", "after"} == {path[4] for path in dear} <= set(STAGES)


def test_of_an_empty_run_nothing_is_met_and_all_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    told: dict[str, Any] = {"cases": {}, "absent": [], "fast": True, "seconds": 0.0}
    told["goals"] = goals.judged(told)
    assert {row[kind] for row in told["goals"] for kind in ("floor", "goal")} == {NOT_RUN, None}
    show(told)
    printed = capsys.readouterr().out
    assert printed.count(NOT_RUN) > len(goals.ROWS)
    assert all(row.head in printed and row.name in printed for row in goals.ROWS)
