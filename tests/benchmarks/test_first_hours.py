"""first_hours: who meets whom, what a line may see, what the numbers mean; and the made-up towns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from benchmarks import first_hours
from benchmarks import first_hours_made as made
from benchmarks import first_hours_measures as measures
from benchmarks.first_hours_anchors import persistence
from benchmarks.first_hours_anchors import watch as watch_anchor
from benchmarks.first_hours_cases import (
    ANY,
    CASES,
    CLOSE,
    DISTANT,
    OWN,
    SELF,
    Subject,
    group,
    made_meetings,
    meetings,
    plain_names,
    starts_of,
)
from benchmarks.first_hours_lines import LINES, Answer, Handed, answer, watch
from benchmarks.first_hours_picture import PANELS, draw
from benchmarks.series_data import Array, Recording

STEP_MS, A_DAY = 300_000, 288
FIGURES = {"ev_f1", "rec_1d", "false_pages_day", "recall_at_page", "error_ratio", "hours_to_parity", "by_age"}


def recording(*, width: int = 3, days: int = 8, history: int = 6, seed: int = 0) -> Recording:
    """Noise about one level, with one event in the last day."""
    rng = np.random.default_rng(seed)
    rows = days * A_DAY
    values = rng.normal(50.0, 1.0, (rows, width))
    label = np.zeros(rows, bool)
    label[-150:-130] = True
    values[label] += 20.0
    return Recording(f"r{seed}", values, label, STEP_MS * np.arange(rows), history * A_DAY)


def subject(record: Recording) -> Subject:
    return Subject(record, plain_names(record), starts_of(record, 24, 6))


def run(page: list[float], label: list[int], *, ratio: float = 1.0, target: int = 0) -> measures.Run:
    """One hour a row, a day at most."""
    nothing = np.full(len(measures.BANDS), ratio)
    hourly = np.full(len(page), ratio)
    return measures.Run(
        target, 1.0, np.array(label, bool), np.array(page), np.zeros(len(page)), ratio, nothing, hourly
    )  # fmt: skip


# --- cases


def test_starts_are_a_day_and_a_half_apart_and_leave_room_for_the_window() -> None:
    record = recording(days=10, history=6)
    assert starts_of(record, 24, 6) == tuple(A_DAY * day for day in (6,)) + tuple(int(A_DAY * d) for d in (7.5, 9.0))
    assert starts_of(record, 72, 6) == (6 * A_DAY,)
    assert starts_of(record, 24, 2) == (6 * A_DAY, int(7.5 * A_DAY))


def apart() -> Array:
    """0 and 1 are near, 2 is far from both, 3 is neither."""
    far = np.full((4, 4), 0.3)
    far[0, 1] = far[1, 0] = 0.1
    far[2, :2] = far[:2, 2] = 0.6
    np.fill_diagonal(far, SELF)
    return far


def test_near_and_far_sources_are_those_of_the_rule_and_any_is_all_others() -> None:
    found = {one.target: one for one in meetings(4, [ANY, CLOSE, DISTANT], apart())}
    assert sorted(found[0].sources[ANY]) == [1, 2, 3]
    assert found[0].sources[CLOSE] == [1]
    assert found[0].sources[DISTANT] == [2]
    assert found[0].wrong == 2
    assert set(found[3].sources) == {ANY}
    assert found[3].wrong != 3


def test_a_target_without_a_near_source_is_in_no_near_case() -> None:
    assert {one.target for one in meetings(4, [CLOSE], apart())} == {0, 1}


def test_any_draws_eight_without_a_look_at_distances() -> None:
    with_distances = meetings(12, [ANY], np.full((12, 12), 0.3))
    without = meetings(12, [ANY], None)
    assert [one.sources for one in with_distances] == [one.sources for one in without]
    assert all(len(set(one.sources[ANY])) == 8 and one.target not in one.sources[ANY] for one in without)


def test_each_made_target_meets_its_own_town() -> None:
    family = made.family(2, history_days=4)
    found = made_meetings(family)
    assert len(found) == 2 * len(made.VARIANTS)
    for one in found:
        (source,) = one.sources[OWN]
        assert family[source].variant == made.SOURCE
        assert family[source].town == family[one.target].town == family[one.wrong].town
        assert one.wrong != one.target


# --- the made-up family


def test_a_made_target_equals_its_source_but_for_one_thing() -> None:
    of = {one.variant: one for one in made.family(1, history_days=4)}
    assert set(of) == {made.SOURCE, *made.VARIANTS}
    source, day = of[made.SOURCE].record, A_DAY
    level, swing = source.values.mean(axis=0), source.values.std(axis=0)
    assert np.allclose(of["twin"].record.values.mean(axis=0), level, rtol=0.1)
    assert np.allclose(of["units"].record.values.mean(axis=0), 1000.0 * level, rtol=0.1)
    assert (of["scale"].record.values.std(axis=0) > 1.8 * swing).all()
    assert np.allclose(of["level"].record.values.mean(axis=0), 2.5 * level, rtol=0.1)
    assert of["missing"].record.values.shape[1] == len(of["missing"].names) == 5
    assert not set(of["renamed"].names) & set(made.NAMES)
    assert of["step"].record.step_ms == 60_000
    assert of["step"].record.history == 5 * source.history

    def daily(record: Recording) -> Array:
        return record.values[: 4 * day].reshape(4, day, -1).mean(axis=(0, 2))

    turned = np.corrcoef(daily(of[made.HOSTILE].record), daily(source))[0, 1]
    slipped = np.corrcoef(np.roll(daily(of["phase"].record), -96), daily(source))[0, 1]
    assert turned < -0.8
    assert slipped > 0.8


def test_made_towns_are_reproducible_and_every_third_has_no_incident() -> None:
    one, two = made.family(3, history_days=4), made.family(3, history_days=4)
    assert all(np.array_equal(a.record.values, b.record.values) for a, b in zip(one, two, strict=True))
    assert all(each.record.label.any() == (each.town != 2) for each in one)


# --- lines


@pytest.fixture(scope="module")
def handed() -> tuple[Subject, Handed]:
    target, source = subject(recording(seed=1)), watch(subject(recording(seed=2)))
    lent = [one for one in source.sources[:1] if one is not None]
    assert lent, "the source is healthy"
    return target, Handed(watch(target).checkpoints[0], source.checkpoints[0], lent, lent)


def said(target: Subject, handed: Handed) -> dict[str, Answer]:
    return {line: answer(line, target, target.starts[0], 24, handed) for line in LINES}


def test_no_line_but_warm_sees_anything_before_its_start_nor_any_row_too_early(handed: tuple[Subject, Handed]) -> None:
    target, given = handed
    start = target.starts[0]
    values = target.record.values.copy()
    values[:start], values[start + 100 :] = -7.0, 99.0
    label = ~target.record.label
    other = target._replace(record=target.record._replace(values=values, label=label))
    for line in LINES:
        one = answer(line, target, start, 24, given)
        two = answer(line, other, start, 24, given)
        for a, b in zip(one, two, strict=True):
            assert np.array_equal(a[:100], b[:100], equal_nan=True), line


def test_lines_are_what_they_are_called(handed: tuple[Subject, Handed]) -> None:
    target, given = handed
    found = said(target, given)
    start = target.starts[0]
    assert not found["silent"].page.any()
    assert np.array_equal(found["silent"].expected[1:], target.record.values[start : start + A_DAY - 1])
    assert not np.array_equal(found["simple"].page, found["cold"].page, equal_nan=True)
    assert not np.array_equal(found["seeded"].page, found["cold"].page, equal_nan=True)
    # A copy and a warm model know the level at once.
    assert abs(found["naive"].expected[0] - 50.0).max() < 3.0
    assert np.isfinite(found["naive"].page).mean() > 0.9


def test_without_a_healthy_source_seeded_is_cold(handed: tuple[Subject, Handed]) -> None:
    target, given = handed
    found = said(target, given._replace(copy=None, lent=[], wrong=[]))
    for line in ("naive", "seeded", "unguarded", "wrong"):
        assert np.array_equal(found[line].page, found["cold"].page, equal_nan=True)


def test_an_anchor_has_a_state_for_each_start() -> None:
    wide, single = (watch_anchor(subject(recording(width=width, days=10))) for width in (3, 1))
    assert wide is not None
    assert single is not None
    assert (wide.name, single.name) == ("model-b", "model-c")
    assert len(wide.states) == len(single.states) == 3
    assert not np.array_equal(single.states[0][0], persistence())
    label = recording(days=10).label[: len(wide.score)]
    for one in (wide, single):
        assert one.score[label].max() > one.point


# --- measures


def test_error_is_over_warms_on_normal_rows_of_metrics_that_move() -> None:
    record = recording(width=2)
    record.values[:, 1] = 5.0
    start, rows = 6 * A_DAY, A_DAY
    part = record.values[start : start + rows]
    warm, own = part + 1.0, part + 2.0
    # The still metric and the event would change the ratio if they counted.
    own[:, 1] += 100.0
    own[record.label[start : start + rows]] += 1000.0
    nothing = np.zeros(rows)
    one = measures.run_of(0, record, start, rows, (own, nothing, nothing), warm)
    assert one.ratio == pytest.approx(2.0, rel=0.02)
    assert one.hourly == pytest.approx(np.full(24, 2.0), rel=0.02, nan_ok=True)
    assert np.isnan(one.bands[-1])
    assert one.bands[:-1] == pytest.approx(np.full(5, 2.0), rel=0.02)


def test_pages_are_counted_by_the_age_of_the_target() -> None:
    page, label = [0.0] * 24, [0] * 24
    page[0] = page[13] = page[20] = 1.0
    label[12:15], label[4:6] = [1, 1, 1], [1, 1]
    ages = measures.by_age([run(page, label)])
    assert list(ages) == ["0-1", "1-3", "3-6", "6-12", "12-24"]
    assert ages["0-1"]["false_pages_day"] == 24.0
    assert ages["12-24"]["false_pages_day"] == 2.0
    assert (ages["3-6"]["recall_at_page"], ages["12-24"]["recall_at_page"]) == (0.0, 1.0)
    assert np.isnan(ages["1-3"]["recall_at_page"])


def test_a_rate_is_judged_per_target_after_the_first_hour() -> None:
    label = np.zeros(2001, bool)
    one = run([0.0] * 2001, label.tolist())._replace(rows_an_hour=2001 / 24)
    loud = np.zeros(2001)
    loud[:80] = 5.0
    right = np.where(np.arange(2001) == 1000, 5.0, 0.0)
    found = measures.rates([one._replace(severity=loud), one._replace(target=1, severity=right)])
    assert found["rate_ok"] == 0.5
    assert found["rate_mean"] == pytest.approx(0.26, abs=0.01)


def test_harm_is_the_mean_of_a_targets_runs_against_cold() -> None:
    targets = np.array([0, 0, 1, 1])
    found = measures.harm(np.array([1.1, 1.3, 0.9, np.nan]), np.ones(4), targets)
    assert found == {"mean": pytest.approx(0.05), "worst": pytest.approx(0.2), "share_hurt": 0.5}


def lines_with(cold_page: float, seeded_page: float) -> dict[str, list[measures.Run]]:
    """Six targets with one event each; a line finds it if its page is 1."""

    def runs(page: float, ratio: float) -> list[measures.Run]:
        label = [0] * 10 + [1] * 4 + [0] * 10
        pages = [0.01 * (at % 7) for at in range(24)]
        pages[11] = page
        pages[3] = 0.5
        return [run(pages, label, ratio=ratio, target=target) for target in range(6)]

    other = {line: runs(cold_page, 1.2) for line in LINES}
    return other | {"seeded": runs(seeded_page, 1.1), "warm": runs(1.0, 1.0)}


def test_the_gap_is_told_only_where_warm_is_surely_better() -> None:
    case = measures.score(lines_with(0.0, 1.0))
    assert case["gap_closed"] == pytest.approx(1.0)
    assert case["harm_mean"] == pytest.approx(1.1 / 1.2 - 1.0)
    assert case["share_hurt"] == 0.0
    assert case["seeded_minus_cold"]["ev_f1"][0] > 0
    assert measures.score(lines_with(1.0, 1.0))["gap_closed"] is None


def test_day_one_is_all_its_bands_together_and_no_more() -> None:
    page, label = np.zeros(48), [0] * 48
    page[[0, 13, 30, 40]] = 1.0
    label[12:15], label[39:42] = [1] * 3, [1] * 3
    one = run(page.tolist(), label, ratio=1.3)._replace(day_one=1.2)
    found, ages = measures.day_one([one]), measures.by_age([one])
    first = [ages[f"{begin}-{end}"] for begin, end in measures.BANDS if end <= 24]
    assert found["false_pages_day"] == 1.0
    assert found["events"] == sum(band["events"] for band in first) == 1
    assert (found["recall_at_page"], found["error_ratio"]) == (1.0, 1.2)


def test_late_is_one_beside_itself_and_does_not_see_the_first_two_hours() -> None:
    cold = [run([0.0] * 24, [0] * 24, ratio=1.5)] * 3
    assert measures.late(cold, cold) == {"median": pytest.approx(1.0), "worst": pytest.approx(1.0)}
    own = [one._replace(hourly=one.hourly * factor) for one, factor in zip(cold, (0.5, 2.0, 3.0), strict=True)]
    for one in own:
        one.hourly[:2] = 1e6
    assert measures.late(own, cold) == {"median": pytest.approx(2.0), "worst": pytest.approx(3.0)}
    nothing = [one._replace(hourly=np.full(24, np.nan)) for one in cold]
    assert measures.late([own[0], nothing[1]], cold[:2])["worst"] == pytest.approx(0.5)
    assert np.isnan(measures.late(nothing, cold)["worst"])


# --- the command


def write(folder: Path, name: str, record: Recording) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    y = record.label.astype(np.uint8)
    np.savez(folder / f"{name}.npz", X=record.values, y=y, ts=record.ts_ms // 1000, train_len=record.history)


def test_fast_takes_few_targets_that_have_all_zones(tmp_path: Path) -> None:
    for seed in range(7):
        write(tmp_path / "JS-D2", f"s{seed}", recording(seed=seed))
    wanted = [case for case in CASES if case.set_name == "JS-D2"]
    found = group(tmp_path, "JS-D2", wanted, fast=True)
    assert found is not None
    assert len(found.meetings) == 4
    assert len(found.subjects) == 7
    assert all(set(one.sources) == {ANY, CLOSE} for one in found.meetings)


def test_json_and_dump_hold_what_the_interface_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, dump = tmp_path / "data", tmp_path / "dump"
    for seed in range(3):
        write(data / "AIOPS", f"k{seed}", recording(width=1, seed=seed))
    only = "AIOPS-any-6h,AIOPS-any-1d,SMD-far-1d"
    arguments = ["--data", str(data), "--json", "--jobs", "0", "--only", only, "--dump", str(dump)]
    assert first_hours.main(arguments) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(told["cases"]) == {"AIOPS-any-6h", "AIOPS-any-1d"}
    assert told["absent"][0].startswith("SMD")
    assert "cost" not in told, "cases were named"
    assert {row["name"] for row in told["goals"] if row["floor"] == "not run"} > {"SMD-far-1d", "wide, 3 lent, day"}
    for name, rows in (("AIOPS-any-6h", 72), ("AIOPS-any-1d", 288)):
        case = told["cases"][name]
        for line in (*LINES, "model-c-cold", "model-c-naive", "model-c-warm"):
            assert set(case[line]) >= FIGURES
        keys = {"gap_closed", "harm_mean", "harm_worst", "share_hurt", "harm_wrong_worst", "seeded_minus_cold"}
        assert keys <= set(case)
        assert "day_one" not in case["seeded"]
        with np.load(dump / name / "seeded" / f"k0-{6 * A_DAY}.npz") as file:
            assert set(file) == {"t", "severity", "confidence", "page"}
            assert {len(file[key]) for key in file} == {rows}


def test_an_unknown_case_is_refused_with_the_list() -> None:
    with pytest.raises(SystemExit, match="JS-D2-near-1d"):
        first_hours.chosen("JS-D2")


def test_the_picture_shows_what_there_is_and_nothing_off_the_paper() -> None:
    aged = {"0-1": {"error_ratio": 400.0}, "1-3": {"error_ratio": None}, "3-6": {"error_ratio": 0.01}}
    case = {line: {"by_age": aged} for line in ("naive", "cold", "seeded")}
    root = ET.fromstring(draw({"cases": {PANELS[0][0]: case, "other": case}}))
    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    places = [tuple(map(float, point.split(","))) for line in lines for point in line.attrib["points"].split()]
    assert (len(lines), len(places)) == (3, 6)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    with pytest.raises(ValueError, match="no case to draw"):
        draw({"cases": {"other": case}})
