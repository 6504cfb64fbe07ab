"""Made-up towns for `benchmarks.first_hours`: a source and targets that equal it but for one thing, which is known.

Owns the physics of a town (one entity of ten metrics that follow a day, one another and their own noise), the table of
what a target may have that its source has not, the incidents, and fleets of like hosts. Knows no engine and no
measure; same number, same values.

Not obvious: source and target share all parameters but no random number, so even the variant `twin` is no copy. Every
third town has no incidents: there each page is false.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from benchmarks.series_data import Array, Recording

DAY_S = 86_400
#: A Monday.
BEGIN_S = 1_767_571_200
STEP_S, OTHER_STEP_S = 300, 60
HISTORY_DAYS, LABELLED_DAYS = 14, 3
NAMES = (
    "cpu_user", "cpu_system", "memory", "load", "received", "sent", "disk_time", "requests", "latency", "queue",
)  # fmt: skip
SOURCE, HOSTILE = "source", "hostile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """Parameters, (10,) each: value = level * (offset + swing * (gain * day + load * common + wander + noise)).

    is_heavy: noise of Student's t, 2.5 degrees, instead of a normal one. slip_h: how late its day is.
    """

    level: Array
    gain: Array
    load: Array
    wander: Array
    noise: Array
    is_heavy: Array
    second: float
    day: float = 1.0
    slip_h: float = 0.0
    offset: float = 1.0
    swing: float = 1.0
    step_s: int = STEP_S
    names: tuple[str, ...] = NAMES


class Made(NamedTuple):
    """One entity of the family. town: number of the source that it belongs to; names: of its metrics."""

    variant: str
    town: int
    record: Recording
    names: tuple[str, ...]


def _hostile(town: Town) -> Town:
    """Day inside out, every second metric against the others, heavy tails where light ones were."""
    against = np.where(np.arange(len(NAMES)) % 2, -1.0, 1.0)
    return replace(town, day=-1.0, load=town.load * against, is_heavy=~town.is_heavy)


#: What a target has that its source has not.
VARIANTS: dict[str, Callable[[Town], Town]] = {
    "twin": lambda town: town,
    "scale": lambda town: replace(town, swing=2.5),
    "level": lambda town: replace(town, offset=2.5),
    "phase": lambda town: replace(town, slip_h=8.0),
    "noise": lambda town: replace(town, noise=3.0 * town.noise),
    "missing": lambda town: replace(town, names=NAMES[::2]),
    "renamed": lambda town: replace(town, names=tuple(f"app_{name}_total" for name in NAMES)),
    "units": lambda town: replace(town, level=1000.0 * town.level),
    "step": lambda town: replace(town, step_s=OTHER_STEP_S),
    HOSTILE: _hostile,
}


def family(towns: int, *, history_days: int = HISTORY_DAYS) -> list[Made]:
    """So many sources, each followed by one target of each variant."""
    return [
        _made(number, name, number, at, history_days)
        for number in range(towns)
        for at, name in enumerate((SOURCE, *VARIANTS))
    ]


def hosts(count: int, towns: tuple[int, ...], *, rows: int, step_s: int, seed: int) -> Array:
    """(rows, count, metrics): hosts that are alike; each has the metrics of all these towns, and no incidents.

    Without wander: at a short step it is drift, and a source that drifts is refused.
    """
    values = np.empty((rows, count, len(towns), len(NAMES)))
    for at, number in enumerate(towns):
        town = _town(np.random.default_rng([number, 1000]))
        town = replace(town, step_s=step_s, wander=0.0 * town.wander)
        for host in range(count):
            part = _parts(town, rows, np.random.default_rng([seed, number, host]))
            values[:, host, at] = town.level * (town.offset + town.swing * part)
    return values.reshape(rows, count, -1)


def _made(number: int, variant: str, seed: int, at: int, history_days: int) -> Made:
    source = _town(np.random.default_rng([seed, 1000]))
    town = VARIANTS[variant](source) if variant in VARIANTS else source
    rng = np.random.default_rng([seed, at])
    rows_a_day = DAY_S // town.step_s
    rows, history = rows_a_day * (history_days + LABELLED_DAYS), rows_a_day * history_days
    part = _parts(town, rows, rng)
    label = np.zeros(rows, bool)
    if number % 3 != 2:
        _add_incidents(town, part, label, history, rng)
    values = town.level * (town.offset + town.swing * part)
    kept = [k for k, name in enumerate(NAMES) if len(town.names) == len(NAMES) or name in town.names]
    ts_ms = 1000 * (BEGIN_S + town.step_s * np.arange(rows, dtype=np.int64))
    return Made(variant, number, Recording(f"{variant}-{number}", values[:, kept], label, ts_ms, history), town.names)


def _town(rng: np.random.Generator) -> Town:
    count = len(NAMES)
    return Town(
        level=10.0 ** rng.uniform(0.0, 4.0, count),
        gain=rng.uniform(0.05, 0.4, count),
        load=rng.uniform(0.03, 0.1, count),
        wander=rng.uniform(0.01, 0.05, count),
        noise=rng.uniform(0.01, 0.03, count),
        is_heavy=rng.permutation(count) < 3,
        second=float(rng.uniform(0.2, 0.6)),
    )


def _parts(town: Town, rows: int, rng: np.random.Generator) -> Array:
    """(rows, 10): all that moves, in shares of the level."""
    hour = town.step_s / 3600.0 * np.arange(rows) - town.slip_h
    day = town.day * (np.sin(2 * np.pi * (hour - 8) / 24) + town.second * np.sin(4 * np.pi * (hour - 3) / 24))
    common = _slow(rng.normal(size=(rows, 1)), town.step_s, minutes=30.0)
    wander = _slow(rng.normal(size=(rows, len(NAMES))), town.step_s, minutes=180.0)
    noise = rng.normal(size=(rows, len(NAMES)))
    heavy = rng.standard_t(2.5, size=(rows, len(NAMES)))
    noise = np.where(town.is_heavy, heavy, noise)
    part: Array = day[:, None] * town.gain + common * town.load + wander * town.wander + noise * town.noise
    return part


def _slow(steps: Array, step_s: int, *, minutes: float) -> Array:
    """Noise of unit size that forgets within so many minutes, whatever the step."""
    keep = np.exp(-step_s / 60.0 / minutes)
    now, found = steps[0], np.empty_like(steps)
    for at, step in enumerate(np.sqrt(1.0 - keep**2) * steps):
        now = keep * now + step
        found[at] = now
    return found


def _add_incidents(town: Town, part: Array, label: Array, history: int, rng: np.random.Generator) -> None:
    """Shifts of some metrics for 30 to 90 minutes: one in four days of the history, one a day afterwards."""
    a_day = DAY_S // town.step_s
    size = np.sqrt(town.load**2 + town.wander**2 + town.noise**2)
    days = [*range(0, history, 4 * a_day), *range(history, len(part), a_day)]
    for first in days:
        begin = first + int(rng.uniform(0.1, 0.9) * a_day)
        end = begin + int(rng.uniform(1800, 5400)) // town.step_s
        hit = rng.permutation(len(NAMES))[: rng.integers(5, 9)]
        part[begin:end, hit] += size[hit] * rng.uniform(4.0, 8.0, len(hit)) * rng.choice([-1.0, 1.0], len(hit))
        label[begin:end] = True
