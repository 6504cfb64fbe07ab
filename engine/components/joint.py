"""Joint: all metrics of an entity against each other and against their recent past.

Owns, per block, the lag covariances C_0..C_L of the standardised values and what is solved from them: a vector
autoregression (residual E), the residual of each metric given all others now and three ticks back (X), and the
Mahalanobis distances of the values (M) and of the scaled residuals (ME). One tick costs a few hundred nanoseconds.

Not obvious. (1) C_k is a decayed average and so additive: it merges, ages and seeds without refitting. (2) Solves run
at tick counts, never at batch cuts. (3) Learning sees the clipped value; the novelty beyond the clip is added for
scoring only. (4) Every loop runs along contiguous memory without summing over it, so the bits do not depend on the
vector unit. (5) A metric that is missing at a tick takes part with its expected value and learns nothing.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.components import linear
from engine.components.block import (
    HERE,
    MEAN,
    NEAR,
    NOVELTY,
    SCORE,
    SEASONAL,
    SEEN,
    SIGMA_E,
    SIGMA_G,
    SIGMA_X,
    SMOOTH,
    Block,
    Z,
    lags,
    places,
)
from engine.kernel import kernel

RATE, RESIDUAL_RATE, SIGMA_RATE = 2e-5, 1e-4, 1e-4
FLOOR, MOST, WINSOR, SIGNED_MOST = 0.02, 50.0, 30.0, 10.0
SMOOTHING = 0.3
#: Ridge of the solves in ticks, and the variance added before a Mahalanobis inverse (directions below it are noise).
RIDGE, NUGGET = 10.0, 0.05
#: Young residuals are over-sure: scores grow to full size over this many ticks.
DAMP = 200.0
FIRST_SOLVE, SOLVE_GROWTH, SOLVE_MOST = 32.0, 1.5, 256.0
#: A metric whose forecast never errs is a constant; it may not dilute the mean over metrics.
CONSTANT = 1e-3
# Sums over an entity's metrics, filled block by block.
SUM_E, SUM_X, SUM_S, SUM_G, SUM_M, SUM_ME, ACTIVE, WIDTH, PRESENT, TICKS = range(10)
SUMS = 10


@kernel
def step(block: Block, pool: Array, b: int, work: Array, sums: Array) -> None:
    """Score and learn one tick of one block; add its evidence to `sums`.

    work: float32 (5, 40), scratch. The metrics' z, novelty and seasonal score were written by the series' own step.
    """
    c, d, start = block.capacity[b], block.width[b], block.start[b]
    back = lags(c)
    history, covariance, forecast, conditional, inverse, residual, residual_inverse, _ = places(c)
    v = pool[start : start + history].reshape(-1, c)
    h = pool[start + history : start + covariance]
    ticks = block.ticks[b]
    now, e, x, y, image = work[0], work[1], work[2], work[3], work[4]
    for j in range(d):
        now[j] = (v[Z, j] - v[MEAN, j]) * v[HERE, j]
        e[j] = now[j]
        x[j] = np.float32(0.0)
    _times(pool, start + forecast, c, d, h, back, e, True)
    _times(pool, start + conditional, c, d, now, 1, x, False)
    _times(pool, start + conditional + c * c, c, d, h, NEAR - 1, x, False)
    damp = ticks / (ticks + DAMP)
    for j in range(d):
        y[j] = now[j] + v[NOVELTY, j] * v[HERE, j]
    sums[SUM_M] += _distance(pool, start + inverse, c, d, y, image) * ticks / (ticks + 300.0)
    rate = max(SIGMA_RATE, 1.0 / (ticks + 1.0))
    for j in range(d):
        _metric(v, j, e, x, y, damp, rate, sums)
    sums[SUM_ME] += _distance(pool, start + residual_inverse, c, d, y, image) * ticks / (ticks + 300.0)
    sums[WIDTH] += d
    sums[TICKS] = max(sums[TICKS], ticks)
    _learn(v, pool, start, c, d, back, covariance, residual, h, now, y, ticks)
    block.ticks[b] = min(ticks + 1.0, 1e9)
    if block.ticks[b] >= block.solve_at[b]:
        solve(block, pool, b)
        # Dense while young (the model changes fast), then every 256 ticks (a fifth of a percent of the memory).
        block.solve_at[b] += max(1.0, min(np.floor(block.ticks[b] * (SOLVE_GROWTH - 1.0)), SOLVE_MOST))


@kernel
def _times(pool: Array, start: int, c: int, d: int, vector: Array, blocks: int, out: Array, minus: bool) -> None:
    """out -= or += A' vector, A stored as (blocks, c, c) by input metric then output metric."""
    for k in range(blocks):
        for i in range(d):
            factor = vector[k * c + i]
            if factor == 0.0:
                continue
            if minus:
                factor = -factor
            at = start + (k * c + i) * c
            for j in range(d):
                out[j] += pool[at + j] * factor


@kernel
def _distance(pool: Array, start: int, c: int, d: int, y: Array, image: Array) -> float:
    """y' A y, A symmetric (c, c); image: scratch for A y."""
    for j in range(d):
        image[j] = np.float32(0.0)
    _times(pool, start, c, d, y, 1, image, False)
    total = 0.0
    for j in range(d):
        total += float(image[j]) * float(y[j])
    return max(total, 0.0)


@kernel
def _metric(v: Array, j: int, e: Array, x: Array, y: Array, damp: float, rate: float, sums: Array) -> None:
    """Scaled scores of one metric; leaves the clipped signed residual in y for the distance ME."""
    v[SCORE, j] = np.float32(0.0)
    y[j] = np.float32(0.0)
    if v[HERE, j] == 0.0:
        return
    news = float(v[NOVELTY, j])
    r_e, s_e = _scaled(float(e[j]), news, float(v[SIGMA_E, j]), rate)
    r_x, s_x = _scaled(float(x[j]), news, float(v[SIGMA_X, j]), rate)
    smooth = float(v[SMOOTH, j]) + SMOOTHING * (float(e[j]) + news - float(v[SMOOTH, j]))
    r_g, s_g = _scaled(smooth, 0.0, float(v[SIGMA_G, j]), rate)
    signed = float(e[j]) / (float(v[SIGMA_E, j]) + FLOOR)
    y[j] = np.float32(min(max(signed, -SIGNED_MOST), SIGNED_MOST))
    r_s = float(v[SEASONAL, j])
    sums[PRESENT] += 1.0
    if float(v[SIGMA_E, j]) > CONSTANT or r_e > 1.0:
        sums[ACTIVE] += 1.0
        sums[SUM_E] += r_e * damp
        sums[SUM_X] += r_x * damp
        sums[SUM_G] += r_g * damp
        sums[SUM_S] += r_s * damp
    v[SIGMA_E, j], v[SIGMA_X, j], v[SIGMA_G, j] = np.float32(s_e), np.float32(s_x), np.float32(s_g)
    v[SMOOTH, j] = np.float32(smooth)
    v[SCORE, j] = np.float32((r_e + r_x + r_s + r_g) / 4.0)


@kernel
def _scaled(value: float, news: float, sigma: float, rate: float) -> tuple[float, float]:
    """(|value + news| in typical sizes, at most 50; the typical size after learning the value)."""
    ratio = min(abs(value + news) / (sigma + FLOOR), MOST)
    bounded = min(abs(value), WINSOR * (sigma + FLOOR))
    return ratio, np.sqrt(sigma * sigma + rate * (bounded * bounded - sigma * sigma))


@kernel
def _learn(
    v: Array, pool: Array, start: int, c: int, d: int, back: int, covariance: int, residual: int, h: Array, now: Array,
    y: Array, ticks: float,
) -> None:  # fmt: skip
    """Move mean, lag covariances and residual covariance; shift the history."""
    least = np.float32(max(RESIDUAL_RATE, 1.0 / (ticks + 1.0)))
    rates = y  # the signed residuals are used up row by row below, before they are overwritten
    for i in range(d):
        if v[HERE, i] == 0.0:
            continue
        at, y_i = start + residual + i * c, y[i]
        for j in range(d):
            pool[at + j] += least * v[HERE, j] * (y_i * y[j] - pool[at + j])
    for j in range(d):
        rates[j] = v[HERE, j] * np.float32(max(RATE, 1.0 / (float(v[SEEN, j]) + 1.0)))
    for i in range(d):
        if v[HERE, i] == 0.0:
            continue
        r_i, z_i = rates[i], now[i]
        at = start + covariance + i * c
        for j in range(d):
            r = max(r_i, rates[j]) * v[HERE, j]
            pool[at + j] += r * (z_i * now[j] - pool[at + j])
        for k in range(back):
            at = start + covariance + ((k + 1) * c + i) * c
            base = k * c
            for j in range(d):
                pool[at + j] += max(r_i, rates[j]) * (z_i * h[base + j] - pool[at + j])
    for k in range(back - 1, 0, -1):
        for j in range(d):
            h[k * c + j] = h[(k - 1) * c + j]
    for j in range(d):
        h[j] = now[j]
        v[MEAN, j] += rates[j] * (v[Z, j] - v[MEAN, j])
        v[SEEN, j] = min(v[SEEN, j] + v[HERE, j], np.float32(1.0 / RATE))


@kernel
def forget_history(block: Block, pool: Array, b: int) -> None:
    """After a gap: the past that the forecast would look at is no longer near, so look at the expected values."""
    c, start = block.capacity[b], block.start[b]
    for k in range(lags(c) * c):
        pool[start + places(c)[0] + k] = np.float32(0.0)


@kernel
def solve(block: Block, pool: Array, b: int) -> None:
    """Forecast weights, conditional weights and both inverses from the covariances, with a ridge of 10 ticks."""
    c, d, start, ticks = block.capacity[b], block.width[b], block.start[b], block.ticks[b]
    back = lags(c)
    _, covariance, forecast, conditional, inverse, residual, residual_inverse, _ = places(c)
    cov = pool[start + covariance : start + forecast].reshape(-1, c, c)
    ridge = RIDGE / (min(ticks, 1.0 / RATE) + RIDGE)
    right = np.empty((back * d, d))
    for k in range(back):
        for i in range(d):
            for j in range(d):
                right[k * d + i, j] = cov[k + 1, j, i]
    _solve_toeplitz(cov, back, d, ridge, right, False)
    for k in range(back):
        for i in range(d):
            for j in range(d):
                pool[start + forecast + (k * c + i) * c + j] = np.float32(right[k * d + i, j])
    # The unknowns run from the oldest tick to now, so that the unit vectors stand last and the forward pass is short.
    unit = np.zeros((NEAR * d, d))
    for j in range(d):
        unit[(NEAR - 1) * d + j, j] = 1.0
    _solve_toeplitz(cov, NEAR, d, ridge, unit, True)
    for k in range(NEAR):
        for i in range(d):
            for j in range(d):
                own = unit[(NEAR - 1) * d + j, j]
                pool[start + conditional + (k * c + i) * c + j] = np.float32(unit[(NEAR - 1 - k) * d + i, j] / own)
    _invert(pool, start + covariance, start + inverse, c, d, ridge + NUGGET)
    _invert(pool, start + residual, start + residual_inverse, c, d, ridge + NUGGET)


@kernel
def _solve_toeplitz(cov: Array, blocks: int, d: int, ridge: float, right: Array, is_forward: bool) -> None:
    """Overwrite `right` by the solution; triples the ridge until the matrix is positive definite.

    cov[k][i, j] is E z_i(t) z_j(t - k). is_forward: the unknowns run from the oldest tick to now; else from the
    newest lag back.
    """
    n = blocks * d
    a, b = np.empty((n, n)), np.empty((n, d))
    for _ in range(20):
        for k in range(blocks):
            for m in range(k, blocks):
                for i in range(d):
                    for j in range(d):
                        a[k * d + i, m * d + j] = cov[m - k, j, i] if is_forward else cov[m - k, i, j]
        for i in range(n):
            a[i, i] += ridge
        if linear.cholesky(a):
            b[:, :] = right
            linear.solve(a, b)
            right[:, :] = b
            return
        ridge *= 3.0
    right[:, :] = 0.0


@kernel
def _invert(pool: Array, source: int, target: int, c: int, d: int, nugget: float) -> None:
    """Inverse of the symmetric (c, c) matrix at `source` plus nugget on the diagonal."""
    a, b = np.empty((d, d)), np.zeros((d, d))
    for _ in range(20):
        for i in range(d):
            for j in range(d):
                a[i, j] = 0.5 * (float(pool[source + i * c + j]) + float(pool[source + j * c + i]))
                b[i, j] = 0.0
            a[i, i] += nugget
            b[i, i] = 1.0
        if linear.cholesky(a):
            break
        nugget *= 3.0
    linear.solve(a, b)
    for i in range(d):
        for j in range(d):
            pool[target + i * c + j] = np.float32(b[i, j])
