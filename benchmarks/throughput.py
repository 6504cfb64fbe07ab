"""Throughput, latency and memory of the whole path: `python -m benchmarks.throughput`, also `graft bench`.

Owns the order of measurements and what is printed. Each variant is a process of its own (throughput_baselines.py,
throughput_graft.py, throughput_faust.py, throughput_latency.py) that reads the same topic from its beginning in a group
of its own; the broker is another process (throughput_broker.py), the load is throughput_load.py's.

    consume      records handed over by confluent-kafka, tuned as Graft is, and nothing else
    decode       the same, and each record parsed (orjson.loads; a line of Telegraf split), result thrown away
    graft        the detector: decode, all models, verdicts, alerts, checkpoints
    faust_river  a Faust agent with River's HalfSpaceTrees, one event a call

Not obvious: absolute rates of a shared machine move by two within minutes, so the variants alternate and each figure is
the median of its rounds; compare ratios. All rates are records a second; json100 has 100 samples a record.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import throughput_broker as brokers
from benchmarks.throughput_baselines import Job
from benchmarks.throughput_load import CASES, SAMPLES, Load, fill, load_of

if TYPE_CHECKING:
    from agents.cli.out import Out

MODULES = {
    "consume": "baselines",
    "decode": "baselines",
    "graft": "graft",
    "faust_river": "faust",
    "latency": "latency",
}
#: Share of the records before the clock starts: first fetches, and each series' first record.
SKIPPED = 0.4
RATES = ("consume", "decode", "graft", "faust_river")
ROOT = Path(__file__).resolve().parent.parent
#: Compiled once, outside of all measurements.
WARM_UP = "from benchmarks.memory import measure; measure(2, 2, 3)"
#: Said as soon as a case is done, since a run takes minutes.
SUMMARY = (*RATES, "p50_ms", "p99_ms", "bytes_per_series")
#: A measuring process that takes longer hangs.
LONGEST_S = 240


class Size(NamedTuple):
    """samples: of one topic. rounds: of the three fast variants. few: samples for Faust. faust_rounds; latency_s."""

    samples: int
    rounds: int
    few: int
    faust_rounds: int
    latency_s: float


FULL = Size(1_500_000, 3, 5_000, 3, 12.0)
FAST = Size(400_000, 3, 2_000, 1, 3.0)
REAL_SAMPLES = 2_000_000


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the benchmark."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a real broker; default: an embedded one")
    parser.add_argument(
        "--records", type=int, metavar="N", help="samples of one topic (default 1,500,000; 2,000,000 real)"
    )
    parser.add_argument("--cases", default=",".join(CASES), help=f"which of {','.join(CASES)}")
    parser.add_argument("--rounds", type=int, help="rounds of which medians are taken")
    parser.add_argument("--fast", action="store_true", help="smaller topics, one round of Faust, shorter latency")
    parser.add_argument("--profile", action="store_true", help="also print where Graft's time goes, per sample")
    parser.add_argument("--no-faust", action="store_true", help="leave Faust + River out")
    parser.add_argument("--no-latency", action="store_true", help="leave the latency out")


def run(args: argparse.Namespace, out: Out) -> int:
    """Measure and print; exit status 0."""
    begin_s = time.monotonic()
    size = _size(args)
    cases = [case for case in args.cases.split(",") if case]
    unknown = sorted(set(cases) - set(CASES))
    if unknown or not cases:
        out.note(f"--cases has {', '.join(unknown) or 'nothing'}; it takes some of {','.join(CASES)}.")
        return 2
    bench = Bench(args, size, out)
    out.note("loading the kernels; a minute or two where this machine has not compiled them yet")
    subprocess.run([sys.executable, "-c", WARM_UP], cwd=ROOT, check=True)
    with bench.broker(cases) as bootstrap:
        measured = {case: bench.case(bootstrap, case) for case in cases}
    result = {
        "bootstrap": args.bootstrap or "embedded",
        "cases": measured,
        "series": 10_000,
        "entities": 1_000,
        "rounds": size.rounds,
        "seconds": round(time.monotonic() - begin_s, 1),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }
    out.result(result)
    if not args.json:
        show(result, out)
    return 0


def _size(args: argparse.Namespace) -> Size:
    size = FAST if args.fast else FULL
    samples = args.records or (REAL_SAMPLES if args.bootstrap and not args.fast else size.samples)
    return size._replace(samples=samples, rounds=args.rounds or size.rounds)


class Bench:
    """One run: names of its topics, and how a variant is measured."""

    def __init__(self, args: argparse.Namespace, size: Size, out: Out) -> None:
        self._args, self._size, self._out = args, size, out
        self._name = f"graft-bench-{os.getpid()}"
        self._groups = 0

    def _load(self, case: str, suffix: str = "", *, samples: int, entities: int = 1_000) -> Load:
        return load_of(
            case, f"{self._name}-{case}{suffix}", samples, embedded=not self._args.bootstrap, entities=entities
        )

    def loads(self, case: str) -> tuple[Load, Load, Load]:
        """The full topic, the one for Faust, and the one that is filled live for the latency."""
        # One batch may hold 5,000 records: arrays need more samples, or there is nothing between first and last.
        least = 30_000 * SAMPLES[case] if SAMPLES[case] > 1 and not self._args.records else 0
        samples = max(self._size.samples * (2 if SAMPLES[case] > 1 else 1), least)
        return (
            self._load(case, samples=samples),
            self._load(case, "-few", samples=self._size.few, entities=50),
            self._load(case, "-live", samples=100_000)._replace(partitions=4),
        )

    def broker(self, cases: Sequence[str]) -> AbstractContextManager[str]:
        """Where it all takes place, with all topics made."""
        from agents.topics import Topics
        from benchmarks.throughput_graft import PREFIX

        topics = {load.topic: load.partitions for case in cases for load in self.loads(case)}
        topics |= dict.fromkeys(Topics.of(PREFIX), 1)
        return brokers.real(self._args.bootstrap, topics) if self._args.bootstrap else brokers.embedded(topics)

    def case(self, bootstrap: str, case: str) -> dict[str, Any]:
        """All figures of one case."""
        full, few, live = self.loads(case)
        self._out.note(f"{case}: {full.records:,} records of {full.series:,} series in {full.partitions} partitions")
        now_ms = int(time.time() * 1000)
        fill(bootstrap, full, now_ms)
        rounds = self._alternate(bootstrap, full, ("consume", "decode", "graft"), self._size.rounds)
        found: dict[str, Any] = {name: _median(ones, "records_s") for name, ones in rounds.items()}
        found["graft_decode"] = _ratio(found["graft"], found["decode"])
        found["samples_a_record"] = SAMPLES[case]
        found |= _facts(rounds["graft"])
        found["cpu_ns_per_sample"] = {
            name: statistics.median(one["cpu_s"] / one["measured_records"] / SAMPLES[case] * 1e9 for one in ones)
            for name, ones in rounds.items()
        }
        if not self._args.no_faust:
            fill(bootstrap, few, now_ms, codec="none")  # Faust reads lz4 with one more package only
            faust = self._alternate(bootstrap, few, ("faust_river",), self._size.faust_rounds)["faust_river"]
            found["faust_river"] = _median(faust, "records_s")
            found["graft_faust_river"] = _ratio(found["graft"], found["faust_river"])
        if not self._args.no_latency:
            rate = int(found["graft"] / 2)
            found |= self._measure(bootstrap, live, "latency", rate=rate, seconds=self._size.latency_s)
        if self._args.profile:
            one = self._measure(bootstrap, full, "graft", profile=True)
            found["profile"], found["entity_tick_ns"] = one["profile"], one["entity_tick_ns"]
        self._out.note(f"{case}: " + ", ".join(f"{name} {found[name]:,.0f}" for name in SUMMARY if name in found))
        return found

    def _alternate(self, bootstrap: str, load: Load, variants: Sequence[str], rounds: int) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {name: [] for name in variants}
        for at in range(rounds):
            for name in variants:
                self._out.progress(f"{load.case}: {name}, round {at + 1} of {rounds}")
                found[name].append(self._measure(bootstrap, load, name))
        self._out.clear()
        return found

    def _measure(self, bootstrap: str, load: Load, variant: str, **more: Any) -> dict[str, Any]:
        """One variant in a process of its own."""
        self._groups += 1
        job = Job(
            bootstrap, load.topic, load.case, variant, load.records, int(SKIPPED * load.records),
            f"{self._name}-{self._groups}", series=load.series, partitions=load.partitions, **more,
        )  # fmt: skip
        command = [sys.executable, "-m", f"benchmarks.throughput_{MODULES[variant]}", json.dumps(job._asdict())]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{variant} on {load.topic} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found


def _median(ones: Sequence[dict[str, Any]], name: str) -> float:
    return float(statistics.median(one[name] for one in ones))


def _ratio(one: float, other: float) -> float:
    return round(one / other, 3)


#: What else a Graft process tells, as a median.
_FACTS = (
    "records_s_bare", "records_s_learning_names", "checkpoint_s", "bytes_per_series", "state_bytes_per_series",
    "snapshot_bytes_per_series", "empty_bytes",
)  # fmt: skip


def _facts(ones: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: _median(ones, name) for name in _FACTS} | {"sent": ones[-1]["sent"], "shards": ones[-1]["shards"]}


def show(result: dict[str, Any], out: Out) -> None:
    """The table for people."""
    rows = [
        [
            case, *(round(one[name]) if name in one else None for name in RATES),
            one["graft_decode"], one.get("graft_faust_river"), one.get("p50_ms"), one.get("p99_ms"),
            round(one["bytes_per_series"]), round(one["state_bytes_per_series"]),
        ]
        for case, one in result["cases"].items()
    ]  # fmt: skip
    head = ("records/s", "consume", "decode", "graft", "faust+river", "graft/decode", "graft/faust", "p50 ms", "p99 ms")
    out.table(rows, (*head, "bytes/series", "of it state"))
    out.say()
    where = f"{result['bootstrap']} broker, {result['cores']} cores, load {result['load_average']:.1f}"
    out.say(f"{where}; {result['seconds']} s.")
    out.say("Medians of alternating rounds; compare ratios, since absolute rates move with the machine.")
    for case, one in result["cases"].items():
        if "latency_samples" in one:
            out.say(
                f"{case}: {one['latency_samples']} alerts timed at {one['latency_records_s']:,.0f} records/s "
                f"({one['latency_wanted_records_s']:,.0f} wanted: half of what Graft takes)."
            )
        for stage, ns, share in one.get("profile", ()):
            out.say(f"  {share:6.1%} {ns / one['samples_a_record']:8.0f} ns a sample  {stage}")
        if "entity_tick_ns" in one:
            out.say(f"  of the fold kernel, the entity part: {one['entity_tick_ns'] / 10:.0f} ns a sample (ten a tick)")


def main() -> int:
    """`python -m benchmarks.throughput`."""
    from agents.cli.out import Out

    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput", description=__doc__.splitlines()[0])
    arguments(parser)
    args = parser.parse_args()
    return run(args, Out(json=args.json))


if __name__ == "__main__":
    sys.exit(main())
