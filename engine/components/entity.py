"""Entity: from the evidence of all metrics of a tick to one severity and one page.

Owns the six channels of an entity (E forecast residual, X conditional residual, S seasonal residual, M and ME
distances, G smoothed residual), the running distribution of each, and what is made of them: `severity` is smoothed
and covers a whole incident, `page` is sharp and marks its start. It decides nothing.

Not obvious. (1) A channel is measured against its own running quantile, so no channel and no entity needs a
threshold. For `page` that is the quantile of its largest value of an hour, since one page an hour is all there is: a
channel that bursts often, however briefly, must burst higher to count. (2) `page` is relative to its own recent
level, hence a storm pages once. (3) All distributions start from factory histograms; a seed replaces them by the
source's. That of `page` starts with the weight of months: what is left after (1) and (2) is nearly the same for all
entities, and learned from one alone it would follow that one's incidents. (4) A lone series (`alone` = 1) has no
others to agree with. Its evidence is the sample, not a stretch of them; and one number has a heavier tail than a mean
of many, so its high quantile is the measure instead of its median. In between, 1 / metrics of the one and the rest of
the other. (5) Quantiles are read from the histograms every REFRESH ticks, by count, so batch cuts do not matter.
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
SEVERE, PRESENT, PEAK_E, PEAK_X, PEAK_G, URGENT = range(6, 12)
#: Histograms of an entity: the six channels, the smoothed severity evidence and what of it is there now, tick by tick;
#: the largest value of each hour of E, X, G and of the relative page evidence.
HISTOGRAMS = 12
FACTORY_ROWS = 1000.0
#: Ticks behind the factory histogram of the page evidence: two memories.
PAGE_ROWS = 100_000.0
#: And behind those of the hourly peaks of a channel.
PEAK_ROWS = 400.0
#: A channel's high mark: its 99 % quantile.
CHANNEL_SHARE = 0.01
REFRESH = 16
#: How fast evidence rises and falls in `severity`, the latter for many metrics and what a lone one adds.
UP, DOWN, DOWN_ALONE = 0.3, 0.05, 0.02
#: The same of the evidence that is there now.
PRESENT_UP, PRESENT_DOWN = 0.5, 0.3
#: Where the echo of an incident stays: below ALARM.
ECHO, ALARM = 2.0, 3.0
#: The same of `page`: how much of a tick counts at once, and how fast the recent level follows.
PAGE_KEEP, PAGE_KEEP_ALONE = 0.7, 0.3
RECENT_RATE, RECENT_RATE_ALONE, PAGE_OFFSET = 0.01, 0.04, 0.3
#: A channel counts up to so many medians, hourly peaks.
SEVERITY_MOST, PAGE_MOST = 40.0, 7.0
#: ln(99 % quantile / median) of a normal variate's size. What a lone channel has more than that is its own heavy tail.
NORMAL_TAIL = 1.34
#: Ticks before an entity may page at all: the first solve of the joint model and half of the next; and before its hours
#: are counted.
SILENT, SETTLED = 48.0, 100.0
HOUR_MS, HOURS, HOUR_TICKS = 3_600_000, 24.0, 60.0
#: A page says that something is sudden and rare: what is no rarer than one in a hundred is worth as much less, and what
#: is rarer a little more, by LIFT in ln for each power of ten.
RARE, LIFT = 2.0, 0.15
#: The threshold of `page` starts from this share of hours.
PAGE_SHARE = 0.05
#: An entity whose hours pass the threshold, rare or not, more than CONTROL_FREE times as often as it may page becomes
#: harder to page for, by CONTROL_GAIN in ln an hour up to CONTROL_MOST. Less than that may be the truth, and one far
#: beyond the threshold counts CONTROL_FAR.
CONTROL_FREE, CONTROL_GAIN, CONTROL_MOST, CONTROL_FAR = 10.0, 0.05, 0.8, 0.3
#: In ln: beyond the threshold by so much is far.
FAR = 0.7
USUAL_RATE, QUALITY_RATE = 0.002, 0.05
#: ln(evidence) of an hour that has had none.
NO_PEAK = -9.0


class Entity(NamedTuple):
    """Per entity. counts (n, 12, 96), unit, mass (n, 12): histograms. middle, high (n, 12), upper, rare: quantiles of
    ln(evidence) as last read; beta: slope of the tail. severe, present, urgent, recent: smoothed evidence. hour: since
    the epoch; peak (n, 4), hour_ticks: largest ln(evidence) and ticks in it so far. control, gate: corrections of the
    page threshold in ln, from the pages there were and from people's answers. step_ms: typical time between ticks.
    quality: share of the series that usually report (usual, a count) which do."""

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
    present: Array
    urgent: Array
    recent: Array
    hour: Array
    peak: Array
    hour_ticks: Array
    control: Array
    gate: Array
    step_ms: Array
    quality: Array
    usual: Array


# ln(evidence) on normal data of many entities: centre, spread of the body, slope of the tail, ticks; a row a histogram.
FACTORY = (
    (-1.30, 0.50, 0.35, FACTORY_ROWS),
    (-1.45, 0.40, 0.35, FACTORY_ROWS),
    (-1.30, 0.50, 0.35, FACTORY_ROWS),
    (-0.70, 0.40, 0.45, FACTORY_ROWS),
    (-0.65, 0.45, 0.40, FACTORY_ROWS),
    (-1.50, 0.50, 0.35, FACTORY_ROWS),
    (0.20, 0.50, 0.35, FACTORY_ROWS),
    (0.00, 0.45, 0.35, FACTORY_ROWS),
    (0.65, 0.45, 0.35, PEAK_ROWS),
    (0.10, 0.50, 0.35, PEAK_ROWS),
    (-0.20, 0.50, 0.35, PEAK_ROWS),
    (-0.15, 0.38, 0.30, PAGE_ROWS),
)


def factory() -> Array:
    """float32 (12, 96): the histograms that a fresh entity starts with."""
    middle = tail.LOW + tail.WIDTH * (np.arange(tail.BINS) + 0.5)
    counts = np.empty((HISTOGRAMS, tail.BINS))
    for at, (centre, spread, slope, ticks) in enumerate(FACTORY):
        start = centre + 2.05 * spread
        body = np.exp(-0.5 * ((middle - centre) / spread) ** 2)
        beyond = np.exp(-0.5 * 2.05**2) * np.exp(-(middle - start) / slope)
        shape = np.where(middle < start, body, beyond)
        counts[at] = shape * (ticks / shape.sum())
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
    "present": Column(np.float32, 1.0),
    "urgent": Column(np.float32, 0.5),
    "recent": Column(np.float32, 0.5),
    "hour": Column(np.int64, -1),
    "peak": Column(np.float32, NO_PEAK, after=(4,)),
    "hour_ticks": Column(np.float32),
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
    """Read the quantiles and tail slopes from the histograms. counts: the (n * 12, 96) view of `entity.counts`."""
    first: Any = np.int64(row) * HISTOGRAMS
    for k in range(HISTOGRAMS):
        top = CHANNEL_SHARE if k < CHANNELS else tail.TAIL_SHARE
        middle, upper, rare, high, beta = tail.read(counts, mass, first + k, top)
        if k == SEVERE:
            entity.upper[row], entity.rare[row] = np.float32(upper), np.float32(rare)
            beta = tail.slope(rare, high)
        elif k == PRESENT:
            high += tail.slope(rare, high) * np.log(10.0) * (tail.UNUSUAL + np.log10(tail.TAIL_SHARE))
        elif k == URGENT:
            high = rare
        elif k > PRESENT:
            # What the peak of every fifth hour exceeds.
            high = upper
        entity.middle[row, k], entity.high[row, k] = np.float32(middle), np.float32(high)
        entity.beta[row, k] = np.float32(beta)


@inline
def score(
    entity: Entity, counts: Array, unit: Array, mass: Array, row: int, ts_ms: int, channel: Array, alone: float,
    per_day: float, share: Array,
) -> tuple[float, float]:  # fmt: skip
    """(severity, ln of the relative page evidence); learns the distributions.

    alone: one over the number of metrics that say something. share: float64 (6,) out, how far each channel is above
    its own median, for explanations.
    """
    if entity.ticks[row] % REFRESH == 0.0:
        refresh(entity, counts, mass, row)
    if ts_ms // HOUR_MS != entity.hour[row]:
        _end_hour(entity, counts, unit, mass, row, per_day)
        entity.hour[row] = ts_ms // HOUR_MS
    u_severe = 0.0
    first: Any = np.int64(row) * HISTOGRAMS
    for k in range(CHANNELS):
        log_c = np.log(max(channel[k], 1e-3))
        middle = np.float64(entity.middle[row, k])
        share[k] = min(np.exp(log_c - middle), SEVERITY_MOST)
        if k != G:
            usual = middle + alone * (np.float64(entity.high[row, k]) - middle - NORMAL_TAIL)
            u_severe += min(np.exp(log_c - usual), SEVERITY_MOST) / 5.0
        tail.add(counts, unit, mass, first + k, log_c, 1.0, 1.0)
    severity = _severity(entity, counts, unit, mass, row, u_severe, alone)
    return severity, _urgency(entity, row, channel, alone)


@inline
def _severity(
    entity: Entity, counts: Array, unit: Array, mass: Array, row: int, u_severe: float, alone: float
) -> float:
    """-log10 p of the smoothed evidence; less than ALARM where there is only its echo and no evidence any more."""
    severe = np.float64(entity.severe[row])
    severe += (UP if u_severe > severe else DOWN + DOWN_ALONE * alone) * (u_severe - severe)
    entity.severe[row] = np.float32(severe)
    log_severe = np.log(max(severe, 1e-3))
    severity = tail.severity(
        log_severe, np.float64(entity.middle[row, SEVERE]), np.float64(entity.upper[row]), np.float64(entity.rare[row]),
        np.float64(entity.high[row, SEVERE]), np.float64(entity.beta[row, SEVERE]),
    )  # fmt: skip
    index: Any = np.int64(row) * HISTOGRAMS + SEVERE
    tail.add(counts, unit, mass, index, log_severe, tail.weight_of(severity), 1.0)
    present = np.float64(entity.present[row])
    present += (PRESENT_UP if u_severe > present else PRESENT_DOWN) * (u_severe - present)
    entity.present[row] = np.float32(present)
    log_present = np.log(max(present, 1e-3))
    is_present = log_present >= np.float64(entity.high[row, PRESENT])
    weight = tail.UNUSUAL_WEIGHT if is_present else 1.0
    tail.add(counts, unit, mass, index + (PRESENT - SEVERE), log_present, weight, 1.0)
    if is_present or severity < ECHO:
        return severity
    return ECHO + (ALARM - ECHO) * (severity - ECHO) / (severity - ECHO + 1.0)


@inline
def _urgency(entity: Entity, row: int, channel: Array, alone: float) -> float:
    """ln of the page evidence over its own recent level; counts the tick in its hour."""
    log_e, log_x, log_g = np.log(max(channel[E], 1e-3)), np.log(max(channel[X], 1e-3)), np.log(max(channel[G], 1e-3))
    now_e = min(np.exp(log_e - np.float64(entity.high[row, PEAK_E])), PAGE_MOST)
    now_x = min(np.exp(log_x - np.float64(entity.high[row, PEAK_X])), PAGE_MOST)
    now_g = min(np.exp(log_g - np.float64(entity.high[row, PEAK_G])), PAGE_MOST)
    now = 0.5 * (alone * now_e + (1.0 - alone) * now_g + now_x)
    urgent, recent = np.float64(entity.urgent[row]), np.float64(entity.recent[row])
    urgent += (PAGE_KEEP + PAGE_KEEP_ALONE * alone) * (now - urgent)
    log_page = np.log(max(urgent / (PAGE_OFFSET + recent), 1e-3))
    entity.urgent[row] = np.float32(urgent)
    entity.recent[row] = np.float32(recent + (RECENT_RATE + RECENT_RATE_ALONE * alone) * (now - recent))
    peak = entity.peak[row]
    peak[0], peak[1] = max(peak[0], np.float32(log_e)), max(peak[1], np.float32(log_x))
    peak[2], peak[3] = max(peak[2], np.float32(log_g)), max(peak[3], np.float32(log_page))
    entity.hour_ticks[row] += np.float32(1.0)
    entity.ticks[row] += 1.0
    return np.float64(log_page)


@inline
def _end_hour(entity: Entity, counts: Array, unit: Array, mass: Array, row: int, per_day: float) -> None:
    """Count the peaks of the hour that is over, and hold the entity to its budget of pages."""
    first: Any = np.int64(row) * HISTOGRAMS
    peak, ticks = entity.peak[row], np.float64(entity.hour_ticks[row])
    if ticks > 0.0 and entity.ticks[row] >= SETTLED:
        over = np.float64(peak[3]) - _threshold(entity, row, per_day)
        # An hour weighs as many ticks as it has, so that all histograms have one memory, but at most one of minutes.
        ticks = np.float64(min(ticks, HOUR_TICKS))
        for k in range(4):
            weight = ticks * tail.UNUSUAL_WEIGHT if k == 3 and over >= 0.0 else ticks
            tail.add(counts, unit, mass, first + PEAK_E + k, np.float64(peak[k]), weight, ticks)
        page = 0.0
        if over >= 0.0:
            page = CONTROL_FAR if over > FAR else 1.0
        free = min(CONTROL_FREE * hour_rate(entity, row, per_day), 0.5 * CONTROL_FAR)
        moved = np.float64(entity.control[row]) + CONTROL_GAIN * (page - free)
        entity.control[row] = np.float32(min(max(moved, 0.0), CONTROL_MOST))
    peak[:] = np.float32(NO_PEAK)
    entity.hour_ticks[row] = np.float32(0.0)


@inline
def _threshold(entity: Entity, row: int, per_day: float) -> float:
    """ln of the page evidence that a normal entity passes `per_day` times a day, with the entity's own correction."""
    start, beta = np.float64(entity.high[row, URGENT]), np.float64(entity.beta[row, URGENT])
    beyond = np.log(max(PAGE_SHARE / hour_rate(entity, row, per_day), 1.0))
    return np.float64(start + beta * beyond + np.float64(entity.control[row]))


@inline
def page(entity: Entity, row: int, log_page: float, severity: float, per_day: float) -> float:
    """Urgency of starting a page, 1 at the threshold that a normal entity passes `per_day` times a day."""
    rarity = np.log(10.0) * min(severity - RARE, 0.0) + LIFT * max(severity - RARE, 0.0)
    return np.float64(np.exp(log_page + rarity - _threshold(entity, row, per_day) - np.float64(entity.gate[row])))


@inline
def hour_rate(entity: Entity, row: int, per_day: float) -> float:
    """Share of hours, or of ticks where they come less often, that may have a page."""
    return per_day * max(np.float64(entity.step_ms[row]) / HOUR_MS, 1.0) / HOURS


@inline
def tick_rate(entity: Entity, row: int, per_day: float) -> float:
    """Share of ticks that may pass a threshold."""
    step_ms = np.float64(entity.step_ms[row])
    ticks_a_day = 86_400_000.0 / step_ms if step_ms > 0.0 else 1440.0
    return min(per_day / ticks_a_day, 0.02)


def distil(entity: Entity, row: int) -> Array:
    """float64 (12, 96): the entity's own share of its histograms, each of sum 1; what the factory gave is taken out."""
    counts, given = entity.counts[row].astype(np.float64), factory().astype(np.float64)
    return np.stack([tail.distil(own, start) for own, start in zip(counts, given, strict=True)])


def seed(entity: Entity, row: int, *, shares: Array, rows: float) -> None:
    """Start a fresh entity's histograms from a source's, as if `rows` ticks had been counted. shares: (12, 96).

    That of the page evidence is not lent: it is nearly the same for all, and a source's few hours know it worse than
    the factory does. Hourly peaks weigh no more than the factory's.
    """
    for k in range(URGENT):
        weight = min(rows, PEAK_ROWS) if k > PRESENT else rows
        entity.counts[row, k] = tail.merge(shares[k], weight)
        entity.mass[row, k], entity.unit[row, k] = weight, 1.0
