"""Golden vectors: short made-up windows and the numbers that this version makes of them, stored with each source.

Owns the windows, how they are run, and the comparison. A source means what it says only where the recipe and the
kernels give the same numbers as where it was cut, so they are compared before anything is lent. Knows no real sample.

Not obvious: the windows in a source are never run. They must be those of this version, which are run instead, once a
process; so a forged source cannot make it compute anything. And `fold` is a whole small shard, compiled as always: it
goes through recipe, level, season, solving and tails together, where plain twins would only show the plain twins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from engine import recipe
from engine.batch import Batch
from engine.columns import Array
from engine.components import level, season, tail
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.series import Kind, Series
from engine.shard import Shard

#: Another machine may differ in the last bits of float64, and in those of float32 where sums are made in lanes.
EXACT, COMPILED = 1e-6, 1e-4
START_MS, STEP_MS = 1_600_000_000_000, 600_000
TICKS, RESET, GAP = 60, 44, 30
#: The joint model is solved after 32 ticks, so that the last of them are forecast from what was solved.
TOLD = (2, 20, 43, 44, 45, 57, 58, 59)

Vector = dict[str, Any]


def vectors() -> list[Vector]:
    """name, tolerance (relative to the larger of the number and one), in, out (null: no number), by name."""
    return [
        {"name": name, "tolerance": tolerance, "in": given, "out": list(out)}
        for (name, (tolerance, given, _)), out in zip(_windows().items(), _outcomes(), strict=True)
    ]


def check(told: object) -> None:
    """Nothing, or ConfigError naming the vector of a source that comes out otherwise here."""
    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise ConfigError("the card of the source has no list of golden vectors; cut it again.")
    found = {str(one.get("name")): one for one in told}
    for (name, (tolerance, given, _)), out in zip(_windows().items(), _outcomes(), strict=True):
        theirs = found.get(name, {})
        if theirs.get("in") != given:
            raise ConfigError(f"the source has no golden vector {name!r} of this version's window; cut it again.")
        _compare(name, theirs.get("out"), out, tolerance)


def _compare(name: str, wanted: object, got: Sequence[float | None], tolerance: float) -> None:
    if not isinstance(wanted, list) or len(wanted) != len(got):
        raise ConfigError(f"golden vector {name!r} of the source has not {len(got)} numbers; cut it again.")
    for at, (theirs, ours) in enumerate(zip(wanted, got, strict=True)):
        if not _is_near(theirs, ours, tolerance):
            raise ConfigError(
                f"golden vector {name!r} of the source differs at [{at}]: wanted {theirs}, got {ours} here. It was cut "
                "by a version that computes otherwise; cut it again with this one."
            )


def _is_near(theirs: object, ours: float | None, tolerance: float) -> bool:
    if theirs is None or ours is None or isinstance(theirs, bool) or not isinstance(theirs, (int, float)):
        return theirs is None and ours is None
    return abs(theirs - ours) <= tolerance * max(abs(theirs), abs(ours), 1.0)


@lru_cache(maxsize=1)
def _outcomes() -> tuple[tuple[float | None, ...], ...]:
    return tuple(
        tuple(None if not np.isfinite(one) else round(float(one), 9) for one in run(**given))
        for _, given, run in _windows().values()
    )


def _windows() -> dict[str, tuple[float, dict[str, Any], Callable[..., Sequence[float]]]]:
    """name -> (tolerance, window, what is run on it); a counter that restarts, one of unequal steps, a gauge."""
    return {
        "recipe": (
            EXACT,
            {"seconds": [0, 10, 20, 35, 45, 55, 65], "counter": [7, 27, 87, 102, 2, 12, 42.5]},
            _recipe,
        ),
        "level": (EXACT, {"mean": 4.0, "var": 2.25, "step": 0.5, "count": 400, "values": [4, 5.5, -2, 13, 40]}, _level),
        "season": (EXACT, {"minutes": [0, 14, 15, 719, 1439, 1440], "offset_minutes": [0, 90, -330]}, _season),
        "tail": (
            EXACT,
            {"quantiles": [-1.5, -1.0, -0.25, 0.5, 0.25], "log_evidence": [-3, -1.5, -1.25, -0.5, 0.25, 0.5, 1.5, 4]},
            _tail,
        ),
        "fold": (COMPILED, {"step_ms": STEP_MS, "gap_at": GAP, "waves": _waves()}, _fold),
    }


def _recipe(seconds: list[float], counter: list[float]) -> list[float]:
    """The rates of a counter, then the same numbers as a gauge."""
    told: list[float] = []
    for kind in (Kind.COUNTER, Kind.GAUGE):
        columns = recipe.Recipe(*(spec.fresh(1) for spec in recipe.COLUMNS.values()))
        columns.kind[0] = kind
        told += [
            _plain(recipe.apply)(columns, 0, int(second * 1000), float(value))[0]
            for second, value in zip(seconds, counter, strict=True)
        ]
    return told


def _level(mean: float, var: float, step: float, count: float, values: list[float]) -> list[float]:
    """The scale, then z and novelty of each value."""
    columns = level.Level(*(spec.fresh(1) for spec in level.COLUMNS.values()))
    columns.mean[0], columns.var[0], columns.step[0], columns.count[0] = mean, var, step, count
    sd = float(_plain(level.scale)(columns, 0))
    return [sd, *(part for value in values for part in _plain(level.score)(columns, 0, float(value), sd))]


def _season(minutes: list[int], offset_minutes: list[int]) -> list[float]:
    """The slot of the day of each time at each offset."""
    slot_of = _plain(season.slot_of)
    return [slot_of(minute * 60_000, offset * 60_000) for offset in offset_minutes for minute in minutes]


def _tail(quantiles: list[float], log_evidence: list[float]) -> list[float]:
    """-log10 p of each."""
    return [_plain(tail.severity)(float(x), np.array(quantiles, np.float32)) for x in log_evidence]


def _plain(kernel: Any) -> Any:
    return getattr(kernel, "py_func", kernel)


def _waves() -> list[list[float]]:
    """Two gauges and a counter, (60, 3): all of them made of sines, for nothing of a window may be chance."""
    t = np.arange(TICKS)
    wave = 3.0 * np.sin(t / 4.0) + np.sin(1.7 * t)
    beside = 0.5 * wave + np.cos(2.3 * t)
    beside[-2] += 9.0
    counted = np.cumsum(np.rint(20 + 5 * np.sin(t / 3.0)))
    counted[RESET:] -= counted[RESET] - 3.0
    return [list(map(float, row)) for row in np.round(np.stack([wave, beside, counted], axis=1), 3)]


def _fold(step_ms: int, gap_at: int, waves: list[list[float]]) -> list[float]:
    """What a shard expects and how severe it finds it, at some ticks; severity and page of the entity at the last ones.

    Last come the forecast weights of the first metric, which is what the solving gives.
    """
    shard = Shard(EngineConfig(entity_labels=("host",)), topic="golden", partition=0)
    shard.next_offset = 0
    labels = {"host": "golden"}
    rows = [shard.admit(Series.of(name, labels, Kind.GAUGE)) for name in ("wave", "beside")]
    rows.append(shard.admit(Series.of("counted", labels)))
    values = np.array(waves)
    here = np.ones(values.shape, bool)
    here[gap_at, 1] = False
    offset = np.arange(values.size)
    ts_ms = START_MS + step_ms * np.repeat(np.arange(len(values)), 3)
    batch = Batch.of(
        np.tile(rows, len(values))[here.ravel()], ts_ms[here.ravel()], values[here], offset[here.ravel()], values.size
    )
    told = shard.process(batch._replace(empty=offset[~here.ravel()]))
    at = np.isin((batch.ts_ms - START_MS) // step_ms, TOLD)
    return [*told.expected[at], *told.severity[at], *told.ticks.severity[-4:], *told.ticks.page[-4:], *_solved(shard)]


def _solved(shard: Shard) -> Array:
    return np.asarray(shard.roster.part(0)["forecast"][0, :2].ravel())
