"""Controls: orders from the control topic, and for which shard each of them is.

Owns the control consumer and the reading of orders. Applying one is a barrier and belongs to
agents/recovery/durability.py.

Not obvious:
- Every worker reads the whole control topic, because any order may concern any shard. Each shard keeps its own
  position in it (`control_offsets`, inside the snapshot), so an order that is read again is skipped.
- While any shard is replaying what a former life may already have spoken about, orders are not even polled: applied
  that early, an order would change answers that have left already. That is why no replay can contradict them.
- An order that nobody can read is a dead letter of the *home* shard only (partition 0 of the first input), else each
  worker would send one.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import orjson
from confluent_kafka import KafkaError, Message, TopicPartition

from agents.detector.assignment import ends_of
from agents.recovery.held import Held, Place
from engine.errors import BadSample
from engine.orders import ID_CHARACTERS

#: Orders taken in one turn; the rest waits, so that samples are not held up for long.
ORDERS_A_TURN = 20
#: What an order causes echoes it, and must fit a record.
MAX_ORDER_BYTES = 64 * 1024
SCHEMA = "graft.order/1"


class Address(NamedTuple):
    """What an order names as its target; None where it names nothing."""

    topic: str | None
    partition: int | None
    series: str | None


class Controls:
    """The control topic, read by partition list: it is not shared among the group.

    pending: orders that were read and not obeyed yet, oldest first. anew: partitions that end before orders which were
    obeyed here; whoever empties it forgets these positions. counters: client_errors.
    """

    def __init__(
        self,
        consumer: Any,
        topic: str,
        partitions: Iterable[int],
        warn: Callable[[str], None],
        counters: Counter[str] | None = None,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._partitions = tuple(partitions)
        self._warn = warn
        self._counters = Counter[str]() if counters is None else counters
        self._ended: set[int] = set()
        self._next: dict[int, int] = {}
        self.pending: deque[Message] = deque()
        self.anew: set[int] = set()

    @property
    def at_end(self) -> bool:
        """Whether everything on the topic has been obeyed since the last `follow`."""
        return len(self._ended) == len(self._partitions) and not self.pending

    def follow(self, positions: Iterable[Mapping[int, int]]) -> None:
        """Go to where the shard that is furthest behind stands; the others skip what they know.

        Pending orders are dropped: a shard that has just come may miss earlier ones, and all are read again.
        """
        known = list(positions)
        self._ended.clear()
        self.pending.clear()
        self._next = {one: min((held.get(one, 0) for held in known), default=0) for one in self._partitions}
        self._consumer.assign([TopicPartition(self._topic, *place) for place in self._next.items()])

    def poll(self) -> None:
        """More orders into pending, without waiting; errors of the topic are handled here."""
        for message in self._consumer.consume(ORDERS_A_TURN, 0):
            partition, error = int(message.partition() or 0), message.error()
            if error is None:
                self._next[partition] = int(message.offset() or 0) + 1
                self.pending.append(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._skip_to_kept(partition)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add(partition)
            else:
                self._counters["client_errors"] += 1
                self._warn(f"Orders on {self._topic} cannot be read: {error.str()}. Going on without them.")

    def _skip_to_kept(self, partition: int) -> None:
        """Orders that retention has taken before they were read, or another log than it was: said aloud; the oldest
        kept order is next."""
        low, high = ends_of(self._consumer, Place(self._topic, partition))
        if self._next[partition] > high:
            self.anew.add(partition)
            self._warn(
                f"{self._topic}[{partition}] ends at offset {high}, but here orders before {self._next[partition]} are "
                f"known: it was made anew. Its orders are read from {low} on; those that were obeyed are not repeated."
            )
        else:
            self._warn(f"Orders before offset {low} of {self._topic}[{partition}] are gone before they were applied.")
        self._next[partition] = low
        self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, low)])

    def close(self) -> None:
        """Stop reading; there is nothing to commit."""
        self._consumer.close()


def order_of(data: bytes | None) -> dict[str, Any]:
    """The order in a record, or BadSample; what it wants is checked by the shard."""
    if len(data or b"") > MAX_ORDER_BYTES:
        raise BadSample("oversize", f"The order takes {len(data or b'')} bytes; at most {MAX_ORDER_BYTES} are read.")
    try:
        value = orjson.loads(data or b"")
    except orjson.JSONDecodeError as error:
        raise BadSample("not_json", f"An order is a JSON object; this is not: {error}") from error
    if not isinstance(value, dict):
        raise BadSample("not_an_order", f"An order is a JSON object; this is a {type(value).__name__}.")
    schema = value.get("schema")
    if schema != SCHEMA:
        raise BadSample("schema", f"The schema is {schema!r}; {SCHEMA} is understood.")
    for name in ("id", "kind"):
        if not isinstance(value.get(name), str):
            raise BadSample("not_an_order", f"The order's {name} is {value.get(name)!r}; it must be a text.")
    if len(value["id"]) > ID_CHARACTERS:
        raise BadSample("not_an_order", f"The order's id has {len(value['id'])} characters; at most {ID_CHARACTERS}.")
    return value


def address_of(order: Mapping[str, Any]) -> Address:
    """The target of an order, or BadSample."""
    target = order.get("target") or {}
    if not isinstance(target, dict):
        raise BadSample("target", f"The target is {target!r}; it must be an object with topic and partition.")
    topic, partition, series = target.get("topic"), target.get("partition"), target.get("series")
    if topic is not None and not isinstance(topic, str):
        raise BadSample("target", f"The target's topic is {topic!r}; it must be a text.")
    if partition is not None and (not isinstance(partition, int) or isinstance(partition, bool)):
        raise BadSample("target", f"The target's partition is {partition!r}; it must be a whole number.")
    if series is not None and not isinstance(series, str):
        raise BadSample("target", f"The target's series is {series!r}; it must be a text.")
    return Address(topic, partition, series)


def is_for(address: Address, held: Held) -> bool:
    """Whether a shard has to apply an order. Without topic and partition it is for whoever knows the series."""
    if address.topic is not None and address.topic != held.place.topic:
        return False
    if address.partition is not None:
        return address.partition == held.place.partition
    return address.series is None or held.shard.row_of(address.series) >= 0


def check_exists(address: Address, partitions: Mapping[str, int]) -> None:
    """BadSample when no shard at all can be meant. partitions: how many each input topic has."""
    if address.topic is None:
        return
    wanted = partitions.get(address.topic, 0)
    if not 0 <= (address.partition or 0) < wanted:
        raise BadSample(
            "target", f"The target is {address.topic}[{address.partition or 0}]; that is no shard of Graft."
        )


def home(topics: Iterable[str]) -> Place:
    """The shard that answers for orders nobody else can answer for."""
    return Place(next(iter(topics)), 0)
