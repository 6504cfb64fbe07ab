"""Graft under measurement: the detector process as `graft run` starts it, and a clock beside its turns.

Owns the settings of the measured worker and what is read off it: rate, memory, cost of checkpoints. Changes nothing in
the hot path: the clock is the `stop` question, which the loop asks once a turn anyway.

Not obvious: a run of some seconds sees none of the checkpoints that are due every 30 s. So all shards are made durable
once at the end, by the same call as ever, and the time of that is charged to the rate in proportion: `records_s` is
with checkpoints, `records_s_bare` without.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.throughput_baselines import STALL_S, Job
from benchmarks.throughput_load import STEP_MS
from benchmarks.throughput_profile import Stopwatch, attach, entity_ns_per_tick, report

if TYPE_CHECKING:
    from agents.detector.loop import Loop
    from agents.settings import Settings

PREFIX = "graft-bench."
CHECKPOINT_EVERY_S = 30.0


def settings_of(job: Job, folder: str) -> Settings:
    """The smallest useful configuration, on the benchmark's topic, with `format = "auto"` as most will have it."""
    from agents import settings

    return settings.Settings(
        kafka=settings.Kafka(bootstrap=job.bootstrap, group=job.group),
        inputs=(settings.Input(topic=job.topic),),
        # No uploads: the next round would find this one's state in the state topic, and nothing left to read.
        state=settings.State(dir=folder, snapshot_interval_s=CHECKPOINT_EVERY_S, upload_interval_s=0),
        topics=settings.Topics(prefix=PREFIX),
    )


def resident_bytes() -> int:
    """Memory of this process that is in RAM, after everything that is free was given back (glibc).

    What passes through a worker, batches and fetch queues, is no memory of a series.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


class Mark(NamedTuple):
    """Where the worker was at a moment."""

    at_s: float
    records: int


class Clock:
    """The `stop` of the loop: notes when `skip` records were done, and ends the run when all were."""

    def __init__(self, job: Job, watch: Stopwatch | None = None) -> None:
        self._job = job
        self._watch = watch
        self._last = Mark(0.0, 0)
        self.first = self.begin = self.end = Mark(0.0, 0)
        self.empty_bytes = self.full_bytes = 0
        self.checkpoint_s = self.tick_ns = self.cpu_s = 0.0
        self.profile: list[tuple[str, float, float]] = []
        self.facts: dict[str, Any] = {}

    def __call__(self, loop: Loop) -> bool:
        now = Mark(time.perf_counter(), loop.counters["records"])
        if not self.empty_bytes:
            self.empty_bytes = resident_bytes()
        if now.records != self._last.records:
            self._last = now
            self.first = self.first if self.first.records else now
            if not self.begin.records and now.records >= self._job.skip and self._knows_all(loop):
                self.begin, self.cpu_s = now, time.process_time()
                if self._watch:
                    self._watch.clear()
        elif self._last.records and now.at_s - self._last.at_s > STALL_S:
            sys.exit(
                f"{self._job.topic}: {now.records} of {self._job.records} records came, then none for {STALL_S:.0f} s"
            )
        if now.records < self._job.records:
            return False
        self.end, self.cpu_s = now, time.process_time() - self.cpu_s
        self._look(loop)
        return True

    def _knows_all(self, loop: Loop) -> bool:
        return sum(held.shard.series_count for held in loop.holdings) >= self._job.series

    def _look(self, loop: Loop) -> None:
        self.full_bytes = resident_bytes()
        if self._watch:
            self.profile = report(self._watch, self.end.records - self.begin.records)
        begin_s = time.perf_counter()
        for held in loop.holdings:
            assert loop.durability.checkpoint(held), "the broker took no output within ten seconds"
        self.checkpoint_s = time.perf_counter() - begin_s
        counters = [held.shard.counters() for held in loop.holdings]
        ledgers = [held.shard.ledger.counts() for held in loop.holdings]
        if self._watch:
            self.tick_ns = entity_ns_per_tick([held.shard for held in loop.holdings], STEP_MS)
        self.facts = {
            "series": sum(int(one["series"]) for one in counters),
            "state_bytes": sum(int(one["state_bytes"]) for one in counters),
            "snapshot_bytes": sum(held.state_bytes for held in loop.holdings),
            "ledger": {name: sum(one.get(name, 0) for one in ledgers) for name in ledgers[0]},
            "sent": dict(loop.outputs.sent),
            "shards": len(counters),
        }

    def result(self) -> dict[str, Any]:
        """What the parent wants to know."""
        if not self.begin.records or self.begin.records > 0.8 * self._job.records:
            sys.exit(
                f"{self._job.topic}: the last series came too late to measure anything after it; use more --records"
            )
        seconds = self.end.at_s - self.begin.at_s
        records = self.end.records - self.begin.records
        share = self.checkpoint_s / CHECKPOINT_EVERY_S
        series = self.facts["series"]
        return {
            "records_s": records / (seconds * (1 + share)),
            "records_s_bare": records / seconds,
            "records_s_learning_names": self.begin.records / max(self.begin.at_s - self.first.at_s, 1e-9),
            "seconds": seconds,
            "measured_records": records,
            "cpu_s": self.cpu_s,
            "checkpoint_s": self.checkpoint_s,
            "bytes_per_series": (self.full_bytes - self.empty_bytes) / series,
            "state_bytes_per_series": self.facts["state_bytes"] / series,
            "snapshot_bytes_per_series": self.facts["snapshot_bytes"] / series,
            "empty_bytes": self.empty_bytes,
            "profile": self.profile,
            "entity_tick_ns": self.tick_ns,
            **self.facts,
        }


def measure(job: Job) -> dict[str, Any]:
    """Run a detector over the whole topic."""
    from agents.detector.process import run_detector

    watch = Stopwatch() if job.profile else None
    if watch:
        attach(watch)
    clock = Clock(job, watch)
    with TemporaryDirectory(prefix="graft-bench-") as folder:
        run_detector(settings_of(job, folder), stop=clock)
    result = clock.result()
    consumed = sum(result["ledger"].values())
    assert consumed == job.records, f"the ledger knows {consumed} records of {job.records}"
    return result


def main() -> None:
    """One measurement; the job as JSON in the first argument, the result as JSON on standard output."""
    print(json.dumps(measure(Job(**json.loads(sys.argv[1])))), flush=True)


if __name__ == "__main__":
    main()
