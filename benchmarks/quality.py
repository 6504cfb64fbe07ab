"""How well does Graft see incidents? `python -m benchmarks.quality [--data DIR] [--json] [--fast] [--only LIST]`.

One engine, one configuration, no labels: each entity of each set is streamed from its first row through
`Shard.process`, in batches of whole rows, and scored on its labelled part. Baselines run beside it in the same run.
Two outputs are judged. `severity`: VUS-PR and average precision. `page`: best F1 over events, and recall at one false
page an entity-day, both at one threshold for all entities; and as configured, at page >= 1. Whether `severity` is the
probability that it claims to be: its rate on normal rows. NAB by its own rules, standard profile.
`graft-cold` is the same engine without the history: its first row is the first that is scored. `graft-retuned` answers
each drift with a re-tune, as a worker's tuner does.

Entities get a 90 % interval by bootstrap. On the shortest entity of each set every method is run once more on a prefix,
in other batches; a method whose answers differ sees the future, and the exit code is 1.

`--fast` is a tenth of the entities, at least two a set (NAB whole, without River: a threshold fitted on four files says
nothing), for the working loop. `--only` names sets and methods; `--only graft` on all the data takes a minute or two.
`--compare` takes what `--json` wrote before. `--dump DIR` keeps DIR/SET/METHOD/ENTITY.npz (quality_run.py), about a
gigabyte for everything.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from benchmarks import quality_statistics as statistics
from benchmarks.quality_baselines import BASELINES
from benchmarks.quality_methods import ENGINE, GRAFT, is_slow, methods, suits, warm_up
from benchmarks.quality_report import show
from benchmarks.quality_run import ROUNDING, Job, Ran, Scored, prefix_difference, run, score, score_nab, score_published
from benchmarks.quality_sets import NAB, SETS, WIDE, entity, names, some
from benchmarks.series_data import folder, parser_of

#: Rows of a set that slow methods see, shortest entities first: half a minute a set, and seconds in --fast.
SLOW_ROWS, SLOW_ROWS_FAST = 300_000, 60_000

Given = TypeVar("Given")
Made = TypeVar("Made")
#: `map` in this process, or in others.
Mapper = Callable[[Callable[[Given], Made], Iterable[Given]], Iterable[Made]]


class Task(NamedTuple):
    """All that is run on one set. checks: the jobs that are run on a prefix as well."""

    name: str
    jobs: dict[str, list[Job]]
    checks: list[Job]


def plan(data: Path, out: Path, set_name: str, wanted: list[str], *, fast: bool) -> Task:
    """Which methods see which entities of a set."""
    chosen = names(data, set_name)
    if fast and set_name != NAB:
        chosen = some(chosen, most=max(2, round(len(chosen) / 10)))
    streams = {name: entity(data, set_name, name).stream for name in chosen}
    by_length = sorted(chosen, key=lambda name: len(streams[name].ts_ms))
    few, left = list[str](), SLOW_ROWS_FAST if fast else SLOW_ROWS
    for name in by_length:
        left -= len(streams[name].ts_ms)
        if left >= 0 or not few:
            few.append(name)
    jobs: dict[str, list[Job]] = {}
    for method in wanted:
        seen = [name for name in chosen if name in few] if is_slow(method) else chosen
        is_partial_nab = set_name == NAB and len(seen) < len(chosen)
        if not is_partial_nab and all(suits(method, streams[name]) for name in seen):
            jobs[method] = [Job(data, out, set_name, method, name) for name in seen]
    checks = [job for each in jobs.values() for job in each if job.name == by_length[0]]
    return Task(set_name, jobs, checks)


def measure(task: Task, run_all: Mapper[Any, Any], told: dict[str, Any]) -> dict[str, Scored]:
    """Run a set and put what is known of it into `told`; what the methods scored, by method."""
    # Slow ones first, so that no process has a long one left at the end.
    ordered = sorted((job for each in task.jobs.values() for job in each), key=lambda job: not is_slow(job.method))
    ran: list[Ran] = list(run_all(run, ordered))
    off = dict(zip([job.method for job in task.checks], run_all(prefix_difference, task.checks), strict=True))
    allowed = {method: 0.0 if method in ENGINE else ROUNDING for method in off}
    broken = [method for method, one in off.items() if one > allowed[method]]
    told["causal"][task.name] = {"entity": task.checks[0].name, "difference": off, "broken": broken}
    speed = {}
    for method in task.jobs:
        own = [one for one in ran if one.job.method == method]
        speed[method] = round(sum(one.rows for one in own) / max(sum(one.seconds for one in own), 1e-9))
    if task.name == NAB:
        found = dict(zip(task.jobs, run_all(score_nab, task.jobs.values()), strict=True))
        told["nab"] = {method: one | {"rows_s": speed[method]} for method, one in found.items()}
        told["nab_published"] = score_published(task.jobs[next(iter(task.jobs))])
        if not told["nab_published"]:
            told["absent"].append("NAB/results (what other detectors gave, in NAB's own repository)")
        return {}
    scored: dict[str, Scored] = dict(zip(task.jobs, run_all(score, task.jobs.values()), strict=True))
    told["sets"][task.name] = {
        method: statistics.summary(one) | {"rows_s": speed[method]} for method, one in scored.items()
    }
    told["entities"][task.name] = {method: statistics.by_entity(one) for method, one in scored.items()}
    return scored


def join(scored: dict[str, dict[str, Scored]], told: dict[str, Any]) -> None:
    """The mean of the sets of many metrics, and what Graft is better by, with its interval."""
    wide = [name for name in WIDE if name in scored]
    told["mean_of"] = wide
    for method in [*ENGINE, *BASELINES]:
        seen = [each[method] for each in scored.values() if method in each]
        if seen:
            told["honesty"][method] = statistics.honesty(seen)
        if len(wide) > 1 and all(method in scored[name] for name in wide):
            told["mean"][method] = statistics.mean_summary([scored[name][method] for name in wide])
    for title, sets in [*((name, [name]) for name in scored), ("mean", wide)]:
        if not sets or not all(GRAFT in scored[name] for name in sets):
            continue
        told["over"][title] = {
            method: statistics.difference(*([scored[name][one] for name in sets] for one in (GRAFT, method)))
            for method in BASELINES
            if all(method in scored[name] for name in sets)
        }


def machine() -> str:
    """What it was measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def benchmark(
    data: Path, out: Path, sets: list[str], wanted: list[str], *, fast: bool, keep: bool, run_all: Mapper[Any, Any]
) -> dict[str, Any]:
    """Everything that `--json` tells, but for the comparison."""
    began = time.perf_counter()
    told: dict[str, Any] = {"machine": machine(), "fast": fast, "absent": []}
    told |= {key: {} for key in ("sets", "mean", "over", "honesty", "nab", "nab_published", "causal", "entities")}
    scored: dict[str, dict[str, Scored]] = {}
    for name in sets:
        if not names(data, name):
            told["absent"].append(f"{name} (nothing under {data / name})")
            continue
        print(f"{name} ...", file=sys.stderr)
        task = plan(data, out, name, wanted, fast=fast)
        found = measure(task, run_all, told) if task.jobs else {}
        if found:
            scored[name] = found
        if not keep:
            rmtree(out / name, ignore_errors=True)
    join(scored, told)
    return told | {"seconds": round(time.perf_counter() - began, 1)}


def chosen(only: str | None, known: list[str]) -> tuple[list[str], list[str]]:
    """Sets and methods that `--only` names; all of a kind of which it names none.

    >>> chosen("SMD,graft", ["graft", "random"])
    (['SMD'], ['graft'])
    """
    words = [word for word in (only or "").split(",") if word]
    strange = [word for word in words if word not in (*SETS, *known)]
    if strange:
        raise SystemExit(f"--only does not know {', '.join(strange)}; it takes {', '.join((*SETS, *known))}.")
    sets, wanted = ([one for one in every if one in words] or list(every) for every in (SETS, known))
    return sets, wanted


def main(arguments: list[str] | None = None) -> int:
    """`python -m benchmarks.quality`."""
    parser = parser_of("benchmarks.quality", __doc__)
    parser.add_argument("--only", metavar="LIST", help="sets and methods, with commas")
    parser.add_argument("--fast", action="store_true", help="a tenth of the entities, at least two a set")
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="what an earlier run's --json wrote")
    parser.add_argument("--dump", type=Path, metavar="DIR", help="keep the answers, DIR/SET/METHOD/ENTITY.npz")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2; 0: this one)")
    args = parser.parse_args(arguments)
    known = methods()
    sets, wanted = chosen(args.only, known)
    old = json.loads(args.compare.read_text()) if args.compare else None
    # Compiled once here, then found on disk by the others.
    warm_up([method for method in wanted if not is_slow(method)])
    with TemporaryDirectory(prefix="graft-quality-") as scratch:
        options: dict[str, Any] = {"fast": args.fast, "keep": args.dump is not None}
        place = (folder(args.data), args.dump or Path(scratch), sets, wanted)
        if args.jobs > 0:
            # What is told is rows a second of one core.
            os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
            with ProcessPoolExecutor(args.jobs, get_context("spawn"), warm_up, (wanted,)) as pool:
                told = benchmark(*place, **options, run_all=pool.map)
        else:
            told = benchmark(*place, **options, run_all=map)
    if "river-hst" not in known:
        told["absent"].append('river-hst (install the extra "river")')
    if old is not None:
        told["compare"] = statistics.compare(*(_of_graft(one) for one in (told, old)))
        told["then_and_now"] = statistics.then_and_now(*(_overall(one) for one in (old, told)))
    print(json.dumps(told)) if args.json else show(told)
    return 1 if any(one["broken"] for one in told["causal"].values()) else 0


def _of_graft(told: dict[str, Any]) -> dict[str, Any]:
    """Set -> entity -> figures."""
    return {name: each[GRAFT] for name, each in told["entities"].items() if GRAFT in each}


def _overall(told: dict[str, Any]) -> dict[str, Any]:
    """Graft's figures over several sets."""
    return {name: told[name][GRAFT] for name in ("mean", "honesty", "nab") if GRAFT in told[name]}


if __name__ == "__main__":
    sys.exit(main())
