"""Assignment: which partitions this worker reads, by consumer group or by a fixed list.

Owns the input consumer: joining, giving back, losing, pausing, committing. Decides nothing about state: at each
change it calls the keeper, which loads, saves or forgets.

Not obvious: after an exception in a rebalance callback confluent-kafka would deliver from a default position at the
next poll (confluent-kafka-python#729), so a callback never lets one out: `check` raises it before anything is folded.
And `close` can hang for ever (#1667), so the kernel's alarm clock ends the process instead.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from confluent_kafka import KafkaException, Message, TopicPartition

from agents.recovery.held import Place
from agents.recovery.positions import LogEnds
from engine.errors import OutsideError

#: How long the broker may take to say where a partition begins and ends.
WATERMARK_WAIT_S = 10.0
#: `close` gets this long; everything is durable before it is called.
CLOSE_WAIT_S = 10
#: Giving back may take this long when a worker leaves for good, and then the word to the broker this long.
LEAVE_WAIT_S, LEFT_WAIT_S = 5.0, 0.5


def ends_of(consumer: Any, place: Place) -> LogEnds:
    """Ask the broker; OutsideError when it does not answer."""
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=WATERMARK_WAIT_S)
    except KafkaException as error:
        raise OutsideError(f"The broker does not say where {place} begins and ends: {error.args[0].str()}") from error
    return LogEnds(low, high)


class Keeper(Protocol):
    """Who holds the shards."""

    def take(self, places: Sequence[Place]) -> dict[Place, int]:
        """Load shards; answers where to read from."""
        ...

    def give_back(self, places: Sequence[Place]) -> None:
        """Make shards durable and forget them."""
        ...

    def lose(self, places: Sequence[Place]) -> None:
        """Forget shards and write nothing: another worker may own them already."""
        ...


class Assignment:
    """The input consumer and its rebalances. changes counts them, so that a caller can see that one has happened."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._keeper: Keeper | None = None
        self._failure: BaseException | None = None
        self._paused: set[Place] = set()
        self._joined = False
        self.changes = 0

    def join(self, topics: Sequence[str], keeper: Keeper) -> None:
        """Share the topics with the other workers of the group; cooperative: only what moves is interrupted."""
        self._keeper, self._joined = keeper, True
        self._consumer.subscribe(
            list(topics),
            on_assign=self._guarded(self._take),
            on_revoke=self._guarded(self._give_back),
            on_lost=self._guarded(self._lose),
        )

    def fix(self, places: Sequence[Place], keeper: Keeper) -> None:
        """Read exactly these partitions, for those who want no group."""
        self._keeper = keeper
        self._take(places)

    def consume(self, records: int, wait_s: float) -> list[Message]:
        """Up to so many messages; rebalances happen in here. Raises what went wrong in a callback."""
        messages: list[Message] = self._consumer.consume(records, wait_s)
        self.check()
        return messages

    def check(self) -> None:
        """Raise what a callback has kept back."""
        if self._failure is not None:
            raise self._failure

    def ends(self, place: Place) -> LogEnds:
        """Ask the broker; OutsideError when it does not answer."""
        return ends_of(self._consumer, place)

    def known_end(self, place: Place) -> int:
        """End of the log as of the last fetch, without asking; -1 unknown."""
        ends = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return int(ends[1]) if ends is not None else -1

    def commit(self, place: Place, next_offset: int) -> None:
        """Tell lag tools how far the durable state is. Advisory: nothing of Graft reads it, so a failure is none."""
        try:
            self._consumer.commit(offsets=[TopicPartition(*place, next_offset)], asynchronous=True)
        except KafkaException:
            return

    def read_from(self, place: Place, offset: int) -> None:
        """Go on at another offset. A fetch that has ended "out of range" takes no seek, hence out and in again."""
        self._consumer.incremental_unassign([TopicPartition(*place)])
        self._consumer.incremental_assign([TopicPartition(*place, offset)])

    def hold_back(self, places: Sequence[Place]) -> None:
        """Fetch no more of these for now; one call per change, and the caller keeps consuming (or is evicted)."""
        new = [place for place in places if place not in self._paused]
        if new:
            self._consumer.pause([TopicPartition(*place) for place in new])
            self._paused.update(new)

    def let_go(self) -> None:
        """Fetch again what was held back."""
        if self._paused:
            self._consumer.resume([TopicPartition(*place) for place in self._paused])
            self._paused.clear()

    def close(self, *, for_good: bool = False) -> None:
        """Give back what is still held, and end. for_good: tell the group, which else keeps the place of a member with
        a name free for a session, so that a restart moves nothing."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CLOSE_WAIT_S)
        if for_good and self._joined:
            self._leave()
        signal.alarm(CLOSE_WAIT_S)
        self._consumer.close()
        signal.alarm(0)
        self.check()

    def _leave(self) -> None:
        """librdkafka says "leave" for a named member when it unsubscribes, not when it closes; it takes a few polls."""
        changes, until_s = self.changes, time.monotonic() + LEAVE_WAIT_S
        self._consumer.unsubscribe()
        while time.monotonic() < until_s and self.changes == changes:
            self.consume(1, 0.1)
        self.consume(1, LEFT_WAIT_S)

    def _take(self, places: Sequence[Place]) -> None:
        assert self._keeper is not None, "rebalances begin after join or fix"
        starts = self._keeper.take(places)
        self._consumer.incremental_assign([TopicPartition(*place, starts[place]) for place in places])
        # librdkafka remembers that a partition was paused even while somebody else had it.
        self._consumer.resume([TopicPartition(*place) for place in places])
        self.changes += 1

    def _give_back(self, places: Sequence[Place]) -> None:
        if self._keeper is not None:
            self._keeper.give_back(places)
        self._forget(places)

    def _lose(self, places: Sequence[Place]) -> None:
        if self._keeper is not None:
            self._keeper.lose(places)
        self._forget(places)

    def _forget(self, places: Sequence[Place]) -> None:
        self._consumer.incremental_unassign([TopicPartition(*place) for place in places])
        self._paused.difference_update(places)
        self.changes += 1

    def _guarded(self, act: Callable[[Sequence[Place]], None]) -> Callable[[Any, list[TopicPartition]], None]:
        def callback(_consumer: Any, partitions: list[TopicPartition]) -> None:
            try:
                act([Place(one.topic, one.partition) for one in partitions])
            except BaseException as error:  # noqa: BLE001 - raised by `check`, see above
                self._failure = self._failure or error

        return callback
