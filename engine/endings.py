"""Endings: alerts and questions of a past that has been taken back.

Owns what is told of them. A shard that is rebuilt without what a window has taught it (`engine/marking.py`) may not
know an alert that the former one had open; nobody would ever close it. So each that was open, and is not in the rebuilt
state under the same id, is told to have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine import alerts, records
from engine import events as events_of
from engine.records import Record

if TYPE_CHECKING:
    from engine.shard import Shard


class Open(NamedTuple):
    """An alert or a question by what makes its id, and the record that would end it."""

    entity: str
    is_question: bool
    since_ms: int
    ending: Record


def open_now(shard: Shard) -> list[Open]:
    """All that is open. Changes nothing."""
    life, found, number = shard.roster.ents.life, list[Open](), shard.alert_number
    for e, entity in enumerate(shard.roster.entities):
        state = int(life.state[e])
        if state == alerts.IDLE:
            continue
        is_question = state == alerts.PENDING
        since_ms = int(life.asked_ms[e] if is_question else life.started_ms[e])
        found.append(Open(entity, is_question, since_ms, _ending(shard, e, is_question)))
    shard.alert_number = number
    return found


def unknown(shard: Shard, before: Sequence[Open]) -> list[Record]:
    """Endings of what was open before and is not in this shard."""
    known = {one[:3] for one in open_now(shard)}
    return [one.ending for one in before if one[:3] not in known]


def _ending(shard: Shard, e: int, is_question: bool) -> Record:
    life, events = shard.roster.ents.life, events_of.fresh_events(1)
    for column in events:
        column[...] = 0
    events.kind[0] = events_of.LAPSED if is_question else events_of.RESOLVED
    events.who[0], events.ts_ms[0] = e, shard.clock_ms
    events.times[0] = [life.started_ms[e], life.incident_ms[e], life.asked_ms[e], life.ended_ms[e]]
    events.numbers[0, 1], events.numbers[0, 3] = 0.5, float(life.peak[e])
    events.numbers[0, 5], events.rows[0], events.values[0] = events_of.CALMED, -1, float("nan")
    for place in range(alerts.ABOUT):
        row = int(life.about[e, place])
        if row >= 0:
            events.rows[0, place], events.shares[0, place] = row, life.share[e, place]
            events.values[0, place, 0] = shard.roster.rows.shown.value[row]
    (record,) = records.of_event(shard, events, 0, shard.next_offset - 1)
    because = f"{shard.roster.entities[e]}: a window was un-learned, and the past as it is now does not have this."
    return record._replace(value=record.value | {"because": because})
