"""Entity: from the evidence of all metrics of a tick to one severity and one page.

Owns the six channels of an entity (E forecast residual, X conditional residual, S seasonal residual, M and ME
distances, G smoothed residual), the running distribution of each, and what is made of them: `severity` is smoothed
and covers a whole incident, `page` is sharp and marks its start. It decides nothing.

Not obvious. (1) A channel is measured against its own running quantile, so no channel and no entity needs a
threshold. (2) `page` is relative to its own recent level, hence a storm pages once. (3) All distributions start from
factory histograms with the weight of FACTORY_ROWS ticks; a seed replaces them by the source's. (4) Quantiles are read
from the histograms every REFRESH ticks, by count, so batch cuts do not matter.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.components import joint, tail
from engine.kernel import inline

E, X, S, M, ME, G = range(6)
CHANNELS = 6
NAMES = ("forecast", "structure", "season", "distance", "residual-distance", "drift")
SEVERE, URGENT = 6, 7
#: Histograms of an entity: the six channels, the smoothed severity evidence, the relative page evidence.
HISTOGRAMS = 8
FACTORY_ROWS = 1000.0
#: A channel's high mark, for pages: its 99 % quantile.
CHANNEL_SHARE = 0.01
REFRESH = 16
UP, DOWN = 0.3, 0.05
PAGE_KEEP, RECENT_RATE, PAGE_OFFSET = 0.7, 0.01, 0.68
SEVERITY_MOST, PAGE_MOST = 40.0, 10.0
#: Ticks before an entity may page at all: two solves of the joint model.
SILENT = 48.0
#: A page usually exceeds its threshold for two ticks in a row; the budget is one of episodes.
EPISODE_TICKS = 1.0
CONTROL_GAIN = 0.08
USUAL_RATE, QUALITY_RATE = 0.002, 0.05


class Entity(NamedTuple):
    """Per entity. counts (n, 8, 96), unit, mass (n, 8): histograms. middle, high (n, 8), upper, rare: quantiles of
    ln(evidence) as last read; beta: slope of the tail. severe, urgent, recent: smoothed evidence. control, gate:
    corrections of the page threshold in ln, from the pages there were and from people's answers. step_ms: typical time
    between ticks. quality: share of the series that usually report (usual, a count) which do."""

    counts: Array
    unit: Array
    mass: Array
    middle: Array
    high: Array
    beta: Array
    upper: Array
    rare: Array
    ticks: Array
    severe: Array
    urgent: Array
    recent: Array
    control: Array
    gate: Array
    step_ms: Array
    quality: Array
    usual: Array


# ln(evidence) on normal data of many entities: centre, spread of the body, slope of the tail; one row a histogram.
FACTORY = (
    (-1.30, 0.50, 0.35),
    (-1.45, 0.40, 0.35),
    (-1.30, 0.50, 0.35),
    (-0.70, 0.40, 0.45),
    (-0.65, 0.45, 0.40),
    (-1.50, 0.50, 0.35),
    (0.20, 0.50, 0.35),
    (-1.75, 0.36, 0.25),
)


def factory() -> Array:
    """float32 (8, 96): the histograms that a fresh entity starts with, each of FACTORY_ROWS entries."""
    middle = tail.LOW + tail.WIDTH * (np.arange(tail.BINS) + 0.5)
    counts = np.empty((HISTOGRAMS, tail.BINS))
    for at, (centre, spread, slope) in enumerate(FACTORY):
        start = centre + 2.05 * spread
        body = np.exp(-0.5 * ((middle - centre) / spread) ** 2)
        beyond = np.exp(-0.5 * 2.05**2) * np.exp(-(middle - start) / slope)
        shape = np.where(middle < start, body, beyond)
        counts[at] = shape * (FACTORY_ROWS / shape.sum())
    # Less than a millionth of an entry is nothing, and denormal numbers are slow.
    return np.where(counts < 1e-6, 0.0, counts).astype(np.float32)


COLUMNS = {
    "counts": Column(np.float32, after=(HISTOGRAMS, tail.BINS)),
    "unit": Column(np.float32, 1.0, after=(HISTOGRAMS,)),
    "mass": Column(np.float32, FACTORY_ROWS, after=(HISTOGRAMS,)),
    "middle": Column(np.float32, after=(HISTOGRAMS,)),
    "high": Column(np.float32, after=(HISTOGRAMS,)),
    "beta": Column(np.float32, 0.3, after=(HISTOGRAMS,)),
    "upper": Column(np.float32),
    "rare": Column(np.float32),
    "ticks": Column(np.float64),
    "severe": Column(np.float32, 1.0),
    "urgent": Column(np.float32, 0.5),
    "recent": Column(np.float32, 0.5),
    "control": Column(np.float32),
    "gate": Column(np.float32),
    "step_ms": Column(np.float32),
    "quality": Column(np.float32, 1.0),
    "usual": Column(np.float32),
}


@inline
def evidence(sums: Array, channel: Array) -> None:
    """The six channels of a tick from the sums over its metrics. channel: float64 (6,), >= 0."""
    active, width = max(sums[joint.ACTIVE], 1.0), max(sums[joint.WIDTH], 1.0)
    channel[E] = sums[joint.SUM_E] / active
    channel[X] = sums[joint.SUM_X] / active
    channel[S] = sums[joint.SUM_S] / active
    channel[G] = sums[joint.SUM_G] / active
    channel[M] = np.sqrt(sums[joint.SUM_M] / width)
    channel[ME] = np.sqrt(sums[joint.SUM_ME] / width)


@inline
def count_reports(entity: Entity, row: int, reports: int) -> None:
    """Learn how many series usually report in a tick, and how complete ticks are, against that.

    Against what is usual, not against all members: slow metrics beside fast ones are no gap in the data.
    """
    usual, now = np.float64(entity.usual[row]), np.float64(reports)
    usual += max(USUAL_RATE, 1.0 / (entity.ticks[row] + 1.0)) * (now - usual)
    entity.usual[row] = np.float32(usual)
    complete = min(now / max(usual, 1.0), 1.0)
    entity.quality[row] += np.float32(QUALITY_RATE * (complete - np.float64(entity.quality[row])))


@inline
def refresh(entity: Entity, counts: Array, mass: Array, row: int) -> None:
    """Read the quantiles and tail slopes from the histograms. counts: the (n * 8, 96) view of `entity.counts`."""
    first: Any = np.int64(row) * HISTOGRAMS
    for k in range(HISTOGRAMS):
        top = CHANNEL_SHARE if k < CHANNELS else tail.TAIL_SHARE
        middle, upper, rare, high, beta = tail.read(counts, mass, first + k, top)
        entity.middle[row, k], entity.high[row, k] = np.float32(middle), np.float32(high)
        entity.beta[row, k] = np.float32(beta)
        if k == SEVERE:
            entity.upper[row], entity.rare[row] = np.float32(upper), np.float32(rare)


@inline
def score(
    entity: Entity, counts: Array, unit: Array, mass: Array, row: int, channel: Array, share: Array
) -> tuple[float, float]:
    """(severity, ln of the relative page evidence); learns the distributions.

    share: float64 (6,) out, how far each channel is above its own median, for explanations.
    """
    if entity.ticks[row] % REFRESH == 0.0:
        refresh(entity, counts, mass, row)
    u_severe, u_page = 0.0, 0.0
    first: Any = np.int64(row) * HISTOGRAMS
    for k in range(CHANNELS):
        log_c = np.log(max(channel[k], 1e-3))
        relative = min(np.exp(log_c - np.float64(entity.middle[row, k])), SEVERITY_MOST)
        urgent = min(np.exp(log_c - np.float64(entity.high[row, k])), PAGE_MOST)
        share[k] = relative
        if k != G:
            u_severe += relative / 5.0
        if k != E:
            u_page += urgent / 5.0
        tail.add(counts, unit, mass, first + k, log_c)
    severe = np.float64(entity.severe[row])
    severe += (UP if u_severe > severe else DOWN) * (u_severe - severe)
    urgent_now = np.float64(entity.urgent[row]) + PAGE_KEEP * (u_page - np.float64(entity.urgent[row]))
    recent = np.float64(entity.recent[row])
    log_page = np.log(max(urgent_now / (PAGE_OFFSET + recent), 1e-3))
    entity.severe[row], entity.urgent[row] = np.float32(severe), np.float32(urgent_now)
    entity.recent[row] = np.float32(recent + RECENT_RATE * (u_page - recent))
    log_severe = np.log(max(severe, 1e-3))
    severity = tail.severity(
        log_severe, np.float64(entity.middle[row, SEVERE]), np.float64(entity.upper[row]), np.float64(entity.rare[row]),
        np.float64(entity.high[row, SEVERE]), np.float64(entity.beta[row, SEVERE]),
    )  # fmt: skip
    tail.add(counts, unit, mass, first + SEVERE, log_severe)
    tail.add(counts, unit, mass, first + URGENT, log_page)
    entity.ticks[row] += 1.0
    return severity, log_page


@inline
def page(entity: Entity, row: int, log_page: float, per_day: float) -> float:
    """Urgency of starting a page, 1 at the threshold that a normal entity passes `per_day` times a day."""
    rate = tick_rate(entity, row, per_day)
    start, beta = np.float64(entity.high[row, URGENT]), np.float64(entity.beta[row, URGENT])
    threshold = start + beta * np.log(max(tail.TAIL_SHARE / rate, 1.0))
    return np.float64(np.exp(log_page - threshold - np.float64(entity.control[row]) - np.float64(entity.gate[row])))


@inline
def tick_rate(entity: Entity, row: int, per_day: float) -> float:
    """Share of ticks that may pass the threshold."""
    step_ms = np.float64(entity.step_ms[row])
    ticks_a_day = 86_400_000.0 / step_ms if step_ms > 0.0 else 1440.0
    return min(per_day / ticks_a_day / EPISODE_TICKS, tail.TAIL_SHARE)


@inline
def account(entity: Entity, row: int, pages: float, per_day: float) -> None:
    """Online control of the page rate (Gibbs & Candes 2021): a page raises the threshold, quiet ticks lower it.

    pages: 0, or the weight of a page that starts now. One far beyond the threshold is likely to be right and weighs
    little, so that a bad week does not deafen the engine.
    """
    rate = EPISODE_TICKS * tick_rate(entity, row, per_day)
    moved = np.float64(entity.control[row]) + CONTROL_GAIN * (pages - rate)
    entity.control[row] = np.float32(min(max(moved, -0.5), 0.8))


def distil(entity: Entity, row: int) -> Array:
    """float64 (8, 96): the entity's own share of its histograms, each of sum 1; what the factory gave is taken out."""
    counts, given = entity.counts[row].astype(np.float64), factory().astype(np.float64)
    return np.stack([tail.distil(own, start) for own, start in zip(counts, given, strict=True)])


def seed(entity: Entity, row: int, *, shares: Array, rows: float) -> None:
    """Start a fresh entity's histograms from a source's, as if `rows` ticks had been counted. shares: (8, 96)."""
    for k in range(HISTOGRAMS):
        entity.counts[row, k] = tail.merge(shares[k], rows)
        entity.mass[row, k], entity.unit[row, k] = rows, 1.0
