"""Courier: carries what is due in the outbox to one destination, one request at a time.

Owns the order of things for one destination: ask the gate, send, write down, repeat to forgetful tools. Knows no HTTP
and no Kafka; the sink, the outbox, the clock and the dice are arguments. `step` never sleeps: it says how long.

Not obvious: a 400 to a batch means that some of it is bad, and Alertmanager has stored the rest; it is then sent one by
one, each through the gate, so that the bad ones are parked.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from agents.notify.gate import Circuit, Gate
from agents.notify.outbox import Delivery, Mark, Outbox
from agents.sinks.delivery import Answer, Event, Outcome, State, after_answer
from agents.sinks.notice import Notice, Sink, age_s

log = logging.getLogger(__name__)
T = TypeVar("T")

#: The longest a courier waits without looking; new records wake it at once.
IDLE_S = 30.0
#: A shorter pause that a tool asks for is its daily business.
TELLING_PAUSE_S = 30.0


class Terms(NamedTuple):
    """What the configuration of the sink says about time."""

    max_alert_age_s: float
    give_up_s: float


class InThread:
    """Runs an outbox's methods where they may block on the disk. Called as `await run(outbox.due, "a", limit=1)`."""

    def __init__(self, run: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._run = run

    async def __call__(self, method: Callable[..., T], *arguments: Any, **options: Any) -> T:
        found: T = await self._run(lambda: method(*arguments, **options))
        return found


class Courier:
    """tally: requests by outcome, for /metrics; seconds: time spent waiting for answers."""

    def __init__(
        self,
        sink: Sink,
        outbox: Outbox,
        gate: Gate,
        terms: Terms,
        *,
        run: InThread,
        clock: Callable[[], float],
        random: Callable[[], float],
        point: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.sink = sink
        self.gate = gate
        self.tally: Counter[str] = Counter()
        self.seconds = 0.0
        self._outbox = outbox
        self._terms = terms
        self._run = run
        self._clock = clock
        self._random = random
        self._point = point
        #: How many go one by one, because a batch of them was refused.
        self._singly = 0
        #: The round of repeats: when it begins, what it has come to, and whether the last step was a part of it.
        self._repeat_s = clock()
        self._round_s, self._repeated = 0.0, ""
        self._just_repeated = False

    async def step(self) -> float:
        """Do the one thing that is most pressing; seconds until there is more to do, unless woken before."""
        now_s = self._clock()
        ready_s = self.gate.ready_s(now_s)
        if ready_s > now_s:
            return ready_s - now_s
        repeats = self.sink.resend_s is not None and now_s >= self._repeat_s
        # In turn, so that many repeats hold up no new alert, nor many new ones the repeats.
        self._just_repeated = repeats and not self._just_repeated
        if self._just_repeated:
            await self._repeat(now_s)
            return 0.0
        name, limit = self.sink.destination, 1 if self._singly else self.sink.batch
        deliveries = await self._run(self._outbox.due, name, now_s=now_s, limit=limit)
        if deliveries:
            await self._deliver(deliveries)
        if deliveries or repeats:
            return 0.0
        next_due_s = await self._run(self._outbox.next_due_s, name)
        moments = [now_s + IDLE_S, *([next_due_s] if next_due_s is not None else [])]
        moments += [self._repeat_s] if self.sink.resend_s is not None else []
        return max(0.0, min(moments) - now_s)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        answer = await self._send([self._dated(one) for one in deliveries])
        if answer.outcome is Outcome.REJECTED and len(deliveries) > 1:
            self._singly = len(deliveries)
            return
        self._singly = max(0, self._singly - 1)
        await self._write(deliveries, answer)

    async def _send(self, notices: Sequence[Notice]) -> Answer:
        began_s = self._clock()
        before = self.gate.circuit
        self.gate.taken(began_s)
        answer = await self.sink.send(notices, now_s=began_s)
        now_s = self._clock()
        self.gate.answered(answer, now_s)
        self.tally[answer.outcome] += 1
        self.seconds += max(0.0, now_s - began_s)
        self._tell_of_circuit(before, answer)
        if (answer.retry_after_s or 0.0) >= TELLING_PAUSE_S:
            log.warning("Sink %s asks for a pause of %.0f s; alerts wait.", self.sink.destination, answer.retry_after_s)
        return answer

    async def _write(self, deliveries: Sequence[Delivery], answer: Answer) -> None:
        """After the tool's yes and before our mark a crash means the same request again, under the same ids."""
        self._point("answered")
        now_s = self._clock()
        marks = [self._mark(one, answer, now_s) for one in deliveries]
        states = await self._run(self._outbox.mark_all, marks, now_s=now_s)
        self._point("marked")
        for one, mark, state in zip(deliveries, marks, states, strict=True):
            if state is State.PARKED:
                self._tell_of_parked(one, mark.event, answer)

    def _mark(self, delivery: Delivery, answer: Answer, now_s: float) -> Mark:
        step = after_answer(
            answer,
            attempts=delivery.attempts + 1,
            accepted_s=delivery.accepted_s,
            give_up_s=self._terms.give_up_s,
            now_s=now_s,
            random=self._random,
        )
        return Mark(delivery.seq, step.event, step.due_s, _told(answer))

    async def _repeat(self, now_s: float) -> None:
        """The next part of the round. Failures count for the breaker and nothing else: the next round says it again."""
        if not self._repeated:
            self._round_s = now_s
        notices = await self._run(
            self._outbox.to_repeat, self.sink.destination, now_s=now_s, after=self._repeated, limit=self.sink.batch
        )
        if notices:
            await self._send(notices)
        self._repeated = notices[-1].incident if len(notices) == self.sink.batch else ""
        if not self._repeated:
            self._repeat_s = self._round_s + (self.sink.resend_s or 0.0)

    def _dated(self, delivery: Delivery) -> Notice:
        notice = delivery.notice
        return notice._replace(late=age_s(notice.record, self._clock()) > self._terms.max_alert_age_s)

    def _tell_of_circuit(self, before: Circuit, answer: Answer) -> None:
        after, name = self.gate.circuit, self.sink.destination
        if after is Circuit.OPEN and before is Circuit.CLOSED:
            log.error("Sink %s does not take alerts: %s. They wait; it is asked again every 30 s.", name, _told(answer))
        if after is Circuit.CLOSED and before is not Circuit.CLOSED:
            log.warning("Sink %s takes alerts again.", name)

    def _tell_of_parked(self, delivery: Delivery, event: Event, answer: Answer) -> None:
        why = "refused" if event is Event.REJECTED else f"did not take in {self._terms.give_up_s / 3600:.0f} h"
        log.error(
            "Sink %s %s alert %s of incident %s: %s. It is parked; mend the cause, then `graft alert resend "
            "--sink %s`.",
            self.sink.destination, why, delivery.notice.id, delivery.notice.incident, _told(answer),
            self.sink.destination,
        )  # fmt: skip


def _told(answer: Answer) -> str:
    return " ".join(part for part in (f"HTTP {answer.status}" if answer.status else "", answer.detail) if part)
