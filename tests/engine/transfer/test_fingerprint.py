"""Fingerprint: what a series is like says nothing of where it was."""

from __future__ import annotations

import numpy as np
import pytest

from engine.transfer import fingerprint
from tests.engine.components.feed import entity_run


def lag1(shift: float, *, keep: float = 0.5) -> float:
    """Autocorrelation at lag 1 by the fingerprint of a series that has moved once."""
    noise = np.random.default_rng(5).normal(size=6000)
    values = np.zeros(6000)
    for t in range(1, 6000):
        values[t] = keep * values[t - 1] + noise[t]
    values[2000:] += shift
    shard, _ = entity_run(values[:, None])
    return float(fingerprint.of_rows(shard.roster).features[0, fingerprint.LAG1])


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
def test_lag_1_is_that_of_the_process(keep: float) -> None:
    assert lag1(0.0, keep=keep) == pytest.approx(keep, abs=0.05)


@pytest.mark.parametrize("shift", [8.0, -8.0, 30.0])
def test_a_series_that_has_moved_looks_steady_and_not_like_a_zigzag(shift: float) -> None:
    assert 0.5 < lag1(shift) <= 1.0
