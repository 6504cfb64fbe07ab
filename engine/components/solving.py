"""Solving: from the lag covariances of a block to its forecast, its conditional residual and its distances.

Owns the matrices of a solve and how it is made sure that they are covariances. Knows no tick and no score.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.components import linear
from engine.components.block import NEAR, Block, lags, places
from engine.kernel import kernel

#: Ticks that the covariances remember.
MEMORY = 50_000.0
#: Ridge of the solves in ticks, and the variance added before a Mahalanobis inverse (directions below it are noise).
RIDGE, NUGGET = 10.0, 0.05
#: A covariance matrix with a ridge has no pivot below the ridge, and a forecast from one explains at most all. What
#: breaks this by more than half of the ridge is none, and its solution may be anything: it was mixed from a source's
#: and the target's, or from pairs of different age. Each metric with itself is sound in any mixture, so what they have
#: to do with each other is shrunk, and the ridge raised a little, until it holds.
SOUND, SHRUNK, RAISED, TRIES = 0.5, 0.7, 1.5, 20
#: float64 numbers that a solve of the widest block needs: right sides, then the matrix.
SCRATCH_RIGHT = 4 * 40 * 40
SCRATCH = SCRATCH_RIGHT + 160 * 160


@kernel
def solve(block: Block, pool: Array, b: int, scratch: Array) -> None:
    """Forecast weights, conditional weights and both inverses from the covariances, with a ridge of 10 ticks."""
    c, d, start = block.capacity[b], block.width[b], block.start[b]
    back = lags(c)
    _, covariance, forecast, conditional, inverse, residual, residual_inverse, end = places(c)
    part = pool[start : start + end]
    cov = part[covariance:forecast].reshape(c, back + 1, c)
    ridge = RIDGE / (min(block.ticks[b], MEMORY) + RIDGE)
    matrix = scratch[SCRATCH_RIGHT:]
    _solve_forecast(cov, part[forecast:conditional].reshape(c, back, c), back, d, ridge, scratch, matrix)
    _solve_conditional(cov, part[conditional:inverse].reshape(c, NEAR, c), d, ridge, scratch, matrix)
    _invert(part[covariance:forecast], (back + 1) * c, part[inverse:residual], c, d, ridge + NUGGET, matrix)
    _invert(part[residual:residual_inverse], c, part[residual_inverse:end], c, d, ridge + NUGGET, matrix)


@kernel
def _solve_forecast(cov: Array, weights: Array, back: int, d: int, ridge: float, scratch: Array, matrix: Array) -> None:
    """Yule-Walker: weights[j, k, i] of z_i(t - 1 - k) in the forecast of z_j(t)."""
    right = scratch[: back * d * d].reshape(back * d, d)
    is_solved, cross = False, 1.0
    for _ in range(TRIES):
        for k in range(back):
            for i in range(d):
                for j in range(d):
                    right[k * d + i, j] = cov[j, k + 1, i] * (1.0 if i == j else cross)
        is_solved = _solve_toeplitz(cov, back, d, cross, ridge, right, matrix, False)
        if is_solved and _explains_no_more_than_all(cov, back, d, cross, ridge, right):
            break
        is_solved = False
        cross, ridge = cross * SHRUNK, ridge * RAISED
    if not is_solved:
        right[:, :] = 0.0
    for j in range(d):
        for k in range(back):
            for i in range(d):
                weights[j, k, i] = np.float32(right[k * d + i, j])


@kernel
def _explains_no_more_than_all(cov: Array, back: int, d: int, cross: float, ridge: float, right: Array) -> bool:
    """Is the variance that each forecast explains at most the metric's own? right (back * d, d): its weights."""
    for j in range(d):
        explained = 0.0
        for k in range(back):
            for i in range(d):
                explained += np.float64(cov[j, k + 1, i]) * (1.0 if i == j else cross) * right[k * d + i, j]
        if not explained <= np.float64(cov[j, 0, j]) + (1.0 - SOUND) * ridge:
            return False
    return True


@kernel
def _solve_conditional(cov: Array, near: Array, d: int, ridge: float, scratch: Array, matrix: Array) -> None:
    """Rows of the inverse covariance of (now, three ticks back), each divided by its diagonal element.

    The unknowns run from the oldest tick to now, so that the unit vectors stand last and the forward pass is short.
    """
    unit = scratch[: NEAR * d * d].reshape(NEAR * d, d)
    cross = 1.0
    for _ in range(TRIES):
        unit[:, :] = 0.0
        for j in range(d):
            unit[(NEAR - 1) * d + j, j] = 1.0
        if _solve_toeplitz(cov, NEAR, d, cross, ridge, unit, matrix, True):
            break
        cross, ridge = cross * SHRUNK, ridge * RAISED
    for j in range(d):
        own = unit[(NEAR - 1) * d + j, j]
        for k in range(NEAR):
            for i in range(d):
                near[j, k, i] = np.float32(unit[(NEAR - 1 - k) * d + i, j] / own)


@kernel
def _solve_toeplitz(
    cov: Array, blocks: int, d: int, cross: float, ridge: float, right: Array, matrix: Array, is_forward: bool
) -> bool:
    """Overwrite `right` by the solution; False, with `right` as it was, if the matrix is no covariance.

    cov[i, k, j] is E z_i(t) z_j(t - k), and counts `cross` between different metrics. is_forward: the unknowns run from
    the oldest tick to now; else from the newest lag back.
    """
    n = blocks * d
    a = matrix[: n * n].reshape(n, n)
    for k in range(blocks):
        for m in range(k, blocks):
            for i in range(d):
                for j in range(d):
                    a[k * d + i, m * d + j] = cov[j, m - k, i] if is_forward else cov[i, m - k, j]
                    if i != j:
                        a[k * d + i, m * d + j] *= cross
    for i in range(n):
        a[i, i] += ridge
    is_sound = linear.cholesky(a, SOUND * ridge)
    if is_sound:
        linear.solve(a, right)
    return bool(is_sound)


@kernel
def _invert(source: Array, stride: int, target: Array, c: int, d: int, nugget: float, matrix: Array) -> None:
    """Inverse of the symmetric matrix whose rows stand at multiples of `stride`, plus nugget on the diagonal."""
    n = d * d
    a, b = matrix[:n].reshape(d, d), matrix[n : 2 * n].reshape(d, d)
    cross = 1.0
    for _ in range(TRIES):
        for i in range(d):
            for j in range(d):
                a[i, j] = 0.5 * (np.float64(source[i * stride + j]) + np.float64(source[j * stride + i]))
                a[i, j] *= 1.0 if i == j else cross
                b[i, j] = 0.0
            a[i, i] += nugget
            b[i, i] = 1.0
        if linear.cholesky(a, SOUND * nugget):
            break
        cross, nugget = cross * SHRUNK, nugget * RAISED
    linear.solve(a, b)
    for i in range(d):
        for j in range(d):
            target[i * c + j] = np.float32(b[i, j])
