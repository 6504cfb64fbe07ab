"""One run with a reviewer: the engine live, the worker's own desk asks, a person answers, the shard obeys.

Owns the simulated reviewer (the truth, but for a share of wrong answers), the loop, and chance as another desk. All
else is the product: the desk with its budget and its folding, labels to orders, what orders do. No formula is here.

Not obvious: chance has the same budget and the same questions, a day old at most, but neither weighs nor folds them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from agents.flows.review_desk import Desk
from agents.flows.review_question import Question, Status, page_record, question_of, told
from benchmarks import quality_measures as measures
from benchmarks.feedback_world import DAY_MS, World
from benchmarks.quality_measures import Pages
from benchmarks.series_data import Array
from engine.errors import BadSample
from engine.feedback import order_for
from engine.people import People

#: Questions a day that a reviewer has time for.
QUESTIONS_A_DAY = 3.0
WHO = "reviewer"


class Line(NamedTuple):
    """answers: at most so many; wrong: share of them; is_random: chance chooses what is asked; seed: of chance."""

    answers: int
    wrong: float = 0.05
    is_random: bool = False
    seed: int = 0


class Came(NamedTuple):
    """What came of it. pages: (T,) of each member; answered_ms: when each answer was carried out; asked: what of."""

    pages: list[Array]
    answered_ms: list[int]
    asked: list[dict[str, Any]]


class Reviewer:
    """Answers incident or false alarm, as the truth is, or the other with a chance."""

    def __init__(self, world: World, line: Line) -> None:
        self._world, self._line = world, line
        self._rng = np.random.default_rng((line.seed, 1))
        self._people = People()
        self.given: list[dict[str, Any]] = []

    def order(self, question: Question, at_ms: int) -> dict[str, Any]:
        """The order that the answer leads to."""
        member = self._world.by_key[question.shape.entity]
        is_incident = member.is_incident(question.opened_ms)
        is_wrong = bool(self._rng.random() < self._line.wrong)
        answer = "incident" if is_incident != is_wrong else "false_alarm"
        number = len(self.given)
        label = {
            "schema": "graft.label/1", "id": f"l{number}", "at_ms": at_ms, "answer": answer, "by": WHO,
            "escalation": question.name,
        }  # fmt: skip
        weight = self._people.weight(WHO)
        cause = f"{question.shape.entity} {question.shape.metric}"
        for thing in (question.name, cause):
            self._people.heard(thing, label=label["id"], by=WHO, answer=answer)
        self.given.append({"entity": question.shape.entity, "answer": answer, "wrong": is_wrong, "at_ms": at_ms})
        return order_for(label, question.record, weight=weight)


class Chance:
    """Asks any question of the last day that was not asked, as often as the desk may."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng((seed, 2))
        self._questions: dict[str, Question] = {}
        self._open: dict[str, None] = {}
        self._next_ms = 0

    def take(self, record: dict[str, Any]) -> list[dict[str, Any]]:
        """Hear of an escalation."""
        if record["state"] != "opened":
            self._open.pop(record["escalation"], None)
        elif record["escalation"] not in self._questions:
            self._put(question_of(record, Status.WAITING))
        return []

    def take_page(self, alert: dict[str, Any]) -> list[dict[str, Any]]:
        """Hear of a page."""
        if alert["state"] == "firing":
            self._put(question_of(page_record(alert), Status.WAITING, is_page=True))
        return []

    def advance(self, until_ms: int) -> list[dict[str, Any]]:
        """The question that is asked now, if it is time for one."""
        names = [name for name in self._open if until_ms - self._questions[name].opened_ms <= DAY_MS]
        self._open = dict.fromkeys(names)
        if until_ms < self._next_ms or not names:
            return []
        name = names[int(self._rng.integers(len(names)))]
        del self._open[name]
        self._next_ms = until_ms + int(DAY_MS / QUESTIONS_A_DAY)
        return [told(self._questions[name], Status.ASKED, until_ms, 0.0)]

    def question_for(self, label: dict[str, Any]) -> Question:
        """The question that was asked."""
        return self._questions[label["escalation"]]

    def recall(self, record: dict[str, Any]) -> None:
        """What was answered is not asked again."""
        self._open.pop(record["escalation"], None)

    def _put(self, question: Question) -> None:
        self._questions[question.name] = question
        self._open[question.name] = None


def run(world: World, line: Line) -> Came:
    """The scored part of a set with this reviewer."""
    shard, reviewer = world.begin(), Reviewer(world, line)
    desk = Chance(line.seed) if line.is_random else Desk(questions_per_hour=QUESTIONS_A_DAY / 24.0)
    pages = [np.full(len(one.ts_ms), np.nan) for one in world.members]
    number = {shard.roster.entity_of(one.key): k for k, one in enumerate(world.members)}
    for begin_ms, end_ms in world.hours():
        verdicts = shard.process(world.batch(begin_ms, end_ms, shard.next_offset))
        number |= {shard.roster.entity_of(one.key): k for k, one in enumerate(world.members)}
        _keep(world, pages, number, verdicts.ticks)
        if len(reviewer.given) >= line.answers:
            continue
        asked = [one for record in verdicts.records for one in _hear(world, desk, record)]
        asked += desk.advance(end_ms)
        for one in asked:
            question = _open(desk, one) if one["state"] == "asked" else None
            if question is not None and len(reviewer.given) < line.answers:
                order = reviewer.order(question, end_ms)
                shard.apply(order, control_partition=0, next_offset=len(reviewer.given))
                desk.recall({**one, "state": "answered", "at_ms": end_ms, "label": order["id"], "by": WHO})
    return Came(pages, [one["at_ms"] for one in reviewer.given], reviewer.given)


def score(world: World, came: Came, *, from_ms: int = 0) -> Pages:
    """Found, right and false at page >= 1, of each entity, from a moment on."""
    parts = zip(world.members, came.pages, strict=True)
    return measures.joined([member.pages(page, from_ms=from_ms) for member, page in parts])


def level(world: World, nobody: Came, false_pages: float) -> dict[str, float]:
    """Nobody's pages at the lowest common threshold that gives at most so many false ones: what is it worth to be
    quieter everywhere, without a single answer? In hindsight, and from the first row on."""
    thresholds = np.exp(np.arange(-0.7, 1.5, 0.01))
    parts = zip(world.members, nobody.pages, strict=True)
    pages = measures.joined([member.pages(page, thresholds=thresholds) for member, page in parts])
    within = np.flatnonzero(pages.false.sum(axis=0) <= false_pages)
    # Pages are silent for an hour, so false ones do not quite fall with the threshold: the best of those that hold it.
    every = [
        figures(pages._replace(**{n: getattr(pages, n)[:, [k]] for n in ("found", "right", "false")})) for k in within
    ]
    return max(every, key=lambda one: one["ev_f1"], default={"ev_f1": 0.0, "recall": 0.0})


def figures(pages: Pages) -> dict[str, float]:
    """Event F1, recall and precision of a set at page >= 1, and its false pages."""
    found, right, false, events = (float(np.sum(one)) for one in pages[:4])
    recall, precision = found / max(events, 1.0), right / max(right + false, 1.0)
    f1 = 2.0 * recall * precision / max(recall + precision, 1e-12)
    days = float(np.sum(pages.days))
    told = {"ev_f1": f1, "recall": recall, "precision": precision, "false_pages": false, "right_pages": right}
    return told | {"false_pages_day": false / max(days, 1e-9), "events": events}


def _hear(world: World, desk: Desk | Chance, record: Any) -> list[dict[str, Any]]:
    """The desk hears of what is about the scored part."""
    value = record.value
    if record.topic not in ("alerts", "escalations") or value["at_ms"] < world.by_key[value["entity"]].scored_ms:
        return []
    return desk.take_page(value) if record.topic == "alerts" else desk.take(value)


def _open(desk: Desk | Chance, asked: dict[str, Any]) -> Question | None:
    """The question, unless it has ended before the hour has."""
    try:
        return desk.question_for(asked)
    except BadSample:
        return None


def _keep(world: World, pages: list[Array], number: dict[int, int], ticks: Any) -> None:
    """Put the pages of closed ticks at their rows."""
    for e in np.unique(ticks.entity):
        k, which = number[int(e)], ticks.entity == e
        at = np.searchsorted(world.members[k].ts_ms, ticks.ts_ms[which])
        pages[k][at] = ticks.page[which]
