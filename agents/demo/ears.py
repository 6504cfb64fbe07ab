"""Ears: reads back what Graft wrote, from the topics, as any other reader would.

Owns the list of what was heard, each with the wall time since the sample that caused it. Judges nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from agents.demo.broker import QUIET
from agents.demo.scoreboard import Heard
from agents.topics import Topics

#: Topics that are read, without prefix.
READ = ("alerts", "escalations", "drift", "experiments", "dlq")
#: Records kept; a demo hears some hundred.
MOST_RECORDS = 50_000
#: Reasons of dead letters kept; there should be none.
MOST_REASONS = 20

SentAt = Callable[[str, int, int], float | None]


class Ears:
    """on_record is called in the reading thread for each record, in the order of its topic."""

    def __init__(
        self, *, bootstrap: str, prefix: str, sent_s: SentAt, on_record: Callable[[Heard], None],
        stopping: threading.Event,
    ) -> None:  # fmt: skip
        self.dead_letters = 0
        #: Why, of the first of them.
        self.reasons: list[str] = []
        self._bootstrap, self._sent_s = bootstrap, sent_s
        self._on_record, self._stopping = on_record, stopping
        self._names = {getattr(Topics.of(prefix), name): name for name in READ}
        self._heard: list[Heard] = []

    def heard(self) -> list[Heard]:
        """Everything so far."""
        return self._heard[:]

    def listen(self) -> None:
        """Read until told to stop."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({
            "bootstrap.servers": self._bootstrap, "group.id": "graft-demo-ears", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50, **QUIET,
        })  # fmt: skip
        consumer.assign([TopicPartition(name, 0, 0) for name in self._names])
        try:
            while not self._stopping.is_set():
                for message in consumer.consume(500, 0.05):
                    if message.error() is None:
                        self._hear(self._names[str(message.topic())], message)
        finally:
            consumer.close()

    def _hear(self, topic: str, message: Any) -> None:
        import orjson

        if topic == "dlq":
            self._bury(message)
            return
        record: dict[str, Any] = orjson.loads(message.value() or b"{}")
        one = Heard(topic, record, self._delay_s(record))
        if len(self._heard) < MOST_RECORDS:
            self._heard.append(one)
        self._on_record(one)

    def _bury(self, message: Any) -> None:
        self.dead_letters += 1
        if len(self.reasons) < MOST_REASONS:
            said = {name: value.decode(errors="replace") for name, value in message.headers() or ()}
            self.reasons.append(": ".join(said.get(f"graft.err.{part}", "?") for part in ("stage", "reason", "detail")))

    def _delay_s(self, record: dict[str, Any]) -> float | None:
        follows = record.get("follows") or [{}]
        origin = follows[0]
        sent_s = self._sent_s(str(origin.get("topic")), int(origin.get("partition", -1)), int(origin.get("offset", -1)))
        return None if sent_s is None else time.time() - sent_s
