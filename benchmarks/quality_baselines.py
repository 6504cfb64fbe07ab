"""Baselines of `benchmarks.quality`: simple, well-made scores that an engine has to beat. One pass, no labels.

Owns their formulas and their table. A score of row t uses rows up to t, and what it has fitted on the history, which
ends before any row that is scored. `page` and alarm level of a baseline are its own 99.9 % point over the history.

The linear ones are the bar, not the streaming libraries: a forecast of all metrics from their last five values, and
the distance of Mahalanobis under a slowly forgetting covariance. Ensembles divide each member by its 99.9 % point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.quality_measures import history_point
from benchmarks.quality_sets import Stream
from benchmarks.series_data import Array
from engine.kernel import kernel

#: A metric's share of a mean over metrics is bounded: one that was flat for a week must not be all of it.
MOST = 100.0
#: Rows between two diagonalisations of the covariance; at a rate of 1e-4 nothing has moved in between.
REFRESH_ROWS = 50
SLOTS = 96


class Baseline(NamedTuple):
    """score: of each row. needs_history: it is fitted there. single: for entities of one metric only. slow: subset."""

    score: Callable[[Stream], Array]
    needs_history: bool = False
    single: bool = False
    slow: bool = False

    def suits(self, stream: Stream) -> bool:
        """Can it run on this stream?"""
        return (stream.history > 0 or not self.needs_history) and (stream.values.shape[1] == 1 or not self.single)


def chance(stream: Stream) -> Array:
    """Anything: what a measure gives for nothing."""
    return np.random.default_rng(0).random(len(stream.ts_ms))


def ewma_z(stream: Stream) -> Array:
    """Mean over metrics of |value - mean| / deviation, both exponentially weighted."""
    values = filled(stream.values)
    score = np.zeros(len(values))
    _ewma_z(values, 0.001, 30, score)
    return score


def time_of_day(stream: Stream) -> Array:
    """Mean over metrics of the deviation from a slow level and a profile of quarter hours, over its own scale."""
    values = filled(stream.values)
    slot = stream.ts_ms % 86_400_000 * SLOTS // 86_400_000
    score = np.zeros(len(values))
    _profile_z(values, slot, np.zeros((SLOTS, values.shape[1])), np.zeros(SLOTS, np.int64), 60, score)
    return score


def linear(stream: Stream) -> Array:
    """Residual of a linear forecast of all metrics from their last values, fitted by ridge on the history, then frozen.

    Five rows back, or twenty where there is one metric only.
    """
    z = standardised(stream, 6.0)
    rows, width = z.shape
    lags = 20 if width == 1 else 5
    # The first row stands for those before it.
    padded = np.concatenate([np.repeat(z[:1], lags, axis=0), z])
    past = np.hstack([*(padded[lags - k : lags - k + rows] for k in range(1, lags + 1)), np.ones((rows, 1))])
    known = past[: stream.history]
    weights = np.linalg.solve(known.T @ known + 10.0 * np.eye(past.shape[1]), known.T @ z[: stream.history])
    residual = np.abs(z - past @ weights)
    return np.minimum(residual / (residual[: stream.history].std(axis=0) + 0.02), 50.0).mean(axis=1)


def mahalanobis(stream: Stream) -> Array:
    """Root mean square along the axes of an exponentially weighted covariance, each over its own deviation."""
    z = standardised(stream, 10.0)
    rows, width = z.shape
    mean, covariance, score = np.zeros(width), np.eye(width), np.zeros(rows)
    variance, axes = np.ones(width), np.eye(width)
    begin, offset = 0, np.empty((REFRESH_ROWS, width))
    while begin < rows:
        end = min(begin + REFRESH_ROWS, rows)
        _covariance(z[begin:end], begin, 1e-4, mean, covariance, offset)
        if begin >= 2 * REFRESH_ROWS:
            along = offset[: end - begin] @ axes
            score[begin:end] = np.sqrt(np.mean(along * along / (variance + 0.05), axis=1))
        variance, axes = np.linalg.eigh(covariance)
        variance, begin = np.maximum(variance, 0.0), end
    return score


def half_space_trees(stream: Stream) -> Array:
    """River's, with its usual forest; the metrics brought into the unit cube."""
    from river.anomaly import HalfSpaceTrees

    forest = HalfSpaceTrees(n_trees=25, height=8, window_size=250, seed=42)
    cube = np.clip(standardised(stream, 5.0) / 10.0 + 0.5, 0.0, 1.0)
    score = np.zeros(len(cube))
    for at, row in enumerate(cube.tolist()):
        known = dict(enumerate(row))
        score[at] = forest.score_one(known)
        forest.learn_one(known)
    return score


def ensemble(*members: Callable[[Stream], Array]) -> Callable[[Stream], Array]:
    """Mean of several scores, each over its 99.9 % point in the history, 5 at most."""

    def score(stream: Stream) -> Array:
        scores = [member(stream) for member in members]
        points = [history_point(one, stream.history) + 1e-9 for one in scores]
        return np.mean([np.minimum(one / point, 5.0) for one, point in zip(scores, points, strict=True)], axis=0)

    return score


def smooth(member: Callable[[Stream], Array], weight: float = 0.2) -> Callable[[Stream], Array]:
    """A score's exponentially weighted mean: covers an anomaly better, marks its start worse."""

    def score(stream: Stream) -> Array:
        smoothed = member(stream)
        _smooth(smoothed, weight)
        return smoothed

    return score


#: Name -> baseline, in the order in which they are shown.
BASELINES: dict[str, Baseline] = {
    "random": Baseline(chance),
    "ewma-z": Baseline(ewma_z),
    "time-of-day": Baseline(time_of_day),
    "river-hst": Baseline(half_space_trees, slow=True),
    "ens2-s": Baseline(smooth(ensemble(linear, mahalanobis)), needs_history=True),
    "ens3": Baseline(ensemble(linear, time_of_day, ewma_z), needs_history=True),
    "ar20": Baseline(linear, needs_history=True, single=True),
    "ar20-s": Baseline(smooth(linear), needs_history=True, single=True),
}


def filled(values: Array) -> Array:
    """Missing values replaced by the last one before; 0 where there was none."""
    is_known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(is_known, np.arange(len(values))[:, None], 0), axis=0)
    return np.nan_to_num(np.take_along_axis(values, last, axis=0))


def standardised(stream: Stream, most: float) -> Array:
    """Metrics in deviations of the history, or of all rows before where there is none; at most so many."""
    values = filled(stream.values)
    if not stream.history:
        z = np.zeros(values.shape)
        _running_z(values, z)
        return np.clip(z, -most, most)
    known = values[: stream.history]
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    # A metric that stood still: a thousandth of its size is a step.
    is_flat = deviation < 1e-6 * (np.abs(mean) + 1e-3)
    return np.clip((values - mean) / np.where(is_flat, 1e-3 * np.maximum(np.abs(mean), 0.01), deviation), -most, most)


@kernel
def _ewma_z(values: Array, rate: float, silent: int, score: Array) -> None:
    rows, width = values.shape
    for j in range(width):
        mean, variance, size = values[0, j], 0.0, abs(values[0, j])
        for t in range(1, rows):
            off, weight = values[t, j] - mean, max(rate, 1.0 / (t + 1.0))
            if t >= silent:
                score[t] += min(abs(off) / (np.sqrt(variance) + 1e-6 * size + 1e-9), MOST) / width
            mean += weight * off
            variance = (1.0 - weight) * (variance + weight * off * off)
            size = max(size, abs(values[t, j]))


@kernel
def _profile_z(values: Array, slot: Array, profile: Array, visits: Array, silent: int, score: Array) -> None:
    rows, width = values.shape
    for j in range(width):
        visits[:] = 0
        level, variance, size = values[0, j], 0.0, abs(values[0, j])
        for t in range(1, rows):
            k, value = slot[t], values[t, j]
            off, scale = value - level - profile[k, j], np.sqrt(variance) + 1e-6 * size + 1e-9
            if t >= silent:
                score[t] += min(abs(off) / scale, MOST) / width
                # An outlier moves the scale as six deviations do.
                off = min(max(off, -6.0 * scale), 6.0 * scale)
            weight = max(0.002, 1.0 / (t + 1.0))
            variance = (1.0 - weight) * (variance + weight * off * off)
            visits[k] += 1
            profile[k, j] += max(0.15, 1.0 / visits[k]) * (value - level - profile[k, j])
            level += weight * (value - level)
            size = max(size, abs(value))


@kernel
def _covariance(z: Array, before: int, rate: float, mean: Array, covariance: Array, offset: Array) -> None:
    """Learn some rows; offset: each from the mean before it. A far row moves mean and covariance as one of norm 4."""
    rows, width = z.shape
    for t in range(rows):
        norm = 0.0
        for j in range(width):
            offset[t, j] = z[t, j] - mean[j]
            norm += offset[t, j] * offset[t, j]
        norm = np.sqrt(norm / width)
        weight, bound = max(rate, 1.0 / (before + t + 2.0)), min(1.0, 4.0 / max(norm, 1e-9))
        for i in range(width):
            mean[i] += weight * bound * offset[t, i]
            for j in range(width):
                product = bound * offset[t, i] * bound * offset[t, j]
                covariance[i, j] = (1.0 - weight) * (covariance[i, j] + weight * product)


@kernel
def _running_z(values: Array, z: Array) -> None:
    rows, width = values.shape
    for j in range(width):
        mean, variance = values[0, j], 0.0
        for t in range(1, rows):
            off, weight = values[t, j] - mean, max(1e-4, 1.0 / (t + 1.0))
            z[t, j] = off / (np.sqrt(variance) + 1e-6 * abs(mean) + 1e-9)
            mean += weight * off
            variance = (1.0 - weight) * (variance + weight * off * off)


@kernel
def _smooth(score: Array, weight: float) -> None:
    mean = score[0]
    for t in range(len(score)):
        mean += weight * (score[t] - mean)
        score[t] = mean
