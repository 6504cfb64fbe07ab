"""Intake: what `consume()` returned, as one run of messages per partition, in log order, each offset once.

Owns the cheap way from confluent's messages to bytes and offsets. Knows no codec and no shard.

Not obvious: reading a field of a message costs 15-35 ns, so the usual case asks for errors and partitions only, and
takes the offsets from the first and the last message: within a partition they only grow, so when the ends fit the
count nothing is missing in between. Everything unusual (errors, holes, repeats after a rebalance) goes the slow way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from confluent_kafka import KafkaError, Message
from numpy.typing import NDArray

from agents.recovery.held import Place


class Sorted(NamedTuple):
    """Messages by partition in log order, and the messages that are errors."""

    runs: dict[Place, list[Message]]
    errors: list[Message]


def sort(messages: list[Message], topics: Sequence[str]) -> Sorted:
    """By partition; the order within a partition is kept. topics: all that this consumer reads."""
    errors: list[Message] = []
    if any(map(Message.error, messages)):
        errors = [message for message in messages if message.error() is not None]
        messages = [message for message in messages if message.error() is None]
    runs: dict[Place, list[Message]] = {}
    for first, stop in _stretches(messages, topics):
        runs.setdefault(place_of(messages[first]), []).extend(messages[first:stop])
    return Sorted(runs, errors)


def _stretches(messages: list[Message], topics: Sequence[str]) -> Iterator[tuple[int, int]]:
    """(first, stop) of neighbours from one partition; a fetch answers in long stretches."""
    count = len(messages)
    if count == 0:
        return iter(())
    codes = np.fromiter(map(Message.partition, messages), np.int64, count)
    if len(topics) > 1:
        number: dict[str | None, int] = {topic: index << 32 for index, topic in enumerate(topics)}
        codes += np.fromiter(map(number.__getitem__, map(Message.topic, messages)), np.int64, count)
    cuts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), count]
    return pairwise(cuts)


class Fresh(NamedTuple):
    """Messages at and after a position. offsets: int64 (n,), one a message."""

    messages: list[Message]
    offsets: NDArray[np.int64]
    next_offset: int


def fresh(messages: list[Message], next_offset: int) -> Fresh | None:
    """What of a run has not been folded yet; None when nothing.

    Offsets below `next_offset` have been folded before and are skipped. Offsets that are missing are legitimate: a
    compacted topic has holes, and the markers of transactions take an offset that no consumer ever sees. (Records lost
    to retention never look like this: the broker answers "out of range", see loop.py.) The shard counts
    missing offsets as `skipped`.
    """
    first, last = _offset(messages[0]), _offset(messages[-1])
    if first >= next_offset and last - first + 1 == len(messages):
        return Fresh(messages, np.arange(first, last + 1, dtype=np.int64), last + 1)
    offsets = np.fromiter(map(Message.offset, messages), np.int64, len(messages))
    # A rebalance inside one consume() can bring the same records twice: only what passes all before it is new.
    highest = np.maximum.accumulate(np.concatenate([np.array([next_offset - 1], np.int64), offsets]))
    keep = np.flatnonzero(offsets > highest[:-1])
    if len(keep) == 0:
        return None
    offsets = offsets[keep]
    return Fresh([messages[index] for index in keep.tolist()], offsets, int(offsets[-1]) + 1)


def place_of(message: Message) -> Place:
    """Where a message comes from."""
    return Place(str(message.topic()), int(message.partition() or 0))


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None, "a consumed message always has an offset"
    return offset


def times_ms(messages: Sequence[Message]) -> NDArray[np.int64]:
    """The broker's (or sender's) time of each message, epoch milliseconds; -1 where there is none."""
    times = np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, len(messages))
    times[times <= 0] = -1
    return times


def is_end(message: Message) -> bool:
    """Whether this "error" only says that the log of a partition has ended for now."""
    error: Any = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF
