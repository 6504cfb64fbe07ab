"""Made-up metrics that change in a known way at a known sample, and what should come of it.

Owns the physics of each case: a metric with a day of its own and noise that remembers, and the change. Nothing here
knows the engine. Every case is drawn from its own seed, so a kind can be run alone and gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY_MS = 86_400_000
START_MS = 1_767_225_600_000
#: Days before the change (it comes within the last of them), and after it.
BEFORE, AFTER = 6, 4
#: Seconds between samples of the series, in turn.
STEPS_S = (60, 300, 900)


class Case(NamedTuple):
    """values (n, metrics); at: index of the first changed sample; until: of the first after it is over, or n; step_s:
    between samples; lead: the metric that changes; right: kinds that are a right answer; amount: how large it is."""

    values: Floats
    at: int
    until: int
    step_s: int
    lead: int
    right: tuple[str, ...]
    amount: float


class Base(NamedTuple):
    """One metric: its level, shape of a day in shares of it, and noise in shares of it, by sample."""

    level: float
    day: Callable[[Floats], Floats]
    noise: Floats


def _day(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """A smooth day of three waves, some with working hours on top; mean zero, rms one."""
    size, phase = rng.normal(size=3) / np.arange(1, 4), rng.uniform(0, 2 * np.pi, 3)
    begin, length, height = rng.uniform(6, 10), rng.uniform(7, 12), rng.uniform(0, 2) * (rng.random() < 0.5)

    def raw(hours: Floats) -> Floats:
        waves = sum(a * np.sin(2 * np.pi * k * hours / 24 + p) for k, a, p in zip((1, 2, 3), size, phase, strict=True))
        return np.asarray(waves + height * ((hours - begin) % 24 < length))

    every = raw(np.linspace(0, 24, 288, endpoint=False))
    centre, rms = every.mean(), max(every.std(), 1e-9)
    return lambda hours: (raw(hours % 24) - centre) / rms


def _noise(rng: np.random.Generator, n: int) -> Floats:
    """First-order autoregression of rms one; its memory is drawn."""
    rho = rng.choice([0.0, 0.5, 0.8])
    fresh = rng.normal(size=n) * np.sqrt(1 - rho * rho)
    out = np.empty(n)
    last = rng.normal()
    for k in range(n):
        last = rho * last + fresh[k]
        out[k] = last
    return out


def case(kind: str, number: int) -> Case:
    """Case `number` of a kind: deploy, gain, phase, variance, season, outage or still."""
    rng = np.random.default_rng([_SEEDS[kind], number])
    step_s = STEPS_S[number % len(STEPS_S)]
    metrics = (1, 4)[number // len(STEPS_S) % 2]
    per_day = 86_400 // step_s
    n = (BEFORE + AFTER) * per_day
    at = int((BEFORE - rng.uniform(0, 1)) * per_day)
    hours = (np.arange(n) * step_s / 3600) % 24
    swings, sizes = rng.uniform(0.1, 0.5, metrics), rng.uniform(0.15, 0.5, metrics)
    bases = [Base(float(np.exp(rng.uniform(0, 8))), _day(rng), _noise(rng, n)) for _ in range(metrics)]
    others = [_day(rng) for _ in range(metrics)]
    lead = int(rng.integers(metrics))
    after = np.arange(n) >= at
    amount, until = 0.0, n
    values = np.empty((n, metrics))
    if kind == "phase":
        amount = float(rng.choice([-1, 1]) * rng.uniform(2, 10))
    elif kind == "deploy":
        amount = float(rng.choice([-1, 1]) * rng.uniform(3, 8))
    elif kind == "outage":
        amount = float(rng.choice([-1, 1]) * rng.uniform(3, 8))
        until = min(at + max(int(rng.uniform(30, 240) * 60 / step_s), 8), n)
    elif kind == "gain":
        amount = float(rng.choice([2.0, 0.5]))
    elif kind == "variance":
        amount = 3.0
    for j, base in enumerate(bases):
        swing, noise = swings[j], swings[j] * sizes[j]
        shape = base.day(hours)
        if kind == "phase":
            shape = np.where(after, base.day(hours - amount), shape)
        if kind == "season":
            shape = np.where(after, others[j](hours), shape)
        size = np.full(n, noise)
        if kind == "variance" and j == lead:
            size[after] *= np.sqrt(amount)
        one = base.level * (1.0 + swing * shape + size * base.noise)
        total = base.level * np.hypot(swing, noise)
        if kind in ("deploy", "outage") and j == lead:
            one[at:until] += amount * total
        if kind == "gain":
            one[after] *= amount
        values[:, j] = one
    right = {"deploy": ("level",), "outage": ("level",), "variance": ("scale",), "still": ()}.get(kind, (kind,))
    return Case(values, at, until, step_s, lead, right, amount)


_SEEDS = {"deploy": 1, "gain": 2, "phase": 3, "variance": 4, "season": 5, "outage": 6, "still": 7}
KINDS: tuple[str, ...] = tuple(_SEEDS)


def log(one: Case, rows: NDArray[Any], first: int) -> tuple[NDArray[Any], ...]:
    """(row, ts_ms, value, offset) of a case; rows (metrics,); first: offset of its first record."""
    n, metrics = one.values.shape
    ts_ms = START_MS + np.arange(n) * one.step_s * 1000
    return (
        np.tile(rows, n), np.repeat(ts_ms, metrics), one.values.ravel(), first + np.arange(n * metrics),
    )  # fmt: skip
