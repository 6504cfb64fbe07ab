"""Baselines of the throughput benchmark: bare consumption, and consumption with parsing, result thrown away.

Owns the loops of the others. They get every advantage that Graft has: the same client settings, the same batches, a
garbage collector that was emptied and frozen, a process of their own. `decode` is `orjson.loads` for JSON; a line of
Telegraf is split at its separators and its numbers are read, which ignores escapes and is the least that any parser
must do.

Not obvious: counting stops no clock. The clock runs from the first batch after `skip` records to the last record, so
that joining the group and first fetches are nobody's cost.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

BATCH, WAIT_S = 5_000, 0.05
#: A benchmark that gets no record for so long has lost some, and says so.
STALL_S = 30.0


class Job(NamedTuple):
    """What a measuring process is told. skip: records before the clock starts. profile: time each stage (Graft).

    rate (records/s) and seconds: of the sender of the latency.
    """

    bootstrap: str
    topic: str
    case: str
    variant: str
    records: int
    skip: int
    group: str
    series: int = 0
    partitions: int = 1
    rate: int = 0
    seconds: float = 0.0
    profile: bool = False


def consumer(job: Job, **more: Any) -> Any:
    """A consumer as Graft's own, but that it starts at the beginning by itself."""
    from confluent_kafka import Consumer

    from agents.clients import consumer_config

    found = consumer_config({"bootstrap.servers": job.bootstrap}, group=job.group)
    return Consumer({**found, "auto.offset.reset": "earliest", **more})


def split_line(line: bytes) -> None:
    """One line of Telegraf, the cheapest way there is; no escapes, no strings with blanks."""
    head, fields, ts_ns = line.split(b" ")
    head.split(b",")
    int(ts_ns)
    for field in fields.split(b","):
        _name, value = field.split(b"=")
        float(value)


def work_of(job: Job) -> Callable[[list[Any]], None] | None:
    """What is done with a batch of messages beyond consuming it."""
    import orjson
    from confluent_kafka import Message

    if job.variant == "consume":
        return None
    parse = split_line if job.case == "telegraf" else orjson.loads

    def run(messages: list[Any]) -> None:
        for value in map(Message.value, messages):
            parse(value)

    return run


def measure(job: Job) -> dict[str, float]:
    """Read all records of the topic; records/s after the first `skip`."""
    from confluent_kafka import Message

    work, source = work_of(job), consumer(job)
    source.subscribe([job.topic])
    gc.collect()
    gc.freeze()
    done, begin_s, begin_cpu_s, begin, last_s = 0, 0.0, 0.0, 0, time.perf_counter()
    while done < job.records:
        messages = source.consume(BATCH, WAIT_S)
        if any(map(Message.error, messages)):
            messages = _without_errors(messages)
        if work is not None:
            work(messages)
        done += len(messages)
        now_s = time.perf_counter()
        if messages:
            last_s = now_s
        elif now_s - last_s > STALL_S:
            sys.exit(f"{job.topic}: {done} of {job.records} records came, then none for {STALL_S:.0f} s")
        if not begin_s and done >= job.skip:
            begin_s, begin, begin_cpu_s = now_s, done, time.process_time()
    seconds, cpu_s = time.perf_counter() - begin_s, time.process_time() - begin_cpu_s
    source.close()
    assert done == job.records, f"{done} records came of {job.records}"
    if done - begin < 0.1 * done:
        sys.exit(f"{job.topic}: all records came in a few batches; use more --records")
    return {"records_s": (done - begin) / seconds, "seconds": seconds, "measured_records": done - begin, "cpu_s": cpu_s}


def _without_errors(messages: list[Any]) -> list[Any]:
    for message in messages:
        if message.error() is not None and message.error().fatal():
            sys.exit(str(message.error()))
    return [message for message in messages if message.error() is None]


def main() -> None:
    """One measurement; the job as JSON in the first argument, the result as JSON on standard output."""
    print(json.dumps(measure(Job(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    main()
