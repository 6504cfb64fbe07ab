"""Solving: what is mixed from two processes is no covariance, and its forecast must still be one."""

from __future__ import annotations

import numpy as np

from engine.components import block as blocks
from engine.components import solving

METRICS = 6


def process(seed: int, ticks: int = 600) -> np.ndarray:
    """Slow metrics of variance 1 that share most of what they do."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(ticks, METRICS)) * 0.1 + rng.normal(size=(ticks, 1)) * rng.normal(size=METRICS)
    z = np.zeros_like(noise)
    for t in range(1, ticks):
        z[t] = 0.97 * z[t - 1] + noise[t]
    return np.asarray(z / z.std(axis=0))


def lagged(seed: int) -> np.ndarray:
    """(6, lags + 1, 6): its lag covariances."""
    z, back = process(seed), blocks.lags(METRICS)
    return np.stack([z[back:].T @ z[back - k : len(z) - k] / (len(z) - back) for k in range(back + 1)], axis=1)


def solved(covariance: np.ndarray) -> dict[str, np.ndarray]:
    pool = np.zeros(blocks.size(METRICS), np.float32)
    blocks.wake(pool, 0, METRICS)
    part = blocks.sections(pool, 0, METRICS)
    part["covariance"][:] = covariance
    block = blocks.empty_blocks(1)
    block.capacity[0], block.width[0], block.ticks[0] = METRICS, METRICS, 600.0
    solving.solve(block, pool, 0, np.zeros(solving.SCRATCH))
    return part


def errors(part: dict[str, np.ndarray], z: np.ndarray) -> np.ndarray:
    """Mean square of the forecast's error, a metric."""
    weights, back = part["forecast"].astype(float), blocks.lags(METRICS)
    forecast = sum(z[back - 1 - k : len(z) - 1 - k] @ weights[:, k].T for k in range(back))
    return np.asarray(np.mean((z[back:] - forecast) ** 2, axis=0))


def test_a_mixture_of_two_processes_is_no_wild_forecast() -> None:
    """Some pairs from one environment, the others from another one: what a seeded entity begins with."""
    worst = []
    for seed in range(40):
        ours, theirs = lagged(seed), lagged(seed + 100)
        is_ours = np.add.outer(np.arange(METRICS), np.arange(METRICS)) % 2 == 0
        part = solved(np.where(is_ours[:, None, :], ours, theirs))
        assert np.abs(part["conditional"]).max() < 20.0
        worst.append(errors(part, process(seed)).max())
    assert max(worst) < 10.0
    assert np.mean(np.array(worst) < 1.0) > 0.9


def test_what_is_a_covariance_is_solved_with_the_least_ridge() -> None:
    covariance = lagged(1)
    part = solved(covariance)
    back = blocks.lags(METRICS)
    whole = np.block(
        [[covariance[:, abs(m - k)].T if m < k else covariance[:, m - k] for m in range(back)] for k in range(back)]
    )
    ridge = solving.RIDGE / (600.0 + solving.RIDGE)
    wanted = np.linalg.solve(whole + ridge * np.eye(back * METRICS), covariance[:, 1:].reshape(METRICS, -1).T)
    np.testing.assert_allclose(part["forecast"].reshape(METRICS, -1).T, wanted, atol=2e-3)
