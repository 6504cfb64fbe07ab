"""Reviewer: escalations and pages to the desk, people's answers to orders. The science is engine.feedback.

Owns the agents' handlers and the way in which the desk catches up with the escalations topic. An answer may reach its
topic before its question reaches ours (two topics have no order between them), after a restart Faust begins behind
what was open, and another worker of the group may be the one that hears the questions or has taken the first answer:
so the topic itself is asked before each answer to an escalation is judged.

An answer that counts leaves as two records: the order, and `answered` on the escalations topic, so that whoever reads
it later, in whatever process, knows which answer was the first, what it weighed and what it overrode. One that comes
second and overrides nothing is a dead letter, and a record on the experiments topic, where people see that two differ.
Idempotent: all ids follow from what is answered, and a shard applies an id once.

Not obvious: event time goes on without a record on any of our topics, and the desk has to hear of it, or what waits
for the budget of the next hour waits for the next question. It is the clock of the detector's shards, from
their progress.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agents.came import Came, parsed
from agents.flows.review_budget import NEVER
from agents.flows.review_desk import Desk
from agents.flows.review_labels import LabelGate, check_window
from agents.flows.review_question import PAGE_LAPSE_MS, Question, Status
from agents.flows.thin import Out, Told, key_of
from agents.flows.tuner import decided, with_cause
from engine.errors import BadSample, OutsideError
from engine.people import People
from engine.series import stable_id

log = logging.getLogger(__name__)

ESCALATION, LABEL, ALERT = "graft.escalation/1", "graft.label/1", "graft.alert/1"
POLL_S = 0.05
#: A record moves event time at most so far ahead of when it came.
AHEAD_MS = 86_400_000
#: How often event time is looked at.
LOOK_S = 0.25
ANSWERS = ("incident", "expected", "new_normal", "false_alarm", "unsure")

#: engine.feedback.order_for: a label and the escalation it answers, to an order; BadSample when it makes no sense.
OrderFor = Callable[..., dict[str, Any]]
#: Every escalation record that was not seen yet, up to the end of the topic as it is now.
History = Callable[[], Iterator[bytes | None]]


class Reviewer:
    """answers: labels by answer and outcome (applied, refused). gate: which labels count; None: any.

    now_ms: the wall's time, for what is read long after it was written.
    """

    def __init__(
        self, desk: Desk, order_for: OrderFor, out: Out, *, history: History, gate: LabelGate | None = None,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:  # fmt: skip
        self.desk = desk
        self.answers: Counter[tuple[str, str]] = Counter()
        self._order_for = order_for
        self._out = out
        self._history = history
        self._gate = gate or LabelGate()
        self._now_ms = now_ms
        self._people = People()
        self._catching_up = asyncio.Lock()

    async def on_escalation(self, came: Came) -> None:
        """One escalation record."""
        record = parsed(came, schema=ESCALATION)
        await self._tell(self.desk.take(record, latest_ms=_latest_ms(came)))
        self._hear_person(record)

    async def on_alert(self, came: Came) -> None:
        """One alert record: whether it was right is a question, too, unless it was read from a long history."""
        if 0 < came.timestamp_ms < self._now_ms() - PAGE_LAPSE_MS:
            return
        try:
            decided_by_then = self.desk.take_page(parsed(came, schema=ALERT), latest_ms=_latest_ms(came))
        except BadSample:
            # The notifier reads the same record and makes the dead letter.
            return
        await self._tell(decided_by_then)

    async def keep_time(self, clock_ms: Callable[[], int]) -> None:
        """Tell the desk of event time, for ever. clock_ms: what it is; looks at files, so it is called in a thread."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self._tell(self.desk.advance(await asyncio.to_thread(clock_ms)))

    async def on_label(self, came: Came) -> None:
        """One answer; BadSample when it cannot be applied, with the reason."""
        label = parsed(came, schema=LABEL)
        answer = label.get("answer")
        if answer not in ANSWERS:
            raise BadSample("answer", f"answer is {str(answer)[:80]!r}; wanted one of {', '.join(ANSWERS)}")
        try:
            self._gate.check(label, now_ms=max(came.timestamp_ms, self.desk.clock_ms))
            if label.get("escalation") is not None:
                await self.catch_up()
            question = await self._question_for(label, came)
            weight = self._people.weight(str(label.get("by")))
            options = {"weight": weight} | ({"undone": _undone(question)} if _is_override(question, label) else {})
            record = question.record if question is not None else None
            order = with_cause(decided(lambda: self._order_for(label, record, **options)), came)
        except BadSample:
            self.answers[answer, "refused"] += 1
            raise
        told = [Told("control", key_of(order), order)]
        closed = _answered(question, label, weight, came) if question is not None else None
        if closed is not None:
            told.append(Told("escalations", str(closed["series"]), closed))
        await asyncio.to_thread(self._out.send, told)
        if closed is not None:
            self.desk.recall(closed)
            self._hear_person(closed)
        self.answers[answer, "applied"] += 1

    async def catch_up(self) -> None:
        """Read what the escalations topic holds beyond what was read before."""
        async with self._catching_up:
            for data in await asyncio.to_thread(lambda: list(self._history())):
                self._hear(data)

    async def _question_for(self, label: Mapping[str, Any], came: Came) -> Question | None:
        """The question, None where the label names none. BadSample; of two answers that differ people are told."""
        try:
            question = self.desk.question_for(label)
        except BadSample as error:
            first = self.desk.answered(label.get("escalation"))
            is_other = first is not None and label.get("id") not in (first.answer_id, first.replaced)
            if first is not None and is_other and error.reason in ("closed_escalation", "override"):
                self._differs(first, label)
                conflict = _conflict(first, label, came)
                await asyncio.to_thread(self._out.send, [Told("experiments", conflict["id"], conflict)])
            raise
        if question is not None:
            check_window(label, opened_ms=question.opened_ms, due_ms=question.due_ms)
        return question

    async def _tell(self, records: Sequence[dict[str, Any]]) -> None:
        if records:
            told = [Told("escalations", str(record["series"]), record) for record in records]
            await asyncio.to_thread(self._out.send, told)

    def _hear(self, data: bytes | None) -> None:
        try:
            record = parsed(Came("", 0, 0, 0, None, data), schema=ESCALATION)
            self.desk.recall(record)
            self._hear_person(record)
        except BadSample:
            # The agent that reads the same record makes the dead letter.
            return

    def _hear_person(self, record: Mapping[str, Any]) -> None:
        """What an `answered` record says of whoever answered."""
        said = [record.get(name) for name in ("escalation", "label", "by", "answer")]
        if record.get("state") != "answered" or not all(isinstance(one, str) for one in said):
            return
        escalation, label, by, answer = (str(one) for one in said)
        self._people.heard(escalation, label=label, by=by, answer=answer)
        question = self.desk.answered(escalation)
        if question is not None:
            # And of later questions about the same cause in the same entity.
            cause = f"{question.shape.entity}\x1f{question.shape.metric}"
            self._people.heard(cause, label=label, by=by, answer=answer)

    def _differs(self, first: Question, label: Mapping[str, Any]) -> None:
        name, by, answer = label.get("id"), label.get("by"), label.get("answer")
        if isinstance(name, str) and isinstance(by, str) and by != first.by:
            self._people.heard(first.name, label=name, by=by, answer=str(answer))


def _latest_ms(came: Came) -> int:
    """Event time may be ahead of the broker's by a day, not more; where it says nothing, by anything."""
    return came.timestamp_ms + AHEAD_MS if came.timestamp_ms > 0 else NEVER


def _is_override(question: Question | None, label: Mapping[str, Any]) -> bool:
    return question is not None and question.status is Status.ANSWERED and question.answer_id != label.get("id")


def _undone(question: Question | None) -> dict[str, Any]:
    """What the shard has to take back."""
    assert question is not None
    return {"answer": question.answer, "weight": question.weight, **question.window}


def _answered(question: Question, label: Mapping[str, Any], weight: float, came: Came) -> dict[str, Any]:
    """The question's last record; of an override one more, under a name of its own."""
    record = question.record
    about = {name: record.get(name) for name in ("environment", "entity", "series")}
    is_override = _is_override(question, label)
    # The same label again says the same again, also after somebody has overridden it.
    name = (label["id"],) if is_override or label.get("overrides") else ()
    closed = {
        "schema": ESCALATION,
        "id": stable_id("escalation", question.name, "answered", *name),
        "state": "answered",
        "at_ms": label.get("at_ms"),
        **about,
        "escalation": question.name,
        "opened_ms": record.get("opened_ms"),
        "answer": label["answer"],
        "by": label["by"],
        "label": label["id"],
        "reason": label.get("reason"),
        "from_ms": label.get("from_ms"),
        "until_ms": label.get("until_ms"),
        "weight": weight,
        "follows": record.get("follows") or [],
    }
    if label.get("overrides") is not None:
        closed["overrides"] = label["overrides"]
    return with_cause(closed, came)


def _conflict(first: Question, label: Mapping[str, Any], came: Came) -> dict[str, Any]:
    """Two people, two answers: the first counts, and both are seen."""
    text = {name: str(label.get(name))[:200] for name in ("by", "answer")}
    record = first.record
    return {
        "schema": "graft.experiment/1",
        "id": stable_id("conflict", first.name, label.get("id")),
        "at_ms": label.get("at_ms"),
        **{name: record.get(name) for name in ("environment", "entity", "series")},
        "kind": "label",
        "finding": "conflict",
        "escalation": first.name,
        "counts": {"by": first.by, "answer": first.answer, "label": first.answer_id},
        "differs": {**text, "label": str(label.get("id"))[:200]},
        "because": (
            f"{text['by']} answered {text['answer']} after {first.by} had answered {first.answer}; the first answer "
            f"counts, and somebody else may override it by naming label {first.answer_id}."
        ),
        "follows": [came.follows],
    }


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
