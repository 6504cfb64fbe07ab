"""Cholesky and solve against numpy's, and what a matrix that is not positive definite leads to."""

from __future__ import annotations

import numpy as np
import pytest

from engine.components import linear


def positive(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, 2 * n))
    return np.asarray(a @ a.T / n + 0.1 * np.eye(n))


@pytest.mark.parametrize("n", [1, 2, 7, 40, 160])
def test_solve_is_that_of_numpy(n: int) -> None:
    a = positive(n, n)
    right = np.random.default_rng(0).normal(size=(n, 3))
    wanted = np.linalg.solve(a, right)
    u = a.copy()
    assert linear.cholesky(u, 0.0)
    np.testing.assert_allclose(np.triu(u), np.linalg.cholesky(a).T, rtol=1e-8, atol=1e-10)
    linear.solve(u, right)
    np.testing.assert_allclose(right, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 2)), -np.eye(3), np.array([[1.0, 2.0], [2.0, 1.0]]), np.full((2, 2), np.nan)],
    ids=["zero", "negative", "indefinite", "nan"],
)
def test_what_is_not_positive_definite_is_said_so(bad: np.ndarray) -> None:
    assert not linear.cholesky(bad.copy(), 0.0)


def test_a_pivot_that_is_too_small_is_said_so() -> None:
    assert linear.cholesky(np.diag([1.0, 0.3]), 0.25)
    assert not linear.cholesky(np.diag([1.0, 0.2]), 0.25)
