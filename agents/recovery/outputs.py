"""Outputs: what leaves the hot path - records of the engine and dead letters - and the proof that it has left.

Owns the producer, its bound and the rule that nothing is ever dropped: a record that cannot be delivered stops the
worker (OutsideError, exit status 3), and its next life makes the same record with the same id again.

Not obvious: `flushed` may answer False (the broker is slow or away) and that is no failure: nothing is made durable
then, and the loop goes on polling, so that the group does not evict a worker that only waits. Only librdkafka's own
time limit (delivery.timeout.ms) or a refusal by the broker turns into an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from confluent_kafka import KafkaException

from agents.recovery import dead_letter
from agents.recovery.held import RecordLike
from engine.errors import OutsideError

if TYPE_CHECKING:
    from confluent_kafka import Producer

#: Waiting for acknowledgements above this, reading is paused; below half of it, it goes on.
BACKED_UP_RECORDS = 20_000
#: One wait for room in the producer's queue, and how often before the worker stops; less than max.poll.interval.ms.
ROOM_WAIT_S = 0.5
ROOM_WAITS = 180


class Outputs:
    """The only way out of the hot path. sent: records by topic without prefix, of this life."""

    def __init__(self, producer: Producer, *, prefix: str, source: str) -> None:
        self._producer = producer
        self._prefix = prefix
        self._source = source.encode()
        self._failure = ""
        self.sent: Counter[str] = Counter()
        self.dead_reasons: Counter[str] = Counter()

    def send(self, records: Sequence[RecordLike]) -> None:
        """Queue records in order; their ids make it harmless to send them again."""
        for record in records:
            self._produce(
                record.topic, key=record.key.encode(), value=_wire(record.value), headers=self._headers(record)
            )

    def send_dead(self, letter: dead_letter.Letter) -> None:
        """Queue one dead letter."""
        self.dead_reasons[dict(letter.headers)["graft.err.reason"].decode()] += 1
        self._produce("dlq", key=letter.key, value=letter.value, headers=letter.headers)

    def flushed(self, timeout_s: float) -> bool:
        """Whether everything queued so far has been acknowledged by the broker within timeout_s."""
        left = self._producer.flush(timeout_s)
        self.check()
        return left == 0

    def poll(self) -> None:
        """Let delivery reports in, without waiting."""
        self._producer.poll(0)
        self.check()

    def check(self) -> None:
        """OutsideError if any record could not be delivered."""
        if self._failure:
            raise OutsideError(self._failure)

    @property
    def waiting(self) -> int:
        """Records that the broker has not acknowledged yet."""
        return len(self._producer)

    def _produce(self, topic: str, **message: Any) -> None:
        self.sent[topic] += 1
        for _ in range(ROOM_WAITS):
            try:
                self._producer.produce(self._prefix + topic, on_delivery=self._delivered, **message)
                return
            except BufferError:
                self._producer.poll(ROOM_WAIT_S)
                self.check()
            except KafkaException as error:
                raise OutsideError(
                    f"{self._prefix}{topic} does not take a record of {len(message['value'] or b'')} bytes: "
                    f"{error.args[0].str()}. Stopping; nothing is lost, the next start makes it again."
                ) from error
        raise OutsideError(
            f"The queue to {self._prefix}{topic} has been full for {ROOM_WAITS * ROOM_WAIT_S:.0f} s; the broker does "
            "not take records. Stopping; nothing is lost, the next start goes on from the last snapshot."
        )

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None and not self._failure:
            self._failure = (
                f"A record for {message.topic()} was not delivered: {error.str()}. Stopping instead of skipping it; "
                "the next start goes on from the last snapshot and makes it again."
            )

    def _headers(self, record: RecordLike) -> list[tuple[str, bytes]]:
        """CloudEvents 1.0, Kafka binary mode: routers can read what a record is without parsing it."""
        return [
            ("ce_specversion", b"1.0"),
            ("ce_id", str(record.value.get("id", "")).encode()),
            ("ce_type", str(record.value.get("schema", "")).encode()),
            ("ce_source", self._source),
            ("content-type", b"application/json"),
        ]


def _wire(value: dict[str, Any]) -> bytes:
    """JSON with sorted keys, so that the same record has the same bytes in every life; NaN becomes null."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
