"""The life of one delivery: what an answer means for an alert, when it is tried again, when it is given up.

Owns the table of its states and the arithmetic of waiting; the state of the destination is agents/notify/gate.py's.
Opens no socket, reads no clock, rolls no dice of its own: time and randomness are arguments.

Not obvious: Retry-After is a lower bound to which the jitter is added, else every sender comes back at that second.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import NamedTuple

#: First wait after a failure; doubled each time up to the cap. Five minutes is what PagerDuty asks for after a 429.
BACKOFF_BASE_S, BACKOFF_CAP_S = 1.0, 300.0
#: The longest pause a tool may ask for: a balancer's maintenance page that says an hour must not silence the pages of
#: that hour.
RETRY_AFTER_CAP_S = 300.0
#: Answers that are about this one record, so that no retry can mend them. All else that is no yes is about us or the
#: way there (a rotated password, an ingress that is being deployed) and is mended while the alert waits.
REFUSED_STATUS = frozenset({400, 413, 422})


class Outcome(StrEnum):
    """What an answer means for the alert."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REJECTED = "rejected"


class Answer(NamedTuple):
    """What came back. status 0: no answer at all (network, DNS, timeout). detail: for people, secrets masked."""

    outcome: Outcome
    status: int
    detail: str = ""
    retry_after_s: float | None = None


def classify(status: int, detail: str = "", retry_after: str | None = None, *, now_s: float = 0.0) -> Answer:
    """The answer to an HTTP status and its Retry-After header.

    >>> classify(202).outcome.value, classify(400).outcome.value, classify(401, retry_after="7").retry_after_s
    ('delivered', 'rejected', 7.0)
    """
    if 200 <= status < 300:
        return Answer(Outcome.DELIVERED, status, detail)
    if status in REFUSED_STATUS:
        return Answer(Outcome.REJECTED, status, detail)
    return Answer(Outcome.RETRY, status, detail, retry_after_s(retry_after, now_s=now_s))


def retry_after_s(header: str | None, *, now_s: float) -> float | None:
    """Seconds to wait by a Retry-After header, which is a number or an HTTP date; None where it says nothing."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_CAP_S)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    # "-0000" gives a naive date; HTTP dates are UTC.
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.fromtimestamp(now_s, UTC)).total_seconds(), 0.0), RETRY_AFTER_CAP_S)


def backoff_s(attempts: int, random: Callable[[], float]) -> float:
    """Full jitter: anything from nothing to the doubled bound, so that many senders do not come back at once.

    attempts: failures so far, >= 1. random: a number in [0, 1).

    >>> [backoff_s(n, lambda: 1.0) for n in (1, 2, 3, 20)]
    [1.0, 2.0, 4.0, 300.0]
    """
    return random() * min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2.0 ** min(attempts - 1, 30))


class State(StrEnum):
    """Where a delivery (one alert record to one destination) stands; what is stored in the outbox."""

    QUEUED = "queued"
    SENT = "sent"
    PARKED = "parked"
    FOLDED = "folded"


class Event(StrEnum):
    """What can happen to it."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    REQUEUED = "requeued"


#: Sent is for ever, so that a late answer of a timed-out attempt cannot undo it. Parked and folded can be put back by
#: hand only.
#: A delivered answer wins over everything but sent: the tool has it.
NEXT: dict[tuple[State, Event], State] = {
    (State.QUEUED, Event.DELIVERED): State.SENT,
    (State.QUEUED, Event.FAILED): State.QUEUED,
    (State.QUEUED, Event.REJECTED): State.PARKED,
    (State.QUEUED, Event.EXPIRED): State.PARKED,
    (State.QUEUED, Event.SUPERSEDED): State.FOLDED,
    (State.QUEUED, Event.REQUEUED): State.QUEUED,
    (State.SENT, Event.DELIVERED): State.SENT,
    (State.SENT, Event.FAILED): State.SENT,
    (State.SENT, Event.REJECTED): State.SENT,
    (State.SENT, Event.EXPIRED): State.SENT,
    (State.SENT, Event.SUPERSEDED): State.SENT,
    (State.SENT, Event.REQUEUED): State.SENT,
    (State.PARKED, Event.DELIVERED): State.SENT,
    (State.PARKED, Event.FAILED): State.PARKED,
    (State.PARKED, Event.REJECTED): State.PARKED,
    (State.PARKED, Event.EXPIRED): State.PARKED,
    (State.PARKED, Event.SUPERSEDED): State.PARKED,
    (State.PARKED, Event.REQUEUED): State.QUEUED,
    (State.FOLDED, Event.DELIVERED): State.SENT,
    (State.FOLDED, Event.FAILED): State.FOLDED,
    (State.FOLDED, Event.REJECTED): State.FOLDED,
    (State.FOLDED, Event.EXPIRED): State.FOLDED,
    (State.FOLDED, Event.SUPERSEDED): State.FOLDED,
    (State.FOLDED, Event.REQUEUED): State.QUEUED,
}


class Step(NamedTuple):
    """What to write down after an answer: the event, and when the delivery is due again (only if it stays queued)."""

    event: Event
    due_s: float


def after_answer(
    answer: Answer, *, attempts: int, accepted_s: float, give_up_s: float, now_s: float, random: Callable[[], float]
) -> Step:
    """The event that an answer is, for a delivery that has now been tried `attempts` times.

    Retry-After is a lower bound: the tool is not asked sooner, and the jitter comes on top.
    """
    if answer.outcome is Outcome.DELIVERED:
        return Step(Event.DELIVERED, now_s)
    if answer.outcome is Outcome.REJECTED:
        return Step(Event.REJECTED, now_s)
    if now_s - accepted_s >= give_up_s:
        return Step(Event.EXPIRED, now_s)
    return Step(Event.FAILED, now_s + (answer.retry_after_s or 0.0) + backoff_s(attempts, random))
