"""Evidence: proof by betting comes soon where one version is better, and seldom where none is, whenever one looks."""

from __future__ import annotations

import numpy as np
import pytest

from engine import evidence
from engine.columns import Array, allocate_one
from engine.components import worth
from engine.components.worth import COLD, SEEDED, Forecasts
from engine.evidence import ALPHA, EVIDENCE, PROOF, Evidence

LOOKS = 96


def trial(entities: int, metrics: int) -> tuple[Evidence, Forecasts, Array]:
    """Entities with so many metrics each, of which nothing was forecast yet."""
    found: Evidence = allocate_one(Evidence, EVIDENCE, entities)
    sums: Forecasts = allocate_one(Forecasts, worth.FORECASTS, entities * metrics)
    return found, sums, np.repeat(np.arange(entities), metrics)


def enter(sums: Forecasts, gain: Array, samples: int) -> None:
    """So many samples of each series, of which the seeded version forecasts each by `gain` nats better."""
    sums.seeded[:, 0] += samples * 2.0
    sums.cold[:, 0] += samples * (2.0 + gain)
    sums.samples[:, 0] += samples


def most_seen(gains: Array, *, metrics: int = 3) -> Array:
    """(entities, 2): the largest e-value against seeded and against cold at any look; gains (looks, entities)."""
    entities = gains.shape[1]
    found, sums, entity = trial(entities, metrics)
    most = np.ones((entities, 2))
    for gain in gains:
        enter(sums, np.repeat(gain, metrics), 15)
        evidence.settle(found, sums, entity)
        now = np.stack([evidence.against(found, version) for version in (SEEDED, COLD)], axis=1)
        most = np.maximum(most, now)
    return most


@pytest.mark.parametrize("spread", [0.05, 0.5, 3.0])
def test_proof_by_chance_is_as_seldom_as_promised_at_any_number_of_looks(spread: float) -> None:
    gains = np.random.default_rng(1).normal(0.0, spread, (LOOKS, 2000))
    shares = (most_seen(gains) >= PROOF).mean(axis=0)
    assert (shares <= ALPHA).all()


def test_large_gains_and_losses_in_the_order_of_chance_prove_nothing() -> None:
    rng = np.random.default_rng(2)
    gains = rng.choice([-0.7, 0.7], (LOOKS, 2000))
    assert (most_seen(gains) >= PROOF).mean() <= ALPHA


@pytest.mark.parametrize(("gain", "looks"), [(1.0, 12), (0.3, 30)])
def test_the_worse_version_is_found_out_within_hours(gain: float, looks: int) -> None:
    noise = np.random.default_rng(3).normal(0.0, 0.2, (looks, 200))
    most = most_seen(gain + noise)
    assert (most[:, COLD] >= PROOF).mean() > 0.95
    assert (most[:, SEEDED] < PROOF).all()


def test_the_two_sides_are_mirror_images() -> None:
    gains = np.random.default_rng(4).normal(0.1, 0.4, (LOOKS, 50))
    assert most_seen(gains)[:, ::-1] == pytest.approx(most_seen(-gains))


def test_a_look_without_samples_settles_nothing() -> None:
    found, sums, entity = trial(2, 1)
    enter(sums, np.array([0.5, -0.5]), 10)
    evidence.settle(found, sums, entity)
    before = [column.copy() for column in found]
    evidence.settle(found, sums, entity)
    assert all(np.array_equal(now, was) for now, was in zip(found, before, strict=True))


def test_one_metric_that_is_forecast_worse_is_no_proof_against_a_seed_that_serves_the_others() -> None:
    found, sums, entity = trial(1, 10)
    for _ in range(LOOKS):
        enter(sums, np.array([-2.0, *[0.5] * 9]), 15)
        evidence.settle(found, sums, entity)
    assert evidence.against(found, SEEDED)[0] < 1.0
    assert evidence.against(found, COLD)[0] > PROOF
