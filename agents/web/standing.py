"""Standing: everything that the HTTP side may show, as plain data, taken at the moment of a request.

Owns the shape between the running parts and what is shown of them. Knows neither HTTP nor Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agents.progress import Progress

#: A detector writes its progress four times a second; what is older than this says nothing of now.
FRESH_S = 30.0


class SinkStanding(NamedTuple):
    """One destination. requests: by outcome. seconds: spent waiting for answers. states: deliveries by state.

    held_s: how much longer it has asked to be left alone.
    """

    name: str
    circuit: str
    requests: Mapping[str, int]
    seconds: float
    states: Mapping[str, int]
    held_s: float = 0.0


class FlowStanding(NamedTuple):
    """One reader of a topic: notifier, tuner, reviewer."""

    name: str
    records: int
    refused: int


class Standing(NamedTuple):
    """The whole. Times are wall clock; reader_turned_s 0: never. oldest_queued_s: None when nothing waits.

    drift, labels: by (kind or answer, outcome); questions, open_questions: by status; taken: alerts by outcome.
    reader: counters of the notifier's reader; sent, dead: records by topic and dead letters by reason of the worker.
    """

    version: str
    now_s: float
    up_s: float
    progress: tuple[Progress, ...]
    sinks: tuple[SinkStanding, ...]
    flows: tuple[FlowStanding, ...]
    reader_turned_s: float
    reader_assigned: bool
    flows_assigned: bool
    oldest_queued_s: float | None
    taken: Mapping[str, int]
    drift: Mapping[tuple[str, str], int]
    labels: Mapping[tuple[str, str], int]
    questions: Mapping[str, int]
    open_questions: Mapping[str, int]
    reader: Mapping[str, int] = {}
    sent: Mapping[str, int] = {}
    dead: Mapping[str, int] = {}

    @property
    def fresh(self) -> tuple[Progress, ...]:
        """Detectors that are at work; the files of others stay behind."""
        return tuple(one for one in self.progress if not one.ended and self.age_s(one) < FRESH_S)

    def age_s(self, one: Progress) -> float:
        """How long ago a detector has written its progress."""
        return max(0.0, self.now_s - one.at_ms / 1000)
