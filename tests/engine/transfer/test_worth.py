"""The law of the house: a seed makes the first day better, and a wrong one costs little. On generated data."""

from __future__ import annotations

import numpy as np
import pytest

from engine.components import trial
from engine.transfer import plan, read_prior
from tests.engine.transfer.towns import DAY, Town, first_day, grown, log, shard, source, values

#: Forecast error beside cold's from a source that a user names against the facts, on towns that are nothing but the
#: shape of their day: the trial evicts the shape. With a plan such a source is refused, and costs nothing.
HOSTILE_MOST = 1.05
TARGETS = [Town(seed=seed, hosts=2, scale=3.0, level=150.0) for seed in range(11, 21)]
#: Twice what a normal entity may page a day, in ticks: a page lasts for two or so.
PAGES_MOST = 2 * 2 * 0.1 * 2 * len(TARGETS)


def test_a_twin_lowers_the_error_and_pages_no_more() -> None:
    prior = read_prior(source(Town(seed=1)))
    seeded, cold = ([first_day(town, lent) for town in TARGETS] for lent in (prior, None))
    assert all(one.error < other.error for one, other in zip(seeded, cold, strict=True))
    assert sum(one.false_pages for one in seeded) <= max(sum(one.false_pages for one in cold), PAGES_MOST)


@pytest.mark.parametrize(
    "hostile",
    [Town(seed=1, phase_h=8.0), Town(seed=1, phase_h=12.0), Town(seed=1, harmonic=3), Town(seed=1, noise=3.0)],
    ids=["eight hours late", "upside down", "another shape", "all noise"],
)
def test_a_hostile_source_costs_no_more_than_the_bound(hostile: Town) -> None:
    prior = read_prior(source(hostile))
    ratio = [first_day(town, prior).error / first_day(town, None).error for town in TARGETS]
    assert max(ratio) < HOSTILE_MOST


def test_a_hostile_source_that_was_planned_for_costs_nothing() -> None:
    far = source(Town(seed=1, harmonic=3))
    town = TARGETS[0]
    prior = read_prior(far, plan(far, grown(town, days=2)))
    np.testing.assert_array_equal(first_day(town, prior).expected, first_day(town, None).expected)


def test_a_source_in_another_zone_that_was_planned_for_is_as_good_as_a_twin() -> None:
    """That of the 8 h is moved: it is lent, and not only refused."""
    far = source(Town(seed=1, phase_h=8.0))
    prior = read_prior(far, plan(far, grown(TARGETS[0], days=2)))
    seeded, cold = (np.mean([first_day(town, lent).error for town in TARGETS]) for lent in (prior, None))
    assert seeded < cold


def test_a_wrong_shape_is_evicted_and_a_right_one_kept() -> None:
    for phase_h, wanted in ((0.0, trial.KEPT), (8.0, trial.EVICTED)):
        prior = read_prior(source(Town(seed=1, phase_h=phase_h)))
        target = shard(TARGETS[0], prior=prior)
        target.process(log(values(TARGETS[0], 2 * DAY)))
        assert set(target.roster.rows.trial.state[: target.series_count].tolist()) == {wanted}
        assert ("season" in prior.borrowed(target.roster, 0)) == (wanted == trial.KEPT)
