"""Reviewer: escalations to the desk, people's answers to orders. The science is engine.feedback.

Owns the two agents' handlers and the way in which the desk catches up with the escalations topic. An answer may reach
its topic before its question reaches ours (two topics have no order between them), after a restart Faust begins behind
what was open, and another worker of the group may be the one that hears the questions or has taken the first answer:
so the topic itself is asked before each answer to an escalation is judged.

An answer that counts leaves as two records: the order, and `answered` on the escalations topic, so that whoever reads
it later, in whatever process, knows which answer was the first. Idempotent: both ids follow from what is answered, and
a shard applies an id once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agents.came import Came, parsed
from agents.flows.review_desk import Desk
from agents.flows.thin import Out, Told, key_of
from agents.flows.tuner import decided, with_cause
from engine.errors import BadSample, OutsideError
from engine.series import stable_id

log = logging.getLogger(__name__)

ESCALATION, LABEL = "graft.escalation/1", "graft.label/1"
POLL_S = 0.05
ANSWERS = ("incident", "expected", "new_normal", "false_alarm", "unsure")

#: engine.feedback.order_for: a label and the escalation it answers, to an order; BadSample when it makes no sense.
OrderFor = Callable[[Mapping[str, Any], Mapping[str, Any] | None], dict[str, Any]]
#: Every escalation record that was not seen yet, up to the end of the topic as it is now.
History = Callable[[], Iterator[bytes | None]]


class Reviewer:
    """answers: labels by answer and outcome (applied, refused)."""

    def __init__(self, desk: Desk, order_for: OrderFor, out: Out, *, history: History) -> None:
        self.desk = desk
        self.answers: Counter[tuple[str, str]] = Counter()
        self._order_for = order_for
        self._out = out
        self._history = history
        self._catching_up = asyncio.Lock()

    async def on_escalation(self, came: Came) -> None:
        """One escalation record."""
        self.desk.take(parsed(came, schema=ESCALATION))

    async def on_label(self, came: Came) -> None:
        """One answer; BadSample when it cannot be applied, with the reason."""
        label = parsed(came, schema=LABEL)
        answer = label.get("answer")
        if answer not in ANSWERS:
            raise BadSample("answer", f"answer is {str(answer)[:80]!r}; wanted one of {', '.join(ANSWERS)}")
        if label.get("escalation") is not None:
            await self.catch_up()
        try:
            question = self.desk.question_for(label)
            order = with_cause(decided(lambda: self._order_for(label, question)), came)
        except BadSample:
            self.answers[answer, "refused"] += 1
            raise
        told = [Told("control", key_of(order), order)]
        closed = _answered(question, label, came) if question is not None else None
        if closed is not None:
            told.append(Told("escalations", str(closed["series"]), closed))
        await asyncio.to_thread(self._out.send, told)
        if closed is not None:
            self.desk.take(closed)
        self.answers[answer, "applied"] += 1

    async def catch_up(self) -> None:
        """Read what the escalations topic holds beyond what was read before."""
        async with self._catching_up:
            for data in await asyncio.to_thread(lambda: list(self._history())):
                self._hear(data)

    def _hear(self, data: bytes | None) -> None:
        try:
            self.desk.take(parsed(Came("", 0, 0, 0, None, data), schema=ESCALATION))
        except BadSample:
            # The agent that reads the same record makes the dead letter.
            return


def _answered(question: Mapping[str, Any], label: Mapping[str, Any], came: Came) -> dict[str, Any]:
    """The question's last record."""
    about = {name: question.get(name) for name in ("environment", "entity", "series", "escalation", "opened_ms")}
    closed = {
        "schema": ESCALATION,
        "id": stable_id("escalation", str(question["escalation"]), "answered"),
        "state": "answered",
        "at_ms": label.get("at_ms"),
        **about,
        "answer": label["answer"],
        "by": label["by"],
        "label": label["id"],
        "follows": question["follows"],
    }
    return with_cause(closed, came)


class TopicHistory:
    """Reads a topic from its beginning, each time on from where the last call ended; a consumer without a group.

    Blocks; call it in a thread. OutsideError when the broker does not answer.
    """

    def __init__(self, consumer: Callable[[], Any], topic: str, *, timeout_s: float = 10.0) -> None:
        self._consumer = consumer
        self._topic = topic
        self._timeout_s = timeout_s
        self._next: dict[int, int] = {}

    def __call__(self) -> Iterator[bytes | None]:
        from confluent_kafka import KafkaException

        consumer = self._consumer()
        try:
            yield from self._read(consumer)
        except KafkaException as error:
            raise OutsideError(f"The topic {self._topic} cannot be read: {error}") from error
        finally:
            consumer.close()

    def _read(self, consumer: Any) -> Iterator[bytes | None]:
        from confluent_kafka import TopicPartition

        found = consumer.list_topics(self._topic, timeout=self._timeout_s).topics[self._topic]
        ends: dict[int, int] = {}
        for partition in found.partitions:
            low, high = consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=self._timeout_s)
            start = max(low, self._next.get(partition, 0))
            if start < high:
                ends[partition] = high
                self._next[partition] = start
        consumer.assign([TopicPartition(self._topic, partition, self._next[partition]) for partition in ends])
        quiet_s = 0.0
        while any(self._next[partition] < end for partition, end in ends.items()) and quiet_s < self._timeout_s:
            # consume() waits for the whole of its number or its time, so the time is short.
            messages = consumer.consume(500, POLL_S)
            quiet_s = 0.0 if messages else quiet_s + POLL_S
            for message in messages:
                if message.error() is None:
                    self._next[message.partition()] = message.offset() + 1
                    yield message.value()
