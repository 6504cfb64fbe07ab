"""/metrics: a Standing as Prometheus metrics, made when somebody asks, so that no hot path touches a metric.

Owns the names (prefix graft_, base units). No label is a series, an entity or anything else that comes from the wire:
topics and sinks are configured, the rest are words of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.registry import Collector

from agents.notify.gate import Circuit
from agents.progress import Progress
from agents.web.standing import Standing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Of one detector's life: name in its progress file, metric, help.
_LIFE = (
    ("records", "graft_records", "Kafka records read"),
    ("snapshots", "graft_snapshots", "Snapshots written"),
    ("snapshots_put_off", "graft_snapshots_put_off", "Snapshots put off, as the broker had not acknowledged"),
    ("snapshots_refused", "graft_snapshots_refused", "Snapshots that could not be used"),
    ("uploads", "graft_state_uploads", "States written to the state topic"),
    ("uploads_failed", "graft_state_uploads_failed", "States that could not be written to the state topic"),
    ("restores", "graft_state_restores", "Shards that went on from the state topic"),
    ("partitions_raised", "graft_partitions_raised", "Times that an input was found with more partitions"),
    ("reports_failed", "graft_reports_failed", "Times that the progress file could not be written"),
    ("gaps", "graft_gaps", "Times that records were gone before they could be read"),
    ("gap_records", "graft_gap_records", "Records that were gone before they could be read"),
    ("orders", "graft_orders_applied", "Orders applied at a barrier"),
    ("unlearn_begun", "graft_unlearn_begun", "Times that a past without a window was begun to be rebuilt"),
    ("unlearned", "graft_unlearned", "Shards that went on from a past without a window"),
    ("unlearn_failed", "graft_unlearn_failed", "Rebuilds that did not come to their end"),
    ("unlearn_settled", "graft_unlearn_settled", "Windows that could not be un-learned exactly"),
    ("client_errors", "graft_client_errors", "Errors that the Kafka client has reported"),
)
#: Of one shard: name among the engine's counters, metric, help. Summed over shards.
_ENGINE = (
    ("series", "graft_series", "Series that are watched"),
    ("entities", "graft_entities", "Entities that are watched"),
    ("firing", "graft_alerts_firing", "Alerts that fire now"),
    ("pending", "graft_escalations_pending", "Entities with an open question"),
    ("absent", "graft_series_absent", "Series that have gone silent"),
    ("seeded", "graft_series_seeded", "Series that still lean on a seed"),
)


class Exposition(Collector):
    """`text()` is the body of /metrics."""

    def __init__(self, standing: Callable[[], Standing]) -> None:
        self._standing = standing
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """All metrics in the text format."""
        return bytes(generate_latest(self._registry))

    def describe(self) -> list[Any]:
        """Nothing: describing would collect at registration."""
        return []

    def collect(self) -> Iterator[Any]:
        """Every metric of this moment."""
        now = self._standing()
        info = GaugeMetricFamily("graft_build_info", "Version of Graft", labels=["version"])
        info.add_metric([now.version], 1)
        yield info
        yield from _detectors(now)
        yield from _shards(now.fresh)
        yield from _sinks(now)
        yield from _flows(now)


def _detectors(now: Standing) -> Iterator[Any]:
    yield _gauge(
        "graft_detector_heartbeat_timestamp_seconds", "Last sign of life of any detector here",
        max((one.at_ms / 1000 for one in now.progress), default=0.0),
    )  # fmt: skip
    yield _gauge("graft_detectors_ready", "Detectors that repeat nothing", sum(one.ready for one in now.fresh))
    yield _gauge("graft_unacknowledged_records", "Sent, not yet acknowledged", sum(one.waiting for one in now.fresh))
    for name, metric, text in _LIFE:
        yield _counter(metric, text, sum(one.counters.get(name, 0) for one in now.progress))
    sent, dead = [now.sent, *(one.sent for one in now.progress)], [now.dead, *(one.dead for one in now.progress)]
    yield _labelled("graft_sent_records", "Records sent, by topic", ["topic"], _sum(sent))
    yield _labelled("graft_dead_letters", "Dead letters, by reason", ["reason"], _sum(dead))


def _shards(progress: tuple[Progress, ...]) -> Iterator[Any]:
    # A partition that has just moved is told of by both for a moment.
    newest = {
        (shard.topic, shard.partition): shard
        for one in sorted(progress, key=lambda one: one.at_ms)
        for shard in one.shards
    }
    shards = list(newest.values())
    lag = GaugeMetricFamily("graft_lag_records", "Records behind the end", labels=["topic", "partition"])
    unsaved = GaugeMetricFamily("graft_unsaved_records", "Records since the snapshot", labels=["topic", "partition"])
    ledger: dict[tuple[str, ...], float] = {}
    for shard in shards:
        place = [shard.topic, str(shard.partition)]
        lag.add_metric(place, shard.lag_records)
        unsaved.add_metric(place, max(0, shard.next_offset - max(0, shard.saved_offset)))
        for outcome, records in shard.ledger.items():
            key = (shard.topic, outcome)
            ledger[key] = ledger.get(key, 0) + records
    yield lag
    yield unsaved
    yield _labelled("graft_ledger_records", "Where consumed records ended", ["topic", "outcome"], ledger)
    yield _gauge("graft_state_bytes", "State of all shards", sum(shard.state_bytes for shard in shards))
    yield _gauge("graft_shards_replaying", "Shards that read again", sum(shard.replaying for shard in shards))
    for name, metric, text in _ENGINE:
        yield _gauge(metric, text, sum(shard.counters.get(name, 0) for shard in shards))


def _sinks(now: Standing) -> Iterator[Any]:
    requests: dict[tuple[str, ...], float] = {}
    states: dict[tuple[str, ...], float] = {}
    circuits = GaugeMetricFamily("graft_sink_circuit_open", "1 while the breaker keeps alerts back", labels=["sink"])
    held = GaugeMetricFamily("graft_sink_held_seconds", "How much longer a sink asks for a pause", labels=["sink"])
    seconds = SummaryMetricFamily("graft_alert_delivery_seconds", "Waiting for a sink's answer", labels=["sink"])
    for sink in now.sinks:
        requests |= {(sink.name, outcome): count for outcome, count in sink.requests.items()}
        states |= {(sink.name, state): count for state, count in sink.states.items()}
        circuits.add_metric([sink.name], float(sink.circuit != Circuit.CLOSED))
        held.add_metric([sink.name], sink.held_s)
        seconds.add_metric([sink.name], sum(sink.requests.values()), sink.seconds)
    yield _labelled("graft_alert_deliveries", "Requests to sinks, by outcome", ["sink", "outcome"], requests)
    outbox = GaugeMetricFamily("graft_outbox_deliveries", "Deliveries in the outbox", labels=["sink", "state"])
    for key, count in states.items():
        outbox.add_metric(list(key), count)
    yield outbox
    yield circuits
    yield held
    yield seconds
    waiting_s = 0.0 if now.oldest_queued_s is None else max(0.0, now.now_s - now.oldest_queued_s)
    yield _gauge("graft_outbox_oldest_seconds", "How long the oldest delivery has waited", waiting_s)


def _flows(now: Standing) -> Iterator[Any]:
    records = {(flow.name,): float(flow.records) for flow in now.flows}
    refused = {(flow.name,): float(flow.refused) for flow in now.flows}
    yield _labelled("graft_flow_records", "Records taken by the worker's flows", ["flow"], records)
    yield _labelled("graft_flow_refused", "Records that a flow could not use", ["flow"], refused)
    yield _counter(
        "graft_notifier_gaps", "Times that alerts were gone before they were read", now.reader.get("gaps", 0)
    )
    yield _counter(
        "graft_notifier_client_errors", "Errors that the notifier's Kafka client has reported",
        now.reader.get("client_errors", 0),
    )  # fmt: skip
    yield _labelled("graft_alerts_taken", "Alert records, by what became of them", ["outcome"], _keyed(now.taken))
    yield _labelled("graft_drift", "Drift records, by kind and outcome", ["kind", "outcome"], now.drift)
    yield _labelled("graft_labels", "Answers of people, by outcome", ["answer", "outcome"], now.labels)
    yield _labelled("graft_escalations", "Escalations, by outcome", ["outcome"], _keyed(now.questions))
    queue = GaugeMetricFamily("graft_review_queue_length", "Open questions", labels=["status"])
    for status, count in now.open_questions.items():
        queue.add_metric([status], count)
    yield queue


def _gauge(name: str, text: str, value: float) -> Any:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Any:
    return CounterMetricFamily(name, text, value=value)


def _labelled(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Any:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric([str(part) for part in key], value)
    return family


def _keyed(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(key,): value for key, value in values.items()}


def _sum(parts: Iterable[Mapping[str, int]]) -> dict[tuple[str, ...], float]:
    total: dict[tuple[str, ...], float] = {}
    for part in parts:
        for key, value in part.items():
            total[(key,)] = total.get((key,), 0) + value
    return total
