"""Courier: carries what is due in the outbox to one destination, one request at a time.

Owns the order of things for one destination: ask the gate, send, write down, repeat to forgetful tools. Knows no HTTP
and no Kafka; the sink, the outbox, the clock and the dice are arguments. `step` never sleeps: it says how long.

Not obvious: a 400 to a batch means that some of it is bad, and Alertmanager has stored the rest; the batch is then
sent one by one, the bad ones are parked, and the batch as such is never tried again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from agents.notify.gate import Circuit, Gate
from agents.notify.outbox import Delivery, Mark, Outbox
from agents.sinks.delivery import Answer, Event, Outcome, State, after_answer
from agents.sinks.notice import Notice, Sink

log = logging.getLogger(__name__)
T = TypeVar("T")

#: The longest a courier waits without looking; new records wake it at once.
IDLE_S = 30.0
#: A shorter pause that a tool asks for is its daily business.
TELLING_PAUSE_S = 30.0
#: Incidents that are repeated in one round; beyond, the newest must wait for the next.
REPEAT_CAP = 5_000


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
    """tally: requests by outcome, for /metrics; seconds: time spent waiting for answers; parked: alerts given up."""

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
        self._repeat_s = clock()

    async def step(self) -> float:
        """Do the one thing that is most pressing; seconds until there is more to do, unless woken before."""
        now_s = self._clock()
        ready_s = self.gate.ready_s(now_s)
        if ready_s > now_s:
            return ready_s - now_s
        if self.sink.resend_s is not None and now_s >= self._repeat_s:
            self._repeat_s = now_s + self.sink.resend_s
            await self._repeat(now_s)
            return 0.0
        name = self.sink.destination
        deliveries = await self._run(self._outbox.due, name, now_s=now_s, limit=self.sink.batch)
        if deliveries:
            await self._deliver(deliveries)
            return 0.0
        next_due_s = await self._run(self._outbox.next_due_s, name)
        moments = [now_s + IDLE_S, *([next_due_s] if next_due_s is not None else [])]
        moments += [self._repeat_s] if self.sink.resend_s is not None else []
        # A row that is due but must wait for an earlier one of its incident would else be asked for without pause.
        return max(0.05, min(moments) - now_s)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        answer = await self._send([self._dated(one) for one in deliveries])
        if answer.outcome is Outcome.REJECTED and len(deliveries) > 1:
            for one in deliveries:
                await self._write([one], await self._send([self._dated(one)]))
            return
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
        """Failures count for the breaker and for nothing else: the next round says it all again."""
        notices = await self._run(self._outbox.to_repeat, self.sink.destination, now_s=now_s, limit=REPEAT_CAP)
        for start in range(0, len(notices), self.sink.batch):
            answer = await self._send(notices[start : start + self.sink.batch])
            if answer.outcome is Outcome.RETRY:
                return

    def _dated(self, delivery: Delivery) -> Notice:
        at_ms = delivery.notice.record.get("at_ms") or delivery.notice.record.get("started_ms") or 0
        return delivery.notice._replace(late=self._clock() - at_ms / 1000 > self._terms.max_alert_age_s)

    def _tell_of_circuit(self, before: Circuit, answer: Answer) -> None:
        after, name = self.gate.circuit, self.sink.destination
        if after is Circuit.OPEN and before is Circuit.CLOSED:
            log.error("Sink %s does not take alerts: %s. They wait; it is asked again every 30 s.", name, _told(answer))
        if after is Circuit.CLOSED and before is not Circuit.CLOSED:
            log.warning("Sink %s takes alerts again.", name)

    def _tell_of_parked(self, delivery: Delivery, event: Event, answer: Answer) -> None:
        why = "refused" if event is Event.REJECTED else f"did not take in {self._terms.give_up_s / 3600:.0f} h"
        log.error(
            "Sink %s %s alert %s of incident %s: %s. It is parked; mend the cause and requeue it.",
            self.sink.destination, why, delivery.notice.id, delivery.notice.incident, _told(answer),
        )  # fmt: skip


def _told(answer: Answer) -> str:
    return " ".join(part for part in (f"HTTP {answer.status}" if answer.status else "", answer.detail) if part)
