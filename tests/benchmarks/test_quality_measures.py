"""The measures of quality: against cases done by hand, and against the definitions, written out slowly."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks import quality_measures as measures
from benchmarks.quality_sets import segments

MODULES = ("quality", "quality_sets", "quality_measures", "quality_nab", "quality_statistics", "quality_baselines")

#: Labels in runs, and scores with many ties.
labelled = st.lists(st.tuples(st.booleans(), st.integers(1, 6)), min_size=1, max_size=12).map(
    lambda runs: np.concatenate([np.full(length, is_event) for is_event, length in runs])
)


def scores_of(label: Any, data: st.DataObject) -> Any:
    """As many small numbers as there are labels."""
    return np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(label), max_size=len(label))), float)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"benchmarks.{name}")).failed == 0


def test_average_precision_by_hand() -> None:
    label = np.array([1, 0, 1, 0])
    assert measures.average_precision(label, np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx((1 + 2 / 3) / 2)
    # Without any order all rows come at once, and precision is the share of positives.
    assert measures.average_precision(label, np.zeros(4)) == 0.5
    assert np.isnan(measures.average_precision(np.zeros(4), np.arange(4.0)))


@given(labelled, st.data())
def test_average_precision_is_its_definition(label: Any, data: st.DataObject) -> None:
    assume(label.any())
    score = scores_of(label, data)
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        found = score >= threshold
        recall = (found & label).sum() / label.sum()
        total += (recall - recall_before) * (found & label).sum() / found.sum()
        recall_before = recall
    assert measures.average_precision(label, score) == pytest.approx(total, abs=1e-12)


def slow_volume(label: Any, score: Any, window: int) -> float:
    """Paparrizos et al. (2022), row by row."""
    rows = len(label)
    thresholds = [sorted(score, reverse=True)[int(at)] for at in np.linspace(0, rows - 1, measures.RANKS)]
    events = [(int(begin), int(end) - 1) for begin, end in segments(label)]
    areas = []
    for w in range(window + 1):
        half = w // 2
        soft = np.zeros(rows)
        for begin, last in events:
            for k in range(1, half + 1):
                for at in (begin - k, last + k):
                    if 0 <= at < rows:
                        soft[at] += np.sqrt(1 - k / w)
        soft = np.where(label, 1.0, np.minimum(soft, 1.0))
        groups: list[set[int]] = []
        for begin, last in events:
            reach = set(range(begin - half, last + half + 1))
            if groups and groups[-1] & reach:
                groups[-1] |= reach
            else:
                groups.append(reach)
        area, before = 0.0, 0.0
        for threshold in thresholds:
            found = score >= threshold
            hits = float((soft * found).sum())
            beside = hits - float((label & found).sum())
            touched = np.mean([any(found[at] for at in group if 0 <= at < rows) for group in groups])
            recall = min(hits / (label.sum() + 0.5 * beside), 1.0) * float(touched)
            area += (recall - before) * hits / found.sum()
            before = recall
        areas.append(area)
    return float(np.mean(areas))


@given(labelled, st.integers(0, 9), st.data())
def test_the_volume_is_its_definition(label: Any, window: int, data: st.DataObject) -> None:
    assume(label.any())
    score = scores_of(label, data)
    assert measures.vus_pr(label, score, window) == pytest.approx(slow_volume(label, score, window), abs=1e-9)


def test_the_volume_of_a_perfect_score_without_a_buffer_is_one() -> None:
    label = np.zeros(100, bool)
    label[40:50] = True
    assert measures.vus_pr(label, label.astype(float), 0) == pytest.approx(1.0)
    assert np.isnan(measures.vus_pr(np.zeros(5, bool), np.arange(5.0), 0))


def test_the_buffer_is_the_period_of_the_first_metric() -> None:
    assert measures.buffer_rows(np.sin(np.arange(3000) * 2 * np.pi / 40)) == 40
    assert measures.buffer_rows(np.ones(500)) == measures.LONGEST


def test_pages_by_hand() -> None:
    label = np.array([0, 0, 1, 1, 1, 1, 0, 0, 0, 0], bool)
    page = np.array([0, 2, 2, 2, 2, 0, 2, 0, 1, 0], float)
    # At 2: row 1 is false and silences rows 2 and 3; row 4 finds the event and silences 5 and 6.
    found = measures.pages_at(label, page, np.array([2.0, 1.0, 3.0]), silence=3, rows_a_day=5)
    assert found.found.tolist() == [[1.0, 1.0, 0.0]]
    assert found.right.tolist() == [[1.0, 1.0, 0.0]]
    assert found.false.tolist() == [[1.0, 2.0, 0.0]]
    assert (found.events.tolist(), found.days.tolist()) == ([1], [2.0])
    one = np.ones((1, 1))
    assert measures.event_f1(found, one)[0] == pytest.approx(2 / 3)
    assert measures.recall_within(found, one, 0.5)[0] == 1.0
    assert measures.recall_within(found, one, 0.4)[0] == 0.0


@given(labelled, st.integers(1, 7), st.data())
def test_pages_are_their_definition(label: Any, silence: int, data: st.DataObject) -> None:
    score = scores_of(label, data)
    found = measures.pages_at(label, score, np.arange(7.0), silence=silence, rows_a_day=10)
    for k in range(7):
        starts: list[int] = []
        for at in np.flatnonzero(score >= k):
            if not starts or at >= starts[-1] + silence:
                starts.append(int(at))
        inside = [label[at] for at in starts]
        hit = sum(any(begin <= at < end for at in starts) for begin, end in segments(label))
        assert (found.found[0, k], found.right[0, k], found.false[0, k]) == (
            hit,
            sum(inside),
            len(inside) - sum(inside),
        )


def test_a_rate_is_that_on_normal_rows() -> None:
    label = np.zeros(4000, bool)
    label[:2000] = True
    alarms = label.copy()
    alarms[2000:2004] = True
    assert measures.rate_ratio(alarms, label) == pytest.approx(2.0)
    assert measures.is_honest(np.array([0.0, 0.5, 2.0, 2.1])).tolist() == [False, True, True, False]


def test_a_page_is_made_comparable_by_its_own_history() -> None:
    page = np.concatenate([np.full(600, 4.0), [8.0]])
    assert measures.comparable(page, 600)[-1] == pytest.approx(2.0)
    assert measures.comparable(page, 0) is page


def test_runs_of_alarms_are_those_on_normal_rows() -> None:
    alarms = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)
    label = np.array([0, 0, 0, 0, 1, 0, 0, 0])
    assert measures.runs_of(alarms, label).tolist() == [2, 1, 1, 1]


def test_short_runs_and_many_rows_can_keep_a_rate_and_long_runs_in_few_cannot() -> None:
    many = measures.honest_at_best(np.array([1_000_000]), [np.ones(20)])
    few = measures.honest_at_best(np.array([4000]), [np.full(20, 40.0)])
    assert many[0] > 0.99
    assert few[0] < 0.2
    assert measures.honest_at_best(np.array([1000]), [np.empty(0)]).tolist() == [0.0]
