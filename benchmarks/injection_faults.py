"""Is the injured metric named? Faults in one metric of real entities, for `benchmarks.injection`.

Owns the faults, where they may be injected, and what counts as explained. An entity is watched as it is, and its state
kept at some quiet places of its second half, two hours from any label; each fault starts from such a state, so no fault
sees another. `none` injects nothing: what the same stretches alert by themselves, and whom chance would name.

Not obvious: who would be named is asked of the engine at every tick (`events.contributors`, what an alert of that tick
would carry), so rows are fed one by one; the state does not depend on where a log is cut. Beside it stands the rank by
|value - mean| / deviation, both exponentially weighted, at the same ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.quality_baselines import MOST, filled
from benchmarks.quality_measures import PROMISED
from benchmarks.series_data import CONFIG, Array, Recording, feed, fresh, whole_rows
from engine.events import contributors, fresh_events
from engine.kernel import kernel
from engine.shard import Shard
from engine.snapshot import State

SHORTEST, LONGEST = 30, 60
CLEAR_HOURS = 2
#: A metric moves if it changes at this share of the last day's ticks; one that may freeze, at almost every one.
MOVES, RESTLESS = 0.2, 0.95
#: A drop to zero is a fault if the last hour was so many sd from it.
FROM_ZERO = 5.0
NOT_NAMED = 99
EWMA_RATE = 0.001


class Metric(NamedTuple):
    """A metric before the fault: its last day (n,), robust sd of that, median of the last hour, share of changes."""

    day: Array
    sd: float
    level: float
    changes: float


class Kind(NamedTuple):
    """rows: clean rows (k,), the metric before, +1 or -1 -> the injured rows. suits: may the metric have it?"""

    rows: Callable[[Array, Metric, int], Array]
    suits: Callable[[Metric], bool] = lambda _: True


def _shift(size: float) -> Kind:
    return Kind(lambda clean, metric, sign: clean + sign * size * metric.sd)


def _spike(clean: Array, metric: Metric, sign: int) -> Array:
    return np.concatenate([[clean[0] + sign * 10.0 * metric.sd], clean[1:]])


#: Name -> fault. All but the spike last for the whole stretch.
KINDS: dict[str, Kind] = {
    "none": Kind(lambda clean, _metric, _sign: clean),
    "shift 3 sd": _shift(3.0),
    "shift 5 sd": _shift(5.0),
    "shift 10 sd": _shift(10.0),
    "spike 10 sd": Kind(_spike),
    "ramp to 10 sd": Kind(lambda clean, metric, sign: clean + sign * metric.sd * np.linspace(0.0, 10.0, len(clean))),
    "frozen": Kind(lambda clean, metric, _: np.full(len(clean), metric.day[-1]), lambda one: one.changes >= RESTLESS),
    "variance x 5": Kind(lambda clean, metric, _: metric.level + np.sqrt(5.0) * (clean - metric.level)),
    "drop to zero": Kind(lambda clean, _metric, _sign: 0.0 * clean, lambda one: abs(one.level) >= FROM_ZERO * one.sd),
}


class Outcome(NamedTuple):
    """alert, peak: place of the injured metric, from 0, at the first alert and at the tick of highest severity; -1: no
    alert. ewma_alert, ewma_peak: its place by the baseline at the same ticks; ewma_pages: would the baseline alert."""

    kind: str
    alert: int
    peak: int
    ewma_alert: int
    ewma_peak: int
    ewma_pages: bool


class Average:
    """Exponentially weighted mean and variance of all metrics, and the mean |z| of each row."""

    def __init__(self, first: Array) -> None:
        self.mean, self.variance, self.size, self.rows = first.copy(), 0.0 * first, np.abs(first), 1
        self.score: list[Array] = []

    def copy(self) -> Average:
        other = Average(self.mean)
        other.variance, other.size, other.rows = self.variance.copy(), self.size.copy(), self.rows
        return other

    def feed(self, values: Array) -> Array:
        """|z| of some rows, (n, d)."""
        z = np.zeros(values.shape)
        _ewma(values, self.rows, self.mean, self.variance, self.size, z)
        self.rows += len(values)
        self.score.append(z.mean(axis=1))
        return z


@kernel
def _ewma(values: Array, before: int, mean: Array, variance: Array, size: Array, z: Array) -> None:
    rows, width = values.shape
    for t in range(rows):
        weight = max(EWMA_RATE, 1.0 / (before + t + 1.0))
        for j in range(width):
            off = values[t, j] - mean[j]
            z[t, j] = min(abs(off) / (np.sqrt(variance[j]) + 1e-6 * size[j] + 1e-9), MOST)
            mean[j] += weight * off
            variance[j] = (1.0 - weight) * (variance[j] + weight * off * off)
            size[j] = max(size[j], abs(values[t, j]))


def before(recording: Recording, row: int, column: int) -> Metric:
    """A metric as it was before a row."""
    day = filled(recording.values[max(row - recording.rows_a_day, 0) : row])[:, column]
    sd = 1.4826 * float(np.median(np.abs(day - np.median(day))))
    hour = day[-max(recording.rows_a_day // 24, 1) :]
    return Metric(day, sd, float(np.median(hour)), float(np.mean(np.diff(day) != 0.0)))


def moves(metric: Metric) -> bool:
    """Is there something of it to be injured?"""
    return metric.changes >= MOVES and metric.sd > 1e-6 * abs(metric.level)


def places(recording: Recording, most: int) -> list[int]:
    """Rows where a fault may begin: in the second half, far enough from any label."""
    clear = CLEAR_HOURS * max(recording.rows_a_day // 24, 1)
    labelled = np.concatenate([[0], np.cumsum(recording.label)])
    first = max(len(recording.label) // 2, recording.rows_a_day)
    rows = np.arange(first, len(recording.label) - LONGEST - clear)
    is_free = labelled[rows + LONGEST + clear] == labelled[rows - clear]
    free = rows[is_free]
    count = min(most, len(free))
    return [int(free[int((k + 0.5) * len(free) / count)]) for k in range(count)]


def injured(recording: Recording, kind: str, row: int, rng: np.random.Generator) -> tuple[Array, int] | None:
    """(rows with the fault (k, d), the column that has it); None if no metric suits."""
    about = {column: before(recording, row, column) for column in range(recording.values.shape[1])}
    fit = [column for column, metric in about.items() if moves(metric) and KINDS[kind].suits(metric)]
    if not fit:
        return None
    column, sign = int(rng.choice(fit)), int(rng.choice([-1, 1]))
    values = recording.values[row : row + int(rng.integers(SHORTEST, LONGEST + 1))].copy()
    values[:, column] = KINDS[kind].rows(filled(values)[:, column], about[column], sign)
    return values, column


def named(shard: Shard) -> list[int]:
    """Rows of the series that an alert of the tick closed last would name, largest first."""
    events, roster = fresh_events(1), shard.roster
    events.rows[:], events.shares[:] = -1, 0.0
    contributors(events, 0, 0, roster.rows, roster.ents, roster.block, roster.pool)
    return [int(row) for row in events.rows[0] if row >= 0]


def suffer(state: State, values: Array, ts_ms: Array, column: int, kind: str, average: Average) -> Outcome:
    """Feed a fault to a copy of the engine, and to a copy of the baseline."""
    shard, z = Shard.restore(state, CONFIG), average.copy().feed(filled(values))
    name, highest = shard.roster.names[column], -np.inf
    alert, peak, ewma_alert, ewma_peak = -1, NOT_NAMED, -1, NOT_NAMED
    for at in range(len(values)):
        verdicts = shard.process(whole_rows(ts_ms[at : at + 1], values[at : at + 1], shard.next_offset))
        severity = float(verdicts.ticks.severity[-1]) if len(verdicts.ticks.severity) else np.nan
        place = int((z[at] > z[at, column]).sum())
        if severity > highest:
            highest, peak, ewma_peak = severity, _place(column, named(shard)), place
        begun = [record for record in verdicts.records if record.value.get("state") in ("firing", "opened")]
        if begun and alert < 0:
            alert = _place(name, [one["series"] for one in begun[0].value["contributors"]])
            ewma_alert = place
    known = np.concatenate(average.score)
    point = float(np.quantile(known[len(known) // 10 :], 1.0 - PROMISED))
    return Outcome(kind, alert, peak, ewma_alert, ewma_peak, bool((z.mean(axis=1) > point).any()))


def _place(one: Any, every: list[Any]) -> int:
    return every.index(one) if one in every else NOT_NAMED


def watch(recording: Recording, *, most: int, seed: int) -> list[Outcome]:
    """All kinds of fault at `most` places of an entity, at most; places where an alert is open are passed over."""
    shard, at, rng = fresh(recording.values.shape[1]), 0, np.random.default_rng(seed)
    values, found, used = filled(recording.values), list[Outcome](), 0
    average = Average(values[0])
    for row in places(recording, 2 * most):
        feed(shard, recording, at, row)
        average.feed(values[max(at, 1) : row])
        at = row
        counters = shard.counters()
        if used == most or counters["firing"] or counters["pending"]:
            continue
        used += 1
        state = shard.export()
        for kind in KINDS:
            fault = injured(recording, kind, row, rng)
            if fault is not None:
                stamps = recording.ts_ms[row : row + len(fault[0])]
                found.append(suffer(state, fault[0], stamps, fault[1], kind, average))
    return found


def shares(outcomes: list[Outcome]) -> dict[str, float | int]:
    """Figures of some faults. NaN: none alerted."""
    alerts = [one for one in outcomes if one.alert >= 0]
    return {
        "faults": len(outcomes),
        "alerts": len(alerts) / max(len(outcomes), 1),
        "first": _within([one.alert for one in alerts], 1),
        "three": _within([one.alert for one in alerts], 3),
        "ewma_first": _within([one.ewma_alert for one in alerts], 1),
        "ewma_three": _within([one.ewma_alert for one in alerts], 3),
        "peak_first": _within([one.peak for one in outcomes], 1),
        "peak_three": _within([one.peak for one in outcomes], 3),
        "ewma_peak_first": _within([one.ewma_peak for one in outcomes], 1),
        "ewma_peak_three": _within([one.ewma_peak for one in outcomes], 3),
        "ewma_alerts": _within([0 if one.ewma_pages else NOT_NAMED for one in outcomes], 1),
    }


def _within(found: list[int], count: int) -> float:
    return float(np.mean(np.array(found) < count)) if found else float("nan")
