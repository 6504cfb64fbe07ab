"""Past: what topics still hold of a stretch of their logs, read to its end and no further.

Owns reading by partition list, outside of any group. Whatever is written meanwhile is not waited for; a broker that
says nothing for SILENT_S is OutsideError.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from agents.recovery.held import Place
from agents.recovery.positions import LogEnds
from agents.recovery.unlearn import Piece
from engine.errors import OutsideError

#: Messages of one call, and its wait; and how long nothing may come before the end was reached.
AT_ONCE, WAIT_S, SILENT_S = 5_000, 0.2, 60.0


class Past:
    """consumer: opens one that only ever assigns; its ends of partitions are events."""

    def __init__(self, consumer: Callable[[], Any], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._clock = clock

    def ends(self, topic: str) -> dict[int, LogEnds]:
        """Of each partition of a topic; empty where there is no such topic."""
        reader = self._consumer()
        try:
            found = reader.list_topics(topic, timeout=10).topics[topic]
            return {
                one: LogEnds(*reader.get_watermark_offsets(TopicPartition(topic, one), timeout=10))
                for one in found.partitions
            }
        except KafkaException as error:
            raise OutsideError(f"{topic} cannot be read: {error.args[0].str()}.") from error
        finally:
            reader.close()

    def read(self, topic: str, spans: Mapping[int, tuple[int, int]]) -> Iterator[list[Message]]:
        """What lies in [start, stop) of each partition, in its order, some at a time."""
        stops = {partition: stop for partition, (start, stop) in spans.items() if start < stop}
        reader, heard_s = self._consumer(), self._clock()
        try:
            if stops:
                reader.assign([TopicPartition(topic, one, spans[one][0]) for one in stops])
            while stops:
                messages = reader.consume(AT_ONCE, WAIT_S)
                if messages:
                    heard_s = self._clock()
                elif self._clock() - heard_s > SILENT_S:
                    raise OutsideError(f"{topic} was not read to its end: nothing came for {SILENT_S:g} s.")
                if found := [one for one in messages if _is_inside(topic, one, stops)]:
                    yield found
        finally:
            reader.close()

    def all_of(self, topic: str) -> Iterator[Message]:
        """Everything that a topic keeps now."""
        for messages in self.read(topic, dict(self.ends(topic))):
            yield from messages

    def pieces(self, place: Place, start: int, stop: int) -> Iterator[Piece]:
        """The log of a shard."""
        for messages in self.read(place.topic, {place.partition: (start, stop)}):
            offsets = np.array([one.offset() for one in messages], np.int64)
            times = np.array([one.timestamp()[1] for one in messages], np.int64)
            times[times <= 0] = -1
            yield Piece([one.value() for one in messages], offsets, times)


def _is_inside(topic: str, message: Message, stops: dict[int, int]) -> bool:
    """Whether it is a record before its partition's stop; takes partitions that are done off stops."""
    partition, offset, error = int(message.partition() or 0), int(message.offset() or 0), _error(message)
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise OutsideError(f"{topic}[{partition}] cannot be read: {error.str()}.")
        return False
    stop = stops.get(partition, 0)
    if error is not None or offset >= stop - 1:
        stops.pop(partition, None)
    return error is None and offset < stop


def _error(message: Message) -> Any:
    return message.error()
