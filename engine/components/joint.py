"""Joint: all metrics of an entity against each other and against their recent past.

Owns, per block, the lag covariances C_0..C_L of the standardised values and what is solved from them: a vector
autoregression (residual E), the residual of each metric given all others now and three ticks back (X), and the
Mahalanobis distances of the values (M) and of the scaled residuals (ME). One tick costs a few hundred nanoseconds.

Not obvious. (1) C_k is a decayed average and so additive: it merges, ages and seeds without refitting. (2) Solves run
at tick counts, never at batch cuts. (3) Learning sees the clipped value; the novelty beyond the clip is added for
scoring only. (4) Loops run along contiguous memory from index 0; anything else costs a factor of five. (5) A metric
that is missing at a tick takes part with its mean, now and in the past, in what is scored and in what is learned. The
covariances are then those of one process, so that the forecast can be solved for; learned from the present pairs only,
they belong to several, and metrics that come and go spoil the forecasts of all others. To put a missing metric's
forecast into the past instead feeds the forecasts of a young model back to it, and they grew tenfold.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.components import solving
from engine.components.block import (
    AGE,
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
    SPREAD,
    STRAY,
    Block,
    Z,
    lags,
    places,
)
from engine.kernel import kernel, summing

RATE, RESIDUAL_RATE, SIGMA_RATE = 2e-5, 1e-4, 1e-4
FLOOR, MOST, WINSOR, SIGNED_MOST = 0.02, 50.0, 30.0, 10.0
SMOOTHING = 0.3
#: Young residuals are over-sure: scores grow to full size over this many ticks.
DAMP = 80.0
#: Ticks between solves: a 64th of the age, within bounds. After a change of regime the forecast is as wrong as the last
#: solve is old, and all that while it looks like evidence.
SOLVE_SHARE, SOLVE_LEAST, SOLVE_MOST = 1.0 / 64.0, 32.0, 256.0
#: Where the age of a metric stops: float32 counts exactly to 16 million.
MOST_AGE = 1e6
#: A metric whose forecast never errs is a constant; it may not dilute the mean over metrics.
CONSTANT = 1e-3
# Sums over the metrics of a block, and then means of an entity's.
SUM_E, SUM_X, SUM_S, SUM_G, SUM_M, SUM_ME, ACTIVE, WIDTH, REPORTS, SUM_PAGE_E, SUM_PAGE_X = range(11)
SUMS = 11
#: Of several blocks one of fewer metrics than this counts as if it had so many: the mean of few is noisy.
PART_LEAST = 20.0
#: Familiar values are excused in a quarter of the metrics at most, or one.
FAMILIAR_SHARE = 0.25
#: How fast evidence rises and falls in `severity`; and the score that explanations go by, so that the name told is that
#: of what made it high.
UP, DOWN = 0.3, 0.05
#: float32 numbers of one scratch vector: now and 20 lags of the widest block.
WORK = 21 * 40


@kernel
def step(
    block: Block, pool: Array, b: int, alone: float, learns: bool, work: Array, scratch: Array, sums: Array
) -> None:  # fmt: skip
    """Score and learn one tick of one block; add its evidence to `sums`.

    alone: one over the number of series of the entity that usually move. learns: False only scores; the history and
    what is smoothed go on.
    work: float32 (5, WORK), scratch: float64, both without meaning between calls. The metrics' z, novelty and seasonal
    score were written by the series' own step.
    """
    c, d, start = block.capacity[b], block.width[b], block.start[b]
    back = lags(c)
    history, covariance, forecast, conditional, inverse, residual, residual_inverse, end = places(c)
    part = pool[start : start + end]
    v = part[:history].reshape(-1, c)
    past, e, x, y, rates = work[0], work[1], work[2], work[3], work[4]
    ticks = block.ticks[b]
    # past: now, then the history, as one vector of (back + 1) * c; what is not in use is 0.
    for j in range(c):
        past[j] = (v[Z, j] - v[MEAN, j]) * v[HERE, j]
    h = part[history:covariance]
    for k in range(back * c):
        past[c + k] = h[k]
    lagged = past[c : (back + 1) * c]
    for j in range(d):
        e[j] = past[j] - _dot(part[forecast + j * back * c : forecast + (j + 1) * back * c], lagged)
        x[j] = _dot(part[conditional + j * NEAR * c : conditional + (j + 1) * NEAR * c], past)
        y[j] = past[j] + v[NOVELTY, j] * v[HERE, j]
        if v[SEEN, j] < v[AGE, j]:
            # Its variance in the covariances is that of all ticks, most of them without it.
            y[j] *= np.sqrt(v[SEEN, j] / v[AGE, j])
    weight = ticks / (ticks + 300.0)
    sums[SUM_M] += _distance(part[inverse:residual], c, d, y) * weight
    damp = ticks / (ticks + DAMP)
    is_excused = _familiar_share(v, d) <= FAMILIAR_SHARE
    for j in range(d):
        # By the samples of the metric, not of its block: one that joins late learns its sizes fast.
        young = 1.0 / (np.float64(v[SEEN, j]) + 1.0)
        rate = max(SIGMA_RATE, young) if learns else 0.0
        _metric(v, j, e, x, y, damp, rate, alone, is_excused, sums)
        # x[j] is scored; its place holds the rate of the residual from here on.
        x[j] = np.float32(max(RESIDUAL_RATE, young))
    sums[SUM_ME] += _distance(part[residual_inverse:end], c, d, y) * weight
    sums[WIDTH] += d
    if learns:
        _learn_residual(v, part[residual:residual_inverse], c, d, y, x)
        _learn(v, part[covariance:forecast], c, d, back, past, rates)
    for k in range(back * c):
        h[k] = past[k]
    if not learns:
        return
    block.ticks[b] = min(ticks + 1.0, 1e9)
    if block.ticks[b] >= block.solve_at[b]:
        solving.solve(block, pool, b, scratch)
        block.solve_at[b] += _pause(v[AGE, :d], block.ticks[b])


@kernel
def take_worst(sums: Array, least: float, means: Array) -> None:
    """Of each channel the largest mean over the metrics of a block; the counts add up. means: float64 (11,), in place.

    A fault of one plugin is a fault, and its metrics share a block; the mean over 200 metrics would hide it. least: a
    block of fewer metrics counts as if it had so many.
    """
    active, width = max(sums[ACTIVE], least), max(sums[WIDTH], least)
    for k in (SUM_E, SUM_X, SUM_S, SUM_G, SUM_PAGE_E, SUM_PAGE_X):
        means[k] = max(means[k], sums[k] / active)
    for k in (SUM_M, SUM_ME):
        means[k] = max(means[k], sums[k] / width)
    for k in (ACTIVE, WIDTH, REPORTS):
        means[k] += sums[k]


@kernel
def _pause(ages: Array, ticks: float) -> float:
    """Ticks to the next solve. ages (d,): ticks since the first sample of each metric.

    One that has joined a grown block is not to be solved for from a handful of samples, over and over.
    """
    youngest = ticks
    for j in range(len(ages)):
        youngest = min(youngest, np.float64(ages[j]))
    if youngest < SOLVE_MOST and youngest < 0.5 * ticks:
        return SOLVE_MOST
    return np.float64(min(max(np.floor(ticks * SOLVE_SHARE), SOLVE_LEAST), SOLVE_MOST))


def not_before(solve_at: float, ticks: float) -> float:
    """When to solve next if a metric joins now: a multiple of SOLVE_MOST, so that many joining ones put nothing off."""
    if ticks < 4.0 * SOLVE_MOST:
        return solve_at
    return float(max(solve_at, (np.floor(ticks / SOLVE_MOST) + 1.0) * SOLVE_MOST))


@kernel
def follow(smooth: float, now: float, up: float, down: float) -> float:
    """Exponential smoothing with a rate for rising and one for falling."""
    return np.float64(smooth + (up if now > smooth else down) * (now - smooth))


@summing
def _dot(a: Array, b: Array) -> float:
    """Sum of a * b over len(a)."""
    total = np.float32(0.0)
    for k in range(len(a)):
        total += a[k] * b[k]
    return np.float64(total)


@kernel
def _distance(a: Array, c: int, d: int, y: Array) -> float:
    """y' A y, A symmetric (c, c)."""
    total, head = 0.0, y[:d]
    for i in range(d):
        if y[i] != 0.0:
            total += np.float64(y[i]) * np.float64(_dot(a[i * c : i * c + d], head))
    return max(total, 0.0)


@kernel
def _metric(
    v: Array, j: int, e: Array, x: Array, y: Array, damp: float, rate: float, alone: float, excused: bool, sums: Array
) -> None:
    """Scaled scores of one metric; leaves the clipped signed residual in y for the distance ME.

    For `page` what a lone series does counts only as far as its day does not know it: of an error of the forecast no
    more than the distance from the season. Several metrics are each other's witnesses. excused: a value far out that
    is familiar (STRAY is NaN) does not count.
    """
    y[j] = np.float32(0.0)
    if v[HERE, j] == 0.0:
        v[SCORE, j] = np.float32(follow(np.float64(v[SCORE, j]), 0.0, UP, DOWN))
        return
    news, spread = np.float64(v[NOVELTY, j]), np.float64(v[SPREAD, j])
    r_e, s_e = _scaled(np.float64(e[j]), news, np.float64(v[SIGMA_E, j]), spread, rate)
    r_x, s_x = _scaled(np.float64(x[j]), news, np.float64(v[SIGMA_X, j]), spread, rate)
    stray = np.float64(v[STRAY, j])
    page_e: float = 0.0
    page_x: float = 0.0
    if not (np.isnan(stray) and excused):
        page_e = _bounded(np.float64(e[j]), stray, alone) + news
        page_x = _bounded(np.float64(x[j]), stray, alone) + news
    smooth = np.float64(v[SMOOTH, j]) + SMOOTHING * (page_e - np.float64(v[SMOOTH, j]))
    r_g, s_g = _scaled(smooth, 0.0, np.float64(v[SIGMA_G, j]), 1.0, rate)
    signed = np.float64(e[j]) / (np.float64(v[SIGMA_E, j]) + FLOOR)
    y[j] = np.float32(min(max(signed, -SIGNED_MOST), SIGNED_MOST))
    r_s = np.float64(v[SEASONAL, j])
    sums[REPORTS] += 1.0
    if np.float64(v[SIGMA_E, j]) > CONSTANT or r_e > 1.0:
        sums[ACTIVE] += 1.0
        sums[SUM_E] += r_e * damp
        sums[SUM_X] += r_x * damp
        sums[SUM_G] += r_g * damp
        sums[SUM_S] += r_s * damp
        sums[SUM_PAGE_E] += _ratio(page_e, np.float64(v[SIGMA_E, j]) * spread) * damp
        sums[SUM_PAGE_X] += _ratio(page_x, np.float64(v[SIGMA_X, j]) * spread) * damp
    v[SIGMA_E, j], v[SIGMA_X, j], v[SIGMA_G, j] = np.float32(s_e), np.float32(s_x), np.float32(s_g)
    v[SMOOTH, j] = np.float32(smooth)
    now, score = (r_e + r_x + r_s + r_g) / 4.0, np.float64(v[SCORE, j])
    v[SCORE, j] = np.float32(follow(score, now, UP, DOWN))


@kernel
def _bounded(residual: float, stray: float, alone: float) -> float:
    """A residual, no larger than `stray` where the series is alone and that is a number."""
    if np.isnan(stray):
        return residual
    most = abs(stray) + (1.0 - alone) * abs(residual)
    return np.float64(min(max(residual, -most), most))


@kernel
def _familiar_share(v: Array, d: int) -> float:
    """Share of the metrics whose value is far out and familiar. Many at once are no coincidence, and not excused."""
    familiar, here = 0.0, 0.0
    for j in range(d):
        here += np.float64(v[HERE, j])
        familiar += np.float64(v[HERE, j]) if np.isnan(v[STRAY, j]) else 0.0
    return familiar / here if familiar > 1.0 else 0.0


@kernel
def _ratio(value: float, size: float) -> float:
    """|value| in its typical size, at most 50."""
    return np.float64(min(abs(value) / (size + FLOOR), MOST))


@kernel
def _scaled(value: float, news: float, sigma: float, spread: float, rate: float) -> tuple[float, float]:
    """(|value + news| in typical sizes of this hour, at most 50; the typical size after learning the value)."""
    bounded = min(abs(value), WINSOR * (sigma + FLOOR))
    return _ratio(value + news, sigma * spread), np.sqrt(sigma * sigma + rate * (bounded * bounded - sigma * sigma))


@kernel
def _learn_residual(v: Array, residual: Array, c: int, d: int, y: Array, rates: Array) -> None:
    """Move the covariance of the signed scaled residuals y, each pair at the rate of its younger metric."""
    here = v[HERE]
    for i in range(d):
        if here[i] != 0.0:
            row, y_i, rate_i = residual[i * c : i * c + d], y[i], rates[i]
            for j in range(d):
                rate = rates[j] if rates[j] > rate_i else rate_i  # noqa: FURB136  # see _learn
                row[j] += rate * here[j] * (y_i * y[j] - row[j])


@kernel
def _learn(v: Array, covariance: Array, c: int, d: int, back: int, past: Array, rates: Array) -> None:
    """Move means and lag covariances, each pair at the rate of its younger metric."""
    length = (back + 1) * c
    for j in range(c):
        rate = np.float32(max(RATE, 1.0 / (np.float64(v[AGE, j]) + 1.0)))
        for k in range(back + 1):
            rates[k * c + j] = rate
    for i in range(d):
        own, z_i, r_i = covariance[i * length : (i + 1) * length], past[i], rates[i]
        # A conditional, not max(), and an index that starts at 0: so the compiler makes vector code of this loop.
        for q in range(length):
            r = rates[q] if rates[q] > r_i else r_i  # noqa: FURB136
            own[q] += r * (z_i * past[q] - own[q])
    for j in range(d):
        if v[HERE, j] != 0.0:
            v[MEAN, j] += np.float32(max(RATE, 1.0 / (np.float64(v[SEEN, j]) + 1.0))) * (v[Z, j] - v[MEAN, j])
        if v[AGE, j] < MOST_AGE and v[AGE, j] + v[HERE, j] > 0.0:
            v[AGE, j] += np.float32(1.0)
            v[SEEN, j] += v[HERE, j]


@kernel
def forget_history(block: Block, pool: Array, b: int) -> None:
    """After a gap: the past that the forecast would look at is no longer near, so look at the expected values."""
    c, start = block.capacity[b], block.start[b]
    for k in range(lags(c) * c):
        pool[start + places(c)[0] + k] = np.float32(0.0)
