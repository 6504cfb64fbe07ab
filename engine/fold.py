"""Fold: the step of a shard, over a batch, in log order. The one loop of the engine.

Owns the order of things: check the time, apply the recipe, score every component of the series, learn, put the sample
into its entity's open tick; when the tick is complete, score and learn the joint model, give a verdict, advance the
alert's life, note what has to be told. Knows no formula: those are the components'.

A tick closes when every series that reported in the tick before has reported, when one of them reports again, or when
a sample is more than half of its series' step later. That is event time only: cuts of the log do not matter and
nothing waits for a clock.

Not obvious: everything a later sample needs is in columns, nothing in this function; the buffers may fill up, then it
returns how far it came and is called again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine import alerts, recipe, verdict
from engine.columns import Array
from engine.components import block as blocks
from engine.components import change, entity, joint, level, presence, season, tail
from engine.components.block import HERE, NOVELTY, SCORE, SEASONAL, Block, Z
from engine.kernel import inline, kernel
from engine.state import CONTRIBUTORS, Entities, Events, Marks, Rows, TickMarks

LEARNED, SCORED_ONLY, DUPLICATE, LATE, MISSING, CONFLICT = range(6)
OUTCOMES = ("learned", "scored_only", "duplicate", "late", "missing", "conflict")
ALERTED, RESOLVED, ASKED, LAPSED, DRIFTED, ABSENT, RETURNED, FLAT = range(8)

BAND = 3.0
#: The clock of a shard moves by at most this on one sample's word; three different series must agree on more.
CLOCK_STEP_MS, CLOCK_VOTES = 60_000, 3
SWEEP_MS = 15_000
#: A series absent for a day is gone, not missing.
FORGET_MS = 86_400_000
SWEEP_MOST = 256
#: A series whose longest gap is this many steps comes regularly.
REGULAR_GAP, ABSENCE_SEVERITY = 2.5, 4.0
SERIES_QUANTILE_EVERY = 16.0
GAP_TICKS = 3.0
CLOCK, AHEAD, AHEAD_MS, AHEAD_ROW, SWEPT = range(5)
SAMPLES, TICKS, EVENTS = range(3)


class Context(NamedTuple):
    """Settings and scratch of one call. clock: int64 (5,) is state; the rest is not."""

    clock: Array
    table: Array
    work: Array
    scratch: Array
    sums: Array
    channel: Array
    share: Array
    cursor: Array
    per_day: float
    offset_ms: int
    series_count: int
    stop_at_drift: bool


@kernel
def fold(
    row_of: Array, ts_of: Array, value_of: Array, begin: int, rows: Rows, ents: Entities, block: Block, pool: Array,
    marks: Marks, ticks: TickMarks, events: Events, context: Context,
) -> int:  # fmt: skip
    """Fold the samples from `begin` on; returns the index of the first sample that was not consumed."""
    cursor = context.cursor
    room_ticks, room_events = len(ticks.entity) - 2, len(events.kind) - 3 * SWEEP_MOST
    for at in range(begin, len(row_of)):
        if cursor[TICKS] > room_ticks or cursor[EVENTS] > room_events:
            return at
        before, row, ts_ms = cursor[EVENTS], row_of[at], ts_of[at]
        if not _is_new(row, ts_ms, value_of[at], at, rows, marks):
            continue
        e = rows.link.entity[row]
        # Two steps, so that there is one place where a tick is closed: before the sample, if it belongs to a later
        # tick; after it, if it was the last one due.
        for step in range(2):
            is_due = _opens_later_tick(rows, ents, row, e, ts_ms)
            if step == 1:
                _sample(row, e, ts_ms, value_of[at], at, rows, ents, block, pool, marks, events, context)
                is_due = ents.open.due[e] == 0 and ents.open.here[e] > 0
            if is_due:
                _close_tick(e, at, rows, ents, block, pool, ticks, events, context)
                if step == 1 and ents.open.members[e] == 1 and marks.outcome[at] == LEARNED:
                    _copy_verdict(marks, at, ticks, cursor[TICKS] - 1)
        if context.stop_at_drift:
            for k in range(before, cursor[EVENTS]):
                if events.kind[k] == DRIFTED:
                    return at + 1
    return len(row_of)


@inline
def _copy_verdict(marks: Marks, at: int, ticks: TickMarks, n: int) -> None:
    """A lone series is its entity: the verdict on its sample is the entity's."""
    marks.severity[at], marks.page[at], marks.confidence[at] = ticks.severity[n], ticks.page[n], ticks.confidence[n]
    marks.decision[at] = ticks.decision[n]


@inline
def _is_new(row: int, ts_ms: int, value: float, at: int, rows: Rows, marks: Marks) -> bool:
    """Is this sample later than all of its series? If not, it is counted and changes nothing."""
    last_ms = rows.presence.last_ms[row]
    if ts_ms > last_ms:
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
    _advance_clock(row, ts_ms, at, rows, ents, events, context)
    last_ms = rows.presence.last_ms[row]
    if rows.presence.absent[row] == 1:
        rows.presence.absent[row] = 0
        ents.open.absent[e] -= 1
        _note(events, context, RETURNED, row, ts_ms, at)
        events.times[context.cursor[EVENTS] - 1, 0] = last_ms
    is_first = last_ms < 0
    presence.arrived(rows.presence, row, ts_ms)
    z, news, r_season = np.nan, 0.0, 0.0
    if np.isnan(value):
        marks.outcome[at] = MISSING
    else:
        z, news, r_season = _value(row, e, ts_ms, value, at, rows, ents, block, pool, marks, events, context)
    if not is_first:
        _report(rows, ents, block, pool, row, e, ts_ms, z, news, r_season)


@inline
def _value(
    row: int, e: int, ts_ms: int, wire: float, at: int, rows: Rows, ents: Entities, block: Block, pool: Array,
    marks: Marks, events: Events, context: Context,
) -> tuple[float, float, float]:  # fmt: skip
    """Score and learn one number of one series; (z, novelty, seasonal score), z NaN where there is none yet."""
    was = rows.recipe.last[row]
    value, is_new_kind = recipe.apply(rows.recipe, row, ts_ms, wire)
    if is_new_kind:
        restart(rows, block, pool, row)
    if np.isnan(value):
        marks.outcome[at] = SCORED_ONLY
        return np.nan, 0.0, 0.0
    marks.outcome[at] = LEARNED
    count = rows.level.count[row]
    if presence.moves(rows.presence, row, wire == was, count):
        _note(events, context, FLAT, row, ts_ms, at)
        events.numbers[context.cursor[EVENTS] - 1, 0] = wire
    sd = level.scale(rows.level, row)
    z, news, r_season = np.nan, 0.0, 0.0
    if not np.isnan(sd):
        z, news = level.score(rows.level, row, value, sd)
        slot = season.slot_of(ts_ms, context.offset_ms)
        forecast = season.expected(rows.season, row, slot)
        residual = z - forecast
        r_season = season.relative(rows.season, row, residual + news)
        expected = rows.level.mean[row] + sd * forecast
        band = BAND * sd * (float(rows.season.sigma[row]) + season.SIGMA_FLOOR)
        rows.shown.expected[row], rows.shown.band[row] = expected, np.float32(band)
        marks.expected[at] = np.float32(expected)
        marks.lower[at], marks.upper[at] = np.float32(expected - band), np.float32(expected + band)
        _judge_series(row, e, count, r_season, at, rows, ents, marks, context)
        sign = 1.0 if residual >= 0.0 else -1.0
        moved = change.watch(rows.change, row, sign * r_season, value, expected, sd, count)
        if moved != 0:
            _note(events, context, DRIFTED, row, ts_ms, at)
            k = context.cursor[EVENTS] - 1
            events.numbers[k, 0], events.numbers[k, 1], events.numbers[k, 2] = expected, rows.change.after[row], sd
        season.learn(rows.season, row, slot, residual, float(rows.presence.step_ms[row]))
    level.learn(rows.level, row, value, sd)
    return z, news, r_season


@inline
def _judge_series(
    row: int, e: int, count: float, r_season: float, at: int, rows: Rows, ents: Entities, marks: Marks,
    context: Context,
) -> None:  # fmt: skip
    """Severity, page and confidence of one sample from the evidence of its series alone."""
    shown = rows.shown
    severe = float(shown.severe[row])
    damped = r_season * count / (count + joint.DAMP)
    severe += (entity.UP if damped > severe else entity.DOWN) * (damped - severe)
    shown.severe[row] = np.float32(severe)
    log_severe = np.log(max(severe, 1e-3))
    if count % SERIES_QUANTILE_EVERY == 0.0 or count < 4.0:
        middle, upper, rare, high, beta = tail.read(shown.counts, shown.mass, row, tail.TAIL_SHARE)
        shown.middle[row], shown.upper[row], shown.rare[row] = np.float32(middle), np.float32(upper), np.float32(rare)
        shown.high[row], shown.beta[row] = np.float32(high), np.float32(beta)
    severity = tail.severity(
        log_severe, float(shown.middle[row]), float(shown.upper[row]), float(shown.rare[row]), float(shown.high[row]),
        float(shown.beta[row]),
    )  # fmt: skip
    tail.add(shown.counts, shown.unit, shown.mass, row, log_severe)
    width = max(float(ents.open.members[e]), 1.0)
    rate = entity.tick_rate(ents.entity, e, context.per_day / width)
    page = severity / -np.log10(rate) * np.exp(-float(shown.gate[row]))
    sure = verdict.confidence(severity, page, 0.5, count, float(ents.entity.quality[e]))
    marks.severity[at], marks.page[at], marks.confidence[at] = np.float32(severity), np.float32(page), np.float32(sure)
    # One series of several never pages by itself: its evidence is part of its entity's tick, and that decides.
    is_alerting = page >= 1.0 and ents.life.state[e] == alerts.FIRING
    marks.decision[at] = verdict.ALERT if is_alerting else verdict.QUIET


@inline
def _opens_later_tick(rows: Rows, ents: Entities, row: int, e: int, ts_ms: int) -> bool:
    """Does this sample belong to a later tick than the one that is open?"""
    if ents.open.here[e] == 0:
        return False
    if rows.link.tick[row] == ents.open.number[e]:
        return True
    step = float(rows.presence.step_ms[row])
    return step > 0.0 and float(ts_ms - ents.open.tick_ms[e]) > 0.5 * step


@inline
def _report(
    rows: Rows, ents: Entities, block: Block, pool: Array, row: int, e: int, ts_ms: int, z: float, news: float,
    r_season: float,
) -> None:  # fmt: skip
    """Put a series' scores into the open tick (z NaN: it reported that it has no value).

    A series takes part from its second sample on: the first may come when its entity's tick has just been closed, and
    would open a tick of its own.
    """
    tick = ents.open
    if tick.here[e] == 0:
        tick.tick_ms[e] = ts_ms
        if tick.number[e] == 0:
            tick.due[e] = tick.members[e]
    if rows.link.tick[row] == tick.number[e] - 1:
        tick.due[e] -= 1
    tick.here[e] += 1
    rows.link.tick[row] = tick.number[e]
    if not np.isnan(z):
        b, j = rows.link.block[row], rows.link.slot[row]
        c, start = block.capacity[b], block.start[b]
        pool[start + Z * c + j] = np.float32(z)
        pool[start + NOVELTY * c + j] = np.float32(news)
        pool[start + SEASONAL * c + j] = np.float32(r_season)
        pool[start + HERE * c + j] = np.float32(1.0)


@inline
def _close_tick(
    e: int, at: int, rows: Rows, ents: Entities, block: Block, pool: Array, ticks: TickMarks, events: Events,
    context: Context,
) -> None:  # fmt: skip
    """Score, judge and learn the open tick of entity e."""
    tick, own, sums = ents.open, ents.entity, context.sums
    ts_ms = tick.tick_ms[e]
    is_gap = _learn_step(ents, e, ts_ms)
    sums[:] = 0.0
    b = tick.first_block[e]
    while b >= 0:
        if is_gap:
            joint.forget_history(block, pool, b)
        joint.step(block, pool, b, context.work, context.scratch, sums)
        b = block.next[b]
    members = float(tick.members[e])
    own.quality[e] += np.float32(0.05 * (float(tick.here[e]) / max(members, 1.0) - float(own.quality[e])))
    entity.evidence(sums, context.channel)
    age = own.ticks[e]
    counts = own.counts.reshape(-1, tail.BINS)
    unit, mass = own.unit.reshape(-1), own.mass.reshape(-1)
    severity, log_page = entity.score(own, counts, unit, mass, e, context.channel, context.share)
    page = entity.page(own, e, log_page, context.per_day) if age >= entity.SILENT else np.nan
    agreement = 0.0
    for k in range(entity.G):
        agreement += 0.2 if context.channel[k] > np.exp(float(own.high[e, k])) else 0.0
    sure = verdict.confidence(severity, page, agreement, age, min(float(own.quality[e]), 1.0))
    ents.life.severe[e] = ents.life.severe[e] + 1 if severity >= verdict.SEVERE else 0
    decision = verdict.decide(severity, page, sure, ents.life.severe[e]) if age >= entity.SILENT else verdict.QUIET
    n = context.cursor[TICKS]
    ticks.entity[n], ticks.ts_ms[n], ticks.at[n] = e, ts_ms, at
    ticks.severity[n], ticks.confidence[n], ticks.page[n] = np.float32(severity), np.float32(sure), np.float32(page)
    ticks.decision[n] = decision
    context.cursor[TICKS] = n + 1
    _live(e, at, ts_ms, severity, sure, page, decision, rows, ents, block, pool, events, context)
    _begin_tick(ents, block, pool, e)


@inline
def _learn_step(ents: Entities, e: int, ts_ms: int) -> bool:
    """Learn the time between ticks; True after a gap of more than three of them."""
    last, step = ents.open.closed_ms[e], float(ents.entity.step_ms[e])
    ents.open.closed_ms[e] = ts_ms
    if last < 0:
        return False
    gap = float(ts_ms - last)
    if step <= 0.0:
        ents.entity.step_ms[e] = np.float32(gap)
        return False
    ents.entity.step_ms[e] = np.float32(step + 0.05 * min(max(gap - step, -0.5 * step), 0.5 * step))
    return gap > GAP_TICKS * step


@inline
def _begin_tick(ents: Entities, block: Block, pool: Array, e: int) -> None:
    tick = ents.open
    tick.due[e] = tick.here[e]
    tick.here[e] = 0
    tick.number[e] += 1
    b = tick.first_block[e]
    while b >= 0:
        at = block.start[b] + HERE * block.capacity[b]
        for j in range(block.width[b]):
            pool[at + j] = np.float32(0.0)
        b = block.next[b]


@inline
def _live(
    e: int, at: int, ts_ms: int, severity: float, sure: float, page: float, decision: int, rows: Rows, ents: Entities,
    block: Block, pool: Array, events: Events, context: Context,
) -> None:  # fmt: skip
    """Advance the entity's alert and note what has to be told."""
    own, life = ents.entity, ents.life
    felt = max(severity, alerts.WARM_SEVERITY) if ents.open.absent[e] > 0 else severity
    was_calm = life.state[e] == alerts.IDLE
    action = alerts.advance(life, context.table, e, ts_ms, float(own.step_ms[e]), felt, decision)
    weight = 0.0
    if was_calm and page >= 1.0:
        weight = 0.1 if page > 2.0 else 1.0
    if own.ticks[e] > entity.SILENT:
        entity.account(own, e, weight, context.per_day)
    if action == alerts.NOTHING:
        return
    kind = ALERTED
    if action == alerts.RESOLVE:
        kind = RESOLVED
    elif action == alerts.ASK:
        kind = ASKED
    elif action == alerts.EXPIRE:
        kind = LAPSED
    _note(events, context, kind, e, ts_ms, at)
    k = context.cursor[EVENTS] - 1
    _describe(events, k, e, severity, sure, page, ents, context)
    _contributors(events, k, e, rows, ents, block, pool)


@inline
def _describe(
    events: Events, k: int, e: int, severity: float, sure: float, page: float, ents: Entities, context: Context
) -> None:
    life = ents.life
    events.times[k, 0], events.times[k, 1] = life.started_ms[e], life.incident_ms[e]
    events.times[k, 2], events.times[k, 3] = life.asked_ms[e], life.ended_ms[e]
    events.numbers[k, 0], events.numbers[k, 1], events.numbers[k, 2] = severity, sure, page
    events.numbers[k, 3], events.numbers[k, 4] = float(life.peak[e]), 0.0
    for c in range(entity.CHANNELS):
        events.channels[k, c] = np.float32(context.share[c])


@inline
def _contributors(events: Events, k: int, e: int, rows: Rows, ents: Entities, block: Block, pool: Array) -> None:
    """The series with the largest scores of this tick, largest first; share of the sum over the entity."""
    total = 0.0
    for place in range(CONTRIBUTORS):
        events.rows[k, place] = -1
        events.shares[k, place] = np.float32(0.0)
    b = ents.open.first_block[e]
    while b >= 0:
        at = block.start[b] + SCORE * block.capacity[b]
        for j in range(block.width[b]):
            score = pool[at + j]
            total += float(score)
            place = CONTRIBUTORS - 1
            if score <= events.shares[k, place]:
                continue
            while place > 0 and score > events.shares[k, place - 1]:
                events.shares[k, place] = events.shares[k, place - 1]
                events.rows[k, place] = events.rows[k, place - 1]
                place -= 1
            events.shares[k, place] = score
            events.rows[k, place] = block.member[b, j]
        b = block.next[b]
    for place in range(CONTRIBUTORS):
        row = events.rows[k, place]
        events.shares[k, place] = np.float32(float(events.shares[k, place]) / max(total, 1e-9))
        if row >= 0:
            events.values[k, place, 0] = rows.level.last[row]
            events.values[k, place, 1] = rows.shown.expected[row]
            events.values[k, place, 2] = rows.shown.expected[row] - float(rows.shown.band[row])
            events.values[k, place, 3] = rows.shown.expected[row] + float(rows.shown.band[row])


@inline
def _note(events: Events, context: Context, kind: int, who: int, ts_ms: int, at: int) -> None:
    k = context.cursor[EVENTS]
    events.kind[k], events.who[k], events.ts_ms[k], events.at[k] = kind, who, ts_ms, at
    context.cursor[EVENTS] = k + 1


@inline
def restart(rows: Rows, block: Block, pool: Array, row: int) -> None:
    """The meaning of a series' numbers has changed: its models begin again, its place and cadence stay."""
    rows.level.count[row], rows.level.var[row], rows.level.step[row] = 0.0, 0.0, 0.0
    rows.level.far[row] = np.float32(0.01)
    rows.season.count[row], rows.season.level[row], rows.season.sigma[row] = 0.0, 0.0, 1.0
    for slot in range(season.SLOTS):
        rows.season.profile[slot, row] = np.float32(0.0)
        rows.season.visits[slot, row] = 0
    change.clear(rows.change, row)
    b, j = rows.link.block[row], rows.link.slot[row]
    if b >= 0:
        pool[block.start[b] + blocks.SEEN * block.capacity[b] + j] = np.float32(0.0)


@inline
def _advance_clock(
    row: int, ts_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context
) -> None:
    """Move the shard's clock; one far-ahead sample may not move it, three different series may."""
    clock = context.clock
    if clock[CLOCK] < 0 or clock[CLOCK] < ts_ms <= clock[CLOCK] + CLOCK_STEP_MS:
        clock[CLOCK] = ts_ms
        clock[AHEAD] = 0
    elif ts_ms > clock[CLOCK] and row != clock[AHEAD_ROW]:
        clock[AHEAD_MS] = ts_ms if clock[AHEAD] == 0 else min(clock[AHEAD_MS], ts_ms)
        clock[AHEAD] += 1
        clock[AHEAD_ROW] = row
        if clock[AHEAD] >= CLOCK_VOTES:
            clock[CLOCK] = clock[AHEAD_MS]
            clock[AHEAD] = 0
    if clock[CLOCK] >= clock[SWEPT] + SWEEP_MS:
        clock[SWEPT] = clock[CLOCK]
        _sweep(clock[CLOCK], at, rows, ents, events, context)


@inline
def _sweep(clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context) -> None:
    """Which series have stopped since the last sweep? At most SWEEP_MOST are told at once; the rest follow."""
    told = 0
    for row in range(context.series_count):
        e = rows.link.entity[row]
        if rows.presence.absent[row] == 1:
            if clock_ms - rows.presence.last_ms[row] > FORGET_MS:
                _forget(row, e, clock_ms, at, rows, ents, events, context)
        elif told < SWEEP_MOST and presence.is_absent(rows.presence, row, clock_ms):
            told += 1
            rows.presence.absent[row] = 1
            ents.open.absent[e] += 1
            _note(events, context, ABSENT, row, clock_ms, at)
            k = context.cursor[EVENTS] - 1
            events.times[k, 0] = rows.presence.last_ms[row]
            events.numbers[k, 0] = float(rows.presence.step_ms[row])
            events.numbers[k, 1] = float(rows.presence.gap[row])
            _live_absence(row, e, clock_ms, at, rows, ents, events, context)


@inline
def _live_absence(
    row: int, e: int, clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context
) -> None:
    """A series that stops is an alert if it used to come regularly, else a question."""
    decision = verdict.ALERT if float(rows.presence.gap[row]) <= REGULAR_GAP else verdict.ESCALATE
    action = alerts.advance(
        ents.life, context.table, e, clock_ms, float(ents.entity.step_ms[e]), ABSENCE_SEVERITY, decision
    )
    if action != alerts.FIRE and action != alerts.ASK:
        return
    _note(events, context, ALERTED if action == alerts.FIRE else ASKED, e, clock_ms, at)
    k = context.cursor[EVENTS] - 1
    context.share[:] = 0.0
    _describe(events, k, e, ABSENCE_SEVERITY, 0.9 if decision == verdict.ALERT else 0.5, 1.0, ents, context)
    events.numbers[k, 4] = 1.0
    for place in range(CONTRIBUTORS):
        events.rows[k, place] = -1
        events.shares[k, place] = np.float32(0.0)
    events.rows[k, 0], events.shares[k, 0] = row, np.float32(1.0)
    events.values[k, 0, 0], events.values[k, 0, 1:] = rows.level.last[row], np.nan


@inline
def _forget(
    row: int, e: int, clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context
) -> None:
    """Absent for a day: the series was taken away on purpose. With its last one, the entity's alert ends too."""
    rows.presence.absent[row] = 0
    rows.presence.seen[row] = np.float32(0.0)
    ents.open.absent[e] -= 1
    state = ents.life.state[e]
    if ents.open.absent[e] > 0 or (state != alerts.FIRING and state != alerts.RESOLVING):
        return
    ents.life.state[e] = alerts.IDLE
    ents.life.ended_ms[e] = clock_ms
    _note(events, context, RESOLVED, e, clock_ms, at)
    k = context.cursor[EVENTS] - 1
    context.share[:] = 0.0
    _describe(events, k, e, 0.0, 0.5, 0.0, ents, context)
    events.rows[k, :] = -1
    events.rows[k, 0] = row


@kernel
def close_tick(
    e: int, at: int, rows: Rows, ents: Entities, block: Block, pool: Array, ticks: TickMarks, events: Events,
    context: Context,
) -> None:  # fmt: skip
    """Close one open tick from outside the fold: for output, when a file has ended."""
    _close_tick(e, at, rows, ents, block, pool, ticks, events, context)
