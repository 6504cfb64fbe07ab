"""Feeder: plays the fleet into Kafka, one event minute after the other, as fast as the demo was asked to run.

Owns the pace and the log of when each record was sent. Knows nothing of what is found.

Not obvious: it waits when the readers fall behind, because the embedded broker keeps only 5 MiB a partition and what
drops out of it would be a gap; and it waits for an answer that is on its way, because a person's minute must not be
hours of event time. Then event time runs slower; the story stays the same.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from typing import Any
from zlib import crc32

from agents.demo.broker import PARTITIONS, QUIET, Places
from agents.demo.wire import messages
from agents.demo.world import STEP_MS, TELEGRAF, Fleet, Floats

WAIT_S = 0.02


class Feeder:
    """minute: event minutes sent so far; samples, records: the same in those. Ends by itself, or by `stopping`.

    schedule: when each minute is due, 0..1 of the story. is_held(records sent): wait now, somebody is not so far yet.
    """

    def __init__(
        self, fleet: Fleet, sent_values: Floats, *, places: Places, begin_ms: int, schedule: Floats,
        is_held: Callable[[int], bool], stopping: threading.Event,
    ) -> None:  # fmt: skip
        self.minute, self.samples, self.records = 0, 0, 0
        self._fleet, self._values, self._places = fleet, sent_values, places
        self._begin_ms, self._schedule, self._story_s = begin_ms, schedule, 60.0
        self._is_held, self._stopping = is_held, stopping
        self._sent_s: dict[tuple[str, int], array[float]] = {
            (topic, partition): array("d") for topic in places.inputs for partition in range(PARTITIONS)
        }

    def set_pace(self, story_s: float) -> None:
        """Wall seconds for all of it; before the start."""
        self._story_s = story_s

    def sent_s(self, topic: str, partition: int, offset: int) -> float | None:
        """Wall time at which a record was sent, None if it is none of ours."""
        times = self._sent_s.get((topic, partition))
        return times[offset] if times is not None and 0 <= offset < len(times) else None

    def play(self) -> None:
        """Send everything, then wait until the broker has it."""
        from confluent_kafka import Producer

        # linger: what a Telegraf that flushes often does; it costs 5 ms of latency.
        producer = Producer({
            "bootstrap.servers": self._places.bootstrap, "linger.ms": 5, "enable.idempotence": True, **QUIET,
        })  # fmt: skip
        began_s, due = time.monotonic(), self._story_s * self._schedule
        while self.minute < len(due) and not self._stopping.is_set():
            due_s = began_s + float(due[self.minute])
            wait_s = due_s - time.monotonic()
            if wait_s > 0.002:
                time.sleep(min(wait_s, WAIT_S))
                continue
            while self._is_held(self.records) and not self._stopping.is_set():
                time.sleep(WAIT_S)
                began_s += WAIT_S
            self._send_minute(producer)
        producer.flush(5.0)

    def _send_minute(self, producer: Any) -> None:
        row = self._values[self.minute]
        for message in messages(self._fleet, row, self._begin_ms + self.minute * STEP_MS):
            topic = self._places.hosts if message.entity.wire == TELEGRAF else self._places.services
            partition = crc32(message.entity.name.encode()) % PARTITIONS
            self._sent_s[topic, partition].append(time.time())
            producer.produce(topic, message.value, message.entity.name.encode(), partition)
            self.records += 1
            self.samples += len(message.entity.columns)
        producer.poll(0)
        self.minute += 1
