"""Incidents: what goes wrong in the demo's world, when, and by which rule it counts as noticed.

Owns the script and its ground truth. The truth is told to the scoreboard only: the detector sees numbers on a topic.
Knows no verdict.

Not obvious: magnitudes are in units of the series' own level, so the same script fits any seed; they were chosen so
that a person would see each on a chart at a glance, except the wobble, which is meant to be arguable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from agents.demo.world import MINUTES_A_DAY, QUIET_FROM, QUIET_UNTIL, Entity, Fleet, Floats, generate, quiet_hour

SPIKE, DEPLOY, DIP, OUTAGE, WOBBLE = "spike", "deploy", "missing-dip", "outage", "wobble"
DAYS = 4
MINUTES = DAYS * MINUTES_A_DAY


#: The wobble: largest share of the level, and minutes of one swing.
WOBBLE_SIZE, WOBBLE_PERIOD_MIN = 0.5, 24.0


class Incident(NamedTuple):
    """One thing that goes wrong. metric: the one that moves, None when all of the entity do. Times: event minutes.

    grace_min: so long after its end an alert still counts as being about it.
    """

    kind: str
    entity: str
    metric: str | None
    start_min: int
    end_min: int
    grace_min: int
    story: str

    @property
    def window_min(self) -> tuple[int, int]:
        """Event minutes in which an alert or question about the entity is about this."""
        return self.start_min, self.end_min + self.grace_min


def _at(day: int, hour: int, minute: int = 0) -> int:
    return (day - 1) * MINUTES_A_DAY + hour * 60 + minute


SCRIPT = (
    Incident(SPIKE, "web-05", "net.recv_mbit", _at(2, 10, 30), _at(2, 10, 36), 10, "traffic jumps for six minutes"),
    Incident(DEPLOY, "web-03", "mem.used_percent", _at(3, 14), _at(3, 24), 0, "a deploy needs more memory, for good"),
    Incident(DIP, "svc-04", "workers_busy", _at(4, 0) + QUIET_FROM, _at(4, 0) + QUIET_UNTIL, 30, "no nightly pause"),
    Incident(OUTAGE, "db-01", None, _at(4, 10), _at(4, 10, 12), 15, "the database stalls: 20 series at once"),
    Incident(WOBBLE, "svc-07", "latency_ms", _at(4, 15), _at(4, 23), 30, "latency sways a little, slowly: arguable"),
)


#: So much slower than the rest event time runs around an incident, from so long before its start to so long after:
#: there is more to see then, and an order or an answer takes wall time, which at full speed would be hours.
SLOW, BEFORE_MIN, AFTER_MIN = 12.0, 5, 90
#: A drift is told after an hour or so, and its order has to come round by way of the tuner.
DEPLOY_MIN = 300


def in_slow_motion(minutes: int, script: tuple[Incident, ...] = SCRIPT) -> npt.NDArray[np.bool_]:
    """For each minute, whether it is around an incident."""
    slow = np.zeros(minutes, np.bool_)
    for one in script:
        end = max(one.start_min, one.end_min if one.kind == WOBBLE else 0) + AFTER_MIN
        if one.kind == DEPLOY:
            end = one.start_min + DEPLOY_MIN
        slow[max(0, one.start_min - BEFORE_MIN) : end] = True
    return slow


def schedule(minutes: int, script: tuple[Incident, ...] = SCRIPT) -> Floats:
    """When each minute is due, in [0, 1): slow motion around the incidents.

    >>> float(schedule(100, ())[50])
    0.5
    """
    weight = np.where(in_slow_motion(minutes, script), SLOW, 1.0)
    passed = np.concatenate([[0.0], np.cumsum(weight)])
    return np.asarray(passed[:-1] / passed[-1])


def story(fleet: Fleet, *, seed: int) -> Floats:
    """Values (MINUTES, series) with the whole script in them."""
    values = generate(fleet, seed=seed, minutes=MINUTES)
    for incident in SCRIPT:
        happen(values, fleet, incident)
    return values


def happen(values: Floats, fleet: Fleet, incident: Incident) -> None:
    """Write one incident into the values, in place."""
    _EFFECTS[incident.kind](values, fleet.named(incident.entity), incident)


def _spike(values: Floats, entity: Entity, incident: Incident) -> None:
    values[incident.start_min : incident.end_min, entity.column(str(incident.metric))] *= 5.0


def _deploy(values: Floats, entity: Entity, incident: Incident) -> None:
    column = values[:, entity.column(str(incident.metric))]
    column[incident.start_min :] += 0.5 * column[: incident.start_min].mean()


def _dip(values: Floats, entity: Entity, incident: Incident) -> None:
    metric = next(one for one in entity.metrics if one.name == incident.metric)
    pause = quiet_hour(np.arange(incident.start_min, incident.end_min))
    values[incident.start_min : incident.end_min, entity.column(metric.name)] /= 1 - metric.quiet_hour * pause


def _outage(values: Floats, entity: Entity, incident: Incident) -> None:
    span = slice(incident.start_min, incident.end_min)
    for metric, column in zip(entity.metrics, entity.columns, strict=True):
        values[span, column] *= _STALL.get(metric.name, 0.08)


#: What a stalled database does that is not falling to a twelfth.
_STALL = {
    "mem.used_percent": 1.05,
    "cpu.usage_user": 0.35,
    "system.load1": 4.0,
    "disk.io_time": 3.0,
    "postgresql.numbackends": 2.5,
    "postgresql.locks": 3.5,
}


def _wobble(values: Floats, entity: Entity, incident: Incident) -> None:
    minutes = np.arange(incident.end_min - incident.start_min)
    swell = np.sin(np.pi * minutes / len(minutes)) ** 2
    sway = 1 + WOBBLE_SIZE * swell * np.sin(2 * np.pi * minutes / WOBBLE_PERIOD_MIN)
    values[incident.start_min : incident.end_min, entity.column(str(incident.metric))] *= sway


_EFFECTS: dict[str, Callable[[Floats, Entity, Incident], None]] = {
    SPIKE: _spike,
    DEPLOY: _deploy,
    DIP: _dip,
    OUTAGE: _outage,
    WOBBLE: _wobble,
}
