"""Names of things: a series, its metric class, the entity it belongs to, and the ids made from them.

Owns the canonical text of an identity; everything else (rows, topics, state) holds on to that text. Knows nothing of
wire formats: codecs hand over a name and labels.

Not obvious: two wire records that differ only in the order of their labels are one series, so labels are sorted
before anything is derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256

Labels = tuple[tuple[str, str], ...]


class Kind(IntEnum):
    """What a number means. UNKNOWN is watched for a while: whole numbers that only grow are a cumulative counter."""

    UNKNOWN = 0
    GAUGE = 1
    COUNTER = 2


#: Prometheus and OpenMetrics naming: these suffixes mean a cumulative counter even without metadata.
COUNTER_SUFFIXES = ("_total", "_count", "_sum", "_bucket")


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one entity: a line of numbers over time.

    name is also the metric class: what two environments have in common. Labels are sorted (key, value) pairs.

    >>> Series.of("cpu.usage_idle", {"host": "web-1", "cpu": "cpu0"}).text
    'cpu.usage_idle{cpu="cpu0",host="web-1"}'
    """

    name: str
    labels: Labels
    kind: Kind = Kind.UNKNOWN

    @staticmethod
    def of(name: str, labels: Mapping[str, str] | Iterable[tuple[str, str]], kind: Kind = Kind.UNKNOWN) -> Series:
        pairs = labels.items() if isinstance(labels, Mapping) else labels
        if kind is Kind.UNKNOWN and name.endswith(COUNTER_SUFFIXES):
            kind = Kind.COUNTER
        return Series(name, tuple(sorted(pairs)), kind)

    @property
    def text(self) -> str:
        """Canonical text, as Prometheus writes it; the identity in every record and the key of every lookup."""
        if not self.labels:
            return self.name
        inside = ",".join(f'{key}="{_escape(value)}"' for key, value in self.labels)
        return f"{self.name}{{{inside}}}"

    def entity(self, entity_labels: tuple[str, ...]) -> str:
        """The thing that this series measures: the labels named in the configuration, or the series itself.

        >>> Series.of("up", {"host": "web-1", "job": "node"}).entity(("host",))
        'host=web-1'
        """
        found = [f"{key}={value}" for key, value in self.labels if key in entity_labels]
        return ",".join(found) if found else self.text


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def stable_id(*parts: object) -> str:
    """32 hex digits from what a record is about: never from a score, a wall clock, a host or a version.

    >>> stable_id("alert", "prod", "host=web-1", 1767225600000)
    'a3be039968a492dcfa9e684bbc1c6de5'
    """
    return sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()[:32]
