"""Came: a record that came off a topic, with its place, and its first check.

Owns the one shape in which the worker's readers hand a record on, whichever client it came by, and what every record of
ours must be: JSON, an object, of a schema that this Graft reads. Knows no client's types beyond what it asks of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import orjson

from engine.errors import BadSample

#: The largest record that is taken; the outbox is bounded by it, and the dead-letter topic counts on it.
RECORD_CAP_BYTES = 256 * 1024


class Came(NamedTuple):
    """A record that came, with its place."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None

    @property
    def follows(self) -> dict[str, Any]:
        """The place as records name it."""
        return {"topic": self.topic, "partition": self.partition, "offset": self.offset}

    @classmethod
    def of_faust(cls, message: Any) -> Self:
        """From a Faust message; its `value` is the bytes as they came."""
        timestamp_ms = int((message.timestamp or 0) * 1000)
        return cls(message.topic, message.partition, message.offset, timestamp_ms, message.key, message.value)

    @classmethod
    def of_client(cls, message: Any) -> Self:
        """From a confluent_kafka message."""
        _, timestamp_ms = message.timestamp()
        place = (message.topic(), message.partition(), message.offset())
        return cls(*place, timestamp_ms, message.key(), message.value())


def parsed(came: Came, *, schema: str) -> dict[str, Any]:
    """The record as an object of that schema's major version. BadSample says what is wrong.

    >>> parsed(Came("t", 0, 0, 0, None, b'{"schema":"graft.drift/1"}'), schema="graft.drift/1")
    {'schema': 'graft.drift/1'}
    """
    if came.value is None:
        raise BadSample("tombstone", "the record has no value")
    if len(came.value) > RECORD_CAP_BYTES:
        raise BadSample("oversize", f"the record has {len(came.value)} bytes; at most {RECORD_CAP_BYTES}")
    try:
        value = orjson.loads(came.value)
    except orjson.JSONDecodeError as error:
        raise BadSample("json", f"the record is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadSample("shape", f"the record is a {type(value).__name__}; wanted an object")
    found = value.get("schema")
    # A minor version (graft.drift/1.3) only adds fields.
    if not isinstance(found, str) or found.split(".")[:2] != schema.split(".")[:2]:
        raise BadSample("schema", f"schema is {str(found)[:80]!r}; wanted {schema}")
    return value
