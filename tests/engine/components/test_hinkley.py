"""The Page-Hinkley kernel is River's, and finds noise that grows where it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.columns import allocate_one
from engine.components import hinkley
from tests.engine.components.feed import plain

river = pytest.importorskip("river.drift", reason="River is the oracle")


def fresh() -> hinkley.Hinkley:
    return allocate_one(hinkley.Hinkley, hinkley.COLUMNS, 1)


def wide(columns: hinkley.Hinkley) -> hinkley.Hinkley:
    """The same in double precision, as River counts."""
    return hinkley.Hinkley(*(column.astype(np.float64) for column in columns[:-2]), columns.run, columns.wait)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    delta=st.floats(0.005, 1.0),
    threshold=st.floats(2.0, 60.0),
    grown=st.floats(0.2, 5.0),
    fewest=st.integers(1, 60),
)
def test_it_tells_what_river_tells(seed: int, delta: float, threshold: float, grown: float, fewest: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(size=200), grown * rng.normal(size=200)]) ** 2
    theirs = river.PageHinkley(min_instances=fewest, delta=delta, threshold=threshold, alpha=hinkley.ALPHA)
    columns, watch = wide(fresh()), plain(hinkley.watch)
    ours, told = [], []
    for at, value in enumerate(values.tolist()):
        theirs.update(value)
        if theirs.drift_detected:
            told.append(at)
        found = watch(columns, 0, value, delta, threshold, float(fewest))
        # River makes no difference between the two sides, and resets at the next value.
        if found:
            ours.append(at)
            plain(hinkley.clear)(columns, 0)
    # float32 in the columns' own assignments costs six digits; the moment is the same unless a sum is on the border.
    assert len(ours) == len(told)
    assert all(abs(a - b) <= 1 for a, b in zip(ours, told, strict=True))


def test_threefold_variance_is_seen_within_forty_samples_and_seldom_without() -> None:
    delays, falls = [], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = np.minimum(
            np.concatenate([rng.normal(size=2000), np.sqrt(3) * rng.normal(size=400)]) ** 2, hinkley.MOST
        )
        columns = fresh()
        for at, value in enumerate(values.tolist()):
            if plain(hinkley.watch)(columns, 0, value, hinkley.DELTA, hinkley.THRESHOLD, hinkley.LEAST) > 0:
                if at >= 2000:
                    delays.append(at - 2000)
                    break
                falls += 1
                plain(hinkley.clear)(columns, 0)
    assert len(delays) == 40
    assert np.median(delays) <= 40
    assert falls <= 4


def test_cleared_it_is_fresh() -> None:
    columns = fresh()
    for value in range(50):
        plain(hinkley.watch)(columns, 0, float(value), 0.1, 1e9, 30.0)
    plain(hinkley.clear)(columns, 0)
    for column, new in zip(columns, fresh(), strict=True):
        assert np.array_equal(column, new)
