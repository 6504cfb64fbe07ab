"""What do columns cost that say nothing? Real entities with junk added to their stream, for `benchmarks.injection`.

Owns the kinds of junk. The entity's own metrics come first and are not touched, so its labels and the buffer of its
VUS-PR stay what they are; every figure stands beside that of the clean stream of the same entities in the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import quality_statistics as statistics
from benchmarks.quality_methods import GRAFT, timed
from benchmarks.quality_run import numbers, score_answers
from benchmarks.quality_sets import Entity
from benchmarks.series_data import Array

CLEAN, WIDENED = "clean", 200
BASELINE = "ens3"
FIGURES = ("vus_pr", "ev_f1", "rec_1d", "false_pages_day", "recall_at_page")
#: Mean length of a stretch of a metric that comes and goes, in days.
STRETCH_DAYS = 0.25


def _picked(values: Array, rng: np.random.Generator, count: int) -> Array:
    """Copies of some metrics that are no constants."""
    moving = np.flatnonzero(np.nanstd(values, axis=0) > 0.0)
    return values[:, rng.choice(moving, count, replace=count > len(moving))].copy()


def constants(values: Array, _a_day: int, _rng: np.random.Generator) -> Array:
    """Four sizes, none of which moves."""
    return np.tile([0.0, 1.0, 42.5, 8e9], (len(values), 1))


def duplicates(values: Array, _a_day: int, rng: np.random.Generator) -> Array:
    """Four metrics once more."""
    return _picked(values, rng, 4)


def rescaled(values: Array, _a_day: int, rng: np.random.Generator) -> Array:
    """Four metrics in another unit, from another zero."""
    return _picked(values, rng, 4) * 10.0 ** rng.uniform(-3.0, 3.0, 4) + rng.uniform(-100.0, 100.0, 4)


def noise(values: Array, _a_day: int, rng: np.random.Generator) -> Array:
    """Two metrics without memory."""
    return rng.normal(50.0, 5.0, (len(values), 2))


def walks(values: Array, _a_day: int, rng: np.random.Generator) -> Array:
    """Two metrics without a level."""
    return np.cumsum(rng.normal(0.0, 1.0, (len(values), 2)), axis=0)


def come_and_go(values: Array, a_day: int, rng: np.random.Generator) -> Array:
    """Two metrics that are missing half of the time, in long stretches."""
    junk = _picked(values, rng, 2)
    for column in junk.T:
        ends = np.cumsum(rng.exponential(STRETCH_DAYS * a_day, 2 * len(column) // a_day + 100))
        column[np.searchsorted(ends, np.arange(len(column))) % 2 == 1] = np.nan
    return junk


def everything(values: Array, a_day: int, rng: np.random.Generator) -> Array:
    """All of the above."""
    parts = (constants, duplicates, rescaled, noise, walks, come_and_go)
    return np.hstack([part(values, a_day, rng) for part in parts])


def widened(values: Array, _a_day: int, rng: np.random.Generator) -> Array:
    """Copies with noise of half their deviation, up to 200 metrics."""
    copies = _picked(values, rng, max(WIDENED - values.shape[1], 0))
    return copies + rng.normal(0.0, 0.5, copies.shape) * np.nanstd(copies, axis=0)


#: Name -> columns to add; (values (T, d), rows a day, randomness) -> (T, more).
JUNK: dict[str, Callable[[Array, int, np.random.Generator], Array]] = {
    "4 constants": constants,
    "4 duplicates": duplicates,
    "4 rescaled": rescaled,
    "2 white noise": noise,
    "2 random walks": walks,
    "2 come and go": come_and_go,
    "all of these": everything,
    "200 metrics": widened,
}


def with_junk(one: Entity, kind: str, seed: int) -> Entity:
    """The entity with more columns."""
    if kind == CLEAN:
        return one
    rng = np.random.default_rng(seed)
    junk = JUNK[kind](one.stream.values, one.stream.rows_a_day, rng)
    return one._replace(stream=one.stream._replace(values=np.hstack([one.stream.values, junk])))


def figures(entities: list[Entity], kind: str, method: str) -> dict[str, Any]:
    """Measures of one method on the entities of one set, with one kind of junk."""
    answers, seconds, rows = [], 0.0, 0
    for seed, plain in enumerate(entities):
        one = with_junk(plain, kind, seed)
        found, took = timed(method, one.stream)
        answers.append((one, numbers(found)))
        seconds, rows = seconds + took, rows + len(one.stream.ts_ms)
    scored = score_answers(method, answers)
    every = statistics.figures(scored, statistics.once(scored))
    return {name: float(every[name][0]) for name in FIGURES} | {"rows_s": rows / max(seconds, 1e-9)}


def judge(sets: dict[str, list[Entity]], kind: str) -> dict[str, dict[str, float]]:
    """Method -> mean of the sets' figures."""
    told = {}
    for method in (GRAFT, BASELINE):
        parts = [figures(entities, kind, method) for entities in sets.values()]
        told[method] = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    return told
