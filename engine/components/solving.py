"""Solving: from the lag covariances of a block to its forecast, its conditional residual and its distances.

Owns the matrices of a solve and how they are kept solvable. Knows no tick and no score.
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
    for k in range(back):
        for i in range(d):
            for j in range(d):
                right[k * d + i, j] = cov[j, k + 1, i]
    _solve_toeplitz(cov, back, d, ridge, right, matrix, False)
    for j in range(d):
        for k in range(back):
            for i in range(d):
                weights[j, k, i] = np.float32(right[k * d + i, j])


@kernel
def _solve_conditional(cov: Array, near: Array, d: int, ridge: float, scratch: Array, matrix: Array) -> None:
    """Rows of the inverse covariance of (now, three ticks back), each divided by its diagonal element.

    The unknowns run from the oldest tick to now, so that the unit vectors stand last and the forward pass is short.
    """
    unit = scratch[: NEAR * d * d].reshape(NEAR * d, d)
    unit[:, :] = 0.0
    for j in range(d):
        unit[(NEAR - 1) * d + j, j] = 1.0
    _solve_toeplitz(cov, NEAR, d, ridge, unit, matrix, True)
    for j in range(d):
        own = unit[(NEAR - 1) * d + j, j]
        for k in range(NEAR):
            for i in range(d):
                near[j, k, i] = np.float32(unit[(NEAR - 1 - k) * d + i, j] / own)


@kernel
def _solve_toeplitz(
    cov: Array, blocks: int, d: int, ridge: float, right: Array, matrix: Array, is_forward: bool
) -> None:
    """Overwrite `right` by the solution; triples the ridge until the matrix is positive definite.

    cov[i, k, j] is E z_i(t) z_j(t - k). is_forward: the unknowns run from the oldest tick to now; else from the
    newest lag back.
    """
    n = blocks * d
    a = matrix[: n * n].reshape(n, n)
    for _ in range(20):
        for k in range(blocks):
            for m in range(k, blocks):
                for i in range(d):
                    for j in range(d):
                        a[k * d + i, m * d + j] = cov[j, m - k, i] if is_forward else cov[i, m - k, j]
        for i in range(n):
            a[i, i] += ridge
        if linear.cholesky(a):
            linear.solve(a, right)
            return
        ridge *= 3.0
    right[:, :] = 0.0


@kernel
def _invert(source: Array, stride: int, target: Array, c: int, d: int, nugget: float, matrix: Array) -> None:
    """Inverse of the symmetric matrix whose rows stand at multiples of `stride`, plus nugget on the diagonal."""
    n = d * d
    a, b = matrix[:n].reshape(d, d), matrix[n : 2 * n].reshape(d, d)
    for _ in range(20):
        for i in range(d):
            for j in range(d):
                a[i, j] = 0.5 * (np.float64(source[i * stride + j]) + np.float64(source[j * stride + i]))
                b[i, j] = 0.0
            a[i, i] += nugget
            b[i, i] = 1.0
        if linear.cholesky(a):
            break
        nugget *= 3.0
    linear.solve(a, b)
    for i in range(d):
        for j in range(d):
            target[i * c + j] = np.float32(b[i, j])
