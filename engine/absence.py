"""Absence: the shard's clock, and who has stopped coming by it.

Owns event time for a whole shard, the sweep over its series, and the alert that a silence becomes. Nothing here waits:
the clock is moved by samples only.

Not obvious: one sample far ahead may not move the clock, or a single host with a wrong date would make all others
absent; three different series must agree.
"""

from __future__ import annotations

import numpy as np

from engine import alerts, verdict
from engine.components import presence
from engine.events import ABSENT, ALERTED, ASKED, CONTRIBUTORS, RESOLVED, Events, describe, note
from engine.kernel import inline
from engine.state import AHEAD, AHEAD_MS, AHEAD_ROW, CLOCK, EVENTS, RESUMED, SWEPT, Context, Entities, Rows

#: The clock moves by at most this on one sample's word; three different series must agree on more.
CLOCK_STEP_MS, CLOCK_VOTES = 60_000, 3
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
def advance_clock(row: int, ts_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context) -> None:
    """Move the shard's clock; one far-ahead sample may not move it, three different series may."""
    clock = context.clock
    before = clock[CLOCK]
    if before < 0 or before < ts_ms <= before + CLOCK_STEP_MS:
        clock[CLOCK] = ts_ms
        clock[AHEAD] = 0
    elif ts_ms > before and row != clock[AHEAD_ROW]:
        clock[AHEAD_MS] = ts_ms if clock[AHEAD] == 0 else min(clock[AHEAD_MS], ts_ms)
        clock[AHEAD] += 1
        clock[AHEAD_ROW] = row
        if clock[AHEAD] >= CLOCK_VOTES:
            clock[CLOCK] = clock[AHEAD_MS]
            clock[AHEAD] = 0
    if np.float64(clock[CLOCK] - before) > HOLE_STEPS * np.float64(rows.presence.step_ms[row]):
        # Nobody came for a while: the log had a hole. Silence counts from its end, or all but a few would be absent.
        clock[RESUMED] = clock[CLOCK]
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
            if told < SWEEP_MOST and clock_ms - rows.presence.last_ms[row] > FORGET_MS:
                told += 1
                _forget(row, e, clock_ms, at, rows, ents, events, context)
        elif told < SWEEP_MOST and presence.is_absent(rows.presence, row, clock_ms, context.clock[RESUMED]):
            told += 1
            rows.presence.absent[row] = 1
            ents.open.absent[e] += 1
            note(events, context, ABSENT, row, clock_ms, at)
            k = context.cursor[EVENTS] - 1
            events.times[k, 0] = rows.presence.last_ms[row]
            events.numbers[k, 0] = np.float64(rows.presence.step_ms[row])
            events.numbers[k, 1] = np.float64(rows.presence.gap[row])
            _live_absence(row, e, clock_ms, at, rows, ents, events, context)


@inline
def _live_absence(
    row: int, e: int, clock_ms: int, at: int, rows: Rows, ents: Entities, events: Events, context: Context
) -> None:
    """A series that stops is an alert if it used to come regularly, else a question."""
    decision = verdict.ALERT if np.float64(rows.presence.gap[row]) <= REGULAR_GAP else verdict.ESCALATE
    action = alerts.advance(
        ents.life, context.table, e, clock_ms, np.float64(ents.entity.step_ms[e]), ABSENCE_SEVERITY, decision
    )
    if action != alerts.FIRE and action != alerts.ASK:
        return
    note(events, context, ALERTED if action == alerts.FIRE else ASKED, e, clock_ms, at)
    k = context.cursor[EVENTS] - 1
    context.share[:] = 0.0
    describe(events, k, e, ABSENCE_SEVERITY, 0.9 if decision == verdict.ALERT else 0.5, 1.0, ents, context)
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
    note(events, context, RESOLVED, e, clock_ms, at)
    k = context.cursor[EVENTS] - 1
    context.share[:] = 0.0
    describe(events, k, e, 0.0, 0.5, 0.0, ents, context)
    events.rows[k, :] = -1
    events.rows[k, 0] = row
