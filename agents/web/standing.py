"""Standing: everything that the HTTP side may show, as plain data, taken at the moment of a request.

Owns the shape between the running parts and what is shown of them. Knows neither HTTP nor Prometheus.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from agents.progress import Progress


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
