"""Environments for the laws of transfer: generated, each with a shape of the day, a unit and a level of its own.

A town has hosts, each with METRICS; they move together, so that there is structure to lend. Ten-minute data keeps a
month short.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.batch import Batch
from engine.config import EngineConfig
from engine.prior import Prior
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State
from engine.transfer import distil

START_MS = 1_767_225_600_000
STEP_MS = 600_000
DAY = 144
METRICS = ("cpu", "load", "latency", "queue")
CONFIG = EngineConfig(counters_from_shape=False, environment="old town")
#: What is lent is believed at once: for the laws of lending itself.
UNGUARDED = replace(CONFIG, guard_seeds=False)


class Town(NamedTuple):
    """phase_h: hours by which its day is late; harmonic: 1 for a sine of the day; noise in units of that wave."""

    seed: int = 0
    hosts: int = 3
    scale: float = 1.0
    level: float = 50.0
    phase_h: float = 0.0
    harmonic: int = 1
    noise: float = 0.25
    names: tuple[str, ...] = METRICS


#: Of another kind: far more restless, and its day is the other way round.
HOSTILE = Town(seed=2, phase_h=12.0, noise=3.0)


def values(town: Town, ticks: int) -> NDArray[np.float64]:
    """(ticks, hosts, metrics)."""
    rng = np.random.default_rng(town.seed)
    hour = np.arange(ticks) * STEP_MS / 3_600_000
    day = np.sin(2 * np.pi * town.harmonic * (hour - town.phase_h) / 24)
    shape = (ticks, town.hosts, len(town.names))
    drift = _autoregressive(rng.normal(size=(ticks, town.hosts, 1)), 0.8)
    own = _autoregressive(rng.normal(size=shape), 0.5)
    wave = day[:, None, None] * np.array([1.0, 0.8, 1.2, 0.6])[: shape[2]] + town.noise * (0.8 * drift + 0.5 * own)
    return town.level + town.scale * (10.0 * wave + 7.0 * np.arange(shape[2]))


def _autoregressive(noise: NDArray[np.float64], keep: float) -> NDArray[np.float64]:
    series = noise.copy()
    for t in range(1, len(series)):
        series[t] = keep * series[t - 1] + noise[t] * np.sqrt(1 - keep * keep)
    return series


def shard(town: Town, *, prior: Prior | None = None, config: EngineConfig = CONFIG) -> Shard:
    """A shard that has seen nothing but the names of a town."""
    fresh = Shard(config, topic="metrics", partition=0, prior=prior)
    fresh.next_offset = 0
    for host in range(town.hosts):
        for name in town.names:
            fresh.admit(Series.of(name, {"host": f"secret-{host}"}, Kind.GAUGE))
    return fresh


def log(numbers: NDArray[np.float64], begin: int = 0) -> Batch:
    """The rows of a town as a log, one record a sample; begin: number of the first tick."""
    ticks, series = len(numbers), numbers[0].size
    first = begin * series
    ts_ms = START_MS + np.repeat(np.arange(begin, begin + ticks), series) * STEP_MS
    offsets = np.arange(first, first + ticks * series)
    return Batch.of(np.tile(np.arange(series), ticks), ts_ms, numbers.ravel(), offsets, int(offsets[-1]) + 1)


def grown(town: Town, days: int = 14) -> State:
    """The checkpoint of a town that has been watched for so long."""
    old = shard(town)
    old.process(log(values(town, days * DAY)))
    return old.export()


def source(town: Town, days: int = 14) -> State:
    """Its source snapshot."""
    return distil(grown(town, days))


class FirstDay(NamedTuple):
    """error: mean |value - expected|; false_pages: ticks at page >= 1; expected and severity as the shard gave them."""

    error: float
    false_pages: int
    expected: NDArray[np.float32]
    severity: NDArray[np.float32]


def first_day(town: Town, prior: Prior | None) -> FirstDay:
    """What a shard says of a town's first day, on which nothing is wrong."""
    numbers = values(town, DAY)
    told = shard(town, prior=prior).process(log(numbers))
    error = float(np.nanmean(np.abs(numbers.ravel() - told.expected)))
    return FirstDay(error, int(np.sum(told.ticks.page >= 1.0)), told.expected, told.ticks.severity)
