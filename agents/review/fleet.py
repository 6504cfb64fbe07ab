"""Fleet: which entities are still young, on trial or unsure, and why, from what the newest states say.

Pure over what states.py has kept and the file's records of decisions. Owns the words for how far an entity is.

Not obvious: an entity is in one kind only, the one that matters most to whoever looks: what burns before what is asked,
that before what is silent, on trial, or young. Whatever is left is settled.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agents.review import history
from agents.review.questions import PAGE
from agents.review.states import DAY_MS, SLOTS, EntityStanding, Learned, ShardRead
from agents.review.words import length, percent

#: What an entity can be, in order; and two that are several.
ORDER = ("firing", "asking", "silent", "trial", "young", "borrowing", "settled")
KINDS = ("unsettled", "all", *ORDER)
#: Of what it is compared with, so much must be its own.
OWN = 0.2


class Line(NamedTuple):
    """An entity of the list. why: one sentence; useful_in_ms: how long until it has seen a day, 0 if it has."""

    standing: EntityStanding
    kind: str
    why: str
    useful_in_ms: float
    decided: sqlite3.Row | None


class Fleet(NamedTuple):
    """counts: entities by kind; tiles: numbers of all shards together; lines: of one page, of `total`."""

    counts: Mapping[str, int]
    tiles: Mapping[str, float]
    lines: list[Line]
    total: int
    page: int
    more: bool


def fleet_of(shards: Sequence[ShardRead], db: sqlite3.Connection, *, wanted: str, page: int) -> Fleet:
    """One page of the list, the least settled first."""
    standings = [(one, kind_of(one)) for shard in shards for one in shard.entities]
    counts = Counter(kind for _, kind in standings)
    chosen = [
        (one, kind)
        for one, kind in standings
        if wanted in ("all", kind) or (wanted == "unsettled" and kind != "settled")
    ]
    chosen.sort(key=lambda one: (ORDER.index(one[1]), one[0].history_ms, one[0].entity))
    shown = chosen[(page - 1) * PAGE : page * PAGE]
    decided = history.decisions(db, [one.entity for one, _ in shown])
    tiles: Counter[str] = Counter()
    for shard in shards:
        tiles.update(
            {name: shard.counters.get(name, 0) for name in ("entities", "series", "absent", "seeded", "alerts")}
        )
    lines = [line_of(one, decided.get(one.entity)) for one, _ in shown]
    return Fleet(counts, tiles, lines, len(chosen), page, len(chosen) > page * PAGE)


def kind_of(one: EntityStanding) -> str:
    """What an entity is."""
    if one.state in ("firing", "resolving"):
        return "firing"
    if one.state == "pending":
        return "asking"
    if one.series and one.absent >= one.series:
        return "silent"
    if one.is_on_trial:
        return "trial"
    if one.history_ms < DAY_MS:
        return "young"
    return "borrowing" if one.borrowed > OWN else "settled"


def line_of(one: EntityStanding, decided: sqlite3.Row | None) -> Line:
    """An entity with its reasons."""
    kind, missing_ms = kind_of(one), max(0.0, DAY_MS - one.history_ms)
    seen = f"it has been watched for {length(one.history_ms)}"
    said = {
        "firing": "an alert goes on",
        "asking": "a question is open: it is unusual, and not surely so",
        "silent": "none of its series comes any more",
        "trial": f"what another environment lends is tried beside it; {seen}",
        "young": f"{seen}; the shape of its day is known after {length(missing_ms)} more",
        "borrowing": f"{percent(one.borrowed)} of what it is compared with still comes from {one.source or 'a source'}",
        "settled": f"{seen}; it stands on its own",
    }[kind]
    if one.absent and kind != "silent":
        said += f"; {one.absent} of its {one.series} series are silent"
    return Line(one, kind, said[0].upper() + said[1:] + ".", missing_ms, decided)


def day_of(learned: Learned | None) -> dict[str, Any] | None:
    """The shape of a day as a chart: what is expected in each quarter of an hour, and the band around it."""
    if learned is None or not any(learned.visited):
        return None
    half = learned.half_band if learned.half_band == learned.half_band else 3 * learned.sd
    step_ms = DAY_MS // SLOTS
    expected = [value if seen else None for value, seen in zip(learned.profile, learned.visited, strict=True)]
    return {
        "t_ms": [slot * step_ms + step_ms // 2 for slot in range(SLOTS)],
        "value": expected,
        "expected": expected,
        "lower": [None if value is None else value - half for value in expected],
        "upper": [None if value is None else value + half for value in expected],
    }
