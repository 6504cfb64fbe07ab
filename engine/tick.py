"""Tick: all series of an entity at one moment. Closed, it is scored, judged, learned and told.

Owns what happens at a close, and the open tick itself: who has reported, who is still due.
"""

from __future__ import annotations

import numpy as np

from engine import alerts, frozen, verdict
from engine.absence import is_mostly_absent
from engine.columns import Array
from engine.components import entity, familiar, joint, tail
from engine.components.block import HERE, NOVELTY, SEASONAL, SPREAD, STRAY, Block, Z
from engine.events import (
    ALERTED,
    ASKED,
    CALMED,
    LASTED,
    OVERTAKEN,
    RESOLVED,
    Events,
    contributors,
    describe,
    lapse,
    name_again,
    note,
    remember,
)
from engine.kernel import inline, kernel
from engine.prefetch import fetch_histograms
from engine.state import AFTER, COMING, EVENTS, MARKED, TICKS, Context, Entities, Rows, TickMarks

#: After a pause of more than this many steps the past is no longer near.
GAP_TICKS = 3.0


@inline
def opens_later_tick(rows: Rows, ents: Entities, row: int, e: int, ts_ms: int) -> bool:
    """Does this sample belong to a later tick than the one that is open?"""
    if ents.open.here[e] == 0:
        return False
    if rows.link.tick[row] == ents.open.number[e]:
        return True
    step = np.float64(rows.presence.step_ms[row])
    return bool(step > 0.0 and np.float64(ts_ms - ents.open.tick_ms[e]) > 0.5 * step)


@inline
def report(
    rows: Rows, ents: Entities, block: Block, pool: Array, row: int, e: int, ts_ms: int, z: float, news: float,
    r_season: float, spread: float, stray: float,
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
    if tick.marked[e] & COMING != 0:
        tick.marked[e] |= MARKED
    rows.link.tick[row] = tick.number[e]
    if not np.isnan(z):
        b, j = rows.link.block[row], rows.link.slot[row]
        c, start = block.capacity[b], block.start[b]
        pool[start + Z * c + j] = np.float32(z)
        pool[start + NOVELTY * c + j] = np.float32(news)
        pool[start + SEASONAL * c + j] = np.float32(r_season)
        pool[start + SPREAD * c + j] = np.float32(spread)
        pool[start + STRAY * c + j] = np.float32(stray)
        pool[start + HERE * c + j] = np.float32(1.0)


@inline
def close_tick(
    e: int, at: int, rows: Rows, ents: Entities, block: Block, pool: Array, ticks: TickMarks, events: Events,
    context: Context,
) -> None:  # fmt: skip
    """Score, judge and learn the open tick of entity e. One that a marked sample has reported in teaches nothing."""
    tick, own, means = ents.open, ents.entity, context.means
    ts_ms = tick.tick_ms[e]
    learns = tick.marked[e] & MARKED == 0
    if not learns:
        frozen.keep_entity(ents, e, context.kept[1])
    if context.is_large:
        fetch_histograms(own, e)
    is_gap = _learn_step(ents, e, ts_ms)
    if learns and tick.marked[e] & AFTER != 0:
        # What was not learned is no past to learn from, either.
        is_gap = True
    means[:] = 0.0
    lone = entity.alone(own, e)
    b = tick.first_block[e]
    least = joint.PART_LEAST if b >= 0 and block.next[b] >= 0 else 1.0
    while b >= 0:
        if is_gap:
            joint.forget_history(block, pool, b)
        _excuse(b, ts_ms, learns, rows, block, pool)
        context.sums[:] = 0.0
        joint.step(block, pool, b, lone, learns, context.work, context.scratch, context.sums)
        joint.take_worst(context.sums, least, means)
        b = block.next[b]
    entity.evidence(means, context.channel)
    age = own.ticks[e]
    severity, page = np.nan, np.nan
    moving = means[joint.ACTIVE] if means[joint.REPORTS] > 0.0 else np.float64(own.moving[e])
    entity.count_reports(own, e, tick.here[e], moving)
    if means[joint.REPORTS] > 0.0:
        counts, mass = own.counts.reshape(-1, tail.BINS), own.mass.reshape(-1)
        local_ms = ts_ms + context.offset_ms
        severity, page = entity.score(
            own,
            ents.habit,
            counts,
            mass,
            e,
            local_ms,
            context.channel,
            np.float64(tick.loudest[e]),
            context.per_day,
            context.share,
        )
    else:
        # A tick without any value is no evidence, neither of calm nor of anything else.
        context.share[:] = 0.0
    if not learns:
        frozen.put_entity_back(ents, e, context.kept[1])
    agreement = 0.0
    for k in range(entity.G):
        agreement += 0.2 if context.channel[k] > np.float64(own.top[e, k]) else 0.0
    sure = verdict.confidence(severity, page, agreement, age, min(np.float64(own.quality[e]), 1.0))
    ents.life.severe[e] = ents.life.severe[e] + 1 if severity >= verdict.SEVERE else 0
    decision = verdict.decide(page, sure, ents.life.severe[e]) if age >= entity.SILENT else verdict.QUIET
    n = context.cursor[TICKS]
    ticks.entity[n], ticks.ts_ms[n], ticks.at[n] = e, ts_ms, at
    ticks.severity[n], ticks.confidence[n], ticks.page[n] = np.float32(severity), np.float32(sure), np.float32(page)
    ticks.decision[n] = decision
    context.cursor[TICKS] = n + 1
    _live(e, at, ts_ms, severity, sure, page, decision, rows, ents, block, pool, events, context)
    _begin_tick(ents, block, pool, e)


@inline
def _excuse(b: int, ts_ms: int, learns: bool, rows: Rows, block: Block, pool: Array) -> None:
    """Mark the metrics of a block whose value is far out but familiar: NaN in place of how far they have strayed.

    At the close of a tick and not at the sample: a call there costs all samples a sixth of their time.
    """
    c, start, seen = block.capacity[b], block.start[b], rows.familiar
    for j in range(block.width[b]):
        if pool[start + NOVELTY * c + j] != 0.0 and pool[start + HERE * c + j] != 0.0:
            row = block.member[b, j]
            value, step_ms = rows.shown.value[row], np.float64(rows.presence.step_ms[row])
            if familiar.come(seen.value, seen.weight, seen.minute, row, value, ts_ms, step_ms, learns):
                pool[start + STRAY * c + j] = np.float32(np.nan)


@inline
def _learn_step(ents: Entities, e: int, ts_ms: int) -> bool:
    """Learn the time between ticks; True after a gap of more than three of them."""
    last, step = ents.open.closed_ms[e], np.float64(ents.entity.step_ms[e])
    ents.open.closed_ms[e] = ts_ms
    if last < 0:
        return False
    gap = np.float64(ts_ms - last)
    if step <= 0.0:
        ents.entity.step_ms[e] = np.float32(gap)
        return False
    ents.entity.step_ms[e] = np.float32(step + 0.05 * min(max(gap - step, -0.5 * step), 0.5 * step))
    return bool(gap > GAP_TICKS * step)


@inline
def _begin_tick(ents: Entities, block: Block, pool: Array, e: int) -> None:
    tick = ents.open
    tick.due[e] = tick.here[e]
    tick.loudest[e] = np.float32(0.0)
    tick.here[e] = 0
    tick.number[e] += 1
    tick.marked[e] = tick.marked[e] & COMING | (AFTER if tick.marked[e] & MARKED != 0 else 0)
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
    felt = alerts.WARM_SEVERITY if np.isnan(severity) else severity
    if is_mostly_absent(ents, e):
        felt = max(felt, alerts.WARM_SEVERITY)
    before = life.state[e]
    action = alerts.advance(life, context.table, e, ts_ms, np.float64(own.step_ms[e]), felt, decision)
    if action == alerts.NOTHING:
        return
    if before == alerts.PENDING:
        lapse(events, e, ts_ms, at, CALMED if action == alerts.EXPIRE else OVERTAKEN, rows, ents, context)
    if action == alerts.EXPIRE:
        return
    kind = ALERTED
    if action == alerts.RESOLVE:
        kind = RESOLVED
    elif action == alerts.ASK:
        kind = ASKED
    note(events, context, kind, e, ts_ms, at)
    k = context.cursor[EVENTS] - 1
    describe(events, k, e, severity, sure, page, ents, context)
    if action == alerts.RESOLVE:
        if before == alerts.FIRING:
            events.numbers[k, 5] = LASTED
        name_again(events, k, e, rows, ents)
        return
    contributors(events, k, e, rows, ents, block, pool)
    remember(events, k, e, ents)


@kernel
def close_from_outside(
    e: int, at: int, rows: Rows, ents: Entities, block: Block, pool: Array, ticks: TickMarks, events: Events,
    context: Context,
) -> None:  # fmt: skip
    """Close one open tick from outside the fold: for output, when a file has ended."""
    close_tick(e, at, rows, ents, block, pool, ticks, events, context)
