"""The load of the throughput benchmark: what a fleet of hosts sends, in three formats, and the topics it is sent to.

Owns the fleet (1,000 entities of 10 metrics, labels of host, region and job), its values and their spelling. Knows no
consumer.

Not obvious: a partition of the embedded broker keeps 5 MiB and drops the oldest beyond it. So the load is compressed
(lz4, as many producers do; every variant pays for undoing it, in librdkafka's own thread) and spread over as many
partitions as it takes, each with whole entities. Within a partition the records come interval by interval in the same
order, as agents send them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

ENTITIES, METRICS = 1_000, 10
CASES = ("telegraf", "json", "json100")
#: Samples a record.
SAMPLES = {"telegraf": 1, "json": 1, "json100": 100}
FORMATS = {"telegraf": "telegraf-influx", "json": "json", "json100": "json"}
STEP_MS = 10_000
#: Samples that one partition of the embedded broker keeps for certain: some 30 bytes each, compressed.
KEPT_SAMPLES = 150_000
#: The embedded broker answers a fetch with one batch of each partition, up to about 1 MB (compressed), always from the
#: first partition on: larger batches would starve the last partitions until the first ones were read to their end.
ANSWER_BYTES = 3_000_000
#: Partitions on a real broker, which keeps everything.
REAL_WIDTH = 4
#: Partitions that leave whole arrays of 100 samples in each.
WIDTHS = (1, 4, 5, 10, 20, 25, 50, 100)

_NAMES = (
    "cpu_user",
    "cpu_system",
    "mem_used",
    "load_one",
    "disk_busy",
    "disk_write",
    "net_in",
    "net_out",
    "tcp_open",
    "run_queue",
)
_REGIONS = ("eu-west-1", "us-east-2", "ap-east-1")


class Load(NamedTuple):
    """One topic full of records. intervals: samples of each series."""

    case: str
    topic: str
    partitions: int
    entities: int
    intervals: int

    @property
    def series(self) -> int:
        return self.entities * METRICS

    @property
    def samples(self) -> int:
        return self.series * self.intervals

    @property
    def records(self) -> int:
        return self.samples // SAMPLES[self.case]


def load_of(case: str, topic: str, samples: int, *, embedded: bool, entities: int = ENTITIES) -> Load:
    """The load nearest to so many samples, in as many partitions as it needs.

    >>> load_of("json", "t", 1_500_000, embedded=True).partitions
    10
    """
    intervals = max(2, samples // (entities * METRICS))
    wanted = intervals * entities * METRICS / KEPT_SAMPLES if embedded else REAL_WIDTH
    fitting = [width for width in WIDTHS if width >= wanted and entities % (10 * width) == 0]
    if not fitting:
        raise SystemExit(
            f"{samples} samples do not fit into the embedded broker; at most {WIDTHS[-1] * KEPT_SAMPLES} do."
        )
    return Load(case, topic, fitting[0], entities, intervals)


class Spelling(NamedTuple):
    """A record of one series, but for value and time."""

    before_value: bytes
    before_time: bytes
    after_time: bytes


def spelling(case: str, series: int) -> Spelling:
    """How a sample of this series is written; about 129 bytes in JSON, 90 as a line."""
    entity, metric = divmod(series, METRICS)
    host, region, name = f"web-{entity:04d}", _REGIONS[entity % 3], _NAMES[metric]
    if case == "telegraf":
        return Spelling(f"{name},host={host},job=node,region={region} value=".encode(), b" ", b"000000\n")
    labels = f'"labels":{{"host":"{host}","job":"node","region":"{region}"}}'
    return Spelling(f'{{"name":"{name}","value":'.encode(), b',"timestamp":', f",{labels}}}".encode())


def values(series: int, intervals: int, seed: int) -> NDArray[float64]:
    """(intervals, series): each series its own level and spread, noise with memory, a slow wave, and a rare incident.

    Incidents: 2 % of the entities go six spreads up, all metrics, for five intervals.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(intervals, series))
    for at in range(1, intervals):
        noise[at] = 0.7 * noise[at - 1] + 0.7 * noise[at]
    wave = np.sin(np.arange(intervals)[:, None] / 60 + rng.uniform(0, 6, series))
    struck = np.flatnonzero(rng.uniform(size=series // METRICS) < 0.02)
    for entity, at in zip(
        struck, rng.integers(intervals // 2, max(intervals - 5, intervals // 2 + 1), len(struck)), strict=True
    ):
        noise[at : at + 5, entity * METRICS : (entity + 1) * METRICS] += 6.0
    return 100.0 * rng.uniform(0.5, 2, series) + 5.0 * rng.uniform(0.5, 2, series) * (noise + wave)


def records(load: Load, partition: int, start_ms: int) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of one partition, in log order. The key is the host, as Telegraf's routing tag."""
    entities = range(partition, load.entities, load.partitions)
    rows = [entity * METRICS + metric for entity in entities for metric in range(METRICS)]
    spelled = [spelling(load.case, row) for row in rows]
    keys = [b"web-%04d" % (row // METRICS) for row in rows]
    for at, line in enumerate(values(len(rows), load.intervals, partition).tolist()):
        time_text = b"%d" % (start_ms + at * STEP_MS)
        made = [
            one.before_value + b"%.9g" % value + one.before_time + time_text + one.after_time
            for one, value in zip(spelled, line, strict=True)
        ]
        if load.case != "json100":
            yield from zip(keys, made, strict=True)
            continue
        for first in range(0, len(made), 100):
            yield keys[first], b"[" + b",".join(made[first : first + 100]) + b"]"


def fill(bootstrap: str, load: Load, now_ms: int, *, codec: str = "lz4") -> None:
    """Produce the whole load; all of it lies in the past, so that nothing is refused as coming from the future."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 50,
            "compression.type": codec,
            "batch.size": min(300_000, ANSWER_BYTES // load.partitions),
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    start_ms = now_ms - load.intervals * STEP_MS
    for partition in range(load.partitions):
        for key, value in records(load, partition, start_ms):
            while True:
                try:
                    producer.produce(load.topic, value, key, partition)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(60)
    if left:
        raise SystemExit(f"{left} records of the load were not taken by {bootstrap} within a minute.")
