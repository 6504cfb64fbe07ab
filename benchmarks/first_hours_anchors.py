"""Anchors for `benchmarks.first_hours`: two small textbook models that do not move when the engine does.

Owns model B (entities of several metrics: running mean and variance per metric, a slow correlation matrix of the
z-scores, score sqrt(z' (R + 0.05)^-1 z / d)) and model C (single series: an autoregression of 20 lags on running
z-scores by recursive least squares, error over its running size). Each answers cold, as a naive copy of a source's
structure, and warm. Knows nothing of Graft's engine but its compiler.

Not obvious: an anchor's page is its score over a threshold that comes with the model: the 99.9 % point of the source's
history; for cold, the median of all entities' points; for warm, its own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.first_hours_cases import Subject, rows_of
from benchmarks.series_data import Array
from engine.kernel import kernel

LINES = ("cold", "naive", "warm")
LAGS = 20
#: Rows that a copied correlation counts for; a copied variance counts for a day.
STRUCTURE_ROWS = 5000.0
#: Precision of a copied autoregression, in rows.
WEIGHT_ROWS = 2000.0
EIGEN_EVERY, RIDGE = 50, 0.05


class Anchor(NamedTuple):
    """A model that has watched one entity. states: at each start; score: of each row; point: its threshold."""

    name: str
    names: tuple[str, ...]
    states: list[tuple[Array, ...]]
    score: Array
    point: float


def watch(subject: Subject) -> Anchor | None:
    """The model that suits an entity, over its recording up to its last start and some days more."""
    record = subject.record
    end = min(len(record.values), max(subject.starts, default=record.history) + 3 * record.rows_a_day)
    values = filled(record.values[:end])
    if values.shape[1] == 1:
        name, (score, states) = "model-c", autoregression(values[:, 0], persistence(), 100.0, subject.starts)
    else:
        name, (score, states) = "model-b", correlation(values, unknown(values.shape[1]), subject.starts)
    history = score[record.history // 4 : record.history]
    return Anchor(name, subject.names, states, score, float(np.quantile(history, 0.999)) + 1e-9)


def page(
    line: str, subject: Subject, start: int, hours: int, k: int, own: Anchor, source: Anchor | None, usual: float
) -> tuple[Array, float]:
    """Score of each row from the k-th start on, and the threshold that it is meant for."""
    rows = rows_of(subject.record, hours)
    if line == "warm":
        return own.score[start : start + rows], own.point
    values = filled(subject.record.values[start : start + rows])
    copied = source if line == "naive" and source is not None and source.names == own.names and source.states else None
    if own.name == "model-c":
        weights, prior = persistence(), 100.0
        if copied is not None:
            weights, prior = copied.states[min(k, len(copied.states) - 1)][0], 1.0 / WEIGHT_ROWS
        score = autoregression(values[:, 0], weights, prior, ())[0]
    else:
        state = unknown(values.shape[1])
        if copied is not None:
            variance, matrix = copied.states[min(k, len(copied.states) - 1)]
            state = Structure(variance, matrix, float(subject.record.rows_a_day), STRUCTURE_ROWS)
        score = correlation(values, state, ())[0]
    return score, usual if copied is None else copied.point


def filled(values: Array) -> Array:
    """Where a value is missing, the last one; zero before the first."""
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values))[:, None], 0), axis=0)
    return np.asarray(np.nan_to_num(np.take_along_axis(values, last, axis=0)))


class Structure(NamedTuple):
    """What model B starts from: variance (d,), correlations (d, d), and rows that they count for. Never a level."""

    variance: Array
    matrix: Array
    variance_rows: float
    matrix_rows: float


def unknown(width: int) -> Structure:
    """Nothing."""
    return Structure(np.zeros(width), np.eye(width), 0.0, 0.0)


def correlation(values: Array, state: Structure, stops: tuple[int, ...]) -> tuple[Array, list[tuple[Array, ...]]]:
    """Model B: score of each row, and (variance, correlations) before each row of `stops`."""
    variance, matrix, rows, learned = state
    mean, seen = np.zeros(len(variance)), 0.0
    score, states, wanted = np.zeros(len(values)), list[tuple[Array, ...]](), set(stops)
    roots, axes = np.linalg.eigh(matrix)
    for t, x in enumerate(values):
        if t in wanted:
            states.append((variance, matrix))
        if seen <= 0:
            mean, seen = x.copy(), 1.0
            continue
        size = np.sqrt(variance) + 1e-4 * np.abs(mean) + 1e-6
        error = x - mean
        z = np.clip(error / size, -20.0, 20.0) if rows >= 5 else np.zeros(len(x))
        if rows >= 30:
            error = np.clip(error, -3.0 * size, 3.0 * size)
        rate, slow = max(0.001, 1.0 / (seen + 1.0)), max(0.001, 1.0 / (rows + 1.0))
        mean = mean + rate * error
        variance = (1.0 - slow) * (variance + slow * error * error)
        seen, rows = seen + 1.0, rows + 1.0
        if rows <= 6:
            continue
        score[t] = np.sqrt(np.sum((axes.T @ z) ** 2 / (np.maximum(roots, 0.0) + RIDGE)) / len(x))
        gate = 4.0 / max(float(np.sqrt(np.mean(z * z))), 4.0)
        rate = max(1e-4, 1.0 / (learned + 2.0))
        matrix = (1.0 - rate) * matrix + rate * gate * gate * np.outer(z, z)
        learned += 1.0
        if t % EIGEN_EVERY == EIGEN_EVERY - 1:
            roots, axes = np.linalg.eigh(matrix)
    return score, states


def persistence() -> Array:
    """Weights of the last value alone; the last weight is the constant."""
    weights = np.zeros(LAGS + 1)
    weights[0] = 1.0
    return weights


def autoregression(
    x: Array, weights: Array, prior: float, stops: tuple[int, ...]
) -> tuple[Array, list[tuple[Array, ...]]]:
    """Model C: score of each row, and (weights,) before each row of `stops`."""
    score, kept = np.zeros(len(x)), np.zeros((len(stops), LAGS + 1))
    spread, scratch = np.eye(LAGS + 1) * prior, np.zeros((2, LAGS + 1))
    _autoregress(np.ascontiguousarray(x), weights.copy(), spread, scratch, np.array(stops, np.int64), score, kept)
    return score, [(row,) for row in kept]


@kernel
def _autoregress(
    x: Array, weights: Array, spread: Array, scratch: Array, stops: Array, score: Array, kept: Array
) -> None:
    """score (n,), kept (k, 21) are written; scratch (2, 21): lags, gain."""
    size = len(weights)
    lags, gain = scratch[0], scratch[1]
    mean, square, loss, seen, stop = x[0], 0.0, 0.0, 0.0, 0
    for t in range(1, len(x)):
        while stop < len(stops) and stops[stop] == t:
            for i in range(size):
                kept[stop, i] = weights[i]
            stop += 1
        rate = max(0.0005, 1.0 / (t + 1.0))
        off = x[t - 1] - mean
        mean += rate * off
        square = (1.0 - rate) * (square + rate * off * off)
        unit = np.sqrt(square) + 1e-6 * abs(mean) + 1e-9
        if t < size:
            continue
        expected = weights[size - 1]
        for i in range(size - 1):
            lags[i] = min(max((x[t - 1 - i] - mean) / unit, -10.0), 10.0)
            expected += weights[i] * lags[i]
        lags[size - 1] = 1.0
        error = min(max((x[t] - mean) / unit, -50.0), 50.0) - expected
        usual = np.sqrt(loss) + 1e-4
        if seen >= 5.0:
            score[t] = min(abs(error) / usual, 100.0)
        cut = min(max(error, -5.0 * usual), 5.0 * usual) if seen >= 30.0 else error
        rate = max(0.002, 1.0 / (seen + 1.0))
        loss = (1.0 - rate) * (loss + rate * cut * cut)
        seen += 1.0
        _step(weights, spread, lags, gain, cut)


@kernel
def _step(weights: Array, spread: Array, lags: Array, gain: Array, error: float) -> None:
    """One step of recursive least squares that forgets 0.05 % a row; starts anew where it would run away."""
    size, keep = len(weights), 0.9995
    total = keep
    for i in range(size):
        gain[i] = 0.0
        for j in range(size):
            gain[i] += spread[i, j] * lags[j]
        total += lags[i] * gain[i]
    is_sound, trace = total > 1e-9, 0.0
    if is_sound:
        for i in range(size):
            weights[i] += gain[i] / total * error
            is_sound = is_sound and abs(weights[i]) <= 50.0
            for j in range(size):
                spread[i, j] = (spread[i, j] - gain[i] * gain[j] / total) / keep
            trace += spread[i, i]
    if not is_sound:
        for i in range(size):
            weights[i] = 0.0
        weights[0] = 1.0
    if not is_sound or not trace <= 1e5:
        for i in range(size):
            for j in range(size):
                spread[i, j] = 1.0 if i == j else 0.0
