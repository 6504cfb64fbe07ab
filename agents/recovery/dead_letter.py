"""Dead letters: a record that cannot be used leaves with its bytes as they came and a label that says why.

Owns the label (headers `graft.err.*`) and the size limit. Knows no producer: it makes what outputs.py sends.

Not obvious: the dead-letter topic itself must never refuse a letter, so above OVERSIZE_BYTES only the first 4 KiB
leave, with the sha256 and the size of the whole, by which it can be found in the input topic while that keeps it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple

from agents.recovery.held import Place

#: Above this a letter is cut; the size that reliability research names for the validator.
OVERSIZE_BYTES = 256 * 1024
#: What is left of a cut letter, and the longest key that is kept.
KEPT_BYTES = 4096
#: Longest detail; a sentence for people, never the record again.
DETAIL_CHARACTERS = 500

Headers = list[tuple[str, bytes]]


class Source(NamedTuple):
    """Where a record came from, and who refused it.

    timestamp_ms: the record's own, -1 unknown. stage: decode or control. engine: version.
    """

    place: Place
    offset: int
    timestamp_ms: int
    stage: str
    engine: str


class Letter(NamedTuple):
    """What goes to the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def letter(key: bytes | None, value: bytes | None, *, reason: str, detail: str, source: Source) -> Letter:
    """The letter for one record; (topic, partition, offset) in its headers identify it whenever it is sent again."""
    headers: Headers = [
        ("graft.err.reason", reason.encode()),
        ("graft.err.stage", source.stage.encode()),
        ("graft.err.topic", source.place.topic.encode()),
        ("graft.err.partition", str(source.place.partition).encode()),
        ("graft.err.offset", str(source.offset).encode()),
        ("graft.err.timestamp", str(source.timestamp_ms).encode()),
        ("graft.err.engine", source.engine.encode()),
        ("graft.err.detail", detail[:DETAIL_CHARACTERS].encode(errors="replace")),
    ]
    kept, cut = _cut("value", value, OVERSIZE_BYTES)
    kept_key, cut_key = _cut("key", key, KEPT_BYTES)
    return Letter(kept_key, kept, headers + cut + cut_key)


def _cut(what: str, data: bytes | None, limit: int) -> tuple[bytes | None, Headers]:
    if data is None or len(data) <= limit:
        return data, []
    digest = sha256(data).hexdigest().encode()
    return data[:KEPT_BYTES], [
        (f"graft.err.{what}_sha256", digest),
        (f"graft.err.{what}_bytes", str(len(data)).encode()),
    ]
