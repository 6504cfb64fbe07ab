"""Reader: the topics into the page's file. No group: each page reads all of them, from its own positions.

Owns the consumer and what is known of the broker: whether it answers, since when it does not, how far the reading is.
A plain confluent_kafka loop in a thread. Positions lie in the transaction of the rows that were read, so a page that is
killed goes on where its file ends: nothing is lost, and nothing counts twice.

Not obvious: a record that cannot be used is counted and shown on the page, and is no dead letter: each topic has an
owner (notifier, reviewer, tuner, detector) who writes that, once, while there may be many pages. And silence is no
sign of a broker that is away, so it is asked for its topics every few seconds, which also finds new partitions.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from agents.came import Came
from agents.review.filing import FILERS
from agents.review.store import BusyError, Store
from engine.errors import BadSample

log = logging.getLogger(__name__)

BATCH, WAIT_S = 500, 0.1
#: How often the broker is asked, and how long it may take: stopping the page waits for that.
ASK_S, ANSWER_S = 3.0, 1.0
DISK_WAIT_S = 5.0
BEGINNING = -2

#: Opens a consumer that only assigns; it is given what to call with each of the client's errors.
Opened = Callable[[Callable[[Any], None]], Any]


class Heard(NamedTuple):
    """What is known of the broker. since_s: when it last began or ceased to answer (wall clock).

    behind: records that are still to be read, -1 before anything is known; topics: those that are there.
    """

    answers: bool = False
    since_s: float = 0.0
    why: str = ""
    behind: int = -1
    topics: tuple[str, ...] = ()
    cluster: str = ""


class Reader:
    """Runs until `stop`, in one thread. counters: records, refused, gaps, client_errors of this life."""

    def __init__(self, opened: Opened, store: Store, *, prefix: str, clock: Callable[[], float] = time.time) -> None:
        self.counters: Counter[str] = Counter()
        self.heard = Heard(since_s=clock())
        self.stop = threading.Event()
        self._opened = opened
        self._store = store
        self._topics = {f"{prefix}{name}": filer for name, filer in FILERS.items()}
        self._clock = clock
        self._consumer: Any = None
        self._asked_s = 0.0
        self._next: dict[tuple[str, int], int] = {}
        self._whys: list[str] = []

    def run(self) -> None:
        """Read until stopped, whatever the broker and the disk do."""
        try:
            while not self.stop.is_set():
                try:
                    self.turn()
                except Exception:
                    log.exception("Reading is begun anew")
                    self._close()
                    self.stop.wait(DISK_WAIT_S)
        finally:
            self._close()

    def _close(self) -> None:
        """Let the consumer go; the next turn opens another one, which begins at the positions of the file."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer, self._next, self._asked_s = None, {}, 0.0

    def turn(self) -> None:
        """One batch, or a tenth of a second of nothing."""
        if self._consumer is None:
            self._consumer = self._opened(self._on_client_error)
        if self._clock() - self._asked_s >= ASK_S:
            self._ask()
        if not self._next:
            self._consumer.poll(0)
            self.stop.wait(WAIT_S)
            return
        messages = self._consumer.consume(BATCH, WAIT_S)
        good = [one for one in messages if one.error() is None]
        if good:
            self._take(good)
        for message in messages:
            if message.error() is not None:
                self._on_error(message)

    def _ask(self) -> None:
        """Does the broker answer, and which partitions are there?"""
        from confluent_kafka import KafkaException

        self._asked_s = self._clock()
        try:
            found = self._consumer.list_topics(timeout=ANSWER_S)
        except KafkaException as error:
            self._hear(answers=False, why=self._whys[-1] if self._whys else error.args[0].str())
            return
        self._whys.clear()
        there = {
            (name, partition)
            for name, topic in found.topics.items()
            if name in self._topics and topic.error is None
            for partition in topic.partitions
        }
        self._hear(answers=True, topics=tuple(sorted({name for name, _ in there})), cluster=str(found.cluster_id))
        if new := there - set(self._next):
            self._begin(new)
        self._count_behind()

    def _begin(self, new: set[tuple[str, int]]) -> None:
        known = self._store.write(_positions)
        self._next |= {place: known.get(place, BEGINNING) for place in new}
        self._assign()

    def _assign(self) -> None:
        from confluent_kafka import TopicPartition

        self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])

    def _take(self, messages: Sequence[Any]) -> None:
        """The records with their positions, in one transaction; on a disk that refuses, they are read again."""
        cames = [Came.of_client(message) for message in messages]
        try:
            refused = self._store.write(lambda db: self._file(db, cames))
        except BusyError as error:
            log.warning("%s The records are read again in %g s.", error, DISK_WAIT_S)
            self.stop.wait(DISK_WAIT_S)
            self._assign()
            return
        for came in cames:
            self._next[came.topic, came.partition] = came.offset + 1
        self.counters["records"] += len(cames)
        self.counters["refused"] += refused
        if self.heard.behind > 0:
            self.heard = self.heard._replace(behind=max(0, self.heard.behind - len(cames)))

    def _file(self, db: sqlite3.Connection, cames: Sequence[Came]) -> int:
        now_s, refused = self._clock(), 0
        for came in cames:
            try:
                self._topics[came.topic](db, came, now_s)
            except (BadSample, TypeError, ValueError, OverflowError) as error:
                refused += 1
                reason = error.reason if isinstance(error, BadSample) else "field"
                db.execute(
                    "INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?)",
                    (came.topic, came.partition, came.offset, reason, str(error)[:300], now_s),
                )
        ends = {(came.topic, came.partition): came.offset + 1 for came in cames}
        db.executemany(
            "INSERT INTO positions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            [(*place, offset) for place, offset in ends.items()],
        )
        return refused

    def _on_error(self, message: Any) -> None:
        from confluent_kafka import KafkaError

        error, place = message.error(), (message.topic(), message.partition())
        if error.code() == KafkaError._AUTO_OFFSET_RESET and place in self._next:
            self.counters["gaps"] += 1
            log.warning(
                "The position in %s[%d] is gone (%s): retention was shorter than the page's absence, or the topic was "
                "made anew. Reading it from the beginning; what is known counts once.", *place, error.str(),
            )  # fmt: skip
            self._next[place] = BEGINNING
            self._assign()
            return
        self.counters["client_errors"] += 1

    def _on_client_error(self, error: Any) -> None:
        self.counters["client_errors"] += 1
        from confluent_kafka import KafkaError

        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._whys = [*self._whys[-3:], error.str()]

    def _hear(self, *, answers: bool, why: str = "", topics: tuple[str, ...] = (), cluster: str = "") -> None:
        was = self.heard
        if was.answers != answers or was.why != why or was.topics != (topics or was.topics):
            since_s = self._clock() if was.answers != answers else was.since_s
            self.heard = was._replace(
                answers=answers, since_s=since_s, why=why, topics=topics or was.topics, cluster=cluster or was.cluster
            )
            self._store.changed()

    def _count_behind(self) -> None:
        """How far the ends are, as the last answers to fetches said; no request of its own."""
        from confluent_kafka import TopicPartition

        behind = 0
        for place, offset in self._next.items():
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            if high >= 0:
                behind += max(0, high - max(offset, low, 0))
        if behind != self.heard.behind:
            was, self.heard = self.heard.behind, self.heard._replace(behind=behind)
            if (was > BATCH) != (behind > BATCH):
                self._store.changed()


def _positions(db: sqlite3.Connection) -> dict[tuple[str, int], int]:
    return {(topic, partition): offset for topic, partition, offset in db.execute("SELECT * FROM positions")}
