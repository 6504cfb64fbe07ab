"""From append to alert: a live detector, a sender at half of what it can take, and a clock at the alerts' topic.

Owns the sender (its own process, paced, with a sudden rise in one entity per interval) and the reader. The detector is
`python -m agents.detector` with a configuration file, as `graft run` starts it.

Not obvious: a sample's own time is the clock at which it is sent, so an alert's `at_ms`, the time of the tick that
decided it, is the append time of the records it follows from, and no two processes need to agree on anything else.
The first intervals teach the names and let the models come of age; nothing of them is counted.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.throughput_baselines import Job
from benchmarks.throughput_graft import PREFIX
from benchmarks.throughput_load import ENTITIES, METRICS, SAMPLES, spelling

#: Intervals before the first rise: an entity is silent for its first 48 ticks.
COMING_OF_AGE = 90
#: Spellings of a value that a series alternates between.
VARIETY = 32
#: Entities sent between two looks at the clock.
CHUNK = 10
#: A rise lasts so many intervals.
RISE = 6
READY_WAIT_S = 120.0
#: For the alerts of the last records.
LAST_WAIT_S = 2.0


def sender(job: Job) -> None:
    """Send until `seconds` of rises have passed; one line of JSON says how fast it was."""
    from confluent_kafka import Producer

    producer = Producer(
        {
            "bootstrap.servers": job.bootstrap, "linger.ms": 10, "compression.type": "lz4",
            "queue.buffering.max.messages": 500_000,
        }
    )  # fmt: skip
    fleet = [Entity(job, number) for number in range(ENTITIES)]
    samples_s = job.rate * SAMPLES[job.case]
    step_s = ENTITIES * METRICS / samples_s
    rises = max(1, int(job.seconds / step_s))
    for at in range(2):  # names are learned here, at a tenth of the speed
        _interval(job, producer, fleet, 10 * step_s, set())
        time.sleep(1.5 - at)
    begin_s = sent = 0.0
    for at in range(COMING_OF_AGE + rises):
        if at == COMING_OF_AGE:
            begin_s, sent = time.perf_counter(), 0
        first = at - COMING_OF_AGE
        rising = (
            {(number * 37) % ENTITIES for number in range(max(0, first - RISE + 1), first + 1)} if first >= 0 else set()
        )
        _interval(job, producer, fleet, step_s, rising)
        sent += ENTITIES * METRICS / SAMPLES[job.case]
    seconds = time.perf_counter() - begin_s
    producer.flush(10)
    print(json.dumps({"records_s": sent / seconds, "rises": rises}), flush=True)


class Entity:
    """The records of one host, but for their time."""

    def __init__(self, job: Job, number: int) -> None:
        rng = random.Random(number)
        spelled = [spelling(job.case, number * METRICS + metric) for metric in range(METRICS)]
        self.key = b"web-%04d" % number
        self.partition = number // 10 % job.partitions
        self.tails = [one.after_time for one in spelled]
        means, self._spelled = [100 * rng.uniform(0.5, 2) for _ in spelled], spelled
        self.usual = [self._heads([rng.gauss(mean, 3.0) for mean in means]) for _ in range(VARIETY)]
        self.risen = self._heads([mean + 200.0 for mean in means])

    def _heads(self, values: list[float]) -> list[bytes]:
        return [one.before_value + b"%.9g" % v + one.before_time for one, v in zip(self._spelled, values, strict=True)]

    def records(self, rises: bool, time_text: bytes) -> list[bytes]:
        """One record a metric."""
        heads = self.risen if rises else self.usual[random.randrange(VARIETY)]
        return [head + time_text + tail for head, tail in zip(heads, self.tails, strict=True)]


def _interval(job: Job, producer: Any, fleet: list[Entity], step_s: float, rising: set[int]) -> None:
    """One sample of each series, spread evenly over the interval."""
    begin_s = time.perf_counter()
    for first in range(0, len(fleet), CHUNK):
        wait_s = begin_s + step_s * first / len(fleet) - time.perf_counter()
        if wait_s > 0.0002:
            time.sleep(wait_s)
        time_text = b"%d" % (time.time_ns() // 1_000_000)
        whole: list[bytes] = []
        for number in range(first, first + CHUNK):
            one = fleet[number]
            made = one.records(number in rising, time_text)
            if job.case == "json100":
                whole += made
                continue
            for value in made:
                _produce(producer, job.topic, value, one)
        if whole:
            _produce(producer, job.topic, b"[" + b",".join(whole) + b"]", fleet[first])
        producer.poll(0)
    left_s = begin_s + step_s - time.perf_counter()
    if left_s > 0:
        time.sleep(left_s)


def _produce(producer: Any, topic: str, value: bytes, entity: Entity) -> None:
    while True:
        try:
            producer.produce(topic, value, entity.key, entity.partition)
            return
        except BufferError:
            producer.poll(0.01)


@contextlib.contextmanager
def detector(job: Job, folder: str) -> Iterator[subprocess.Popen[bytes]]:
    """A detector at work, told to stop afterwards."""
    config = Path(folder) / "graft.toml"
    config.write_text(
        f'[kafka]\nbootstrap = "{job.bootstrap}"\ngroup = "{job.group}"\n\n[[inputs]]\ntopic = "{job.topic}"\n\n'
        f'[state]\ndir = "{folder}/state"\n\n[topics]\nprefix = "{PREFIX}"\n'
    )
    process = subprocess.Popen([sys.executable, "-m", "agents.detector", "-c", str(config)], stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, Path(folder) / "state")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], state: Path) -> None:
    from agents import progress

    until_s = time.monotonic() + READY_WAIT_S
    while not any(one.ready for one in progress.read_all(state)):
        if process.poll() is not None or time.monotonic() > until_s:
            sys.exit(f"the detector was not ready within {READY_WAIT_S:.0f} s (status {process.returncode})")
        time.sleep(0.1)


def arrivals(job: Job, until: subprocess.Popen[str]) -> list[float]:
    """Milliseconds from append to arrival of each alert that begins to fire, until the sender has ended."""
    from confluent_kafka import Consumer, TopicPartition

    from agents.clients import consumer_config

    consumer = Consumer(
        {**consumer_config({"bootstrap.servers": job.bootstrap}, group=job.group + "-alerts"), "fetch.wait.max.ms": 5}
    )
    place = TopicPartition(PREFIX + "alerts", 0)
    place.offset = consumer.get_watermark_offsets(place, timeout=10)[1]
    consumer.assign([place])
    found: list[float] = []
    until_s = float("inf")
    while time.monotonic() < until_s:
        for message in consumer.consume(100, 0.005):
            now_ms = time.time() * 1000
            if message.error() is None:
                alert = json.loads(message.value())
                if alert["state"] == "firing":
                    found.append(now_ms - alert["at_ms"])
        if until_s == float("inf") and until.poll() is not None:
            until_s = time.monotonic() + LAST_WAIT_S
    consumer.close()
    return found


def measure(job: Job) -> dict[str, Any]:
    """p50 and p99 of append to alert."""
    me = [sys.executable, "-m", "benchmarks.throughput_latency", json.dumps(job._asdict()), "send"]
    with TemporaryDirectory(prefix="graft-bench-") as folder, detector(job, folder) as running:
        with subprocess.Popen(me, stdout=subprocess.PIPE, text=True) as sending:
            found = sorted(arrivals(job, sending))
            told = json.loads(sending.stdout.read()) if sending.stdout else {}
        if running.poll() is not None:
            sys.exit(f"the detector ended with status {running.returncode} while it was measured")
    if not found:
        sys.exit(f"no alert came of {told['rises']} rises; the detector or this benchmark is wrong")
    return {
        "p50_ms": round(statistics.median(found), 1),
        "p99_ms": round(found[min(len(found) - 1, int(0.99 * len(found)))], 1),
        "most_ms": round(found[-1], 1),
        "latency_samples": len(found),
        "latency_rises": told["rises"],
        "latency_records_s": told["records_s"],
        "latency_wanted_records_s": job.rate,
    }


def main() -> None:
    """One measurement, or (second argument `send`) the sender of one."""
    job = Job(**json.loads(sys.argv[1]))
    if sys.argv[2:] == ["send"]:
        sender(job)
    else:
        print(json.dumps(measure(job)), flush=True)


if __name__ == "__main__":
    main()
