"""Change: a shift that stays is told soon and once; noise and slow waves are not. River's detector is the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from engine.shard import Shard
from tests.engine.components.feed import MINUTE_MS, entity_run, of
from tests.engine.logs import START_MS

#: Past the youth of the scale, which is larger than it should be for some thousand samples (see `level`).
AT = 6000


def shifted(shift: float, seed: int, ticks: int = AT + 120) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=ticks)
    values[AT:] += shift
    return values


def delays(values: np.ndarray) -> list[tuple[int, float]]:
    """(samples after AT, shift in sd) of each drift told."""
    _, verdict = entity_run(values[:, None])
    return [
        ((v["at_ms"] - START_MS) // MINUTE_MS - AT, v["evidence"]["shift_sd"]) for v in of(verdict.records, "drift")
    ]


@pytest.mark.parametrize("shift", [3.0, -3.0, 5.0, -5.0])
def test_a_shift_is_told_within_hours_and_a_tall_one_within_one(shift: float) -> None:
    """Each one in the end; of those of 3 sd one in five may take two hours."""
    first = []
    for seed in range(5):
        found = [one for one in delays(shifted(shift, seed)) if one[0] >= 0]
        assert found, "nothing was told"
        assert np.sign(found[0][1]) == np.sign(shift)
        first.append(found[0][0])
    assert sorted(first)[3] <= (80 if abs(shift) == 3.0 else 60)
    assert max(first) <= (120 if abs(shift) == 3.0 else 60)


def false_alarms(values: np.ndarray) -> int:
    """Drifts told of a fleet of stationary series, one a column."""
    shard: Shard
    shard, verdict = entity_run(values)
    assert shard.series_count == values.shape[1]
    return len(of(verdict.records, "drift", "level"))


def test_white_noise_hardly_drifts() -> None:
    """At most one in 60,000 samples, 40 days of minutes."""
    assert false_alarms(np.random.default_rng(0).normal(size=(10_000, 20))) <= 3


def test_slow_noise_hardly_drifts() -> None:
    """AR(.9): each value keeps nine tenths of the last. At most about two drifts a series and week of minutes."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(10_000, 20))
    values = np.zeros_like(noise)
    for t in range(1, len(noise)):
        values[t] = 0.9 * values[t - 1] + noise[t]
    assert false_alarms(values) <= 40


def test_a_spike_is_no_shift() -> None:
    values = np.random.default_rng(2).normal(size=2000)
    values[[500, 900, 1500]] += [40.0, -1e6, 1e15]
    assert delays(values) == []


def test_a_daily_curve_is_no_shift() -> None:
    ts = np.arange(4 * 1440)
    values = 10.0 * np.sin(2 * np.pi * ts / 1440) + np.random.default_rng(3).normal(size=len(ts))
    _, verdict = entity_run(values[:, None])
    late = [v for v in of(verdict.records, "drift", "level") if v["at_ms"] > START_MS + 2 * 1440 * MINUTE_MS]
    assert late == []


def test_it_is_as_quick_as_page_hinkley() -> None:
    """River's PageHinkley on the standardised values, with its defaults but for the threshold: same way, same order."""
    drift = pytest.importorskip("river.drift")
    for seed in range(5):
        for shift in (4.0, -4.0):
            values = shifted(shift, seed)
            oracle = drift.PageHinkley(min_instances=30, delta=0.75, threshold=30.0, alpha=1.0)
            theirs = None
            for t, value in enumerate(values):
                oracle.update(float(value))
                if theirs is None and t >= AT and oracle.drift_detected:
                    theirs = t - AT
            ours, size = next(one for one in delays(values) if one[0] >= 0)
            assert theirs is not None
            assert np.sign(size) == np.sign(shift)
            assert ours <= 3 * theirs + 20
