"""Faust with River: what a Python user would write today, measured over a few thousand events.

Owns the competitor. One agent, one event a call, one HalfSpaceTrees model (25 trees of height 6, the numbers behind a
min-max scaler) per entity over its latest values, scored and then taught at each sample. One model a series would
need a gigabyte a thousand series.

Not obvious: it is shown the records of 50 entities only, so that building the models (milliseconds each) lies before
the clock starts; with all 1,000 it would be slower. Faust runs with what makes it fastest on one partition set: no
tables, no web, no leader topic, a raw or JSON codec of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from benchmarks.throughput_baselines import Job

#: It hangs rather than fails when it cannot read a topic.
LONGEST_S = 60.0


def models() -> Any:
    """One detector an entity, made at first sight."""
    from river import anomaly, preprocessing

    class Models(dict[str, tuple[Any, dict[str, float]]]):
        def __missing__(self, host: str) -> tuple[Any, dict[str, float]]:
            trees = anomaly.HalfSpaceTrees(n_trees=25, height=6, window_size=250, seed=1)
            self[host] = made = (preprocessing.MinMaxScaler() | trees, {})
            return made

    return Models()


def parsed_line(line: bytes) -> dict[str, Any]:
    """A line as the JSON record of the same sample."""
    head, fields, ts_ns = line.decode().split(" ")
    name, *tags = head.split(",")
    labels = dict(tag.split("=") for tag in tags)
    return {"name": name, "value": float(fields.split("=")[1]), "timestamp": int(ts_ns) // 1_000_000, "labels": labels}


def app_of(job: Job) -> Any:
    """The Faust application; it prints its rate and ends the process when it has seen all records."""
    import faust

    app = faust.App(
        job.group, broker=f"kafka://{job.bootstrap}", topic_allow_declare=False, topic_disable_leader=True,
        web_enabled=False, consumer_auto_offset_reset="earliest", stream_wait_empty=False, store="memory://",
    )  # fmt: skip
    topic = app.topic(job.topic, value_serializer="raw" if job.case == "telegraf" else "json")
    known = models()
    seen = {"records": 0, "begin_s": 0.0}

    def score(sample: dict[str, Any]) -> None:
        model, latest = known[sample["labels"]["host"]]
        latest[sample["name"]] = sample["value"]
        model.score_one(latest)
        model.learn_one(latest)

    @app.agent(topic)
    async def watch(stream: Any) -> None:
        async for event in stream:
            one = parsed_line(event) if job.case == "telegraf" else event
            for sample in one if isinstance(one, list) else [one]:
                score(sample)
            seen["records"] += 1
            if seen["records"] == job.skip:
                seen["begin_s"] = time.perf_counter()
            elif seen["records"] == job.records:
                _finish((job.records - job.skip) / (time.perf_counter() - seen["begin_s"]))

    return app


def _finish(records_s: float) -> None:
    # Leaving the group politely takes Faust seconds, and nothing is kept.
    print(json.dumps({"records_s": records_s}), flush=True)
    os._exit(0)


async def _serve(app: Any) -> None:
    await app.start()
    await asyncio.sleep(LONGEST_S)
    sys.stderr.write(f"Faust did not read its records within {LONGEST_S:.0f} s\n")
    os._exit(1)


def main() -> None:
    """One measurement; the job as JSON in the first argument, the result as JSON on standard output."""
    app = app_of(Job(**json.loads(sys.argv[1])))
    asyncio.run(_serve(app))


if __name__ == "__main__":
    main()
