"""Intervals, differences between runs, and the signed-rank test."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from benchmarks import quality_statistics as statistics
from benchmarks.quality_measures import Pages
from benchmarks.quality_run import Scored


def scored(vus: list[float], *, false: list[float] | None = None) -> Scored:
    """Entities with two events each, one of them found, over ten days."""
    count = len(vus)
    wrong = np.array(false if false is not None else [1.0] * count)[:, None]
    pages = Pages(np.ones((count, 1)), np.ones((count, 1)), wrong, np.full(count, 2), np.full(count, 10.0))
    names = [f"e{at}" for at in range(count)]
    values = np.array(vus)
    return Scored(
        names,
        values,
        values / 2,
        np.full(count, 1.0),
        np.full(count, 9000),
        [np.array([4, 5])] * count,
        pages,
        pages,
        pages,
    )


def test_figures_by_hand() -> None:
    found = statistics.summary(scored([0.2, 0.4, 0.9]))
    assert found["vus_pr"] == pytest.approx(0.5)
    assert found["ap"] == pytest.approx(0.25)
    assert found["ev_f1"] == pytest.approx(0.5)
    assert (found["false_pages_day"], found["recall_at_page"]) == (pytest.approx(0.1), pytest.approx(0.5))
    assert (found["rate_ok"], found["rate_worst"], found["entities"]) == (1.0, 1.0, 3)
    assert found["worst_decile"] == {"vus_pr": 0.2, "entities": ["e0"]}
    low, high = found["interval"]["vus_pr"]
    assert 0.2 <= low < 0.5 < high <= 0.9


def test_an_entity_without_events_has_no_volume_but_days() -> None:
    found = statistics.summary(scored([0.2, float("nan")]))
    assert found["vus_pr"] == pytest.approx(0.2)
    assert statistics.by_entity(scored([0.2, float("nan")]))["e1"]["vus_pr"] is None


def test_the_mean_is_over_sets_and_not_over_entities() -> None:
    found = statistics.mean_summary([scored([0.2]), scored([0.4, 0.6, 0.8])])
    assert found["vus_pr"] == pytest.approx(0.4)
    assert found["entities"] == 4


def test_a_difference_is_paired() -> None:
    ours, theirs = scored([0.3, 0.5, 0.9]), scored([0.2, 0.4, 0.8])
    found = statistics.difference([ours], [theirs])
    assert found is not None
    # The same entities are drawn on both sides, so a gap that is the same everywhere has no spread.
    assert found["vus_pr"] == pytest.approx([0.1, 0.1, 0.1], abs=1e-3)
    assert statistics.difference([ours], [scored([0.2])]) is None


def exact_p(differences: Any) -> float:
    """Two-sided p over all signs."""
    size = np.abs(differences)
    rank = np.array([(size < one).sum() + ((size == one).sum() + 1) / 2 for one in size])
    off = abs(rank[differences > 0].sum() - rank.sum() / 2)
    every = [
        abs(rank[np.array(signs)].sum() - rank.sum() / 2)
        for signs in itertools.product([True, False], repeat=len(rank))
    ]
    return float(np.mean(np.array(every) >= off - 1e-9))


@pytest.mark.parametrize("seed", range(5))
def test_signed_rank_is_near_the_exact_test(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1.0, 13).round(1)
    differences = differences[differences != 0.0]
    assert statistics.signed_rank_p(differences) == pytest.approx(exact_p(differences), abs=0.03)


def test_signed_rank_leaves_zeros_out_and_has_no_direction() -> None:
    values = np.array([0.5, -0.1, 0.7, 0.2, 0.9, 0.3])
    assert statistics.signed_rank_p(np.concatenate([values, np.zeros(9)])) == statistics.signed_rank_p(values)
    assert statistics.signed_rank_p(values) == pytest.approx(statistics.signed_rank_p(-values))
    assert statistics.signed_rank_p(np.zeros(3)) == 1.0


def test_two_runs_are_compared_entity_by_entity() -> None:
    old = {"ASD": statistics.by_entity(scored([0.2, 0.4, 0.6])), "SMD": statistics.by_entity(scored([0.1]))}
    new = {"ASD": statistics.by_entity(scored([0.3, 0.4, 0.5], false=[0.0, 1.0, 1.0]))}
    found = statistics.compare(new, old)
    assert set(found) == {"ASD", "all"}
    change = found["ASD"]["vus_pr"]
    assert (change["n"], change["up"], change["down"]) == (3, 1, 1)
    assert change["mean"] == pytest.approx(0.0)
    assert change["entities"] == pytest.approx({"e0": 0.1, "e1": 0.0, "e2": -0.1})
    assert found["ASD"]["false_pages_day"]["entities"]["e0"] == pytest.approx(-0.1)
    assert found["all"]["vus_pr"]["entities"]["ASD/e0"] == pytest.approx(0.1)
    assert statistics.compare(new, {}) == {}
