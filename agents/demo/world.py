"""World: a made-up fleet whose metrics behave like real ones, as arrays. Same seed, same numbers.

Owns the cast (who exists, which metrics they have, in which format they speak) and the physics: one latent load per
entity with the shape of a day, metrics that follow it, noise that remembers. Knows no incident, no Kafka, no clock.

Not obvious: levels and gains are drawn anew for each environment, several-fold apart, while shapes belong to metric
classes. That is what makes the shipped snapshot a fair seed: of the source's numbers none fits here, only its habits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MINUTES_A_DAY = 1440
STEP_MS = 60_000
TELEGRAF, JSON = "telegraf", "json"


class Metric(NamedTuple):
    """One metric class. gain: share of its level that follows load; noise, wander: white and slow noise, same unit.

    level: where it is in the first environment; quiet_hour: how far it falls in the nightly pause, 0..1.
    counter: on the wire it only grows, the rate is what is generated here.
    """

    name: str
    level: float
    gain: float
    noise: float = 0.015
    wander: float = 0.015
    quiet_hour: float = 0.0
    counter: bool = False


CPU = (Metric("cpu.usage_user", 30, 1.1), Metric("cpu.usage_system", 8, 0.8, 0.02))
HOST = (
    *CPU,
    Metric("mem.used_percent", 50, 0.15, 0.004, 0.006),
    Metric("system.load1", 3, 1.2, 0.03, 0.02),
    Metric("net.recv_mbit", 32, 1.3, 0.02, 0.02),
    Metric("disk.io_time", 120, 0.7, 0.03, 0.02),
)
SERVICE = (
    Metric("requests_per_second", 400, 1.3, 0.015, 0.015, quiet_hour=0.85),
    Metric("latency_ms", 40, 0.5, 0.025, 0.015, quiet_hour=0.5),
    Metric("queue_depth", 25, 1.0, 0.03, 0.02, quiet_hour=0.85),
    Metric("heap_mb", 900, 0.25, 0.01, 0.01),
    Metric("workers_busy", 60, 1.1, 0.012, 0.01, quiet_hour=0.95),
)
DATABASE = (
    *HOST,
    *(
        Metric(f"postgresql.{name}", level, gain, 0.02, 0.015)
        for name, level, gain in (
            ("numbackends", 80, 0.6),
            ("xact_commit", 2500, 1.2),
            ("xact_rollback", 12, 1.0),
            ("blks_read", 900, 0.9),
            ("blks_hit", 52_000, 1.2),
            ("tup_returned", 88_000, 1.2),
            ("tup_fetched", 31_000, 1.1),
            ("tup_inserted", 640, 1.0),
            ("tup_updated", 820, 1.0),
            ("tup_deleted", 70, 0.9),
            ("temp_bytes", 5e5, 0.7),
            ("conflicts", 6, 0.5),
            ("deadlocks", 4, 0.4),
            ("locks", 140, 0.9),
        )
    ),
)
CAST = (
    ("web", HOST, TELEGRAF, "host"),
    ("svc", SERVICE, JSON, "service"),
    ("db", DATABASE, TELEGRAF, "host"),
)


class Entity(NamedTuple):
    """One host or service. columns: its series' places in the value matrix, in the order of its metrics."""

    name: str
    label: str
    wire: str
    metrics: tuple[Metric, ...]
    columns: range

    @property
    def key(self) -> str:
        """As records name it."""
        return f"{self.label}={self.name}"

    def series(self, metric: str) -> str:
        """The series' canonical text."""
        return f'{metric}{{{self.label}="{self.name}"}}'

    def column(self, metric: str) -> int:
        """Place of a metric in the value matrix."""
        return self.columns[[one.name for one in self.metrics].index(metric)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All entities of an environment."""

    entities: tuple[Entity, ...]

    @staticmethod
    def of(*, web: int = 14, svc: int = 9, db: int = 1, start: int = 1) -> Fleet:
        """So many of each kind, numbered from `start`."""
        counts, found, at = {"web": web, "svc": svc, "db": db}, [], 0
        for kind, metrics, wire, label in CAST:
            for number in range(start, start + counts[kind]):
                columns = range(at, at + len(metrics))
                found.append(Entity(f"{kind}-{number:02d}", label, wire, metrics, columns))
                at = columns.stop
        return Fleet(entities=tuple(found))

    @property
    def width(self) -> int:
        """Series in all."""
        return self.entities[-1].columns.stop

    def named(self, name: str) -> Entity:
        """The entity of that name."""
        return next(one for one in self.entities if one.name == name)

    def names(self) -> list[str]:
        """Canonical text of every column."""
        return [one.series(metric.name) for one in self.entities for metric in one.metrics]


def generate(fleet: Fleet, *, seed: int, minutes: int, spread: float = 1.0) -> Floats:
    """Values (minutes, series), one a minute from midnight on. spread: how far levels differ from the cast's, in e."""
    random = np.random.default_rng(seed)
    values = np.empty((minutes, fleet.width))
    for entity in fleet.entities:
        values[:, entity.columns.start : entity.columns.stop] = _entity(entity.metrics, random, minutes, spread)
    return values


def _entity(metrics: Sequence[Metric], random: np.random.Generator, minutes: int, spread: float) -> Floats:
    minute = np.asarray(np.arange(minutes) + random.normal(0, 12), np.float64)
    load = 0.5 + 0.33 * day_shape(minute) + _wander(random, minutes, 0.985, 0.03)
    pause = quiet_hour(np.arange(minutes))
    columns = np.empty((minutes, len(metrics)))
    for k, metric in enumerate(metrics):
        level = metric.level * np.exp(random.normal(0, 0.5 * spread))
        gain = metric.gain * np.exp(random.normal(0, 0.1 * spread))
        noise = metric.noise * random.standard_normal(minutes) + _wander(random, minutes, 0.93, metric.wander)
        columns[:, k] = level * (1 - metric.quiet_hour * pause) * np.maximum(0.3 + gain * load + noise, 0.005)
    return columns


def day_shape(minute: Floats) -> Floats:
    """About -1 at night to 1 in the afternoon, with a bend at lunch.

    >>> bool(day_shape(np.array([900.0]))[0] > 0.9 > -0.8 > day_shape(np.array([180.0]))[0])
    True
    """
    angle = 2 * np.pi * (np.asarray(minute) % MINUTES_A_DAY) / MINUTES_A_DAY
    return np.asarray(-np.cos(angle - 0.7) + 0.18 * np.sin(2 * angle), float)


#: The nightly pause of the services, minutes of the day.
QUIET_FROM, QUIET_UNTIL, RAMP = 180, 285, 20.0


def quiet_hour(minute: NDArray[np.int64]) -> Floats:
    """1 within the nightly pause, 0 outside, with ramps of RAMP minutes."""
    at = np.asarray(minute) % MINUTES_A_DAY
    return np.clip(np.minimum(at - QUIET_FROM, QUIET_UNTIL - at) / RAMP, 0.0, 1.0)


def _wander(random: np.random.Generator, minutes: int, keep: float, sd: float) -> Floats:
    """Noise that remembers: autoregressive of order one with this standard deviation."""
    steps = random.standard_normal(minutes) * sd * np.sqrt(1 - keep * keep)
    steps[0] = random.normal(0, sd)
    out = np.empty(minutes)
    last = 0.0
    for t, step in enumerate(steps):
        last = keep * last + step
        out[t] = last
    return out
