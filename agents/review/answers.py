"""Answers: from a form to a label, with the sentence that tells what becomes of it.

Owns what makes a form an answer: about what, which stretch it marks, whose answer it overrules. The label itself is
agents/label.py's; when it leaves is the outbox's.

Not obvious: a question that has expired is no question any more, and the desk refuses answers to it. What is said about
it is sent as a label of its series and its stretch. And a person who changes his mind sends a second label, which names
the first one; its id names it too, or the old answer given once more would count as one that was given before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agents import label
from agents.review import history, questions
from agents.review.words import MARKING, stretch
from engine.errors import GraftError
from engine.series import stable_id

REASON_CAP = 500
#: Nobody marks more than this by hand.
LONGEST_MS = 31 * 86_400_000


class RefusedAnswerError(GraftError):
    """Why an answer was not taken, in one sentence, with the status of HTTP."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        super().__init__(sentence)
        self.status = status


class Answer(NamedTuple):
    """A label, and what it is about: a question or an alert."""

    record: dict[str, Any]
    about: str


def answer_of(db: sqlite3.Connection, form: Mapping[str, str], *, person: str, environment: str, now_ms: int) -> Answer:
    """The label that a form asks for; RefusedAnswerError says why there is none."""
    said, kind, name = form.get("answer", ""), form.get("kind", "question"), form.get("about", "")
    if said not in label.ANSWERS:
        raise RefusedAnswerError(f"The answer is {said[:40]!r}; it must be one of {', '.join(label.ANSWERS)}.")
    reason = form.get("reason", "").strip()
    if len(reason) > REASON_CAP:
        raise RefusedAnswerError(f"The reason has {len(reason)} characters; at most {REASON_CAP}.")
    about = questions.question(db, name) if kind == "question" else history.alert(db, name)
    if about is None:
        raise RefusedAnswerError(
            f"The {'question' if kind == 'question' else 'alert'} {name[:40]} is not here any more.", 404
        )
    from_ms, until_ms = _stretch(form, about, said)
    is_open = kind == "question" and about["status"] != "expired"
    overrides = _overridden(db, about, form, person) if kind == "question" else _last(db, name, person)
    if not is_open and from_ms is None:
        from_ms, until_ms = stretch(about)
    record = label.record(
        answer=said, at_ms=now_ms, escalation=about["id"] if is_open else None,
        series=about["series"] or about["entity"], target=None if is_open else _target(about), from_ms=from_ms,
        until_ms=until_ms, by=person, reason=reason, environment=about["environment"] or environment,
    )  # fmt: skip
    record["entity"] = about["entity"]
    given = mine(db, name, person)
    if given is not None and given["answer"] == said:
        # A second click, or the same key twice.
        record["id"] = given["label"]
    elif overrides is not None:
        record |= {"overrides": overrides, "id": stable_id("label", record["id"], overrides)}
    return Answer(record, name)


def taken_back(record: Mapping[str, Any], *, now_ms: int) -> dict[str, Any]:
    """The label that overrides one that has left: `unsure`, by the same person."""
    return {
        **record, "answer": "unsure", "overrides": record["id"], "at_ms": now_ms, "from_ms": None, "until_ms": None,
        "reason": "taken back", "id": stable_id("label", record["id"], "taken back"),
    }  # fmt: skip


def moment_ms(text: str) -> int | None:
    """A time in UTC as the page shows it; None for none. RefusedAnswerError for anything else.

    >>> moment_ms("2026-09-21 14:13:20"), moment_ms("")
    (1790000000000, None)
    """
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise RefusedAnswerError(f"The time is {text[:40]!r}; write it as 2026-01-31 10:00:00 (UTC).") from None
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp() * 1000)


def _stretch(form: Mapping[str, str], about: Mapping[str, Any], said: str) -> tuple[int | None, int | None]:
    """What is marked: what the form says, else what the record suggests; nothing for answers that mark nothing."""
    if said not in MARKING or form.get("mark") == "no":
        return None, None
    from_ms, until_ms = moment_ms(form.get("from", "")), moment_ms(form.get("until", ""))
    if from_ms is None and until_ms is None:
        return stretch(about)
    first, last = stretch(about)
    from_ms, until_ms = first if from_ms is None else from_ms, last if until_ms is None else until_ms
    if until_ms < from_ms:
        raise RefusedAnswerError("The stretch ends before it begins; swap the two times.")
    if until_ms - from_ms > LONGEST_MS:
        raise RefusedAnswerError("The stretch is longer than 31 days; nobody marks so much by hand.")
    return from_ms, until_ms


def _overridden(db: sqlite3.Connection, about: Mapping[str, Any], form: Mapping[str, str], person: str) -> str | None:
    """The label that this answer replaces. Refused where somebody else was first and the form does not say so."""
    last = _last(db, about["id"], person)
    if about["status"] != "answered":
        return last
    known = about["label"]
    if about["person"] != person and form.get("overrides") != known:
        raise RefusedAnswerError(
            f"{about['person'] or 'Somebody'} has answered this meanwhile: {about['answer']}. Open it to overrule.",
            409,
        )
    return last or known


def mine(db: sqlite3.Connection, about: str, person: str) -> sqlite3.Row | None:
    """The last answer of this person about it that was not taken back: label, answer and state."""
    found: sqlite3.Row | None = db.execute(
        "SELECT label, answer, state FROM answers WHERE about = ? AND person = ? AND state IN ('held', 'sent') "
        "ORDER BY made_s DESC LIMIT 1", (about, person),
    ).fetchone()  # fmt: skip
    return found


def _last(db: sqlite3.Connection, about: str, person: str) -> str | None:
    row = mine(db, about, person)
    return str(row["label"]) if row is not None else None


def _target(about: Mapping[str, Any]) -> dict[str, Any] | None:
    """The shard, where the record tells: a label that names no question goes there."""
    record = about.get("opened") or about.get("firing") or about.get("resolved") or {}
    follows = record.get("follows")
    first = follows[0] if isinstance(follows, list) and follows else None
    if not isinstance(first, Mapping) or not isinstance(first.get("topic"), str):
        return None
    partition = first.get("partition")
    return {"topic": first["topic"], "partition": partition} if type(partition) is int else None
