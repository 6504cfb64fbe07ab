"""Tail: shares and severities against those of the data, decay, and sums that can be moved about."""

from __future__ import annotations

import numpy as np
import pytest

from engine.components import tail

N = 60_000


def counted(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(counts, unit, mass) of one histogram."""
    counts, unit, mass = np.zeros((1, tail.BINS), np.float32), np.ones(1, np.float32), np.zeros(1, np.float32)
    for x in logs:
        tail.add(counts, mass, 0, float(x), float(unit[0]))
        unit[0] = tail.fade(counts, mass, 0, 1, float(unit[0]), 1.0)
    return counts, unit, mass


def summary(counts: np.ndarray, mass: np.ndarray) -> np.ndarray:
    quantiles = np.empty(tail.QUANTILES, np.float32)
    tail.summarise(counts, mass, 0, quantiles)
    return quantiles


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    return np.random.default_rng(0).normal(size=N) * 0.7 - 0.5


def test_quantiles_are_those_of_numpy(normal: np.ndarray) -> None:
    counts, _, mass = counted(normal)
    found = tail.read(counts, mass, 0, tail.TAIL_SHARE)
    wanted = np.quantile(normal, [0.5, 0.8, 0.95, 1 - tail.TAIL_SHARE])
    np.testing.assert_allclose(found, wanted, atol=0.6 * tail.WIDTH)
    quantiles = summary(counts, mass)
    np.testing.assert_allclose(quantiles[: tail.SLOPE], found, rtol=1e-6)
    # The mean excess of a normal variate at its 99.5 % quantile is .35 sd.
    assert quantiles[tail.SLOPE] == pytest.approx(0.35 * 0.7, rel=0.25)


def test_severities_are_honest_on_data_of_the_same_kind(normal: np.ndarray) -> None:
    """A severity s is reached by 10**-s of the data, within a third of an order as far as the data reach."""
    half = N // 2
    counts, _, mass = counted(normal[:half])
    quantiles = summary(counts, mass)
    severities = np.array([tail.severity(float(x), quantiles) for x in normal[half:]])
    for s in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0):
        share = (severities >= s).mean()
        assert -np.log10(share) == pytest.approx(s, abs=0.35 if s < 2.4 else 0.6), s
    # An exponential tail is heavier than a normal one: it may say too little, never too much.
    assert (severities >= 4.0).mean() <= 2e-4


def test_a_pareto_tail_is_met_exactly() -> None:
    rng = np.random.default_rng(1)
    logs = rng.exponential(0.4, size=N) - 1.0
    counts, _, mass = counted(logs[: N // 2])
    quantiles = summary(counts, mass)
    severities = np.array([tail.severity(float(x), quantiles) for x in logs[N // 2 :]])
    for s in (1.0, 2.0, 3.0):
        assert -np.log10((severities >= s).mean()) == pytest.approx(s, abs=0.35)


def test_severity_grows_with_evidence_and_is_capped() -> None:
    counts, _, mass = counted(np.random.default_rng(2).normal(size=3000))
    quantiles = summary(counts, mass)
    grid = [tail.severity(x, quantiles) for x in np.linspace(-8, 60, 400)]
    assert (np.diff(grid) >= -1e-9).all()
    assert 0.0 <= grid[0] < 0.31
    assert grid[-1] == tail.MOST


def test_old_entries_fade_and_the_scale_stays_finite() -> None:
    """400,000 entries force the weights down once; then the past counts for next to nothing."""
    old, new = np.full(50_000, -3.0), np.full(350_000, 1.0)
    counts, unit, mass = counted(np.concatenate([old, new]))
    assert unit[0] < 1e3
    assert mass[0] == pytest.approx(counts.sum(), rel=1e-3)
    share = counts[0, tail.bin_of(-3.0)] / mass[0]
    assert share == pytest.approx(np.exp(-7.0) - np.exp(-8.0), rel=0.1)


def test_ends_take_what_lies_beyond() -> None:
    assert (tail.bin_of(-1e9), tail.bin_of(1e9)) == (0, tail.BINS - 1)
    assert tail.bin_of(tail.LOW + 0.5 * tail.WIDTH) == 0


def test_an_empty_histogram_has_no_answer() -> None:
    counts, mass = np.zeros((1, tail.BINS), np.float32), np.zeros(1, np.float32)
    assert np.isnan(tail.read(counts, mass, 0, 0.02)).all()


def test_merge_keeps_the_shape_and_sets_the_weight() -> None:
    counts, _, _ = counted(np.random.default_rng(3).normal(size=500))
    merged = tail.merge(counts[0].astype(float), 1000.0)
    assert merged.sum() == pytest.approx(1000.0)
    np.testing.assert_allclose(merged / 1000.0, counts[0] / counts[0].sum(), rtol=1e-5)
    assert not tail.merge(np.zeros(tail.BINS), 10.0).any()


def test_distil_takes_out_what_the_factory_gave() -> None:
    factory = np.full(tail.BINS, 2.0)
    own = np.zeros(tail.BINS)
    own[20] = 300.0
    shares = tail.distil(factory + own, factory)
    assert shares.sum() == pytest.approx(1.0)
    assert shares[20] == pytest.approx(1.0)
