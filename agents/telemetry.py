"""What Graft says of itself: metrics for Prometheus, and whether it lives and is ready.

Owns names and meanings. Reads the progress files of the detectors and what the notifier tells; knows no HTTP and asks
no clock. No label is made from a series, a host or an entity, so the number of metrics does not grow with the fleet.

Not obvious: alive means progress, not a process that answers. The detector writes its file once a second from the loop
that reads Kafka; if that hangs, the age of the file says so. A sink that is down is reported and makes nothing
unready: taking traffic away from a worker would not mend somebody else's server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from agents.progress import Progress, ShardProgress

#: A detector that wrote nothing for so long hangs; a checkpoint of 100,000 series takes about a second.
LIVE_S = 30.0
#: Alerts that wait longer than this make the outgoing side degraded.
WAITING_S = 120.0

#: Counters of the engine that are levels: name there -> (metric, help).
_LEVELS = {
    "series": ("graft_series", "Series that have a row."),
    "entities": ("graft_entities", "Entities that have a row."),
    "firing": ("graft_alerts_firing", "Entities with an alert that fires."),
    "pending": ("graft_alerts_pending", "Entities with an alert that is not certain yet."),
    "absent": ("graft_series_absent", "Series that have stopped coming."),
    "seeded": ("graft_series_seeded", "Series that started from a source snapshot."),
}
#: Counters of one detector process.
_COUNTS = {
    "records": ("graft_records", "Records read from the input topics."),
    "snapshots": ("graft_checkpoints", "Checkpoints made durable."),
    "gaps": ("graft_gaps", "Times that records were lost to retention before they were read."),
    "gap_records": ("graft_gap_records", "Records lost to retention before they were read."),
    "orders": ("graft_orders", "Orders from the control topic that were applied."),
    "client_errors": ("graft_client_errors", "Errors that the Kafka client reported."),
}


class Deliveries(NamedTuple):
    """How the outgoing side stands. counts: (destination, state) -> rows of the outbox; tallies: requests."""

    counts: Mapping[tuple[str, str], int]
    oldest_queued_s: float | None
    tallies: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, float]


class Check(NamedTuple):
    """One line of a probe. Only checks that are `essential` decide; the others are degraded."""

    name: str
    ok: bool
    detail: str
    essential: bool = True


class View(NamedTuple):
    """Everything that is shown, at one moment."""

    now_ms: int
    detectors: Sequence[Progress]
    deliveries: Deliveries | None
    build: Mapping[str, str]


def exposition(view: View) -> bytes:
    """The text of /metrics."""
    registry = CollectorRegistry()
    registry.register(_Collector(lambda: metrics(view)))
    return generate_latest(registry)


class _Collector:
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect


def metrics(view: View) -> Iterator[Metric]:
    """All metrics, base units, prefix graft_."""
    build = GaugeMetricFamily("graft_build", "Always 1; what runs here.", labels=list(view.build))
    build.name = "graft_build_info"
    build.add_metric(list(view.build.values()), 1)
    yield build
    yield from _of_processes(view)
    yield from _of_shards([shard for one in view.detectors for shard in one.shards])
    if view.deliveries is not None:
        yield from _of_deliveries(view.deliveries)


def _of_processes(view: View) -> Iterator[Metric]:
    seen = GaugeMetricFamily("graft_detector_seen_timestamp_seconds", "Last sign of life.", labels=["slot"])
    waiting = GaugeMetricFamily("graft_unacknowledged_records", "Records not acknowledged yet.", labels=["slot"])
    for slot, one in enumerate(view.detectors):
        seen.add_metric([str(slot)], one.at_ms / 1000)
        waiting.add_metric([str(slot)], one.waiting)
    yield from (seen, waiting)
    for name, (metric, text) in _COUNTS.items():
        yield CounterMetricFamily(metric, text, value=sum(one.counters.get(name, 0) for one in view.detectors))
    yield _by_label("graft_sent_records", "Records written, by topic.", "topic", [one.sent for one in view.detectors])
    dead = [one.dead for one in view.detectors]
    yield _by_label("graft_dead_letters", "Records sent to the dead-letter topic, by reason.", "reason", dead)


def _of_shards(shards: Sequence[ShardProgress]) -> Iterator[Metric]:
    ledger = CounterMetricFamily(
        "graft_ledger_records",
        "Offsets by what became of them; the sum is all.",
        labels=["topic", "partition", "outcome"],
    )
    for shard in shards:
        for outcome, count in shard.ledger.items():
            ledger.add_metric([*_place(shard), outcome], count)
    yield ledger
    gauges: list[tuple[str, str, Callable[[ShardProgress], float | None]]] = [
        ("graft_lag_records", "Records in the partition that are not read yet.", lambda shard: shard.lag_records),
        ("graft_unsaved_records", "Records read since the last checkpoint.", _unsaved),
        ("graft_state_bytes", "Size of the last checkpoint.", lambda shard: shard.state_bytes),
        ("graft_event_timestamp_seconds", "Event time that the shard has reached.", _event_time_s),
        ("graft_replaying", "1 while records of a former life are read again.", lambda shard: shard.replaying),
    ]
    gauges += [(metric, text, partial(_level, name)) for name, (metric, text) in _LEVELS.items()]
    for metric, text, value_of in gauges:
        family = GaugeMetricFamily(metric, text, labels=["topic", "partition"])
        for shard in shards:
            if (value := value_of(shard)) is not None:
                family.add_metric(_place(shard), value)
        yield family


def _of_deliveries(deliveries: Deliveries) -> Iterator[Metric]:
    rows = GaugeMetricFamily("graft_outbox_deliveries", "Deliveries by state.", labels=["destination", "state"])
    for (destination, state), count in sorted(deliveries.counts.items()):
        rows.add_metric([destination, state], count)
    yield rows
    oldest = deliveries.oldest_queued_s or 0.0
    yield GaugeMetricFamily("graft_outbox_oldest_seconds", "Age of the longest waiting delivery.", value=oldest)
    sent = CounterMetricFamily("graft_alert_deliveries", "Requests by outcome.", labels=["destination", "outcome"])
    took = CounterMetricFamily("graft_alert_delivery_seconds", "Time spent on requests.", labels=["destination"])
    for destination, tally in deliveries.tallies.items():
        for outcome, count in sorted(tally.items()):
            sent.add_metric([destination, outcome], count)
        took.add_metric([destination], deliveries.seconds.get(destination, 0.0))
    yield from (sent, took)


def live(view: View) -> list[Check]:
    """Does every detector that keeps its state here make progress?"""
    checks = []
    for slot, one in enumerate(view.detectors):
        age_s = (view.now_ms - one.at_ms) / 1000
        checks.append(Check(f"detector-{slot}", age_s < LIVE_S, f"pid {one.pid}, last sign of life {age_s:.1f} s ago"))
    return checks or [Check("detector", ok=True, detail="none keeps its state here")]


def ready(view: View) -> list[Check]:
    """Alive, shards held and caught up with the former life; the outgoing side is told but decides nothing."""
    checks = live(view)
    for slot, one in enumerate(view.detectors):
        detail = f"{len(one.shards)} shards, {sum(shard.lag_records for shard in one.shards)} records behind"
        checks.append(Check(f"shards-{slot}", one.ready, detail))
    if view.deliveries is not None:
        oldest_s = view.deliveries.oldest_queued_s or 0.0
        detail = f"oldest alert waits {oldest_s:.0f} s"
        checks.append(Check("deliveries", oldest_s < WAITING_S, detail, essential=False))
    return checks


def passed(checks: Iterable[Check]) -> bool:
    """Do all essential checks hold?"""
    return all(one.ok or not one.essential for one in checks)


def verbose(checks: Iterable[Check]) -> str:
    """The checks as Kubernetes writes them.

    >>> print(verbose([Check("detector-0", True, "pid 7")]))
    [+] detector-0: pid 7
    """
    marks = {(True, True): "[+]", (True, False): "[+]", (False, True): "[-]", (False, False): "[~]"}
    return "\n".join(f"{marks[one.ok, one.essential]} {one.name}: {one.detail}" for one in checks)


def deliveries_of(notifier: Any) -> Deliveries:
    """What a Notifier tells of itself."""
    couriers = {one.sink.destination: one for one in notifier.couriers}
    return Deliveries(
        counts=dict(notifier.standing.counts),
        oldest_queued_s=notifier.standing.oldest_queued_s,
        tallies={name: dict(one.tally) for name, one in couriers.items()},
        seconds={name: one.seconds for name, one in couriers.items()},
    )


def _by_label(metric: str, text: str, label: str, counts: Iterable[Mapping[str, int]]) -> Metric:
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    family = CounterMetricFamily(metric, text, labels=[label])
    for key, count in sorted(total.items()):
        family.add_metric([key], count)
    return family


def _place(shard: ShardProgress) -> list[str]:
    return [shard.topic, str(shard.partition)]


def _level(name: str, shard: ShardProgress) -> float | None:
    return shard.counters.get(name)


def _unsaved(shard: ShardProgress) -> float | None:
    return None if shard.saved_offset < 0 else max(0, shard.next_offset - shard.saved_offset)


def _event_time_s(shard: ShardProgress) -> float | None:
    clock_ms = shard.counters.get("clock_ms", -1)
    return None if clock_ms < 0 else clock_ms / 1000
