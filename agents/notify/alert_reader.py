"""Reads the alerts topic into the outbox. The position is the outbox's; the group's offsets are advice for others.

Owns the consumer of the notifier: where to start, what is committed, when to pause. A plain confluent_kafka loop in a
thread of the Faust process, not a Faust agent: Faust commits on its own account and marks a record done when an agent
has failed on it (faust-streaming 0.15), and its consumer cannot be told to start where a file says.

Two numbers per partition: the outbox's position (all before is in the file, in one transaction with its rows) and
the group's committed offset, which is never above the first record of which a delivery still waits. So
- start at the position; without a file, at the beginning of the topic;
- what lies below the committed offset has been told by some notifier: it is learned, not told again (`heard`);
- a lost disk or a move to another worker can repeat what was on its way, under the same ids, and loses nothing.

Not obvious: a position that the broker does not know (topic made anew, or retention has overtaken us) is not an error
that may skip: reading starts again at the beginning, and known ids fall out in the outbox.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from agents.came import Came
from agents.notify.alert_record import parse
from agents.notify.outbox import QUEUED_CAP, Incoming, Outbox, Taken
from engine.errors import BadSample, OutsideError

log = logging.getLogger(__name__)

BATCH, WAIT_S = 256, 0.25
#: Advice for others need not be fresh; a commit a second is plenty.
COMMIT_S = 1.0
LOOKUP_S = 10.0
#: Wait after the disk refused a transaction; the records are read again from the position.
DISK_WAIT_S = 5.0
BEGINNING = -2


class Hooks(Protocol):
    """What the reader tells: partitions are ours to tell now; new rows are in the outbox; a record was no alert.

    When `refused` returns, its dead letter is durable.
    """

    def owned(self) -> None: ...
    def taken_in(self, taken: Taken) -> None: ...
    def refused(self, came: Came, error: BadSample) -> None: ...


class Reader:
    """Runs until `stop`; use from one thread. counters: records, refused, gaps, client_errors, for /metrics."""

    def __init__(
        self, consumer: Any, outbox: Outbox, *, topic: str, hooks: Hooks, clock: Callable[[], float] = time.time
    ) -> None:
        self.counters: Counter[str] = Counter()
        self.stop = threading.Event()
        #: Wall clock of the last turn of the loop, and whether partitions were ever assigned: for the probes.
        self.turned_s = 0.0
        self.assigned = False
        self._consumer = consumer
        self._outbox = outbox
        self._topic = topic
        self._hooks = hooks
        self._clock = clock
        self._told: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._commit_s = 0.0
        self._paused = False
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Read until stopped. OutsideError when the broker or the disk ends it."""
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        try:
            while not self.stop.is_set():
                self.turn()
        finally:
            self._commit()
            self._consumer.close()

    def turn(self) -> None:
        """One batch, or a quarter of a second of nothing."""
        self.turned_s = self._clock()
        self._hold_or_go()
        messages = self._consumer.consume(BATCH, WAIT_S)
        if self._failure is not None:
            raise OutsideError(f"The notifier could not take its partitions of {self._topic}: {self._failure}")
        good = [message for message in messages if message.error() is None]
        if good:
            self._take(good)
        for message in messages:
            if message.error() is not None:
                self._on_error(message)
        if self._clock() - self._commit_s >= COMMIT_S:
            self._commit()

    def _take(self, messages: Sequence[Any]) -> None:
        heard = [one for one in messages if one.offset() < self._told.get(one.partition(), 0)]
        fresh = [one for one in messages if one.offset() >= self._told.get(one.partition(), 0)]
        try:
            for part, is_heard in ((heard, True), (fresh, False)):
                if part:
                    self._accept(part, heard=is_heard)
        except sqlite3.Error as error:
            log.error("The outbox cannot be written: %s. Alerts wait in Kafka until the disk takes them.", error)  # noqa: TRY400
            self.stop.wait(DISK_WAIT_S)
            self._rewind(messages)

    def _accept(self, messages: Sequence[Any], *, heard: bool) -> None:
        incoming = [one for one in map(self._parsed, messages) if one is not None]
        positions = {(self._topic, one.partition()): one.offset() + 1 for one in messages}
        taken = self._outbox.accept(incoming, positions, now_s=self._clock(), heard=heard)
        self.counters["records"] += len(messages)
        self._hooks.taken_in(taken)

    def _parsed(self, message: Any) -> Incoming | None:
        came = Came.of_client(message)
        try:
            return Incoming(came.topic, came.partition, came.offset, parse(came))
        except BadSample as error:
            self.counters["refused"] += 1
            self._hooks.refused(came, error)
            return None

    def _rewind(self, messages: Sequence[Any]) -> None:
        positions = self._outbox.positions()
        for partition in {one.partition() for one in messages}:
            self._begin_at(partition, positions.get((self._topic, partition), BEGINNING))

    def _on_error(self, message: Any) -> None:
        error = message.error()
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self.counters["gaps"] += 1
            log.error(
                "The position in %s[%d] is gone (%s): retention was shorter than the outage, or the topic was made "
                "anew. Reading it from the beginning.", self._topic, message.partition(), error.str(),
            )  # fmt: skip
            # In a topic made anew the old committed offset says nothing.
            self._told[message.partition()] = 0
            self._begin_at(message.partition(), BEGINNING)
            return
        self.counters["client_errors"] += 1
        log.warning("Reading %s: %s", self._topic, error.str())

    def _begin_at(self, partition: int, offset: int) -> None:
        """Read one partition from there. By assignment: after an offset error librdkafka has stopped the partition,
        and a seek fails (erroneous state)."""
        from confluent_kafka import KafkaException, TopicPartition

        positions = self._outbox.positions()
        places = [
            TopicPartition(self._topic, one.partition, positions.get((self._topic, one.partition), BEGINNING))
            for one in self._consumer.assignment()
        ]
        for place in places:
            if place.partition == partition:
                place.offset = offset
        try:
            self._consumer.assign(places)
        except KafkaException as error:
            raise OutsideError(f"The notifier cannot read {self._topic}[{partition}]: {error}") from error
        self._paused = False

    def _hold_or_go(self) -> None:
        """Full: read on later, but keep polling, or the group gives the partitions to someone else."""
        waiting = self._outbox.queued()
        if not self._paused and waiting >= QUEUED_CAP:
            log.error("The outbox holds %d undelivered alerts; no more are taken in until half of them are.", waiting)
            self._consumer.pause(self._consumer.assignment())
            self._paused = True
        elif self._paused and waiting < QUEUED_CAP // 2:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False

    # Rebalances. An exception here would surface from consume(), but the next consume() would read from the group's
    # offset (confluent-kafka-python 729), so it is kept and ends the loop.

    def _on_assign(self, consumer: Any, partitions: Sequence[Any]) -> None:
        try:
            committed = {one.partition: one.offset for one in consumer.committed(list(partitions), timeout=LOOKUP_S)}
            own = self._outbox.positions()
            self._committed = {}
            for one in partitions:
                self._told[one.partition] = max(committed.get(one.partition, -1), 0)
                one.offset = own.get((self._topic, one.partition), BEGINNING)
            settled = {(self._topic, partition): offset for partition, offset in self._told.items()}
            self._outbox.own([(self._topic, one.partition) for one in partitions], settled=settled, now_s=self._clock())
            consumer.assign(list(partitions))
            self._paused = False
            self.assigned = True
            self._hooks.owned()
            log.info("Notifier reads %s from %s", self._topic, {one.partition: one.offset for one in partitions})
        except BaseException as error:  # noqa: BLE001 - told to the loop, which ends by it
            self._failure = error

    def _on_revoke(self, consumer: Any, _partitions: Sequence[Any]) -> None:
        self._commit()
        self._on_lost(consumer, _partitions)

    def _on_lost(self, _consumer: Any, _partitions: Sequence[Any]) -> None:
        try:
            self._outbox.own([], settled={}, now_s=self._clock())
        except sqlite3.Error as error:
            self._failure = error

    def _commit(self) -> None:
        """Tell the group how far everything is told; a failure costs nothing but a repeat after a lost disk."""
        from confluent_kafka import KafkaException, TopicPartition

        self._commit_s = self._clock()
        mine = {one.partition for one in self._consumer.assignment()}
        settled = {
            partition: offset
            for (topic, partition), offset in self._outbox.settled_below().items()
            if topic == self._topic and partition in mine and self._committed.get(partition) != offset
        }
        if not settled:
            return
        try:
            self._consumer.commit(
                offsets=[TopicPartition(self._topic, partition, offset) for partition, offset in settled.items()],
                asynchronous=False,
            )
            self._committed.update(settled)
        except KafkaException as error:
            log.warning("The notifier's progress could not be committed: %s", error)
