"""Fold: the step of a shard, over a batch, in log order. The one loop of the engine.

Owns the order of things: check the time, apply the recipe, score every component of the series, learn, put the sample
into its entity's open tick; when the tick is complete, score and learn the joint model, give a verdict, advance the
alert's life, note what has to be told. Knows no formula: those are the components'.

A tick closes when every series that reported in the tick before has reported, when one of them reports again, or when
a sample is more than half of its series' step later. That is event time only: cuts of the log do not matter and
nothing waits for a clock.

Not obvious: everything a later sample needs is in columns, nothing in this function; it returns how far it came and is
called again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine import alerts, recipe, verdict
from engine.absence import SWEEP_MOST, advance_clock
from engine.columns import Array
from engine.components import block as blocks
from engine.components import (
    carry,
    change,
    entity,
    familiar,
    guard,
    hinkley,
    joint,
    level,
    presence,
    recent,
    season,
    tail,
    trial,
    wander,
)
from engine.components.block import Block
from engine.events import DRIFTED, FLAT, RETURNED, SPREAD, Events, note
from engine.kernel import inline, kernel
from engine.prefetch import fetch_ahead
from engine.state import CLOCK, EVENTS, TICKS, Context, Entities, Marks, Rows, TickMarks
from engine.tick import close_tick, opens_later_tick, report

LEARNED, SCORED_ONLY, DUPLICATE, LATE, MISSING, CONFLICT = range(6)
OUTCOMES = ("learned", "scored_only", "duplicate", "late", "missing", "conflict")

#: Half-width of the band in typical residuals.
BAND = guard.BAND
#: Samples between two readings of a series' quantiles.
SERIES_QUANTILE_EVERY = season.TURN


@kernel
def fold(
    row_of: Array, ts_of: Array, value_of: Array, begin: int, rows: Rows, ents: Entities, block: Block, pool: Array,
    marks: Marks, ticks: TickMarks, events: Events, context: Context,
) -> int:  # fmt: skip
    """Fold the samples from `begin` on; returns the index of the first sample that was not consumed.

    It returns after a sample that something has to be told of: what is told is read from the state, and may not depend
    on where a batch ends.
    """
    cursor = context.cursor
    room_ticks, room_events = len(ticks.entity) - 2, len(events.kind) - 3 * SWEEP_MOST
    for at in range(begin, len(row_of)):
        if cursor[TICKS] > room_ticks or cursor[EVENTS] > room_events:
            return at
        if context.is_large:
            fetch_ahead(row_of, ts_of, at, rows, ents, block, pool, context.offset_ms)
        before, ts_ms = cursor[EVENTS], ts_of[at]
        # Unsigned, so that the compiler need not ask at each of fifty columns whether the index is negative.
        row: Any = np.uint64(row_of[at])
        if context.is_twin:
            # The shard has accepted it: an earlier one than the last means that a wrong clock was set right.
            if ts_ms <= rows.presence.last_ms[row]:
                rows.presence.last_ms[row], rows.recipe.last[row] = -1, np.nan
        elif not _is_new(row, ts_ms, value_of[at], at, rows, marks, context.clock[CLOCK]):
            continue
        e: Any = np.uint64(rows.link.entity[row])
        # Two steps, so that there is one place where a tick is closed: before the sample, if it belongs to a later
        # tick; after it, if it was the last one due.
        for step in range(2):
            is_due = opens_later_tick(rows, ents, row, e, ts_ms)
            if step == 1:
                _sample(row, e, ts_ms, value_of[at], at, rows, ents, block, pool, marks, events, context)
                is_due = ents.open.due[e] == 0 and ents.open.here[e] > 0
            if is_due:
                close_tick(e, at, rows, ents, block, pool, ticks, events, context)
                if step == 1 and ents.open.members[e] == 1 and marks.outcome[at] == LEARNED:
                    _copy_verdict(marks, at, ticks, cursor[TICKS] - 1)
        if cursor[EVENTS] > before:
            return at + 1
    return len(row_of)


@inline
def _copy_verdict(marks: Marks, at: int, ticks: TickMarks, n: int) -> None:
    """A lone series is its entity: the verdict on its sample is the entity's."""
    marks.severity[at], marks.page[at], marks.confidence[at] = ticks.severity[n], ticks.page[n], ticks.confidence[n]
    marks.decision[at] = ticks.decision[n]


@inline
def _is_new(row: int, ts_ms: int, value: float, at: int, rows: Rows, marks: Marks, clock_ms: int) -> bool:
    """Is this sample later than all of its series? If not, it is counted and changes nothing."""
    last_ms = rows.presence.last_ms[row]
    if ts_ms > last_ms:
        return True
    if presence.was_ahead(rows.presence, row, ts_ms, clock_ms):
        # As after a pause: no gap, no rate.
        rows.presence.last_ms[row], rows.recipe.last[row] = -1, np.nan
        return True
    same = value == rows.recipe.last[row] or np.isnan(value)
    if ts_ms < last_ms:
        marks.outcome[at] = LATE
    else:
        marks.outcome[at] = DUPLICATE if same else CONFLICT
    return False


@inline
def _sample(
    row: int, e: int, ts_ms: int, value: float, at: int, rows: Rows, ents: Entities, block: Block, pool: Array,
    marks: Marks, events: Events, context: Context,
) -> None:  # fmt: skip
    """Take in one sample that is new."""
    if not context.is_twin:
        advance_clock(row, e, ts_ms, at, rows, ents, events, context)
    last_ms = rows.presence.last_ms[row]
    if rows.presence.absent[row] != 0:
        if rows.presence.absent[row] == presence.GONE:
            ents.open.members[e] += 1
        else:
            ents.open.absent[e] -= 1
        rows.presence.absent[row] = 0
        note(events, context, RETURNED, row, ts_ms, at)
        events.times[context.cursor[EVENTS] - 1, 0] = last_ms
    is_first = last_ms < 0
    presence.arrived(rows.presence, row, ts_ms, ts_ms if context.is_twin else context.clock[CLOCK])
    z, news, r_season, spread, stray = np.nan, 0.0, 0.0, 1.0, 0.0
    if np.isnan(value):
        marks.outcome[at] = MISSING
    else:
        z, news, r_season, spread, stray = _value(
            row, e, ts_ms, last_ms, value, at, rows, ents, block, pool, marks, events, context
        )
    if not is_first:
        report(rows, ents, block, pool, row, e, ts_ms, z, news, r_season, spread, stray)


@inline
def _value(
    row: int, e: int, ts_ms: int, last_ms: int, wire: float, at: int, rows: Rows, ents: Entities, block: Block,
    pool: Array, marks: Marks, events: Events, context: Context,
) -> tuple[float, float, float, float, float]:  # fmt: skip
    """Score and learn one number of one series.

    (z, novelty, seasonal score, spread of the hour, distance from what is usual about this time); z NaN
    where none.
    """
    was = rows.recipe.last[row]
    value, is_new_kind = recipe.apply(rows.recipe, row, ts_ms, wire)
    if is_new_kind:
        restart(rows, block, pool, row)
    marks.kind[at] = rows.recipe.kind[row]
    if np.isnan(value):
        marks.outcome[at] = SCORED_ONLY
        return np.nan, 0.0, 0.0, 1.0, 0.0
    marks.outcome[at], rows.shown.value[row] = LEARNED, value
    recent.keep(rows.recent, row, value, ts_ms - last_ms if last_ms >= 0 else 0)
    count = rows.level.count[row]
    if presence.is_stuck(rows.presence, row, wire == was, count):
        note(events, context, FLAT, row, ts_ms, at)
        events.numbers[context.cursor[EVENTS] - 1, 0] = wire
    sd = level.scale(rows.level, row)
    z, news, r_season, spread, stray = np.nan, 0.0, 0.0, 1.0, 0.0
    if not np.isnan(sd):
        z, news = level.score(rows.level, row, value, sd)
        slot = season.slot_of(ts_ms, context.offset_ms)
        step_ms = np.float64(rows.presence.step_ms[row])
        if slot != season.slot_of(last_ms, context.offset_ms):
            level.thaw(rows.level, row)
            season.hold(rows.season, row, rows.level.mean[row], sd, step_ms)
            season.enter(rows.season, row, slot, step_ms)
        forecast = season.expected(rows.season, row, slot)
        residual = z - forecast
        stray = season.stray(rows.season, row, slot, z)
        wander.learn(rows.wander, rows.season, row, slot, z)
        spread = season.spread_at(rows.season, row, slot, entity.alone(ents.entity, e))
        r_season = season.relative(rows.season, row, residual + news, spread)
        is_tried = rows.trial.state[row] == trial.ON
        carried = carry.into(rows.carry, rows.season, rows.change, row, slot, ts_ms - last_ms, z, is_tried)
        expected = rows.level.mean[row] + sd * (forecast + carried)
        band = BAND * sd * (np.float64(rows.season.sigma[row]) * spread + season.SIGMA_FLOOR)
        rows.shown.expected[row], rows.shown.band[row] = expected, np.float32(band)
        marks.expected[at] = np.float32(expected)
        marks.off[at], marks.band[at] = np.float32(value - expected), np.float32(band)
        _judge_series(row, e, count, r_season, at, rows, ents, marks, context)
        is_old = change.is_old(count, step_ms)
        _watch_level(row, ts_ms, slot, value, sd, is_old, at, rows, events, context)
        if is_old and rows.change.known[row] != 0 and wander.is_known(rows.wander, row, step_ms):
            _watch_spread(row, ts_ms, r_season, at, rows, events, context)
        is_held = change.is_suspected(rows.change, row, is_old)
        mean = rows.level.mean[row]
        season.learn(rows.season, row, slot, residual, step_ms, is_held, rows.change.known[row] != 0)
        level.learn(rows.level, row, value, sd)
        if is_tried:
            lent = np.float64(rows.change.entry[row])
            trial.learn(rows.trial, rows.level, rows.season, row, slot, value, sd, residual, mean, lent)
    else:
        level.learn(rows.level, row, value, sd)
    return z, news, r_season, spread, stray


@inline
def _watch_level(
    row: int,
    ts_ms: int,
    slot: int,
    value: float,
    sd: float,
    is_old: bool,
    at: int,
    rows: Rows,
    events: Events,
    context: Context,
) -> None:
    """Note a drift of the level, with the models as they were before it."""
    profile, level_now = np.float64(rows.season.profile[slot, row]), np.float64(rows.season.level[row])
    visits, sigma = rows.season.visits[slot, row], np.float64(rows.season.sigma[row])
    change.begin(rows.change, row, slot, visits, profile, rows.level.mean[row], sd, level_now, sigma)
    last, step = rows.level.last[row], rows.level.step[row]
    if change.watch(rows.change, row, value, last, season.SIGMA_FLOOR, step, is_old) == 0:
        return
    note(events, context, DRIFTED, row, ts_ms, at)
    k = context.cursor[EVENTS] - 1
    events.numbers[k, 0], events.numbers[k, 1] = change.unmoved(rows.change, row), rows.change.after[row]
    events.numbers[k, 2], events.numbers[k, 3] = rows.change.sd[row], rows.change.mean[row]
    events.numbers[k, 4], events.numbers[k, 5] = (
        np.float64(rows.change.level[row]),
        np.float64(abs(rows.change.run[row])),
    )
    change.clear(rows.change, row)
    hinkley.calm(rows.spread, row)


@inline
def _watch_spread(row: int, ts_ms: int, r_season: float, at: int, rows: Rows, events: Events, context: Context) -> None:
    """Note that a series is noisier than it was. r_season: its residual in its own typical size."""
    usual = hinkley.usual(rows.spread, row)
    squared, delta, threshold = r_season * r_season, hinkley.DELTA * usual, hinkley.THRESHOLD * usual
    is_noisier = (
        hinkley.watch(rows.spread, row, min(squared, hinkley.MOST * usual), delta, threshold, hinkley.LEAST) > 0
    )
    if hinkley.has_waited(rows.spread, row, is_noisier):
        note(events, context, SPREAD, row, ts_ms, at)
        hinkley.calm(rows.spread, row)


@inline
def _judge_series(
    row: int, e: int, count: float, r_season: float, at: int, rows: Rows, ents: Entities, marks: Marks,
    context: Context,
) -> None:  # fmt: skip
    """Severity, page and confidence of one sample from the evidence of its series alone."""
    shown = rows.shown
    damped = r_season * count / (count + joint.DAMP)
    severe = joint.follow(np.float64(shown.severe[row]), damped, joint.UP, joint.DOWN)
    shown.severe[row] = np.float32(severe)
    log_severe = np.log(max(severe, entity.LEAST))
    if np.float64(rows.season.count[row]) % SERIES_QUANTILE_EVERY == 0.0 or count < 4.0:
        tail.summarise(shown.counts, shown.mass, row, shown.quantiles[row])
    severity = tail.severity(log_severe, shown.quantiles[row])
    unit = np.float64(shown.unit[row])
    tail.add(shown.counts, shown.mass, row, log_severe, unit * tail.weight_of(severity))
    shown.unit[row] = np.float32(tail.fade(shown.counts, shown.mass, row, 1, unit, 1.0))
    width = max(np.float64(ents.open.members[e]), 1.0)
    rate = entity.tick_rate(ents.entity, e, context.per_day / width)
    page = severity / -np.log10(rate) * np.exp(-np.float64(shown.gate[row]))
    sure = verdict.confidence(severity, page, 0.5, count, np.float64(ents.entity.quality[e]))
    marks.severity[at], marks.page[at], marks.confidence[at] = np.float32(severity), np.float32(page), np.float32(sure)
    # One series of several never pages by itself: its evidence is part of its entity's tick, and that decides.
    ents.open.loudest[e] = max(ents.open.loudest[e], np.float32(page))
    is_alerting = page >= 1.0 and ents.life.state[e] == alerts.FIRING
    marks.decision[at] = verdict.ALERT if is_alerting else verdict.QUIET


@inline
def restart(rows: Rows, block: Block, pool: Array, row: int) -> None:
    """The meaning of a series' numbers has changed: its models begin again, its place and cadence stay."""
    rows.level.count[row], rows.level.var[row], rows.level.step[row] = 0.0, 0.0, 0.0
    rows.level.far[row], rows.level.prior_step[row] = np.float32(0.01), np.float32(0.0)
    rows.season.count[row], rows.season.level[row], rows.season.sigma[row] = 0.0, 0.0, 1.0
    rows.season.held_mean[row], rows.season.held_sd[row] = 0.0, 0.0
    for slot in range(season.SLOTS):
        rows.season.profile[slot, row] = np.float32(0.0)
        rows.season.visits[slot, row] = 0
        rows.season.steady[slot, row] = season.NO_STEADY
    for hour in range(season.HOURS):
        rows.season.spread[hour, row] = np.float32(1.0)
    rows.trial.state[row] = trial.NONE
    carry.restart(rows.carry, row)
    familiar.clear(rows.familiar, row)
    change.clear(rows.change, row)
    hinkley.clear(rows.spread, row)
    wander.clear(rows.wander, row)
    recent.clear(rows.recent, row)
    b, j = rows.link.block[row], rows.link.slot[row]
    if b >= 0:
        for vector in (blocks.SEEN, blocks.AGE):
            pool[block.start[b] + vector * block.capacity[b] + j] = np.float32(0.0)
