"""Joint: the forecast is the process that made the data, the conditional residual that of the textbook."""

from __future__ import annotations

import numpy as np
import pytest

from engine.components import block as blocks
from engine.components import level
from engine.shard import Shard
from tests.engine.components.feed import assert_finite, entity_run, log_of, of, plain, without
from tests.engine.logs import admit, cold

#: x(t) = A x(t - 1) + noise; its eigenvalues lie well inside the unit circle.
PROCESS = np.array([[0.5, 0.3, 0.0], [0.0, 0.6, 0.2], [-0.3, 0.0, 0.4]])
TICKS = 20_000


def process(ticks: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(ticks, 3))
    values = np.zeros((ticks, 3))
    for t in range(1, ticks):
        values[t] = PROCESS @ values[t - 1] + noise[t]
    return values


def sections(shard: Shard, b: int = 0) -> dict[str, np.ndarray]:
    """The parts of a block, of metrics in use only."""
    roster = shard.roster
    start, capacity = int(roster.block.start[b]), int(roster.block.capacity[b])
    return blocks.sections(roster.pool, start, capacity)


@pytest.fixture(scope="module")
def seen() -> Shard:
    shard, _ = entity_run(process(TICKS))
    return shard


def test_the_forecast_weights_are_the_process(seen: Shard) -> None:
    rows = seen.roster.rows
    sd = np.array([plain(level.scale)(rows.level, row) for row in range(3)])
    weights = sections(seen)["forecast"].astype(float)
    np.testing.assert_allclose(weights[:, 0] * sd[:, None] / sd, PROCESS, atol=0.05)
    assert np.abs(weights[:, 1:]).max() < 0.06


def test_the_conditional_residual_is_that_of_a_partial_regression(seen: Shard) -> None:
    part = sections(seen)
    cov = part["covariance"].astype(float)
    near, d = blocks.NEAR, 3
    whole = np.empty((near * d, near * d))
    for k in range(near):
        for m in range(near):
            lagged = cov[:, m - k, :] if m >= k else cov[:, k - m, :].T
            whole[k * d : (k + 1) * d, m * d : (m + 1) * d] = lagged
    for j in range(d):
        others = [i for i in range(near * d) if i != j]
        slope = np.linalg.solve(whole[np.ix_(others, others)], whole[others, j])
        found = part["conditional"][j].astype(float).ravel()
        assert found[j] == pytest.approx(1.0, abs=1e-6)
        np.testing.assert_allclose(found[others], -slope, atol=0.03)


def test_a_missing_metric_keeps_its_sizes_and_its_covariances_fade() -> None:
    values = process(1500)
    values[1000:, 1] = np.nan
    shard = cold()
    rows = admit(shard, 1, 3)[0]
    shard.process(log_of(rows, values[:1000]))
    before = {name: array.copy() for name, array in sections(shard).items()}
    whole, _ = entity_run(values)
    after = sections(whole)
    kept = [blocks.MEAN, blocks.SIGMA_E, blocks.SIGMA_X]
    np.testing.assert_array_equal(after["vectors"][kept, 1], before["vectors"][kept, 1])
    # It counts as its mean from then on: 1000 of 1500 ticks.
    assert after["covariance"][1, 0, 1] == pytest.approx(before["covariance"][1, 0, 1] * 2 / 3, rel=1e-3)
    assert_finite(whole)


def test_a_metric_that_comes_and_goes_spoils_no_forecast() -> None:
    """A copy of the first metric, there half of the time in long runs: the covariances stay those of one process."""
    values = process(8000, seed=4)
    copy = np.where((np.arange(8000) // 500 % 2 == 0)[:, None], values[:, :1], np.nan)
    alone, _ = entity_run(values)
    joined, _ = entity_run(np.hstack([values, copy]))
    own, beside = (sections(shard)["vectors"][blocks.SIGMA_E, 1:3] for shard in (alone, joined))
    np.testing.assert_allclose(beside, own, rtol=0.03)
    part = sections(joined)["covariance"].astype(float)[:4, :, :4]
    matrix = np.block([[part[:, m - k, :] if m >= k else part[:, k - m, :].T for m in range(4)] for k in range(4)])
    assert np.linalg.eigvalsh(matrix).min() > -1e-3


def test_copies_and_constants_break_nothing() -> None:
    """Singular covariances: two equal metrics, one constant, one a thousand times the first."""
    x = np.random.default_rng(2).normal(size=(1200, 1))
    shard, verdict = entity_run(np.hstack([x, x, np.full_like(x, 3.0), 1000.0 * x]))
    assert_finite(shard)
    assert np.isfinite(verdict.ticks.severity[2:]).all()
    assert of(verdict.records, "alerts") == []


def test_a_wide_entity_is_several_blocks_and_one_alert() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(600, 90)) + rng.normal(size=(600, 1))
    values[500:520, 30:50] += 15.0
    shard, verdict = entity_run(values)
    widths = [int(shard.roster.block.width[b]) for b in shard.roster.blocks_of(0)]
    assert widths == [40, 40, 10]
    assert len(verdict.ticks.severity) >= 598
    assert len(of(verdict.records, "alerts", "firing")) == 1
    names = {one["series"] for one in of(verdict.records, "alerts", "firing")[0]["contributors"]}
    assert names <= {f'm{j}{{host="h0"}}' for j in range(30, 50)}
    assert_finite(shard)


def sizes_of_the_third(joins: int) -> np.ndarray:
    """What the third of three slow metrics typically errs by, if it begins at tick `joins` of 7,000."""
    noise = np.random.default_rng(5).normal(size=(7000, 3))
    values = np.zeros_like(noise)
    for t in range(1, len(values)):
        values[t] = 0.98 * values[t - 1] + noise[t]
    shard = cold()
    rows = admit(shard, 1, 3)[0]
    batch = log_of(rows, values)
    shard.process(without(batch, (batch.row == 2) & (batch.offset < 3 * joins)))
    return sections(shard)["vectors"][[blocks.SIGMA_E, blocks.SIGMA_X, blocks.SIGMA_G], 2]


def test_a_metric_that_joins_a_grown_host_learns_its_sizes_at_its_own_age() -> None:
    late, always = sizes_of_the_third(4000), sizes_of_the_third(0)
    np.testing.assert_array_less(late, 2.5 * always)


def test_a_fault_in_few_metrics_of_a_wide_entity_pages() -> None:
    """A page is about the worst block: ten metrics of 120 are ten of forty."""
    rng = np.random.default_rng(6)
    values = rng.normal(size=(3000, 120)) + rng.normal(size=(3000, 1))
    values[2900:2930, 44:54] += 25.0
    _, verdict = entity_run(values)
    (firing,) = of(verdict.records, "alerts", "firing")
    assert {one["series"] for one in firing["contributors"]} <= {f'm{j}{{host="h0"}}' for j in range(44, 54)}


def test_a_slow_metric_beside_a_fast_one_learns_the_size_of_its_own_residual() -> None:
    """One sample in sixty ticks: rates of what it learns by itself go by its samples, not by ticks."""
    values = np.random.default_rng(7).normal(size=(30_000, 2))
    values[np.arange(30_000) % 60 != 0, 1] = np.nan
    shard, _ = entity_run(values)
    vectors = sections(shard)["vectors"]
    assert vectors[blocks.SEEN, 1] == pytest.approx(500, abs=2)
    assert vectors[blocks.AGE, 1] == pytest.approx(29_940, abs=70)
    # Both are noise, so that the residual is as large as the value, in the series' own scale.
    truth = 1.0 / plain(level.scale)(shard.roster.rows.level, 1)
    assert vectors[blocks.SIGMA_E, 1] == pytest.approx(truth, rel=0.2)
