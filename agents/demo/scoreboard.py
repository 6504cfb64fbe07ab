"""Scoreboard: what was noticed, what was not, and what was sent in vain. Records against ground truth, nothing else.

Owns the matching rules:
    page     an alert that starts to fire; those of one incident key are one page
    about    same entity, and its start lies within the incident's window (incidents.py)
    found    a page is about it; for a deploy: a re-tune of it was kept, at most one page, quiet afterwards; for a
             wobble: a question was asked about it and no page sent
    false    every page that is about nothing, the second page about the same thing, and any about a wobble
Knows no Kafka: records come as plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from agents.demo.incidents import DEPLOY, SCRIPT, WOBBLE, Incident
from agents.demo.world import STEP_MS


class Heard(NamedTuple):
    """One record as it was read back. topic: without prefix. delay_s: wall time since its newest sample was sent."""

    topic: str
    value: Mapping[str, Any]
    delay_s: float | None


class Line(NamedTuple):
    """What became of one incident. at_min: when it was noticed, event minutes, None if it was not."""

    incident: Incident
    entity: str
    is_found: bool
    at_min: float | None
    pages: int
    verdict: str


class Score(NamedTuple):
    """The whole. false_pages: (event minute, entity, because)."""

    lines: tuple[Line, ...]
    false_pages: tuple[tuple[float, str, str], ...]
    asked: int
    answered: int
    adapted: int
    delay_s_median: float | None
    p99_ms: float | None

    @property
    def found(self) -> int:
        """Incidents that were noticed in the way that fits them."""
        return sum(line.is_found for line in self.lines)

    @property
    def is_good(self) -> bool:
        """Nothing missed and nothing sent in vain."""
        return self.found == len(self.lines) and not self.false_pages


#: States that a shard tells of; the others follow from what people and the review desk do.
_OF_SHARDS = ("firing", "resolved", "opened", "expired")


class _Page(NamedTuple):
    key: str
    at_min: float
    entity: str
    because: str


def score(
    heard: Sequence[Heard], *, begin_ms: int, keys: Mapping[str, str], until_min: float,
    script: Sequence[Incident] = SCRIPT,
) -> Score:  # fmt: skip
    """begin_ms: event time of minute 0. keys: entity name -> entity as records name it. until_min: how far it went."""
    due = [one for one in script if one.start_min < until_min]
    pages = _pages(heard, begin_ms)
    asked = [
        one
        for one in heard
        if one.topic == "escalations" and one.value.get("state") == "asked" and not one.value.get("about")
    ]
    answers = {_params(one).get("escalation") for one in _experiments(heard, "label")} - {None}
    lines, used = [], set[str]()
    for incident in due:
        about = [page for page in pages if page.entity == keys[incident.entity] and _within(page.at_min, incident)]
        line = _judge(incident, keys[incident.entity], about, asked, heard, begin_ms)
        lines.append(line)
        allowed = 0 if incident.kind == WOBBLE else 1
        used |= {page.key for page in about[:allowed]}
    false = tuple((page.at_min, page.entity, page.because) for page in pages if page.key not in used)
    delays = [
        (line.at_min - line.incident.start_min) * STEP_MS / 1000
        for line in lines
        if line.is_found and line.at_min is not None
    ]
    return Score(
        tuple(lines), false, len(asked), len(answers),
        sum(one.is_found for one in lines if one.incident.kind == DEPLOY),
        float(median(delays)) if delays else None, p99_ms(heard),
    )  # fmt: skip


def p99_ms(heard: Iterable[Heard]) -> float | None:
    """99 % of the alerts and questions were back on their topic so soon after the sample that caused them."""
    waits = sorted(
        one.delay_s
        for one in heard
        if one.topic in ("alerts", "escalations")
        and one.value.get("state") in _OF_SHARDS
        and one.delay_s is not None
        and "score" not in one.value
    )
    return round(1000 * waits[min(len(waits) - 1, int(0.99 * len(waits)))], 1) if waits else None


def _pages(heard: Sequence[Heard], begin_ms: int) -> list[_Page]:
    """Distinct incidents that fired, in order of their start."""
    found: dict[str, _Page] = {}
    for one in heard:
        if one.topic == "alerts" and one.value.get("state") == "firing":
            key = str(one.value["incident"])
            page = _Page(key, _minute(one, begin_ms), str(one.value["entity"]), str(one.value.get("because", "")))
            found.setdefault(key, page)
    return sorted(found.values(), key=lambda page: page.at_min)


def _judge(
    incident: Incident, entity: str, about: Sequence[_Page], asked: Sequence[Heard], heard: Sequence[Heard],
    begin_ms: int,
) -> Line:  # fmt: skip
    first = about[0].at_min if about else None
    if incident.kind == DEPLOY:
        tuned = [
            _minute(one, begin_ms)
            for one in _experiments(heard, "retune")
            if one.value.get("finding") == "kept"
            and one.value.get("entity") == entity
            and _within(_minute(one, begin_ms), incident)
        ]
        later = [page for page in about if tuned and page.at_min > tuned[0]]
        is_found = bool(tuned) and len(about) <= 1 and not later
        told = f"re-tuned after {tuned[0] - incident.start_min:.0f} min" if tuned else "not re-tuned"
        return Line(incident, entity, is_found, tuned[0] if tuned else None, len(about), told)
    if incident.kind == WOBBLE:
        times = [
            _minute(one, begin_ms)
            for one in asked
            if one.value.get("entity") == entity and _within(_minute(one, begin_ms), incident)
        ]
        told = ("asked a person" if times else "not noticed") + (", but paged as well" if about else "")
        return Line(incident, entity, bool(times) and not about, times[0] if times else None, len(about), told)
    told = f"paged after {first - incident.start_min:.0f} min" if first is not None else "missed"
    return Line(incident, entity, bool(about), first, len(about), told)


def _experiments(heard: Sequence[Heard], kind: str) -> list[Heard]:
    """Orders of one kind that a shard has carried out."""
    return [one for one in heard if one.topic == "experiments" and (one.value.get("order") or {}).get("kind") == kind]


def _params(one: Heard) -> Mapping[str, Any]:
    return (one.value.get("order") or {}).get("params") or {}


def _minute(one: Heard, begin_ms: int) -> float:
    return (int(one.value["at_ms"]) - begin_ms) / STEP_MS


def _within(minute: float, incident: Incident) -> bool:
    first, last = incident.window_min
    return first <= minute <= last
