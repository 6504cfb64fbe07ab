"""Is the Faust group getting on? Records that wait while the group's position stands still end the process.

Owns the judgement and the look at the broker. aiokafka has no sign of health: after an outage it can hold an empty
assignment and wait for ever (seen when the broker was away while the worker started), and Faust calls that running.

Not obvious: an end beyond the position is no proof of a record. The end of a transaction is a marker that no reader
gets, so behind a transactional writer the gap of one never closes; what seems to wait is looked for before anything is
ended. And it watches the group, not this process. A worker without partitions of its own is well as long as the
group gets on; if the group stands still, any member that starts anew makes it share out its partitions again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from engine.errors import OutsideError

log = logging.getLogger(__name__)

LOOK_S, STUCK_S, TIMEOUT_S = 10.0, 90.0, 2.0

#: (topic, partition) -> (next offset that the group has committed, end).
Places = Mapping[tuple[str, int], tuple[int, int]]


class Standstill:
    """How long each position has stood still before its end.

    >>> watch = Standstill()
    >>> watch.look({("t", 0): (5, 9)}, now_s=0.0), watch.look({("t", 0): (5, 9)}, now_s=7.0)
    ({('t', 0): 0.0}, {('t', 0): 7.0})
    >>> watch.look({("t", 0): (6, 9)}, now_s=8.0), watch.look({("t", 0): (9, 9)}, now_s=99.0)
    ({('t', 0): 0.0}, {})
    """

    def __init__(self) -> None:
        self._since: dict[tuple[str, int], tuple[int, float]] = {}

    def look(self, places: Places, *, now_s: float) -> dict[tuple[str, int], float]:
        """Seconds by place, of those that are not at their end."""
        waiting = {place: committed for place, (committed, end) in places.items() if committed < end}
        self._since = {
            place: self._since[place] if self._since.get(place, (-1, 0.0))[0] == committed else (committed, now_s)
            for place, committed in waiting.items()
        }
        return {place: now_s - since for place, (_, since) in self._since.items()}

    def forget(self, place: tuple[str, int]) -> None:
        """Nothing waits there after all; from now on anew."""
        self._since.pop(place, None)


async def watch(
    consumer: Callable[[], Any], topics: Sequence[str], *, clock: Callable[[], float], look_s: float = LOOK_S,
    stuck_s: float = STUCK_S,
) -> None:  # fmt: skip
    """Returns never; OutsideError when the group stands still. consumer: of the group, and never subscribed."""
    standstill = Standstill()
    loop = asyncio.get_running_loop()
    # One thread, so that the consumer is never closed under a call that is still waiting for an answer.
    thread = ThreadPoolExecutor(1, "flow-watch")
    eyes = await loop.run_in_executor(thread, consumer)
    try:
        while True:
            await asyncio.sleep(look_s)
            places = await loop.run_in_executor(thread, places_of, eyes, topics)
            if places is None:
                continue
            for place, waited_s in standstill.look(places, now_s=clock()).items():
                if waited_s < stuck_s:
                    continue
                if await loop.run_in_executor(thread, holds_record, eyes, place, places[place][0]):
                    raise OutsideError(
                        f"Records of {place[0]}[{place[1]}] have waited for {waited_s:.0f} s and the Faust worker does "
                        "not take them. Stopping; the next start goes on where it stood."
                    )
                standstill.forget(place)
    finally:
        thread.submit(eyes.close)
        thread.shutdown(wait=False)


def places_of(consumer: Any, topics: Sequence[str]) -> Places | None:
    """Where the group stands; None while the broker does not say."""
    from confluent_kafka import KafkaException, TopicPartition

    found: dict[tuple[str, int], tuple[int, int]] = {}
    try:
        for topic in topics:
            metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
            partitions = [TopicPartition(topic, partition) for partition in metadata.partitions]
            for one in consumer.committed(partitions, timeout=TIMEOUT_S) if partitions else []:
                low, high = consumer.get_watermark_offsets(one, timeout=TIMEOUT_S)
                # Without a commit, or behind what retention has taken, the group begins at the beginning.
                found[topic, one.partition] = (max(one.offset, low), high)
    except KafkaException as error:
        log.debug("the broker does not say where the group stands: %s", error)
        return None
    return found


def holds_record(consumer: Any, place: tuple[str, int], offset: int) -> bool:
    """Whether there is a record at that offset or beyond; False while the broker does not say."""
    from confluent_kafka import KafkaException, TopicPartition

    try:
        consumer.assign([TopicPartition(*place, offset)])
        found = consumer.consume(1, TIMEOUT_S)
        consumer.unassign()
    except KafkaException as error:
        log.debug("the broker does not say what waits at %s: %s", place, error)
        return False
    return any(one.error() is None for one in found)
