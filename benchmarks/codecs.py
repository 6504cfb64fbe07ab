"""Decoders beside orjson on the same records: `python -m benchmarks.codecs [--json]`.

Three codecs (plain JSON of one sample, line protocol of one field, JSON arrays of 100), the recorded shape of Telegraf
(ten fields in random order), and each again without the fast path. The baselines run in the same process on the same
records, alternating; medians of --rounds. Law: a figure is printed beside what it is compared with, or not at all.

Baselines: `loads`, orjson.loads with the result thrown away; `dict`, orjson.loads and one look-up by name and labels;
`split`, a line cut at blanks and commas, which is wrong as soon as something is escaped.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import orjson

from agents.codecs.decoder import Decoder
from engine.series import Series

START_MS = 1_767_225_600_000
STEP_MS = 10_000


class _Shard:
    """Rows in order of first sight; what a decoder needs of a shard and no more."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}

    def admit(self, series: Series) -> int:
        return self.rows.setdefault(series.text, len(self.rows))

    def row_of(self, text: str) -> int:
        return self.rows.get(text, -1)


class Case(NamedTuple):
    """steps: for each step of time, its records. samples: in one record. baselines: by name."""

    steps: list[list[bytes]]
    samples: int
    baselines: dict[str, Callable[[list[bytes]], object]]


def _json_object(i: int, step: int, value: float) -> bytes:
    return (
        b'{"name":"cpu_usage_%02d","value":%.15g,"timestamp":%d,"labels":{"host":"web-%04d","zone":"eu-%d","job":"node"}}'
        % (i % 10, value, START_MS + step * STEP_MS, i // 10, i % 3)
    )


def _json(series: int, steps: int, rng: random.Random) -> list[list[bytes]]:
    return [[_json_object(i, step, rng.gauss(50, 10)) for i in range(series)] for step in range(steps)]


def _json100(series: int, steps: int, rng: random.Random) -> list[list[bytes]]:
    return [
        [b"[" + b",".join(objects[at : at + 100]) + b"]" for at in range(0, series, 100)]
        for objects in _json(series, steps, rng)
    ]


def _line(i: int, step: int, fields: list[bytes]) -> bytes:
    return b"cpu_%d,host=web-%04d,zone=eu,job=node %s %d000000\n" % (
        i % 10, i // 10, b",".join(fields), START_MS + step * STEP_MS,
    )  # fmt: skip


def _influx(series: int, steps: int, rng: random.Random) -> list[list[bytes]]:
    return [[_line(i, step, [b"usage=%.15g" % rng.gauss(50, 10)]) for i in range(series)] for step in range(steps)]


def _telegraf(series: int, steps: int, rng: random.Random) -> list[list[bytes]]:
    def fields() -> list[bytes]:
        some = [b"usage_%02d=%.15g" % (k, rng.gauss(50, 10)) for k in range(10)]
        rng.shuffle(some)
        return some

    return [[_line(i, step, fields()) for i in range(series // 10)] for step in range(steps)]


def _telegraf_json(series: int, steps: int, rng: random.Random) -> list[list[bytes]]:
    def record(i: int, step: int) -> bytes:
        fields = b",".join(b'"usage_%02d":%.15g' % (k, rng.gauss(50, 10)) for k in range(10))
        return b'{"fields":{%s},"name":"cpu","tags":{"cpu":"cpu-total","host":"web-%04d"},"timestamp":%d}\n' % (
            fields, i, START_MS // 1000 + step * STEP_MS // 1000,
        )  # fmt: skip

    return [[record(i, step) for i in range(series // 10)] for step in range(steps)]


def loads(records: list[bytes]) -> None:
    for record in records:
        orjson.loads(record)


def loads_and_look_up() -> Callable[[list[bytes]], None]:
    rows: dict[Any, int] = {}

    def run(records: list[bytes]) -> None:
        for record in records:
            one = orjson.loads(record)
            key = (one["name"], tuple(one["labels"].items()))
            rows.setdefault(key, len(rows))
            _ = (one["timestamp"], one["value"])

    return run


def split_lines() -> Callable[[list[bytes]], None]:
    rows: dict[Any, int] = {}

    def run(records: list[bytes]) -> None:
        for record in records:
            head, fields, ts_ns = record.split(b" ")
            int(ts_ns)
            for field in fields.split(b","):
                key, value = field.split(b"=")
                rows.setdefault((head, key), len(rows))
                float(value)

    return run


def cases(series: int, steps: int) -> dict[str, Case]:
    rng = random.Random(1)
    shuffled = _json(series, steps, rng)
    for records in shuffled:
        rng.shuffle(records)
    return {
        "json": Case(_json(series, steps, rng), 1, {"loads": loads, "dict": loads_and_look_up()}),
        "json, shuffled": Case(shuffled, 1, {"loads": loads, "dict": loads_and_look_up()}),
        "json100": Case(_json100(series, steps, rng), 100, {"loads": loads}),
        "influx": Case(_influx(series, steps, rng), 1, {"split": split_lines()}),
        "telegraf influx, random order": Case(_telegraf(series, steps, rng), 10, {"split": split_lines()}),
        "telegraf json": Case(_telegraf_json(series, steps, rng), 10, {"loads": loads}),
    }


def decoder_run(*, speculate: bool) -> Callable[[list[bytes]], None]:
    decoder = Decoder(_Shard(), speculate=speculate)
    clock: list[int] = [0]

    def run(records: list[bytes]) -> None:
        first, clock[0] = clock[0], clock[0] + len(records)
        own_ms = np.full(len(records), -1, np.int64)
        _, letters = decoder.decode(records, np.arange(first, clock[0]), own_ms, clock[0])
        if letters:
            sys.exit(f"{letters[0]} in generated records: the decoder or this generator is wrong")

    return run


def measure(case: Case, rounds: int) -> dict[str, float]:
    """Nanoseconds a sample by variant: median over rounds, variants alternating, the first step not counted."""
    runs = {**case.baselines, "graft": decoder_run(speculate=True), "graft, slow path": decoder_run(speculate=False)}
    for run in runs.values():
        run(case.steps[0])
    gc.collect()
    gc.freeze()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for at in range(rounds):
        records = case.steps[1 + at % (len(case.steps) - 1)]
        for name, run in runs.items():
            begin = time.perf_counter()
            run(records)
            times[name].append((time.perf_counter() - begin) / (len(records) * case.samples) * 1e9)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    for name, case in cases(options.series, 4).items():
        results[name] = {variant: round(1e9 / ns) for variant, ns in measure(case, options.rounds).items()}
        if not options.json:
            line = ", ".join(f"{variant} {rate / 1e6:.2f}" for variant, rate in results[name].items())
            best = max(rate for variant, rate in results[name].items() if not variant.startswith("graft"))
            print(f"{name}: million samples/s: {line}; {results[name]['graft'] / best:.1f}x the best baseline")
    if options.json:
        print(json.dumps({"series": options.series, "samples_per_second": results}))


if __name__ == "__main__":
    main()
