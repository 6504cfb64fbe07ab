"""Small dense linear algebra for kernels: Cholesky and triangular solves, in one fixed order of operations.

Why not LAPACK: results must be the same bits on every machine and next to any BLAS, and the matrices are small
(at most 160 rows), where a call into a library costs as much as the work. The innermost loops run along contiguous
memory and never sum over it, so the compiler may use vector units without changing a bit.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.kernel import kernel


@kernel
def cholesky(a: Array, least: float) -> bool:
    """Overwrite the upper triangle of symmetric a (n, n) by U with U'U = a. False: a pivot is not above `least`."""
    n = a.shape[0]
    for k in range(n):
        pivot = a[k, k]
        if not pivot > least:
            return False
        root, top = np.sqrt(pivot), a[k, k:]
        for j in range(len(top)):
            top[j] = top[j] / root
        for i in range(1, n - k):
            factor = top[i]
            if factor != 0.0:
                below, above = a[k + i, k + i :], top[i:]
                for j in range(len(below)):
                    below[j] -= factor * above[j]
    return True


@kernel
def solve(u: Array, b: Array) -> None:
    """Overwrite b (n, m) by x with U'U x = b; u as `cholesky` left it."""
    n, m = b.shape
    for k in range(n):
        for j in range(m):
            b[k, j] = b[k, j] / u[k, k]
        for i in range(k + 1, n):
            factor = u[k, i]
            if factor != 0.0:
                for j in range(m):
                    b[i, j] -= factor * b[k, j]
    for back in range(n):
        k = n - 1 - back
        for j in range(m):
            b[k, j] = b[k, j] / u[k, k]
        for i in range(k):
            factor = u[i, k]
            if factor != 0.0:
                for j in range(m):
                    b[i, j] -= factor * b[k, j]
