"""Absence: the shard's clock, and who has stopped coming by it.

Owns event time for a whole shard, the sweep over its series, and the alert that a silence becomes. Nothing here waits:
the clock is moved by samples only.

Not obvious: one sample far ahead may not move the clock, or a single host with a wrong date would make all others
absent. Others contradict such a host within its next interval; where nobody does, the log had a hole.
"""

from __future__ import annotations

import numpy as np

from engine import alerts, verdict
from engine.columns import Array
from engine.components import presence
from engine.events import (
    ABSENT,
    ALERTED,
    ASKED,
    GONE,
    OVERTAKEN,
    RESOLVED,
    Events,
    describe,
    lapse,
    name_again,
    name_only,
    note,
    remember,
)
from engine.kernel import inline
from engine.state import (
    AHEAD,
    AHEAD_MS,
    CLOCK,
    EVENTS,
    FASTEST,
    RESUMED,
    SWEPT,
    VOTED_MS,
    VOTER,
    Context,
    Entities,
    Rows,
)

#: The clock moves by a minute, or two steps of the fastest series, on one sample's word. For more, three
#: entities must agree; an entity's word again, a second later at least, is a quarter of a vote. One that is alone in
#: its shard is believed after nine ticks, and one with a wrong clock is contradicted by then.
CLOCK_STEP_MS, CLOCK_STEPS, CLOCK_VOTES, VOTES_APART_MS = 60_000, 2.0, 12, 1_000
VOTE, VOTE_AGAIN = 4, 1
#: The clock that moves by more than this many steps of the series that moves it has crossed a hole in the log.
HOLE_STEPS = 3.0
SWEEP_MS = 15_000
#: A series absent for a day is gone, not missing.
FORGET_MS = 86_400_000
#: Told at one sweep at most; the rest follows at the next. Bounds the event buffer.
SWEEP_MOST = 256
#: A series whose longest gap is this many steps comes regularly.
REGULAR_GAP, ABSENCE_SEVERITY = 2.5, 4.0


@inline
def advance_clock(
    row: int, e: int, ts_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context
) -> None:
    """Move the shard's clock by one sample of entity e."""
    clock = context.clock
    before, step_ms = clock[CLOCK], np.float64(rows.presence.step_ms[row])
    # Not the step of a slow series: its word would make all faster ones silent.
    usual_ms = min(step_ms, np.float64(clock[FASTEST])) if clock[FASTEST] > 0 else step_ms
    is_voted = False
    if before < 0 or before < ts_ms <= before + max(CLOCK_STEP_MS, np.int64(CLOCK_STEPS * usual_ms)):
        clock[CLOCK] = ts_ms
        clock[AHEAD] = 0
    elif ts_ms > before:
        _vote(clock, int(e), ts_ms)
        is_voted = clock[CLOCK] > before
    if is_voted or (step_ms > 0.0 and np.float64(clock[CLOCK] - before) > HOLE_STEPS * step_ms):
        # Nobody came for a while: the log had a hole. Silence counts from its end, or all but a few would be absent.
        clock[RESUMED] = clock[CLOCK]
    if clock[CLOCK] >= clock[SWEPT] + SWEEP_MS:
        clock[SWEPT] = clock[CLOCK]
        _sweep(clock[CLOCK], at, rows, ents, events, context)


@inline
def _vote(clock: Array, voter: int, ts_ms: int) -> None:
    """A sample far ahead: either the log had a hole, or its sender's clock is wrong; then others contradict it soon."""
    is_again = clock[AHEAD] > 0 and clock[VOTER] == voter
    if is_again and ts_ms < clock[VOTED_MS] + VOTES_APART_MS:
        return
    clock[AHEAD_MS] = ts_ms if is_again or clock[AHEAD] == 0 else min(clock[AHEAD_MS], ts_ms)
    clock[AHEAD] += VOTE_AGAIN if is_again else VOTE
    clock[VOTER], clock[VOTED_MS] = voter, ts_ms
    if clock[AHEAD] >= CLOCK_VOTES:
        clock[CLOCK] = clock[AHEAD_MS]
        clock[AHEAD] = 0


@inline
def _sweep(clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context) -> None:
    """Which series have stopped since the last sweep? At most SWEEP_MOST are told at once; the rest follow."""
    told, is_any, fastest = 0, False, 0
    for row in range(context.series_count):
        state = rows.presence.absent[row]
        if state == 0 and np.float64(rows.presence.seen[row]) >= presence.WARM:
            own_ms = int(rows.presence.step_ms[row])
            if own_ms > 0 and (fastest == 0 or own_ms < fastest):
                fastest = own_ms
        if told >= SWEEP_MOST or state == presence.GONE or rows.presence.last_ms[row] < 0:
            continue
        e = rows.link.entity[row]
        is_long = clock_ms - max(rows.presence.heard_ms[row], context.clock[RESUMED]) > FORGET_MS
        if state == presence.ABSENT:
            if is_long:
                told += 1
                _forget(row, e, clock_ms, at, rows, ents, events, context)
        elif presence.is_absent(rows.presence, row, clock_ms, context.clock[RESUMED]):
            told += 1
            is_any = True
            rows.presence.absent[row] = presence.FOUND
            ents.open.absent[e] += 1
            note(events, context, ABSENT, row, clock_ms, at)
            k = context.cursor[EVENTS] - 1
            events.times[k, 0] = rows.presence.last_ms[row]
            events.numbers[k, 0] = np.float64(rows.presence.step_ms[row])
            events.numbers[k, 1] = np.float64(rows.presence.gap[row])
        elif is_long:
            # Too young to have a cadence that it could miss.
            told += 1
            rows.presence.absent[row] = presence.GONE
            ents.open.members[e] -= 1
            _end_if_gone(e, clock_ms, at, rows, ents, events, context)
    context.clock[FASTEST] = fastest
    if is_any:
        # Entities are judged when all that is silent is known: the first of ten series is not one of many.
        for row in range(context.series_count):
            if rows.presence.absent[row] == presence.FOUND:
                rows.presence.absent[row] = presence.ABSENT
                _live_absence(row, rows.link.entity[row], clock_ms, at, rows, ents, events, context)


@inline
def _live_absence(
    row: int, e: int, clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context
) -> None:
    """Most of a regular entity is silent: an alert. One metric of many, or one that comes at times: a question."""
    is_regular = np.float64(rows.presence.gap[row]) <= REGULAR_GAP
    decision = verdict.ALERT if is_regular and is_mostly_absent(ents, e) else verdict.ESCALATE
    is_asked = ents.life.state[e] == alerts.PENDING
    action = alerts.advance(
        ents.life, context.table, e, clock_ms, np.float64(ents.entity.step_ms[e]), ABSENCE_SEVERITY, decision
    )
    if action != alerts.FIRE and action != alerts.ASK:
        return
    if action == alerts.FIRE and is_asked:
        lapse(events, e, clock_ms, at, OVERTAKEN, rows, ents, context)
    note(events, context, ALERTED if action == alerts.FIRE else ASKED, e, clock_ms, at)
    k = context.cursor[EVENTS] - 1
    context.share[:] = 0.0
    describe(events, k, e, ABSENCE_SEVERITY, 0.9 if decision == verdict.ALERT else 0.5, 1.0, ents, context)
    events.numbers[k, 4] = 1.0
    name_only(events, k, row, rows)
    remember(events, k, e, ents)


@inline
def is_mostly_absent(ents: Entities, e: int) -> bool:
    """Is more than half of an entity silent?"""
    return bool(2 * ents.open.absent[e] > ents.open.members[e])


@inline
def _forget(
    row: int, e: int, clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context
) -> None:
    """Absent for a day: the series was taken away on purpose. With its whole entity, the alert or question ends too."""
    rows.presence.absent[row] = presence.GONE
    rows.presence.seen[row] = np.float32(0.0)
    ents.open.absent[e] -= 1
    ents.open.members[e] -= 1
    _end_if_gone(e, clock_ms, at, rows, ents, events, context)


@inline
def _end_if_gone(e: int, clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context) -> None:
    """End the alert or question of an entity that has closed no tick for a day."""
    state = ents.life.state[e]
    if state == alerts.IDLE or clock_ms - ents.open.closed_ms[e] <= FORGET_MS:
        return
    ents.life.state[e] = alerts.IDLE
    context.share[:] = 0.0
    if state == alerts.PENDING:
        lapse(events, e, clock_ms, at, GONE, rows, ents, context)
        return
    ents.life.ended_ms[e] = clock_ms
    note(events, context, RESOLVED, e, clock_ms, at)
    k = context.cursor[EVENTS] - 1
    describe(events, k, e, 0.0, 0.5, 0.0, ents, context)
    events.numbers[k, 5] = GONE
    name_again(events, k, e, rows, ents)
