"""The review desk: which escalations wait for an answer, and which of them people were asked about.

Owns a bounded table by escalation id and the budget of questions. Pure: records in, decisions out; time is the
records' own. What is open follows from the escalations topic alone, so after a restart it is read again from there.

Not obvious: over the budget a question is folded, not lost: it is on the topic and may be answered; only nobody is
asked. The budget counts event time, so that a replay asks the same questions.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from engine.errors import BadSample

#: Open questions kept; beyond, the oldest is forgotten and an answer to it is refused. A reviewer answers a few a day.
OPEN_CAP = 10_000
HOUR_MS = 3_600_000


class Status(StrEnum):
    """asked and folded are open; answered and expired are closed."""

    ASKED = "asked"
    FOLDED = "folded"
    ANSWERED = "answered"
    EXPIRED = "expired"


class Question(NamedTuple):
    """One escalation. answer_id: the label that answered it, so that the same label may come twice."""

    record: Mapping[str, Any]
    status: Status
    answer_id: str | None = None


class Desk:
    """counters: questions by status, as they came."""

    def __init__(self, *, questions_per_hour: float, cap: int = OPEN_CAP) -> None:
        self.counters: Counter[str] = Counter()
        self._per_hour = questions_per_hour
        self._cap = cap
        self._questions: OrderedDict[str, Question] = OrderedDict()
        # One hour's budget at the start, so that the first question is not folded.
        self._budget = max(1.0, questions_per_hour) if questions_per_hour > 0 else 0.0
        self._at_ms = 0

    def take(self, record: Mapping[str, Any]) -> Status | None:
        """Hear of an escalation; its status if it is news. BadSample when it cannot be filed."""
        name, state = record.get("escalation"), record.get("state")
        if not isinstance(name, str) or not 0 < len(name) <= 255:
            raise BadSample("field", f"escalation is {str(name)[:80]!r}; wanted an id")
        known = self._questions.get(name)
        if state == "opened":
            return None if known else self._file(name, Question(record, self._ask(record)))
        if state not in ("answered", "expired"):
            raise BadSample("field", f"state is {str(state)[:80]!r}; wanted opened, answered or expired")
        status = Status(state)
        if known and known.status in (Status.ANSWERED, Status.EXPIRED):
            return None
        label = record.get("label") if status is Status.ANSWERED else None
        answer_id = label if isinstance(label, str) else None
        return self._file(name, Question(known.record if known else record, status, answer_id))

    def question_for(self, label: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The escalation that a label answers, None where it names none. BadSample: unknown or closed."""
        name = label.get("escalation")
        if name is None:
            return None
        question = self._questions.get(name) if isinstance(name, str) else None
        if question is None:
            raise BadSample("unknown_escalation", f"escalation {str(name)[:80]!r} is not known here; it may be too old")
        if question.status is Status.EXPIRED:
            raise BadSample("closed_escalation", f"escalation {name} has expired")
        if question.status is Status.ANSWERED and question.answer_id not in (None, label.get("id")):
            raise BadSample("closed_escalation", f"escalation {name} has been answered; the first answer counts")
        return question.record

    def open_count(self) -> dict[str, int]:
        """Open questions by status, for /metrics."""
        found = Counter(question.status for question in self._questions.values())
        return {status: found[status] for status in (Status.ASKED, Status.FOLDED)}

    def _file(self, name: str, question: Question) -> Status:
        self._questions[name] = question
        self.counters[question.status] += 1
        while len(self._questions) > self._cap:
            self._questions.popitem(last=False)
            self.counters["forgotten"] += 1
        return question.status

    def _ask(self, record: Mapping[str, Any]) -> Status:
        at_ms = record.get("at_ms")
        moment_ms = max(self._at_ms, at_ms) if type(at_ms) is int else self._at_ms
        earned = (moment_ms - self._at_ms) / HOUR_MS * self._per_hour if self._at_ms else 0.0
        self._at_ms = moment_ms
        self._budget = min(max(1.0, self._per_hour), self._budget + earned)
        if self._per_hour <= 0 or self._budget < 1.0:
            return Status.FOLDED
        self._budget -= 1.0
        return Status.ASKED
