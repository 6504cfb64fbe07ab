"""Events: what the fold has found and the world has to be told, as numbers in a buffer.

Owns the kinds of events and what each carries; `records` makes plain data of them. A buffer, because the fold is
compiled and records are not; when it is full, the fold stops early and is called again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine import alerts
from engine.columns import Array
from engine.components import entity
from engine.components.block import SCORE, Block
from engine.kernel import inline, kernel
from engine.state import EVENTS, Context, Entities, Rows

ALERTED, RESOLVED, ASKED, LAPSED, DRIFTED, ABSENT, RETURNED, FLAT, SPREAD = range(9)
#: An event that nobody is told of: it has come from what is not to be learned.
MUTED = -1
#: How an alert ends: its entity is calm, it has fired too long, its entity is gone. A question: the time for an answer
#: is over (CALMED), the entity is gone, or an alert has overtaken it.
CALMED, LASTED, GONE, OVERTAKEN = range(4)
#: Series named by an alert.
CONTRIBUTORS = 5


class Events(NamedTuple):
    """In log order. who: entity (the first four kinds) or row; at: index of the sample.

    times (n, 4): started, incident, asked, ended; for a series: its last sample. numbers (n, 6): severity, confidence,
    page, peak, 1 if the cause is absence, how it ended (CALMED ...); for a series: see `fold` and `absence`. channels
    (n, 6): how far each is above its median. rows, shares (n, 5), values (n, 5, 4): contributors with value, expected,
    lower, upper.
    """

    kind: Array
    who: Array
    ts_ms: Array
    at: Array
    times: Array
    numbers: Array
    channels: Array
    rows: Array
    shares: Array
    values: Array


def fresh_events(events: int) -> Events:
    """Room for `events` events."""
    return Events(
        np.empty(events, np.int8),
        np.empty(events, np.int32),
        np.empty(events, np.int64),
        np.empty(events, np.int32),
        np.empty((events, 4), np.int64),
        np.empty((events, 6), np.float64),
        np.empty((events, entity.CHANNELS), np.float32),
        np.empty((events, CONTRIBUTORS), np.int32),
        np.empty((events, CONTRIBUTORS), np.float32),
        np.empty((events, CONTRIBUTORS, 4), np.float64),
    )


@inline
def note(events: Events, context: Context, kind: int, who: int, ts_ms: int, at: int) -> None:
    k = context.cursor[EVENTS]
    events.kind[k], events.who[k], events.ts_ms[k], events.at[k] = kind, who, ts_ms, at
    # What an event does not say must not be what the last one in its place said.
    events.times[k, :], events.numbers[k, :], events.channels[k, :] = -1, np.nan, np.float32(0.0)
    events.rows[k, :], events.shares[k, :], events.values[k, :, :] = -1, np.float32(0.0), np.nan
    context.cursor[EVENTS] = k + 1


@inline
def describe(
    events: Events, k: int, e: int, severity: float, sure: float, page: float, ents: Entities, context: Context
) -> None:
    life = ents.life
    events.times[k, 0], events.times[k, 1] = life.started_ms[e], life.incident_ms[e]
    events.times[k, 2], events.times[k, 3] = life.asked_ms[e], life.ended_ms[e]
    events.numbers[k, 0], events.numbers[k, 1], events.numbers[k, 2] = severity, sure, page
    events.numbers[k, 3], events.numbers[k, 4], events.numbers[k, 5] = np.float64(life.peak[e]), 0.0, CALMED
    for c in range(entity.CHANNELS):
        events.channels[k, c] = np.float32(context.share[c])


@inline
def name_only(events: Events, k: int, row: int, rows: Rows) -> None:
    """One series, with nothing known of it but its last value."""
    events.rows[k, 0], events.shares[k, 0] = row, np.float32(1.0)
    events.values[k, 0, 0] = rows.shown.value[row]


@kernel
def remember(events: Events, k: int, e: int, ents: Entities) -> None:
    """What an alert or a question was about: its end is told of the same series, not of what is largest by then."""
    for place in range(alerts.ABOUT):
        ents.life.about[e, place], ents.life.share[e, place] = events.rows[k, place], events.shares[k, place]


@kernel
def name_again(events: Events, k: int, e: int, rows: Rows, ents: Entities) -> None:
    """The series that the beginning was about, with their shares then and their values now.

    Of one that is silent the last value only: what was expected of it is long past.
    """
    for place in range(alerts.ABOUT):
        row = ents.life.about[e, place]
        if row >= 0:
            events.rows[k, place], events.shares[k, place] = row, ents.life.share[e, place]
            events.values[k, place, 0] = rows.shown.value[row]
            if rows.presence.absent[row] == 0:
                _show(events, k, place, row, rows)


@inline
def _show(events: Events, k: int, place: int, row: int, rows: Rows) -> None:
    expected, band = rows.shown.expected[row], np.float64(rows.shown.band[row])
    events.values[k, place, 0], events.values[k, place, 1] = rows.shown.value[row], expected
    events.values[k, place, 2], events.values[k, place, 3] = expected - band, expected + band


@inline
def lapse(events: Events, e: int, ts_ms: int, at: int, end: int, rows: Rows, ents: Entities, context: Context) -> None:
    """An open question of entity e ends without an answer."""
    note(events, context, LAPSED, e, ts_ms, at)
    k = context.cursor[EVENTS] - 1
    describe(events, k, e, 0.0, 0.5, 0.0, ents, context)
    events.numbers[k, 5] = end
    name_again(events, k, e, rows, ents)


@inline
def contributors(events: Events, k: int, e: int, rows: Rows, ents: Entities, block: Block, pool: Array) -> None:
    """The series with the largest scores, smoothed as severity is, largest first; share of the sum over the entity."""
    total = 0.0
    b = ents.open.first_block[e]
    while b >= 0:
        at = block.start[b] + SCORE * block.capacity[b]
        for j in range(block.width[b]):
            score = pool[at + j]
            total += np.float64(score)
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
        events.shares[k, place] = np.float32(np.float64(events.shares[k, place]) / max(total, 1e-9))
        if row >= 0:
            _show(events, k, place, row, rows)
