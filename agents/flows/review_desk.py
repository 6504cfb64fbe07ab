"""The review desk: which questions wait for an answer, and which of them people are asked, in what order.

Owns a bounded table of questions and every decision about them. Pure: records and moments in, records out; time is the
records' own. Within the budget the question whose answer is worth most is asked first (`engine.asking`); one that is
the same as another that is open, or that was asked lately for the same entity and cause, is folded into that one; over
the budget questions wait until they lapse, and may be answered all the same.

Not obvious: decisions are made at moments that follow from the questions and not from when a record is read: the end
of the minute in which a question was opened, so that those of one storm are weighed together, and whenever the budget
allows one more. So the same records give the same decisions, however they are batched. What was decided by a former
life is read from the topic (`recall`) and stands.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from agents.flows.review_budget import NEVER, Budget
from agents.flows.review_question import MOST_CHARACTERS, OPEN, Question, Status, moment, page_record, question_of, told
from engine.asking import is_same, worth
from engine.errors import BadSample

#: Questions kept; beyond, the oldest is forgotten and an answer to it is refused. A reviewer answers a few a day.
OPEN_CAP = 10_000
#: Questions that are opened within one minute are weighed together.
GATHER_MS = 60_000
#: Nobody is asked again for so long about the same cause in the same entity.
AGAIN_MS = 86_400_000
#: Each page is an event of its own, and only what follows it closely is the same.
PAGE_AGAIN_MS = 7_200_000
#: Questions count as "of late" for a week, and at most so many of one metric class.
LATE_MS, MOST_LATE = 7 * 86_400_000, 64
#: Questions of one team that are weighed against each other; the newest.
MOST_WAITING = 200
STATES = ("opened", "asked", "folded", "answered", "expired")


class Desk:
    """counters: questions by status, as they came."""

    def __init__(self, *, questions_per_hour: float, team_label: str = "", cap: int = OPEN_CAP) -> None:
        self.counters: Counter[str] = Counter()
        self.clock_ms = 0
        self._budget = Budget(per_hour=questions_per_hour, team_label=team_label)
        self._cap = cap
        self._questions: OrderedDict[str, Question] = OrderedDict()
        # By name: what has to be settled (with its moment), and what may be asked, by team.
        self._unsettled: dict[str, int] = {}
        self._waiting: dict[str, dict[str, None]] = {}
        # Pages that were asked about, with their ends: of all others the engine tells.
        self._due: dict[str, int] = {}
        # The newest that stand for themselves, by metric class and by entity; and for how many each stands.
        self._late: OrderedDict[tuple[str, str], deque[str]] = OrderedDict()
        self._stands: Counter[str] = Counter()

    # What comes in.

    def take(self, record: Mapping[str, Any], *, latest_ms: int = NEVER) -> list[dict[str, Any]]:
        """Hear of an escalation; what is decided by then, as records. BadSample when it cannot be filed.

        latest_ms: time goes no further by this record, or one from the far future would end all waiting.
        """
        # Before anything is decided: what is decided must leave, whatever this record is.
        _state_of(record)
        question_of(record, Status.EXPIRED)
        decided = self.advance(min(moment(record.get("at_ms"), 0) - 1, latest_ms))
        self.recall(record)
        return decided

    def take_page(self, alert: Mapping[str, Any], *, latest_ms: int = NEVER) -> list[dict[str, Any]]:
        """Hear of a page: whether it was right may be asked. BadSample when it cannot be filed. latest_ms: as above."""
        if alert.get("state") != "firing":
            return []
        record = page_record(alert)
        question_of(record, Status.WAITING)
        decided = self.advance(min(moment(record.get("at_ms"), 0) - 1, latest_ms))
        if record["escalation"] not in self._questions:
            self._open(record, is_page=True)
        return decided

    def recall(self, record: Mapping[str, Any]) -> Status | None:
        """File what a record says and decide nothing; its status if it is news. BadSample when it cannot be filed."""
        state = _state_of(record)
        found = question_of(record, Status.EXPIRED)
        known = self._questions.get(found.name)
        if state == "opened":
            return None if known else self._open(record)
        if state in ("asked", "folded"):
            return self._recall_decision(record, known, Status(state))
        overrides = record.get("overrides") if state == "answered" else None
        is_override = known is not None and isinstance(overrides, str) and overrides == known.answer_id
        if known and known.status not in OPEN and not is_override:
            return None
        return self._close(record, known or found, Status(state))

    def advance(self, until_ms: int) -> list[dict[str, Any]]:
        """What is decided up to a moment of event time, as records, in order."""
        told_of: list[dict[str, Any]] = []
        while (at_ms := self._next_moment()) <= until_ms:
            self.clock_ms = max(self.clock_ms, at_ms)
            told_of += self._lapse(self.clock_ms)
            told_of += self._settle(self.clock_ms)
            told_of += self._ask(self.clock_ms)
        self.clock_ms = max(self.clock_ms, until_ms)
        return told_of

    # What is asked of it.

    def question_for(self, label: Mapping[str, Any]) -> Question | None:
        """The question that a label answers, None where it names none. BadSample: unknown or closed.

        One that was answered may be answered again by whoever says which label is overridden, and is not its author.
        """
        name = label.get("escalation")
        if name is None:
            return None
        question = self._questions.get(name) if isinstance(name, str) else None
        if question is None:
            raise BadSample("unknown_escalation", f"escalation {str(name)[:80]!r} is not known here; it may be too old")
        if question.status is Status.EXPIRED:
            raise BadSample("closed_escalation", f"escalation {name} has expired")
        if question.status is not Status.ANSWERED or question.answer_id is None:
            return question
        if question.answer_id == label.get("id"):
            if question.answer not in (None, label.get("answer")):
                raise BadSample("closed_escalation", f"label {question.answer_id} has said {question.answer} before")
            return question
        if label.get("overrides") != question.answer_id:
            raise BadSample("closed_escalation", f"escalation {name} has been answered; the first answer counts")
        if label.get("by") == question.by:
            raise BadSample("override", f"{question.by} answered escalation {name}; it takes somebody else to override")
        return question

    def answered(self, name: object) -> Question | None:
        """A question with an answer, by the name of its escalation."""
        question = self._questions.get(name) if isinstance(name, str) else None
        return question if question is not None and question.status is Status.ANSWERED else None

    def open_count(self) -> dict[str, int]:
        """Open questions by status, for /metrics. Over the budget counts as folded, as its record says."""
        found = Counter(q.status for q in self._questions.values())
        folded = found[Status.FOLDED] + found[Status.WAITING]
        return {Status.ASKED: found[Status.ASKED], Status.FOLDED: folded}

    # Filing.

    def _open(self, record: Mapping[str, Any], *, is_page: bool = False) -> Status:
        team = self._budget.team_of(str(record.get("series")))
        question = question_of(record, Status.WAITING, team=team, is_page=is_page)
        at_ms = max(moment(record.get("at_ms"), 0), question.opened_ms)
        self._unsettled[question.name] = (at_ms // GATHER_MS + 1) * GATHER_MS
        return self._file(question)

    def _recall_decision(self, record: Mapping[str, Any], known: Question | None, status: Status) -> Status | None:
        into, is_page = record.get("into"), record.get("about") == "alert"
        into = into if into is None or isinstance(into, str) else str(into)[:MOST_CHARACTERS]
        found = known or question_of(record, Status.WAITING, is_page=is_page)
        at_ms, team = moment(record.get("at_ms"), found.opened_ms), self._budget.team_of(str(record.get("series")))
        if found.asked_ms >= 0 or found.status is Status.FOLDED:
            return None
        is_open = found.status in OPEN
        if status is Status.ASKED:
            # Also of one that has ended since: whoever was asked was asked.
            self._budget.spend(team, at_ms)
            self._forget_open(found)
            self._stand(found)
            if found.is_page and is_open:
                self._due[found.name] = found.due_ms
            return self._file(found._replace(status=status if is_open else found.status, team=team, asked_ms=at_ms))
        if not is_open:
            return None
        self._forget_open(found)
        if into is None:
            self._wait(found.name, team)
            self._stand(found)
            return self._file(found._replace(team=team, is_told_folded=True))
        if into in self._questions:
            self._stands[into] += 1
        return self._file(found._replace(status=status, team=team, into=into[:MOST_CHARACTERS]))

    def _close(self, record: Mapping[str, Any], question: Question, status: Status) -> Status:
        self._forget_open(question)
        if status is Status.EXPIRED:
            ended_ms = moment(record.get("at_ms"), question.due_ms)
            return self._file(question._replace(status=status, ended_ms=ended_ms))
        said = {name: record.get(name) for name in ("label", "by", "answer")}
        label, by, answer = (one if isinstance(one, str) else None for one in said.values())
        self._stand(question)
        weight = record.get("weight")
        return self._file(question._replace(
            status=status, replaced=question.answer_id, answer_id=label, by=by, answer=answer,
            answered_ms=moment(record.get("at_ms"), question.opened_ms),
            weight=float(weight) if isinstance(weight, int | float) and 0 <= weight <= 1 else 1.0,
            window={name: record[name] for name in ("from_ms", "until_ms") if type(record.get(name)) is int},
        ))  # fmt: skip

    def _file(self, question: Question) -> Status:
        self._questions[question.name] = question
        self.counters[question.status] += 1
        while len(self._questions) > self._cap:
            name, oldest = self._questions.popitem(last=False)
            self._forget_open(oldest)
            self._stands.pop(name, None)
            self.counters["forgotten"] += 1
        return question.status

    def _stand(self, question: Question) -> None:
        """It stands for itself, and from now on for others that are the same."""
        for key in (("metric", question.shape.metric), ("entity", question.shape.entity)):
            names = self._late.setdefault(key, deque(maxlen=MOST_LATE))
            if question.name not in names:
                names.append(question.name)
            self._late.move_to_end(key)
        while len(self._late) > self._cap:
            self._late.popitem(last=False)

    def _forget_open(self, question: Question) -> None:
        self._unsettled.pop(question.name, None)
        self._due.pop(question.name, None)
        self._waiting.get(question.team, {}).pop(question.name, None)

    def _wait(self, name: str, team: str) -> None:
        waiting = self._waiting.setdefault(team, {})
        waiting[name] = None
        while len(waiting) > MOST_WAITING:
            waiting.pop(next(iter(waiting)))

    # Deciding.

    def _next_moment(self) -> int:
        ready = min(self._unsettled.values(), default=NEVER)
        free = min((self._budget.free_ms(team) for team, names in self._waiting.items() if names), default=NEVER)
        # What could have been asked before now is asked now.
        return min(ready, min(self._due.values(), default=NEVER), max(free, self.clock_ms))

    def _lapse(self, at_ms: int) -> list[dict[str, Any]]:
        """Pages that nobody has said anything about in time."""
        names = sorted(name for name, due_ms in self._due.items() if due_ms <= at_ms)
        for name in names:
            self._close({}, self._questions[name], Status.EXPIRED)
        return [told(self._questions[name], Status.EXPIRED, at_ms, 0.0) for name in names]

    def _settle(self, at_ms: int) -> list[dict[str, Any]]:
        """Fold, or put on the table, what has become due for it."""
        told_of = []
        ready = sorted(
            (self._questions[name] for name, when in self._unsettled.items() if when <= at_ms),
            key=lambda q: (q.opened_ms, q.name),
        )
        for question in ready:
            del self._unsettled[question.name]
            into = self._stands_for(question, at_ms)
            if into is None:
                self._wait(question.name, question.team)
                self._stand(question)
                continue
            self._stands[into] += 1
            folded = question._replace(status=Status.FOLDED, into=into)
            self._file(folded)
            if not question.is_page:
                told_of.append(told(folded, Status.FOLDED, at_ms, 0.0))
        return told_of

    def _stands_for(self, question: Question, at_ms: int) -> str | None:
        """The question that stands for this one: open and the same, or asked of late for the same entity and cause."""
        again_ms = PAGE_AGAIN_MS if question.is_page else AGAIN_MS
        for other in self._of_late(question, at_ms):
            if not is_same(question.shape, other.shape):
                continue
            last_ms = min(other.due_ms, other.opened_ms + again_ms)
            is_open = other.status in (Status.WAITING, Status.ASKED) and question.opened_ms <= last_ms
            was_asked = 0 <= at_ms - other.asked_ms < again_ms and other.asked_ms >= 0 and other.had_time
            was_answered = 0 <= at_ms - other.answered_ms < again_ms and other.answered_ms >= 0
            is_lately = (was_asked or was_answered) and other.shape.entity == question.shape.entity
            if (is_open and other.opened_ms <= question.opened_ms) or is_lately:
                return other.name
        return None

    def _of_late(self, question: Question, at_ms: int) -> list[Question]:
        """Others of the same metric class or entity that stand for themselves."""
        keys = (("entity", question.shape.entity), ("metric", question.shape.metric))
        names = dict.fromkeys(name for key in keys for name in self._late.get(key, ()) if name != question.name)
        found = (self._questions.get(name) for name in names)
        return [one for one in found if one is not None and at_ms - one.opened_ms < LATE_MS]

    def _ask(self, at_ms: int) -> list[dict[str, Any]]:
        """What is worth most, as far as the budget goes; of the rest that is new, that it is over the budget."""
        told_of = []
        for team in sorted(self._waiting):
            names = self._waiting[team]
            for question in [self._questions[name] for name in names if self._questions[name].due_ms <= at_ms]:
                del names[question.name]
                if question.is_page:
                    self._close({}, question, Status.EXPIRED)
            if names:
                scores = {name: self._score(self._questions[name], at_ms) for name in names}
                while names and self._budget.free_ms(team) <= at_ms:
                    best = max(names, key=lambda name: (scores[name], name))
                    told_of.append(self._asked(self._questions[best], at_ms, scores[best]))
                told_of += self._over_budget(names, at_ms, scores)
        self._waiting = {team: names for team, names in self._waiting.items() if names}
        return told_of

    def _score(self, question: Question, at_ms: int) -> float:
        late = self._of_late(question, at_ms)
        answered = [one.shape for one in late if one.status is Status.ANSWERED]
        others = [(one.shape, 1 + self._stands[one.name]) for one in late if one.status is not Status.ANSWERED]
        return worth(question.shape, [*others, (question.shape, self._stands[question.name])], answered)

    def _asked(self, question: Question, at_ms: int, score: float) -> dict[str, Any]:
        self._budget.spend(question.team, at_ms)
        self._forget_open(question)
        asked = question._replace(status=Status.ASKED, asked_ms=at_ms)
        if asked.is_page:
            self._due[asked.name] = asked.due_ms
        self._file(asked)
        return told(asked, Status.ASKED, at_ms, score)

    def _over_budget(self, names: Mapping[str, None], at_ms: int, scores: Mapping[str, float]) -> list[dict[str, Any]]:
        told_of = []
        for name in names:
            question = self._questions[name]
            if not question.is_told_folded and not question.is_page:
                self._questions[name] = question._replace(is_told_folded=True)
                told_of.append(told(question, Status.FOLDED, at_ms, scores[name]))
        return told_of


def _state_of(record: Mapping[str, Any]) -> str:
    state = record.get("state")
    if not isinstance(state, str) or state not in STATES:
        raise BadSample("field", f"state is {str(state)[:80]!r}; wanted one of {', '.join(STATES)}")
    return state
