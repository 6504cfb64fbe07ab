"""What of the engine can be set, frozen. Everything else is a constant with a reason beside it, in its component."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from hashlib import sha256

from engine.errors import ConfigError

#: Changes whenever the same log would give other verdicts; part of every snapshot.
ENGINE_VERSION = "8"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of one shard.

    false_pages_per_entity_day: how often a normal entity may page; `page` >= 1 is calibrated to it.
    max_series: rows of one shard; further series are refused by name (dead letters, reason `cardinality`).
    counters_from_shape: watch series of unknown kind and treat whole numbers that only grow as cumulative counters.
    utc_offset_minutes: where the day of the profile begins.
    guard_seeds: what is lent is tried in a twin beside each entity before it is believed. Off in benchmarks and tests.
    """

    environment: str = "default"
    entity_labels: tuple[str, ...] = ("host",)
    false_pages_per_entity_day: float = 0.1
    max_series: int = 100_000
    counters_from_shape: bool = True
    utc_offset_minutes: int = 0
    guard_seeds: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.false_pages_per_entity_day <= 1000:
            raise ConfigError(
                f"alerting.false_pages_per_entity_day is {self.false_pages_per_entity_day}; it must lie in (0, 1000]. "
                "0.1 means that a normal entity pages once in ten days."
            )
        if self.max_series < 1:
            raise ConfigError(f"limits.max_series is {self.max_series}; it must be >= 1.")

    @property
    def utc_offset_ms(self) -> int:
        """Local time less UTC."""
        return self.utc_offset_minutes * 60_000

    @property
    def hash(self) -> str:
        """16 hex digits of everything that changes verdicts."""
        text = repr(sorted(asdict(self).items())) + ENGINE_VERSION
        return sha256(text.encode()).hexdigest()[:16]
