"""What the first hours are wanted to be: the table of floors and goals, and which of them a run has met.

Owns the table and the verdicts. Knows the keys of the result and measures nothing. A row is met if all of its figures
are; it is `not run` if what it is about was no part of the run, `not measured` if no number came of it. The gap between
cold and warm is no number where warm is not surely better than cold.

Not obvious: a number that is not there meets nothing, but a figure that misses is told also where its neighbour is not
known. Figures are those of one run; a floor that is met by chance is met here too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, NamedTuple

AT_LEAST, ABOVE, AT_MOST, BELOW, WITHIN = ">=", ">", "<=", "<", "in"
MET, MISSED, NOT_RUN, NOT_MEASURED = "met", "missed", "not run", "not measured"
#: A limit of WITHIN is a pair, of all others a number.
Limit = float | tuple[float, float]
HOLDS: Mapping[str, Callable[[float, Any], bool]] = {
    AT_LEAST: operator.ge,
    ABOVE: operator.gt,
    AT_MOST: operator.le,
    BELOW: operator.lt,
    WITHIN: lambda figure, pair: bool(pair[0] <= figure <= pair[1]),
}


class Part(NamedTuple):
    """One figure. path: its keys in the result; floor, goal: None where none is asked."""

    path: tuple[str, ...]
    direction: str
    floor: Limit | None
    goal: Limit | None


class Row(NamedTuple):
    """What is told in one line. head: the kind of promise; name: of what."""

    head: str
    name: str
    parts: tuple[Part, ...]


JS_ANY, JS_NEAR, JS_FAR, SMD = "JS-D2-any-1d", "JS-D2-near-1d", "JS-D2-far-1d", "SMD-far-1d"
ASD, AIOPS_6H, AIOPS, MADE = "ASD-any-3d", "AIOPS-any-6h", "AIOPS-any-1d", "made-1d"
#: Those that last for one day; of ASD's three the first is told apart.
DAYS = (JS_ANY, JS_NEAR, JS_FAR, SMD, AIOPS, MADE)
ALL = (JS_ANY, JS_NEAR, JS_FAR, SMD, ASD, AIOPS_6H, AIOPS, MADE)
#: Two shards that do the same differ by some hundredths in time, and by nothing in memory.
SAME_TIME, SAME_MEMORY = 1.05, 1.0


def _of(case: str, *keys: str) -> tuple[str, ...]:
    return ("cases", case, *keys)


def _first_day(case: str, key: str) -> tuple[str, ...]:
    return _of(case, "seeded", *(("day_one",) if case == ASD else ()), key)


def _pages() -> list[Row]:
    def row(case: str, floor: float, goal: float) -> Row:
        return Row("event F1", case, (Part(_of(case, "seeded", "ev_f1"), AT_LEAST, floor, goal),))

    both = (
        Part(_of(JS_ANY, "seeded", "ev_f1"), AT_LEAST, 0.55, 0.64),
        Part(_of(JS_ANY, "seeded", "rec_1d"), AT_LEAST, 0.88, 0.92),
    )
    closed = ((JS_ANY, 1.0), (SMD, 0.8))
    return [
        Row("event F1, recall at one false page a day", JS_ANY, both),
        row(JS_FAR, 0.29, 0.40),
        row(SMD, 0.45, 0.50),
        row(ASD, 0.60, 0.63),
        row(AIOPS_6H, 0.48, 0.60),
        row(AIOPS, 0.48, 0.60),
        *(
            Row("gap from cold to warm closed", case, (Part(_of(case, "gap_closed"), AT_LEAST, None, goal),))
            for case, goal in closed
        ),
    ]


def _errors() -> list[Row]:
    wanted = ((JS_NEAR, 1.06, 1.03), (JS_ANY, 1.06, 1.03), (JS_FAR, 1.16, 1.10), (ASD, 1.12, 1.06), (SMD, 1.06, 1.04))
    return [
        Row(
            "forecast error of day one over warm's",
            case,
            (Part(_first_day(case, "error_ratio"), AT_MOST, floor, goal),),
        )
        for case, floor, goal in wanted
    ]


def _harms() -> list[Row]:
    losses = [
        Row(
            "forecast loss against cold per target: mean, worst",
            case,
            (Part(_of(case, "harm_mean"), BELOW, 0.0, 0.0), Part(_of(case, "harm_worst"), AT_MOST, 0.02, 0.0)),
        )
        for case in ALL
    ]
    pooled = [
        Row(
            "event F1 less cold's, lower bound",
            case,
            (Part(_of(case, "seeded_minus_cold", "ev_f1", "0"), ABOVE, -0.03, 0.0),),
        )
        for case in ALL
    ]
    # The seed of a town is hostile to its hostile twin, and the hostile twin's to all others of the town.
    strange = (("phase", "seeded"), ("hostile", "seeded"), ("twin", "wrong"))
    late = [
        Row(
            "error over cold's after two hours: median, worst",
            f"{MADE}, {variant}, {line}",
            tuple(
                Part(_of(MADE, "variants", variant, "after_2h_over_cold", line, key), AT_MOST, 1.1, 1.02)
                for key in ("median", "worst")
            ),
        )
        for variant, line in strange
    ]
    return [*losses, *pooled, *late]


def _choices() -> list[Row]:
    near = Part(_of(JS_ANY, "refused_near"), AT_MOST, 0.08, 0.03)
    return [
        *(
            Row("far sources refused by a plan", case, (Part(_of(case, "refused_far"), AT_LEAST, 1.0, 1.0),))
            for case in (JS_ANY, SMD)
        ),
        Row("near sources refused by a plan", JS_ANY, (near,)),
    ]


def _told() -> list[Row]:
    pages = [
        Row(
            "false pages a day of day one, recall, at page >= 1",
            case,
            (
                Part(_first_day(case, "false_pages_day"), AT_MOST, 0.3, 0.15),
                Part(_first_day(case, "recall_at_page"), AT_LEAST, 0.35, 0.50),
            ),
        )
        for case in (*DAYS, ASD)
    ]
    rates = [
        Row(
            "severity >= 3 in hours 1-24: mean rate, share within a factor of two",
            case,
            (
                Part(_of(case, "seeded", "rate_mean"), WITHIN, (0.5, 2.0), None),
                Part(_of(case, "seeded", "rate_ok"), AT_LEAST, None, 0.8),
            ),
        )
        for case in (*DAYS, ASD)
    ]
    return [*pages, *rates]


def _costs() -> list[Row]:
    rows = []
    for fleet in ("wide", "lone"):
        for count, stage in (("1", "hour"), ("3", "hour"), ("3", "day")):
            parts = tuple(Part(("cost", fleet, "sources", count, stage, key), AT_MOST, 2.5, 1.6) for key in _USED)
            rows.append(Row("guard over cold: time, memory", f"{fleet}, {count} lent, {stage}", parts))
        after = tuple(
            Part(("cost", fleet, "sources", "3", "after", key), AT_MOST, most, most)
            for key, most in zip(_USED, (SAME_TIME, SAME_MEMORY), strict=True)
        )
        rows.append(Row("guard over cold: time, memory", f"{fleet}, 3 lent, after", after))
    return rows


_USED = ("time", "memory")
ROWS: tuple[Row, ...] = (*_pages(), *_errors(), *_harms(), *_choices(), *_told(), *_costs())


def judged(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All rows as data: head, name, parts with their figures, and the verdicts floor and goal (None: none is asked)."""
    return [
        {
            "head": row.head,
            "name": row.name,
            "parts": [
                {
                    "path": ".".join(part.path),
                    "figure": figure(told, part.path),
                    "direction": part.direction,
                    "floor": part.floor,
                    "goal": part.goal,
                }
                for part in row.parts
            ],
            "floor": verdict(told, [(part, part.floor) for part in row.parts]),
            "goal": verdict(told, [(part, part.goal) for part in row.parts]),
        }
        for row in ROWS
    ]


def verdict(told: Mapping[str, Any], wanted: list[tuple[Part, Limit | None]]) -> str | None:
    """Of the parts of a row with one limit each; None if no part has one."""
    asked = [(part, limit) for part, limit in wanted if limit is not None]
    if not asked:
        return None
    found = [(figure(told, part.path), part.direction, limit) for part, limit in asked]
    if any(value is not None and not HOLDS[direction](value, limit) for value, direction, limit in found):
        return MISSED
    if all(value is not None for value, _, _ in found):
        return MET
    return NOT_MEASURED if all(is_run(told, part.path) for part, _ in asked) else NOT_RUN


def is_run(told: Mapping[str, Any], path: tuple[str, ...]) -> bool:
    """Was the case, or the measurement of the cost, a part of this run?"""
    return path[0] in told and (path[0] != "cases" or path[1] in told["cases"])


def figure(told: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    """The number at a path, of a list by its place; None if it leads nowhere.

    >>> figure({"a": {"b": [0.5, 1.0]}}, ("a", "b", "1"))
    1.0
    """
    here: Any = told
    for key in path:
        if isinstance(here, list):
            here = here[int(key)] if int(key) < len(here) else None
        else:
            here = here.get(key) if isinstance(here, Mapping) else None
    return float(here) if isinstance(here, int | float) and isfinite(here) else None
