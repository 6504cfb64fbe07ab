"""Memory of a series and of an entity: `python -m benchmarks.memory [--json]`.

Owns the measurement: resident memory of a fresh process that decodes and folds some intervals of many series, minus
that of the same process before it knew any, with everything free given back first. Each width (metrics an entity) is a
process of its own. `state` is what the shard itself counts: columns, histograms and joint models; the difference is
names, identities and the decoder's memory of each series' spelling.

Not obvious: what passes through a worker (batches, fetch queues; tens of megabytes) does not grow with the number of
series and is left out here; `empty` is the process with its libraries and kernels.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.throughput_graft import resident_bytes

WIDTHS = (1, 10, 38)
INTERVALS, STEP_MS, START_MS = 60, 10_000, 1_767_225_600_000


def _records(entities: int, width: int, at: int, rng: np.random.Generator) -> list[bytes]:
    values = rng.normal(50, 10, entities * width).tolist()
    return [
        b'{"name":"metric_%02d","value":%.9g,"timestamp":%d,"labels":{"host":"web-%05d","job":"node","region":"eu-west-1"}}'
        % (number % width, value, START_MS + at * STEP_MS, number // width)
        for number, value in enumerate(values)
    ]


def measure(entities: int, width: int, intervals: int = INTERVALS) -> dict[str, float]:
    """Bytes of one shard, in this process."""
    from agents.codecs.decoder import Decoder
    from engine.config import EngineConfig
    from engine.shard import Shard

    rng = np.random.default_rng(1)

    def run(shard: Shard, decoder: Decoder, count: int, until: int) -> None:
        next_offset = 0
        for at in range(until):
            values = _records(count, width, at, rng)
            offsets = np.arange(next_offset, next_offset + len(values), dtype=np.int64)
            next_offset += len(values)
            no_time = np.full(len(values), -1, np.int64)
            shard.process(decoder.decode(values, offsets, no_time, next_offset)[0])

    def fresh() -> tuple[Shard, Decoder]:
        shard = Shard(EngineConfig(), topic="memory", partition=0)
        shard.next_offset = 0
        return shard, Decoder(shard)

    run(*fresh(), 1, 3)  # kernels and lazy imports
    empty = resident_bytes()
    shard, decoder = fresh()
    run(shard, decoder, entities, intervals)
    used, series = resident_bytes() - empty, entities * width
    state = float(shard.counters()["state_bytes"])
    return {
        "metrics_per_entity": width,
        "series": series,
        "bytes_per_series": round(used / series, 1),
        "bytes_per_entity": round(used / entities, 1),
        "state_bytes_per_series": round(state / series, 1),
        "empty_bytes": empty,
    }


def measured(width: int, series: int) -> dict[str, Any]:
    """One width, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", str(width), "--series", str(series)]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    """`python -m benchmarks.memory`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, default=10_000, help="series of the shard (default 10,000)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--one", type=int, metavar="WIDTH", help="measure one width, in this process")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(max(1, args.series // args.one), args.one)))
        return 0
    found = [measured(width, args.series) for width in WIDTHS]
    if args.json:
        print(json.dumps({"widths": found}))
        return 0
    print("metrics an entity     series   bytes a series   of it state   bytes an entity")
    for one in found:
        print(
            f"{one['metrics_per_entity']:>17}{one['series']:>11,}{one['bytes_per_series']:>17,.0f}"
            f"{one['state_bytes_per_series']:>14,.0f}{one['bytes_per_entity']:>18,.0f}"
        )
    print(f"An empty worker has {found[0]['empty_bytes'] / 1e6:,.0f} MB resident.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
