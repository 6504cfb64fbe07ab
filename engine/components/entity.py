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
from engine.components import habit as habits
from engine.components import joint, tail
from engine.components.factory import FACTORY_ROWS, PEAK_ROWS, factory
from engine.components.habit import HOUR_MS, HOURS, Habit
from engine.kernel import inline

E, X, S, M, ME, G = range(6)
CHANNELS = 6
#: What `page` takes of E and X: as far as the time of day does not explain a lone series.
PAGE_E, PAGE_X = 6, 7
EVIDENCE = 8
NAMES = ("forecast", "structure", "season", "distance", "residual-distance", "drift")
SEVERE, PRESENT, PEAK_E, PEAK_X, PEAK_G, PEAK_PAGE = range(6, 12)
#: Histograms of an entity. One entry a tick: the six channels, the smoothed severity evidence and what of it is there
#: now. One an hour, its largest value: E, X, G and the relative page evidence.
HISTOGRAMS, HOURLY = 12, 4
TICKLY = HISTOGRAMS - HOURLY
#: A channel's high mark: its 99 % quantile.
CHANNEL_SHARE = 0.01
REFRESH = 16
#: What a lone series adds to the rate at which evidence falls in `severity`.
DOWN_ALONE = 0.02
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
HOUR_TICKS = 60.0
#: A page says that something is sudden and rare: what is no rarer than one in a hundred is worth as much less, and what
#: is rarer a little more, by LIFT in ln for each power of ten.
RARE, LIFT = 2.0, 0.15
#: The threshold of `page` starts from what the peak of one hour in twenty exceeds, and goes on with this much of the
#: slope of the distribution there, for tails become thinner.
PAGE_SHARE, PAGE_SLOPE = 0.05, 0.8
#: The usual peak of a channel is what that of every fifth hour exceeds, in ln; at least half of a typical residual, or
#: the least stir of a metric that is still all day would be large.
PEAK_LEAST = -0.7
#: An entity whose hours pass the threshold, rare or not, more than CONTROL_FREE times as often as it may page becomes
#: harder to page for, by CONTROL_GAIN in ln an hour up to CONTROL_MOST. Less than that may be the truth, and one far
#: beyond the threshold counts CONTROL_FAR.
CONTROL_FREE, CONTROL_GAIN, CONTROL_MOST, CONTROL_FAR = 10.0, 0.05, 0.8, 0.3
#: A series of many is rare enough only so far out that its tail is a guess, and has to be as much rarer.
DISTRUST = 0.2
#: What is grave for LASTING ticks is a page, however slowly it has come: severity of one in ten thousand, or a series
#: that by itself is rarer than the budget of pages allows. One page has told of the next TOLD ticks as well.
GRAVE, LASTING, TOLD = 4.0, 8.0, 60.0
#: In ln: beyond the threshold by so much is far.
FAR = 0.7
#: In ln: a forecast error so far beyond its usual peak, of which the time of the day explains the larger half, is a
#: page that was not sent.
EXPLAINED = 1.4
USUAL_RATE, QUALITY_RATE = 0.002, 0.05
#: ln(evidence) of an hour that has had none; the least evidence that there is.
NO_PEAK, LEAST = -9.0, 1e-3


class Entity(NamedTuple):
    """Per entity. counts (n, 12, 40), mass (n, 12): histograms of ln(evidence); unit, hour_unit: weight of an entry.

    Of those as last read: middle, top (n, 6), median and high mark of each channel; quantiles (n, 5), of the severity
    evidence; present_from: where evidence is there; usual_peak (n, 3), of E, X, G; page_from, page_slope: quantile and
    slope of the page evidence. ticks; severe, present, urgent, recent: smoothed evidence. hour: of local time since the
    epoch; peak (n, 4), hour_ticks: largest ln(evidence) and ticks in it so far. control, gate: corrections of the page
    threshold in ln, from the pages there were and from people's answers. untold: ticks in a row that were grave and of
    which no page has told; below 0: so many more are told of. step_ms: typical time between ticks. quality:
    share of the series that usually report (usual, a count) which do; moving: how many of them usually move.
    """

    counts: Array
    mass: Array
    unit: Array
    hour_unit: Array
    middle: Array
    top: Array
    quantiles: Array
    present_from: Array
    usual_peak: Array
    page_from: Array
    page_slope: Array
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
    untold: Array
    step_ms: Array
    quality: Array
    usual: Array
    moving: Array


COLUMNS = {
    "counts": Column(np.float32, after=(HISTOGRAMS, tail.BINS)),
    "mass": Column(np.float32, FACTORY_ROWS, after=(HISTOGRAMS,)),
    "unit": Column(np.float32, 1.0),
    "hour_unit": Column(np.float32, 1.0),
    "middle": Column(np.float32, after=(CHANNELS,)),
    "top": Column(np.float32, after=(CHANNELS,)),
    "quantiles": Column(np.float32, after=(tail.QUANTILES,)),
    "present_from": Column(np.float32),
    "usual_peak": Column(np.float32, after=(HOURLY - 1,)),
    "page_from": Column(np.float32),
    "page_slope": Column(np.float32, 0.3),
    "ticks": Column(np.float64),
    "severe": Column(np.float32, 1.0),
    "present": Column(np.float32, 1.0),
    "urgent": Column(np.float32, 0.5),
    "recent": Column(np.float32, 0.5),
    "hour": Column(np.int64, -1),
    "peak": Column(np.float32, NO_PEAK, after=(HOURLY,)),
    "hour_ticks": Column(np.float32),
    "control": Column(np.float32),
    "gate": Column(np.float32),
    "untold": Column(np.float32),
    "step_ms": Column(np.float32),
    "quality": Column(np.float32, 1.0),
    "usual": Column(np.float32),
    "moving": Column(np.float32),
}


@inline
def evidence(means: Array, channel: Array) -> None:
    """The channels of a tick from the means over its metrics. channel: float64 (8,) out, ln(evidence)."""
    channel[E] = np.log(max(means[joint.SUM_E], LEAST))
    channel[X] = np.log(max(means[joint.SUM_X], LEAST))
    channel[S] = np.log(max(means[joint.SUM_S], LEAST))
    channel[G] = np.log(max(means[joint.SUM_G], LEAST))
    channel[PAGE_E] = np.log(max(means[joint.SUM_PAGE_E], LEAST))
    channel[PAGE_X] = np.log(max(means[joint.SUM_PAGE_X], LEAST))
    channel[M] = np.log(max(np.sqrt(means[joint.SUM_M]), LEAST))
    channel[ME] = np.log(max(np.sqrt(means[joint.SUM_ME]), LEAST))


@inline
def count_reports(entity: Entity, row: int, reports: int, moving: float) -> None:
    """Learn how many series usually report in a tick, how many move, and how complete ticks are.

    Against what is usual, not against all members: slow metrics beside fast ones are no gap in the data.
    """
    # The first tick, and the first in which something moves, count whole, also of an entity that has borrowed an age.
    rate = max(USUAL_RATE, 1.0 / (entity.ticks[row] + 1.0)) if entity.usual[row] > 0.0 else 1.0
    usual, now = np.float64(entity.usual[row]), np.float64(reports)
    usual += rate * (now - usual)
    entity.usual[row] = np.float32(usual)
    was = np.float64(entity.moving[row])
    entity.moving[row] = np.float32(was + rate * (moving - was) if was > 0.0 else moving)
    complete = min(now / max(usual, 1.0), 1.0)
    entity.quality[row] += np.float32(QUALITY_RATE * (complete - np.float64(entity.quality[row])))


@inline
def alone(entity: Entity, row: int) -> float:
    """One over the number of series that usually move: 1 for a lone one."""
    return 1.0 / max(np.float64(entity.moving[row]), 1.0)


@inline
def refresh(entity: Entity, counts: Array, mass: Array, row: int) -> None:
    """Read the quantiles from the histograms. counts, mass: the (n * 12, 40) and (n * 12,) views of the columns."""
    first: Any = np.int64(row) * HISTOGRAMS
    for k in range(CHANNELS):
        middle, _, _, top = tail.read(counts, mass, first + k, CHANNEL_SHARE)
        entity.middle[row, k], entity.top[row, k] = np.float32(middle), np.float32(top)
    tail.summarise(counts, mass, first + SEVERE, entity.quantiles[row])
    _, _, rare, high = tail.read(counts, mass, first + PRESENT, tail.TAIL_SHARE)
    beyond = np.log(10.0) * (tail.UNUSUAL + np.log10(tail.TAIL_SHARE))
    entity.present_from[row] = np.float32(high + tail.slope(rare, 0.05, high, tail.TAIL_SHARE) * beyond)
    for k in range(HOURLY - 1):
        _, upper, _, _ = tail.read(counts, mass, first + PEAK_E + k, CHANNEL_SHARE)
        entity.usual_peak[row, k] = np.float32(max(upper, PEAK_LEAST))
    _, upper, rare, _ = tail.read(counts, mass, first + PEAK_PAGE, CHANNEL_SHARE)
    entity.page_from[row] = np.float32(rare)
    entity.page_slope[row] = np.float32(max(PAGE_SLOPE * tail.slope(upper, 0.2, rare, PAGE_SHARE), tail.THINNEST))


@inline
def score(
    entity: Entity, habit: Habit, counts: Array, mass: Array, row: int, local_ms: int, channel: Array, loudest: float,
    per_day: float, share: Array,
) -> tuple[float, float]:  # fmt: skip
    """(severity, page) of one tick; learns the distributions.

    local_ms: the tick's time in the zone that days are counted in. channel: ln(evidence), from `evidence`. loudest:
    page of the series that is most unusual by itself. share: float64 (6,) out, how far each channel is above its own
    median, for explanations. page: urgency of starting one, 1 at the threshold that a normal entity passes `per_day`
    times a day; NaN for an entity too young to page.
    """
    if entity.ticks[row] % REFRESH == 0.0:
        refresh(entity, counts, mass, row)
    if local_ms // HOUR_MS != entity.hour[row]:
        _end_hour(entity, habit, counts, mass, row, per_day)
        habits.begin_hour(habit, row, local_ms // HOUR_MS == entity.hour[row] + 1)
        entity.hour[row] = local_ms // HOUR_MS
    u_severe, lone = 0.0, alone(entity, row)
    first: Any = np.int64(row) * HISTOGRAMS
    unit = np.float64(entity.unit[row])
    for k in range(CHANNELS):
        middle = np.float64(entity.middle[row, k])
        share[k] = min(np.exp(channel[k] - middle), SEVERITY_MOST)
        if k != G:
            usual = middle + lone * (np.float64(entity.top[row, k]) - middle - NORMAL_TAIL)
            u_severe += min(np.exp(channel[k] - usual), SEVERITY_MOST) / 5.0
        tail.add(counts, mass, first + k, channel[k], unit)
    severity = _severity(entity, counts, mass, row, u_severe, lone)
    page = _page(entity, habit, row, local_ms, channel, loudest, severity, lone, per_day)
    entity.unit[row] = np.float32(tail.fade(counts, mass, first, TICKLY, unit, 1.0))
    entity.ticks[row] += 1.0
    return severity, page


@inline
def _severity(entity: Entity, counts: Array, mass: Array, row: int, u_severe: float, lone: float) -> float:
    """-log10 p of the smoothed evidence; less than ALARM where there is only its echo and no evidence any more."""
    severe = joint.follow(np.float64(entity.severe[row]), u_severe, joint.UP, joint.DOWN + DOWN_ALONE * lone)
    present = joint.follow(np.float64(entity.present[row]), u_severe, PRESENT_UP, PRESENT_DOWN)
    entity.severe[row], entity.present[row] = np.float32(severe), np.float32(present)
    log_severe, log_present = np.log(max(severe, LEAST)), np.log(max(present, LEAST))
    severity = tail.severity(log_severe, entity.quantiles[row])
    is_present = log_present >= np.float64(entity.present_from[row])
    index: Any = np.int64(row) * HISTOGRAMS + SEVERE
    unit = np.float64(entity.unit[row])
    tail.add(counts, mass, index, log_severe, unit * tail.weight_of(severity))
    tail.add(counts, mass, index + (PRESENT - SEVERE), log_present, unit * (tail.UNUSUAL_WEIGHT if is_present else 1.0))
    if is_present or severity < ECHO:
        return severity
    return ECHO + (ALARM - ECHO) * (severity - ECHO) / (severity - ECHO + 1.0)


@inline
def _page(
    entity: Entity, habit: Habit, row: int, local_ms: int, channel: Array, loudest: float, severity: float, lone: float,
    per_day: float,
) -> float:  # fmt: skip
    """Sudden, as far as the page evidence is above its recent level; rare, by severity; and no habit of this hour.

    Or grave for long, as a whole or in one metric, if nobody has been told: what comes slowly is never sudden, and what
    one metric of forty does is lost in their mean.
    """
    log_page = _urgency(entity, row, channel, lone)
    is_settled = entity.ticks[row] >= SETTLED
    if is_settled:
        peak = entity.peak[row]
        peak[0], peak[1] = max(peak[0], np.float32(channel[PAGE_E])), max(peak[1], np.float32(channel[PAGE_X]))
        peak[2], peak[3] = max(peak[2], np.float32(channel[G])), max(peak[3], np.float32(log_page))
        entity.hour_ticks[row] += np.float32(1.0)
    if entity.ticks[row] < SILENT:
        return np.nan
    rarity = np.log(10.0) * min(severity - RARE, 0.0) + LIFT * max(severity - RARE, 0.0)
    margin = log_page + rarity - _threshold(entity, row, per_day)
    margin = _outlasted(entity, row, loudest - DISTRUST * (1.0 - lone), severity, margin)
    if is_settled:
        over = channel[E] - np.float64(entity.usual_peak[row, 0])
        is_explained = over >= EXPLAINED and channel[E] - channel[PAGE_E] >= 0.5 * EXPLAINED
        habits.see(habit, row, local_ms, margin, is_explained)
    return np.float64(np.exp(margin - habits.needed(habit, row, local_ms) - np.float64(entity.gate[row])))


@inline
def _outlasted(entity: Entity, row: int, loudest: float, severity: float, margin: float) -> float:
    """The margin of a page in ln; at least 0 where a grave stretch has lasted and no page has told of it."""
    untold: float = np.float64(entity.untold[row])
    if margin >= 0.0:
        untold = -TOLD
    elif severity >= GRAVE or loudest >= 1.0:
        untold += 1.0
    else:
        untold = min(untold + 1.0, 0.0)
    if untold >= LASTING:
        margin, untold = max(margin, LIFT * max(severity - GRAVE, 0.0)), -TOLD
    entity.untold[row] = np.float32(untold)
    return margin


@inline
def _urgency(entity: Entity, row: int, channel: Array, lone: float) -> float:
    """ln of the page evidence over its own recent level."""
    now_e = min(np.exp(channel[PAGE_E] - np.float64(entity.usual_peak[row, 0])), PAGE_MOST)
    now_x = min(np.exp(channel[PAGE_X] - np.float64(entity.usual_peak[row, 1])), PAGE_MOST)
    now_g = min(np.exp(channel[G] - np.float64(entity.usual_peak[row, 2])), PAGE_MOST)
    now = 0.5 * (lone * now_e + (1.0 - lone) * now_g + now_x)
    urgent, recent = np.float64(entity.urgent[row]), np.float64(entity.recent[row])
    urgent += (PAGE_KEEP + PAGE_KEEP_ALONE * lone) * (now - urgent)
    entity.urgent[row] = np.float32(urgent)
    entity.recent[row] = np.float32(recent + (RECENT_RATE + RECENT_RATE_ALONE * lone) * (now - recent))
    return np.float64(np.log(max(urgent / (PAGE_OFFSET + recent), LEAST)))


@inline
def _end_hour(entity: Entity, habit: Habit, counts: Array, mass: Array, row: int, per_day: float) -> None:
    """Count the peaks of the hour that is over, learn its habit, and hold the entity to its budget of pages."""
    first: Any = np.int64(row) * HISTOGRAMS
    peak, ticks = entity.peak[row], np.float64(entity.hour_ticks[row])
    if ticks > 0.0:
        over = np.float64(peak[3]) - _threshold(entity, row, per_day)
        # An hour weighs as many ticks as it has, so that all histograms have one memory, but at most one of minutes.
        ticks = np.float64(min(ticks, HOUR_TICKS))
        unit = np.float64(entity.hour_unit[row])
        for k in range(HOURLY):
            weight = ticks * tail.UNUSUAL_WEIGHT if PEAK_E + k == PEAK_PAGE and over >= 0.0 else ticks
            tail.add(counts, mass, first + PEAK_E + k, np.float64(peak[k]), unit * weight)
        entity.hour_unit[row] = np.float32(tail.fade(counts, mass, first + PEAK_E, HOURLY, unit, ticks))
        habits.learn(habit, row, entity.hour[row] % HOURS)
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
    beyond = np.log(max(PAGE_SHARE / hour_rate(entity, row, per_day), 1.0))
    threshold = np.float64(entity.page_from[row]) + np.float64(entity.page_slope[row]) * beyond
    return np.float64(threshold + np.float64(entity.control[row]))


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
    """float64 (12, 40): the entity's own share of its histograms, each of sum 1; what the factory gave is taken out."""
    counts, given = entity.counts[row].astype(np.float64), factory().astype(np.float64)
    return np.stack([tail.distil(own, start) for own, start in zip(counts, given, strict=True)])


def begin(entity: Entity, row: int, given: Array) -> None:
    """Start the histograms of a fresh entity from the factory's. given: from `factory`."""
    entity.counts[row], entity.mass[row] = given, given.sum(axis=1)


def seed(entity: Entity, row: int, *, shares: Array, rows: float) -> None:
    """Start a fresh entity's histograms from a source's, as if `rows` ticks had been counted. shares: (12, 40).

    That of the page evidence is not lent: it is nearly the same for all, and a source's few hours know it worse than
    the factory does. Hourly peaks weigh no more than the factory's.
    """
    for k in range(PEAK_PAGE):
        weight = min(rows, PEAK_ROWS) if k > PRESENT else rows
        entity.counts[row, k] = tail.merge(shares[k], weight)
        entity.mass[row, k] = weight
