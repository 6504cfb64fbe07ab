"""Asking: what an answer would be worth, and which questions are one question.

Owns the shape of a question (which metrics of an entity took part, and how much), how alike two shapes are, and the
expected effect of an answer: how many questions of late it would decide, times how open the matter is. Records in,
numbers out; knows no budget, no topic and no state of a shard.

Not obvious: sisters are compared by metric class (`cpu` of two hosts), never by series, since two entities share no
series. And a record is somebody's JSON: what is missing or odd counts as unknown, it never raises.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

#: From this cosine on two questions are about the same thing: of one entity, of two sisters. Sisters may differ in all
#: that their metric classes do not tell, so more is wanted of them.
ALIKE_OWN, ALIKE_SISTER = 0.5, 0.7
#: What a question of a sister is worth beside one of the entity itself.
SISTER = 0.5
#: Nothing is so certain that an answer would be worth nothing: confidence is an estimate, too.
LEAST_DOUBT = 0.1
#: Contributors of a record that are looked at; the engine tells five.
MOST_CONTRIBUTORS = 20


class Shape(NamedTuple):
    """What a question is about. shares: metric class -> share of the evidence; page, confidence: None if not told."""

    entity: str
    metric: str
    shares: Mapping[str, float]
    page: float | None
    confidence: float | None


def metric_class(series: str) -> str:
    """What two entities have in common of a series: its name without labels.

    >>> metric_class('cpu.idle{host="a"}')
    'cpu.idle'
    """
    return series.partition("{")[0]


def shape_of(record: Mapping[str, Any]) -> Shape:
    """The shape of an escalation or an alert.

    >>> shape_of({"entity": "host=a", "series": 'cpu{host="a"}', "page": 1.2}).shares
    {'cpu': 1.0}
    """
    shares: dict[str, float] = {}
    contributors = record.get("contributors")
    for one in (contributors if isinstance(contributors, list) else [])[:MOST_CONTRIBUTORS]:
        if isinstance(one, Mapping) and isinstance(one.get("series"), str):
            share = _number(one.get("share"))
            name = metric_class(one["series"])
            shares[name] = shares.get(name, 0.0) + (max(share, 0.0) if share is not None else 0.0)
    series = record.get("series")
    first = metric_class(series) if isinstance(series, str) else ""
    if not sum(shares.values()) > 0.0:
        shares = {first: 1.0}
    return Shape(
        str(record.get("entity")),
        first or max(shares, key=shares.__getitem__),
        shares,
        _number(record.get("page")),
        _number(record.get("confidence")),
    )


def likeness(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Cosine of two sets of shares by metric class, in [0, 1]; 0 where one is empty.

    >>> likeness({"cpu": 1.0}, {"cpu": 0.3}), likeness({"cpu": 1.0}, {"disk": 1.0}), likeness({}, {"cpu": 1.0})
    (1.0, 0.0, 0.0)
    """
    size = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
    return min(sum(x * b.get(name, 0.0) for name, x in a.items()) / size, 1.0) if size > 0.0 else 0.0


def is_same(a: Shape, b: Shape) -> bool:
    """Are two questions that are open at the same time one question? Of sisters, the first metric must be the same."""
    alike = likeness(a.shares, b.shares)
    return alike >= ALIKE_OWN if a.entity == b.entity else a.metric == b.metric and alike >= ALIKE_SISTER


def doubt(shape: Shape) -> float:
    """How open the matter is, in (0, 1]: most at a confidence of a coin and a page at its threshold.

    >>> doubt(Shape("e", "m", {}, 1.0, 0.5)), round(doubt(Shape("e", "m", {}, 0.1, 0.99)), 3)
    (1.0, 0.01)
    """
    sure = 0.5 if shape.confidence is None else min(max(shape.confidence, 0.0), 1.0)
    page = shape.page if shape.page is not None and shape.page > 0.0 else LEAST_DOUBT
    return max(4.0 * sure * (1.0 - sure), LEAST_DOUBT) * max(min(page, 1.0 / page), LEAST_DOUBT)


def worth(shape: Shape, recent: Iterable[tuple[Shape, int]], answered: Iterable[Shape]) -> float:
    """Expected effect of an answer: the questions of late that it would decide, times doubt, less what is known.

    recent: other questions of late without an answer, and how many each stands for; answered: those with one.
    """
    reach = 1.0 + sum(_part(shape, other) * count for other, count in recent)
    return doubt(shape) * reach / (1.0 + sum(_part(shape, other) for other in answered))


def _part(shape: Shape, other: Shape) -> float:
    return likeness(shape.shares, other.shares) * (1.0 if shape.entity == other.entity else SISTER)


def _number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
