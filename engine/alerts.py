"""Life of an alert: pending, firing, resolved, with hysteresis, and the incident that its episodes belong to.

Owns every transition, as a table, and the identities that follow from it. Knows nothing of Kafka or of models. An
alert is an episode of one entity, however many of its series take part; episodes of an entity that follow each other
within INCIDENT_GAP are one incident.

Rule: states change only through NEXT. Not obvious: PENDING is an open question to a person (an escalation). Nobody
was paged, so it ends by expiring, not by resolving; if it grows into a page, it fires.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline
from engine.verdict import ALERT, ESCALATE

IDLE, PENDING, FIRING, RESOLVING = range(4)
STATES = ("idle", "pending", "firing", "resolving")
CALM, WARM, DOUBT, PAGE, EXPIRY = range(5)
SIGNALS = ("calm", "warm", "doubt", "page", "expiry")
NOTHING, FIRE, RESOLVE, ASK, EXPIRE = range(5)
ACTIONS = ("nothing", "fire", "resolve", "ask", "expire")

#: (next state, what is told) for each state (row) and signal (column).
NEXT = np.array(
    [
        # CALM                  WARM                    DOUBT                   PAGE              EXPIRY
        [(IDLE, NOTHING), (IDLE, NOTHING), (PENDING, ASK), (FIRING, FIRE), (IDLE, NOTHING)],
        [(PENDING, NOTHING), (PENDING, NOTHING), (PENDING, NOTHING), (FIRING, FIRE), (IDLE, EXPIRE)],
        [(RESOLVING, NOTHING), (FIRING, NOTHING), (FIRING, NOTHING), (FIRING, NOTHING), (IDLE, RESOLVE)],
        [(RESOLVING, NOTHING), (FIRING, NOTHING), (FIRING, NOTHING), (FIRING, NOTHING), (IDLE, RESOLVE)],
    ],
    np.int8,
)

#: Ticks in a row below WARM_SEVERITY before an alert resolves, so that a flapping metric is one alert.
CALM_TICKS = 5
WARM_SEVERITY = 1.3
#: An alert that fires this long without end is a new normal or a matter for people; it resolves and says so.
FIRING_TICKS = 2880
#: A question lapses after this many ticks.
PENDING_TICKS = 120
#: Episodes closer than this (event time, or ten ticks if longer) are one incident.
INCIDENT_GAP_MS, INCIDENT_GAP_TICKS = 900_000, 10
#: Series that the end of an alert or question is told of, as its beginning was.
ABOUT = 3


class Life(NamedTuple):
    """state; calm, age, severe in ticks; about, share (n, 3): rows that the last alert or question is about, or -1, and
    their shares in it; peak: largest severity; asked_ms, started_ms, incident_ms, ended_ms: event time or -1."""

    state: Array
    calm: Array
    age: Array
    severe: Array
    about: Array
    share: Array
    asked_ms: Array
    started_ms: Array
    incident_ms: Array
    ended_ms: Array
    peak: Array


COLUMNS = {
    "state": Column(np.uint8),
    "calm": Column(np.int32),
    "age": Column(np.int32),
    "severe": Column(np.int32),
    "about": Column(np.int32, -1, after=(ABOUT,)),
    "share": Column(np.float32, after=(ABOUT,)),
    "asked_ms": Column(np.int64, -1),
    "started_ms": Column(np.int64, -1),
    "incident_ms": Column(np.int64, -1),
    "ended_ms": Column(np.int64, -1),
    "peak": Column(np.float32),
}


@inline
def signal(life: Life, row: int, severity: float, decision: int) -> int:
    """What a tick says to the life of its entity's alert."""
    if decision == ALERT:
        return PAGE
    calm, age, state = life.calm[row], life.age[row], life.state[row]
    if state == RESOLVING and calm >= CALM_TICKS:
        return EXPIRY
    if (state == PENDING and age >= PENDING_TICKS) or (state == FIRING and age >= FIRING_TICKS):
        return EXPIRY
    if decision == ESCALATE:
        return DOUBT
    return WARM if severity >= WARM_SEVERITY else CALM


@inline
def advance(life: Life, table: Array, row: int, ts_ms: int, step_ms: float, severity: float, decision: int) -> int:
    """Take one tick into account; the action that follows. table: NEXT."""
    if severity < WARM_SEVERITY:
        life.calm[row] += 1
    else:
        life.calm[row] = 0
    heard = signal(life, row, severity, decision)
    before = life.state[row]
    life.state[row] = table[before, heard, 0]
    action = int(table[before, heard, 1])
    life.age[row] += 1
    if action == FIRE or action == ASK:
        life.age[row] = 0
        life.peak[row] = np.float32(0.0)
    if action == ASK:
        life.asked_ms[row] = ts_ms
    if action == FIRE:
        life.calm[row] = 0
        life.started_ms[row] = ts_ms
        gap = max(INCIDENT_GAP_MS, int(INCIDENT_GAP_TICKS * step_ms))
        if life.ended_ms[row] < 0 or ts_ms - life.ended_ms[row] > gap:
            life.incident_ms[row] = ts_ms
    if action == RESOLVE:
        life.ended_ms[row] = ts_ms
    life.peak[row] = np.float32(max(np.float64(life.peak[row]), severity))
    return action
