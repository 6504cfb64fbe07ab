"""Block: where the joint state of up to 40 metrics of one entity lies, and how it grows.

Owns the layout of one flat float32 pool: a block has a capacity (one of CAPACITIES) and sections whose places follow
from it. An entity with more metrics has several blocks, so that cost and memory stay linear in its width; metrics
fill blocks in the order in which they were first seen, which keeps those of one plugin together.

Not obvious: a block is moved to a larger place when its entity gains a metric, and the old place is given up until
the next snapshot packs the pool. That happens in an entity's first minutes only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array
from engine.kernel import kernel

CAPACITIES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 36, 40)
WIDEST = CAPACITIES[-1]
#: Lags of the conditional residual: now and three ticks back.
NEAR = 4

# Vectors of one value a metric, in this order at the start of a block.
Z, NOVELTY, SEASONAL, HERE, MEAN, SIGMA_E, SIGMA_X, SIGMA_G, SMOOTH, SEEN, SCORE, SPREAD, STRAY, AGE = range(14)
VECTORS = 14


class Block(NamedTuple):
    """Per block: start in the pool, capacity, metrics in use, ticks learned, next solve, next block of the entity."""

    start: Array
    capacity: Array
    width: Array
    ticks: Array
    solve_at: Array
    next: Array
    member: Array


def empty_blocks(blocks: int) -> Block:
    """Room for `blocks` blocks; member: int32 (blocks, 40), the row of each metric or -1."""
    return Block(
        np.zeros(blocks, np.int64),
        np.zeros(blocks, np.int32),
        np.zeros(blocks, np.int32),
        np.zeros(blocks, np.float64),
        np.full(blocks, 32.0),
        np.full(blocks, -1, np.int32),
        np.full((blocks, WIDEST), -1, np.int32),
    )


@kernel
def lags(capacity: int) -> int:
    """Ticks that the forecast looks back: 20 for a lone metric, fewer for wide blocks (60 weights a metric or so)."""
    least = 5 if capacity <= 20 else (4 if capacity <= 24 else 3)
    return min(max(60 // capacity, least), 20)


@kernel
def places(capacity: int) -> tuple[int, int, int, int, int, int, int, int]:
    """Offsets of (history, covariances, forecast, conditional, inverse, residual covariance, its inverse, end)."""
    c, back = capacity, lags(capacity)
    history = VECTORS * c
    covariance = history + back * c
    forecast = covariance + (back + 1) * c * c
    conditional = forecast + back * c * c
    inverse = conditional + NEAR * c * c
    residual = inverse + c * c
    residual_inverse = residual + c * c
    return history, covariance, forecast, conditional, inverse, residual, residual_inverse, residual_inverse + c * c


def sections(pool: Array, start: int, capacity: int) -> dict[str, Array]:
    """Views of one block by name, for growing, distilling and tests.

    z less its running mean: covariance[i, k, j] is the decayed mean of z_i(t) z_j(t - k); forecast[i, k, j] the
    weight of z_j(t - 1 - k) in the forecast of z_i; conditional[i, k, j] that of z_j(t - k) in the conditional
    residual of metric i.
    """
    c, back = capacity, lags(capacity)
    history, covariance, forecast, conditional, inverse, residual, residual_inverse, end = places(c)
    at = pool[start : start + end]
    return {
        "vectors": at[:history].reshape(VECTORS, c),
        "history": at[history:covariance].reshape(back, c),
        "covariance": at[covariance:forecast].reshape(c, back + 1, c),
        "forecast": at[forecast:conditional].reshape(c, back, c),
        "conditional": at[conditional:inverse].reshape(c, NEAR, c),
        "inverse": at[inverse:residual].reshape(c, c),
        "residual": at[residual:residual_inverse].reshape(c, c),
        "residual_inverse": at[residual_inverse:end].reshape(c, c),
    }


def size(capacity: int) -> int:
    """float32 numbers of one block."""
    return int(places(capacity)[7])


def capacity_for(metrics: int) -> int:
    """The smallest capacity that holds so many metrics, the largest if none does.

    >>> capacity_for(7)
    8
    """
    return next((capacity for capacity in CAPACITIES if capacity >= metrics), WIDEST)


def wake(pool: Array, start: int, capacity: int) -> None:
    """Write the state of a block that has seen nothing: every metric its own, of variance one."""
    part = sections(pool, start, capacity)
    for name, array in part.items():
        array[...] = np.eye(capacity, dtype=np.float32) if name in ("inverse", "residual", "residual_inverse") else 0.0
    part["vectors"][[SIGMA_E, SIGMA_X, SIGMA_G, SPREAD]] = 1.0
    part["conditional"][:, 0] = np.eye(capacity, dtype=np.float32)
    part["covariance"][:, 0] = np.eye(capacity, dtype=np.float32)


def grown(kept: Array, old_capacity: int, capacity: int) -> Array:
    """A packed block in the layout of a larger capacity. Lags that the larger one does not keep are forgotten."""
    larger = np.zeros(size(capacity), np.float32)
    wake(larger, 0, capacity)
    source, target = sections(kept, 0, old_capacity), sections(larger, 0, capacity)
    for name, array in source.items():
        part = tuple(slice(0, min(a, b)) for a, b in zip(array.shape, target[name].shape, strict=True))
        target[name][part] = array[part]
    return larger


#: Lags that a source keeps of each pair of metrics: as many as the smallest block looks back.
MOST_LAGS = 20


def distil(part: dict[str, Array], i: int, j: int) -> tuple[Array, float]:
    """What metrics i and j of a block have to do with each other, in sd: no level, no unit.

    float64 (21,), E z_i(t) z_j(t - k) for k = 0..20, NaN beyond the lags that the block keeps; and the covariance of
    their scaled forecast residuals. part: from `sections`.
    """
    kept = part["covariance"][i, :, j].astype(np.float64)
    lagged = np.full(MOST_LAGS + 1, np.nan)
    lagged[: len(kept)] = kept
    return lagged, float(part["residual"][i, j])


def seed(
    pool: Array, start: Array, index: dict[str, Array], places: tuple[Array, Array], lagged: Array, residual: Array
) -> None:
    """Start n pairs of fresh metrics from a source's lag covariances, (n, 21), in blocks of one capacity.

    start (n,): where their blocks begin in the pool; index: `sections` of the places of its numbers, counted from
    there; places: the slots of the two, (n,) each.
    """
    into = index["covariance"][places[0], :, places[1]]
    pool[start[:, None] + into] = lagged[:, : into.shape[1]]
    pool[start + index["residual"][places]] = residual


def seed_metrics(
    pool: Array, start: Array, index: dict[str, Array], slot: Array, sigmas: Array, rows: Array
) -> None:  # fmt: skip
    """Start n fresh metrics' residual sizes (E, X, G), (n, 3), and let their covariances weigh as much as `rows` ticks.

    pool, start, index: see `seed`.
    """
    vectors = index["vectors"]
    for n, vector in enumerate((SIGMA_E, SIGMA_X, SIGMA_G)):
        pool[start + vectors[vector, slot]] = sigmas[:, n]
    for vector in (SEEN, AGE):
        pool[start + vectors[vector, slot]] = rows
