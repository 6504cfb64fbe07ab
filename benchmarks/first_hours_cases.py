"""Which target meets which sources, when: the cases of `benchmarks.first_hours`.

Owns the table of cases, the distance between histories that makes two entities near or far, the draw of sources and
the starts. Hands out recordings and numbers of entities; knows no engine and no measure.

Not obvious: near and far are defined with the target's own history, which nobody has on a first day; they only say
which pairs a case is about. In `any` the sources are drawn without a look at the target. Where recordings were not
taken at the same time (AIOPS, and by some hours ASD), the k-th start of one is taken as the k-th of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import first_hours_made as made
from benchmarks.quality_sets import some
from benchmarks.series_data import Array, Recording, load

NEAR, FAR = 0.2, 0.45
#: Not apart from itself: beyond any distance.
SELF = 9.0
START_DAYS = 1.5
MOST_SOURCES, MOST_NEAR = 8, 3
MADE = "made"
TOWNS, TOWNS_FAST = 6, 1
ANY, CLOSE, DISTANT, OWN = "any", "near", "far", "made"


class Case(NamedTuple):
    """What is told apart in the result. zone: which sources its targets meet; hours: how long they are watched."""

    name: str
    set_name: str
    zone: str
    hours: int


CASES = (
    Case("JS-D2-any-1d", "JS-D2", ANY, 24),
    Case("JS-D2-near-1d", "JS-D2", CLOSE, 24),
    Case("JS-D2-far-1d", "JS-D2", DISTANT, 24),
    Case("SMD-far-1d", "SMD", ANY, 24),
    Case("ASD-any-3d", "ASD", ANY, 72),
    Case("AIOPS-any-6h", "AIOPS", ANY, 6),
    Case("AIOPS-any-1d", "AIOPS", ANY, 24),
    Case("made-1d", MADE, OWN, 24),
)
#: Sets of which it is told how many sources a plan refuses.
PLANNED = ("JS-D2", "SMD")
#: Starts a series; six where not said otherwise.
STARTS, STARTS_OF, STARTS_FAST = 6, {MADE: 2}, 2
TARGETS_FAST = 4


class Subject(NamedTuple):
    """An entity as its environment would name it. variant: what sets it apart from its source, of the made family."""

    record: Recording
    names: tuple[str, ...]
    starts: tuple[int, ...]
    variant: str = ""


class Meeting(NamedTuple):
    """A target, its sources in each zone, and the one source that is none of its kind. All are numbers of subjects."""

    target: int
    sources: dict[str, list[int]]
    wrong: int


class Group(NamedTuple):
    """All cases of one set. apart (n, n): distances, or None where names of cases do not need them."""

    name: str
    cases: list[Case]
    subjects: list[Subject]
    meetings: list[Meeting]
    apart: Array | None

    @property
    def hours(self) -> int:
        """How long the longest case of it is."""
        return max(case.hours for case in self.cases)


def group(data: Path, set_name: str, wanted: list[Case], *, fast: bool) -> Group | None:
    """The cases of one set that are wanted; None if its data are absent."""
    hours = max(case.hours for case in wanted)
    most = STARTS_FAST if fast else STARTS_OF.get(set_name, STARTS)
    if set_name == MADE:
        family = made.family(TOWNS_FAST if fast else TOWNS)
        subjects = [Subject(one.record, one.names, starts_of(one.record, hours, most), one.variant) for one in family]
        return Group(set_name, wanted, subjects, made_meetings(family), None)
    records = load(data, set_name)
    if not records:
        return None
    subjects = [Subject(one, plain_names(one), starts_of(one, hours, most)) for one in records]
    apart = distances(records) if records[0].values.shape[1] > 1 else None
    zones = list(dict.fromkeys(case.zone for case in wanted))
    found = [one for one in meetings(len(records), zones, apart) if subjects[one.target].starts]
    if fast:
        full = [one for one in found if len(one.sources) == len(zones)]
        kept = some([str(one.target) for one in full or found], most=TARGETS_FAST)
        found = [one for one in found if str(one.target) in kept]
    return Group(set_name, wanted, subjects, found, apart)


def plain_names(record: Recording) -> tuple[str, ...]:
    """Files hold no names of metrics."""
    return tuple(f"m{column:02d}" for column in range(record.values.shape[1]))


def starts_of(record: Recording, hours: int, most: int) -> tuple[int, ...]:
    """Rows at which an entity may be first seen: every 1.5 days of its labelled part, with so many hours left."""
    day = record.rows_a_day
    last = len(record.values) - rows_of(record, hours)
    return tuple(at for k in range(most) if (at := record.history + int(k * START_DAYS * day)) <= last)


def rows_of(record: Recording, hours: int) -> int:
    """Rows of so many hours."""
    return record.rows_a_day * hours // 24


def distances(records: list[Recording]) -> Array:
    """Mean over metrics of the largest gap between two histories' distribution functions, (n, n); 9 on the diagonal."""
    grid = np.linspace(0.01, 0.99, 49)
    quantiles = [np.quantile(record.values[: record.history], grid, axis=0) for record in records]
    far = np.full((len(records), len(records)), SELF)
    for i, j in np.ndindex(far.shape):
        if i < j:
            far[i, j] = far[j, i] = np.mean([_gap(a, b) for a, b in zip(quantiles[i].T, quantiles[j].T, strict=True)])
    return far


def _gap(a: Array, b: Array) -> float:
    both = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, both, side="right") - np.searchsorted(b, both, side="right")).max()) / len(a)


def meetings(count: int, zones: list[str], apart: Array | None) -> list[Meeting]:
    """Each entity as a target, with the sources of each zone that has some. A draw depends on the target alone."""
    found = []
    for target in range(count):
        rng = np.random.default_rng([1, target])
        others = [j for j in range(count) if j != target]
        if not others:
            continue
        sources = {ANY: _drawn(rng, others)}
        strangers = others
        if apart is not None:
            near = [int(j) for j in np.argsort(apart[target], kind="stable") if apart[target, j] < NEAR]
            far = [j for j in others if apart[target, j] > FAR]
            sources |= {CLOSE: near[:MOST_NEAR], DISTANT: _drawn(rng, far)}
            strangers = far or others
        wrong = int(rng.choice(strangers))
        found.append(Meeting(target, {zone: sources[zone] for zone in zones if sources.get(zone)}, wrong))
    return [one for one in found if one.sources]


def _drawn(rng: np.random.Generator, of: list[int]) -> list[int]:
    """At most eight, in random order: the first is the one that a naive copy is made of."""
    return [int(j) for j in rng.permutation(of)[:MOST_SOURCES]]


def made_meetings(family: list[made.Made]) -> list[Meeting]:
    """Each target of the made family with its town; the wrong source is the hostile twin of that town."""
    source = {one.town: at for at, one in enumerate(family) if one.variant == made.SOURCE}
    hostile = {one.town: at for at, one in enumerate(family) if one.variant == made.HOSTILE}
    found = []
    for at, one in enumerate(family):
        if one.variant != made.SOURCE:
            # The hostile one's own source is what is wrong for it.
            wrong = source[one.town] if one.variant == made.HOSTILE else hostile[one.town]
            found.append(Meeting(at, {OWN: [source[one.town]]}, wrong))
    return found
