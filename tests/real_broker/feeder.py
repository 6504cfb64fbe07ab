"""An independent producer: hosts that report as Telegraf does, a line of influx protocol a record, keyed by host.

    python tests/real_broker/feeder.py '{"bootstrap": ..., "topic": ..., "until_minute": ...}'

Knows nothing of Graft: a plain client with its default partitioner, in a process of its own. What it sends is a
function of the job alone, so one story can be told in several pieces. Ends with status 1 if a record was not taken.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from confluent_kafka import Producer

#: How long a broker may be away, kill and restart included.
DELIVERY_S = 120


class Job(NamedTuple):
    """Minutes [from_minute, until_minute) of the story that begins at start_ms.

    ill: (host, first minute, minute after the last) of each outage. deploys: (host, minute) from which its levels are
    others for good. per_second: pace in records; 0: all at once.
    """

    bootstrap: str
    topic: str
    until_minute: int
    start_ms: int
    from_minute: int = 0
    hosts: int = 6
    ill: tuple[tuple[int, int, int], ...] = ()
    deploys: tuple[tuple[int, int], ...] = ()
    per_second: int = 0


def is_ill(job: Job, host: int, minute: int) -> bool:
    return any(who == host and first <= minute < last for who, first, last in job.ill)


def lines(job: Job, host: int, minute: int) -> Iterator[str]:
    """What a host reports in a minute: a daily shape, noise, and trouble while it is ill."""
    noise = random.Random(f"{host}/{minute}").gauss
    day = math.sin(2 * math.pi * minute / 1440 + host)
    trouble = is_ill(job, host, minute)
    moved = sum(who == host and minute >= at for who, at in job.deploys)
    user, system = 30 + 10 * day + noise(0, 2) + 60 * trouble, 8 + 2 * day + noise(0, 0.7) + 25 * trouble
    used, wait = 55 + 4 * day + noise(0, 1) + 30 * trouble + 12 * moved, 3 + noise(0, 0.4) + 40 * trouble + 3 * moved
    ns = (job.start_ms + minute * 60_000 + host * 100) * 1_000_000
    yield f"cpu,cpu=cpu-total,host=web-{host} usage_system={system:.4f},usage_user={user:.4f} {ns}"
    yield f"mem,host=web-{host} used_percent={used:.4f} {ns}"
    yield f"diskio,host=web-{host},name=sda io_await={wait:.4f} {ns}"


def main(job: Job) -> int:
    refused: list[str] = []
    producer = Producer(
        {"bootstrap.servers": job.bootstrap, "enable.idempotence": True, "message.timeout.ms": DELIVERY_S * 1000,
         "reconnect.backoff.max.ms": 500, "linger.ms": 5, "log_level": 0}
    )  # fmt: skip
    began, sent = time.monotonic(), 0
    for minute in range(job.from_minute, job.until_minute):
        for host in range(job.hosts):
            for line in lines(job, host, minute):
                producer.produce(
                    job.topic, line.encode(), key=f"web-{host}",
                    on_delivery=lambda error, _: refused.append(str(error)) if error else None,
                )  # fmt: skip
                sent += 1
        producer.poll(0)
        if job.per_second and (early_s := began + sent / job.per_second - time.monotonic()) > 0:
            time.sleep(early_s)
    left = producer.flush(DELIVERY_S)
    if left or refused:
        sys.stderr.write(f"{left} records are still here, {len(refused)} were refused: {refused[:1]}\n")
    return 1 if left or refused else 0


if __name__ == "__main__":
    sys.exit(main(Job(**json.loads(sys.argv[1]))))
