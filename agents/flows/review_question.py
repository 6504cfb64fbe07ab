"""Questions as the review desk keeps them, and the records that it writes about them.

Owns what a question is (an escalation, or a page of which it is asked whether it was right), its states, and the form
of the records `asked` and `folded`. Pure; time is the records' own.

Not obvious: the id of such a record follows from the escalation and the state alone, so that the desk of another life
says the same thing again under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from engine.asking import Shape, shape_of
from engine.errors import BadSample
from engine.series import stable_id

ESCALATION = "graft.escalation/1"
#: A question that does not say when it lapses lapses after so long; one about a page has a day.
LAPSE_MS, PAGE_LAPSE_MS = 2 * 3_600_000, 86_400_000
#: Longest name of an escalation.
MOST_CHARACTERS = 255
#: What happens if nobody answers.
RULE = "Without an answer it lapses and nothing changes; if it grows to three times the threshold of a page, it pages."
PAGE_RULE = "It has paged already; without an answer nothing changes."


class Status(StrEnum):
    """The first three are open: on the table and not asked (yet), asked, stood for by another. The last two closed."""

    WAITING = "waiting"
    ASKED = "asked"
    FOLDED = "folded"
    ANSWERED = "answered"
    EXPIRED = "expired"


OPEN = frozenset({Status.WAITING, Status.ASKED, Status.FOLDED})


class Question(NamedTuple):
    """One question. record: its first record, or what is known of it. is_page: it is about an alert.

    is_told_folded: a record says that nobody is asked. into: the question that stands for it. asked_ms, answered_ms,
    ended_ms: -1: not (yet). answer_id, by, answer, weight, window: the label that counts; replaced: the one before it.
    """

    name: str
    record: Mapping[str, Any]
    status: Status
    shape: Shape
    opened_ms: int
    due_ms: int
    team: str = ""
    is_page: bool = False
    is_told_folded: bool = False
    into: str | None = None
    asked_ms: int = -1
    answered_ms: int = -1
    ended_ms: int = -1
    answer_id: str | None = None
    replaced: str | None = None
    by: str | None = None
    answer: str | None = None
    weight: float = 1.0
    window: Mapping[str, int] = MappingProxyType({})

    @property
    def had_time(self) -> bool:
        """Could somebody answer? Not if an alert overtook the question in less than half of its time."""
        return self.ended_ms < 0 or 2 * (self.ended_ms - self.asked_ms) >= self.due_ms - self.asked_ms


def question_of(record: Mapping[str, Any], status: Status, *, team: str = "", is_page: bool = False) -> Question:
    """From any of its records. BadSample where it has no name."""
    name = record.get("escalation")
    if not isinstance(name, str) or not 0 < len(name) <= MOST_CHARACTERS:
        raise BadSample("field", f"escalation is {str(name)[:80]!r}; wanted an id")
    at_ms = moment(record.get("at_ms"), 0)
    opened_ms = min(moment(record.get("opened_ms"), at_ms), at_ms)
    latest_ms = opened_ms + PAGE_LAPSE_MS
    due_ms = latest_ms if is_page else opened_ms + LAPSE_MS
    due_ms = moment(record.get("due_ms"), moment(record.get("expires_ms"), due_ms))
    # What is slow lapses late, but nobody is asked about last week.
    due_ms = min(max(due_ms, opened_ms), max(latest_ms, opened_ms + LAPSE_MS))
    return Question(name, record, status, shape_of(record), opened_ms, due_ms, team=team, is_page=is_page)


def page_record(alert: Mapping[str, Any]) -> dict[str, Any]:
    """An alert as a question: was this page right? The escalation is the alert's own id."""
    return {**alert, "schema": ESCALATION, "escalation": alert.get("alert"), "opened_ms": alert.get("started_ms")}


def told(question: Question, status: Status, at_ms: int, score: float) -> dict[str, Any]:
    """The desk's record of a question: `asked` or `folded`."""
    record = question.record
    value = {
        "schema": ESCALATION,
        "id": stable_id("escalation", question.name, str(status)),
        "state": str(status),
        "at_ms": at_ms,
        **{name: record.get(name) for name in ("environment", "entity", "series")},
        "escalation": question.name,
        "opened_ms": question.opened_ms,
        "score": round(score, 4),
        "into": question.into,
        "due_ms": question.due_ms,
        "rule": PAGE_RULE if question.is_page else RULE,
        "follows": record.get("follows") or [],
    }
    if question.is_page:
        # Nobody has told of this question before, so all that a person needs is in it.
        shown = ("severity", "confidence", "page", "contributors", "components", "borrowed", "because", "context")
        value |= {"about": "alert", "incident": record.get("incident")}
        value |= {name: record[name] for name in shown if name in record}
    return value


def moment(value: object, otherwise: int) -> int:
    """A time in milliseconds, else something else: anybody can write to a topic."""
    return value if type(value) is int and 0 <= value < 1 << 53 else otherwise
