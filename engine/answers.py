"""Answers: what a person's answer does to a shard, and what it has changed, for people to read.

Owns the effect of each kind of answer. An incident and a false alarm are lessons (`engine.lessons`): they move the gate
of their entity and, less, of its sisters. `expected` is about its hours: a page at such an hour of the day has to be
larger than that one, for as long as it comes daily (`components/habit`), and nothing else is learned from it.
`new_normal` moves the level of the series. `unsure` does nothing. Each closes the question.

Not obvious: both versions of an entity (`engine.twins`) are told, since either may be believed in the end. And an
answer that overrides another first takes back what that one has taught; a level that was moved stays moved.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import alerts, diagnosis, lessons, retunes
from engine.components.habit import DAYS, HOUR_MS, HOURS, MARGIN, STEPS, needed
from engine.errors import BadSample

if TYPE_CHECKING:
    from engine.roster import Roster
    from engine.shard import Shard

#: (answers that it was an incident, answers that it was none) of each answer; the others teach no gate.
TEACHES = {"incident": (1.0, 0.0), "false_alarm": (0.0, 1.0)}
#: Effects that are told, the largest; an answer may reach ten thousand sisters a little.
MOST_EFFECTS = 20
#: In ln: a gate that would move less stays, and of a sister what is less than this is not told.
CHANGE, LEAST_EFFECT = 1e-6, 0.005
#: A page of an hour is kept in steps, of which there are so many.
MOST_SIZE = 255

Effect = dict[str, Any]


def obey(shard: Shard, row: int, entity: int, params: Mapping[str, Any], rosters: list[Roster]) -> list[Effect]:
    """Carry out an answer; what has changed. rosters: the shard's own, and those of its twins that know the entity.

    params: see `engine.feedback.order_for`. BadSample (`order`) before anything is changed.
    """
    answer, weight, undone = params.get("answer"), _weight(params), _undone(params)
    page = params.get("page")
    if page is not None and not _is_number(page):
        raise BadSample("order", f"page of an answer is {str(page)[:40]!r}; wanted a number.")
    name = shard.roster.entities[entity]
    hours = _hours(shard, params)
    told = list[Effect]()
    for roster in rosters:
        e, own_row = roster.entity_of(name), roster.row_of(shard.roster.names[row]) if row >= 0 else -1
        if undone.get("answer") == "expected":
            _forget_hours(roster, e, _hours(shard, {"opened_ms": params.get("opened_ms"), **undone}))
        if answer == "expected":
            done = _expect(roster, e, hours, page)
        elif answer == "new_normal" and own_row >= 0:
            done = _move(roster, own_row)
        else:
            done = []
        told = told or done
        if roster.ents.life.state[e] == alerts.PENDING:
            roster.ents.life.state[e] = alerts.IDLE
    said = [(answer, weight), (undone.get("answer"), -_weight(undone))]
    return told + _teach(shard, row, entity, [(what, much * _part(what, page)) for what, much in said])


def _teach(shard: Shard, row: int, entity: int, said: list[tuple[Any, float]]) -> list[Effect]:
    """Move the gates of an entity and its sisters by what these answers change."""
    lessons_of = [(TEACHES[str(answer)], weight) for answer, weight in said if str(answer) in TEACHES]
    if not lessons_of:
        return []
    roster, name = shard.roster, shard.roster.entities[entity]
    for (incidents, others), weight in lessons_of:
        shard.lessons.hear(name, incidents=incidents * weight, others=others * weight, at_ms=shard.clock_ms)
    was, now = roster.ents.entity.gate[: len(roster.entities)].astype(np.float64), shard.lessons.gates(roster)
    now[np.abs(now - was) < CHANGE] = np.nan
    moved = {roster.entities[int(e)]: float(now[e]) for e in np.flatnonzero(np.isfinite(now))}
    before = {one: float(was[roster.entity_of(one)]) for one in (name, *moved)}
    metric = roster.classes[row] if row >= 0 else None
    for one in (roster, *shard.twins.rosters):
        lessons.put(one, moved, metric)
    by = {one: abs(_gate(roster, one) - before[one]) for one in before}
    largest = sorted(by, key=lambda one: (one != name, -by[one], one))[:MOST_EFFECTS]
    return [
        _gate_effect(one, before[one], _gate(roster, one), of=None if one == name else name)
        for one in largest
        if one == name or by[one] >= LEAST_EFFECT
    ]


def _gate(roster: Roster, entity: str) -> float:
    return float(roster.ents.entity.gate[roster.entity_of(entity)])


def _gate_effect(entity: str, before: float, after: float, *, of: str | None) -> Effect:
    by = 100.0 * (math.exp(after - before) - 1.0)
    if abs(by) < 0.05:
        way = "needs as much as before to page"
    else:
        way = f"needs {abs(by):.3g} % {'more' if by > 0 else 'less'} to page"
    because = f", as it is like {of}" if of else ""
    return _effect(f"{entity} {way}{because}.", entity, None, {"page_gate": before}, {"page_gate": after})


def _effect(what: str, entity: str, series: str | None, before: dict[str, float], after: dict[str, float]) -> Effect:
    both = ({name: round(value, 6) for name, value in one.items()} for one in (before, after))
    return {"what": what, "entity": entity, "series": series, **dict(zip(("before", "after"), both, strict=True))}


def _hours(shard: Shard, params: Mapping[str, Any]) -> list[int]:
    """Hours of the day, local, that an answer is about: of its window, else of its question, else of now."""
    times = [params.get(name) for name in ("from_ms", "until_ms", "opened_ms")]
    begin, end, opened = (one if type(one) is int and 0 <= one < 1 << 53 else None for one in times)
    first = begin if begin is not None else opened if opened is not None else shard.clock_ms
    last = end if end is not None and end >= first else first
    offset_ms = shard.config.utc_offset_ms
    numbers = range((first + offset_ms) // HOUR_MS, (last + offset_ms) // HOUR_MS + 1)
    return sorted({number % HOURS for number in numbers[:HOURS]})


def _expect(roster: Roster, e: int, hours: list[int], page: Any) -> list[Effect]:
    """A habit of these hours, as if it had been seen on as many days as make one."""
    habit, told = roster.ents.habit, []
    for hour in hours:
        was = {"days": float(habit.days[e, hour]), "size": float(habit.size[e, hour]) / STEPS}
        # What was told was measured beyond the gate and beyond the habit that there is.
        far = math.log(page) if page is not None and page > 0 else 0.0
        far += float(roster.ents.entity.gate[e]) + float(needed(habit, e, hour * HOUR_MS + HOUR_MS // 2))
        habit.days[e, hour] = max(int(habit.days[e, hour]), DAYS)
        habit.size[e, hour] = max(int(habit.size[e, hour]), min(max(math.ceil(far * STEPS), 0), MOST_SIZE))
        now = {"days": float(habit.days[e, hour]), "size": float(habit.size[e, hour]) / STEPS}
        by = 100.0 * (math.exp(now["size"] + MARGIN) - 1.0)
        what = (
            f"{roster.entities[e]} pages around {hour:02d} h only for what is {by:.3g} % beyond the threshold, while "
            "something comes there daily."
        )
        told.append(_effect(what, roster.entities[e], None, was, now))
    return told


def _forget_hours(roster: Roster, e: int, hours: list[int]) -> None:
    for hour in hours:
        roster.ents.habit.days[e, hour] = 0


def _move(roster: Roster, row: int) -> list[Effect]:
    """The level from before the shift, moved to where the series is now; of one that is hardly known, nothing."""
    if roster.rows.level.count[row] < 2 or roster.rows.season.count[row] <= 0:
        return []
    was, now = float(roster.rows.level.mean[row]), roster.rows.change
    before = float(now.mean[row] + now.sd[row] * (now.level[row] + now.entry[row]))
    shift = float(now.after[row]) - before
    retunes.do(roster, row, "relevel", shift, diagnosis.setting_of(roster, row, is_before=True))
    mean, name = float(roster.rows.level.mean[row]), roster.names[row]
    entity = roster.entities[int(roster.rows.link.entity[row])]
    return [_effect(f"{name} is expected around {mean:.4g} now.", entity, name, {"level": was}, {"level": mean})]


def _part(answer: Any, page: Any) -> float:
    """How much of an answer is about pages: that something was nothing says little where it would not have paged."""
    return min(max(float(page), 0.0), 1.0) ** 2 if answer == "false_alarm" and page is not None else 1.0


def _weight(params: Mapping[str, Any]) -> float:
    weight = params.get("weight", 1.0)
    if not _is_number(weight) or not 0.0 <= weight <= 1.0:
        raise BadSample("order", f"weight of an answer is {str(weight)[:40]!r}; it must lie in [0, 1].")
    return float(weight)


def _undone(params: Mapping[str, Any]) -> Mapping[str, Any]:
    undone = params.get("undone") or {}
    if not isinstance(undone, Mapping):
        raise BadSample("order", f"undone is {str(undone)[:40]!r}; it must be an object with answer and weight.")
    _weight(undone)
    return undone


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(np.float64(value)))
