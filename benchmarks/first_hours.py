"""What is a seed worth in the first hours? `python -m benchmarks.first_hours [--data DIR] [--json] [--fast]`.

A deployment: an entity is first seen at t0 (six starts each, 1.5 days apart, in its labelled part); nothing of it
before t0 may be used. Others have run all along and hand over source snapshots at t0; one that is not healthy then,
its last healthy one. All lines are Graft's own engine (`first_hours_lines.py`), but for `silent` and the anchors
`model-b-*`, `model-c-*` (`first_hours_anchors.py`), which do not move when the engine does. Cases are in
`first_hours_cases.py`, what is measured in `first_hours_measures.py`, the made-up towns of `made-1d`, whose truth is
known, in `first_hours_made.py`. What the guard costs is in `first_hours_cost.py`, what all of it is wanted to be in
`first_hours_goals.py`.

refused_*: share of near and of far sources of which `plan` keeps most classes cold, once the target has been seen for
a day; it is what a user is told before a wrong source is applied.

variants.*.after_2h_over_cold: of the made family by what sets a target apart, forecast error over cold's from two hours
on; `wrong` is lent to by the hostile twin of its town. goals: the table of what is wanted, with this run's figures.

`--fast` is four targets a set and two starts. `--only` names cases, and leaves out the cost of the guard. `--dump DIR`
keeps DIR/CASE/LINE/TARGET-ROW.npz with `t` (epoch seconds), `severity`, `confidence`, `page`, one value a row, NaN
where there is no answer; ROW is the start. `--picture FILE` draws the forecast errors by age. A run on all the data
takes some minutes on two cores.

Law: labels are used for scoring only, and every line is printed, also where Graft is worse.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import first_hours_measures as measures
from benchmarks.first_hours_cases import (
    CASES,
    FAR,
    MADE,
    NEAR,
    PLANNED,
    SELF,
    Case,
    Group,
    Meeting,
    Subject,
    group,
    plain_names,
)
from benchmarks.first_hours_cost import measure as measure_cost
from benchmarks.first_hours_deploy import Deployment, Done, Offer, Watching, deploy, watch_one
from benchmarks.first_hours_goals import judged
from benchmarks.first_hours_lines import LINES
from benchmarks.first_hours_picture import draw
from benchmarks.first_hours_report import show
from benchmarks.series_data import Recording, folder, parser_of

#: `map` in this process, or in others.
Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
#: Lines of which it is told how they do once a guard has had its time.
LATE = ("seeded", "unguarded", "wrong")


def measure(one: Group, run_all: Mapper, dump: Path | None) -> dict[str, Any]:
    """All cases of one set: name -> figures."""
    began = time.perf_counter()
    watched: list[Watching] = list(run_all(watch_one, one.subjects))
    points = [each.anchor.point for each in watched if each.anchor is not None]
    usual = float(np.median(points)) if points else float("nan")
    jobs = [_deployment(one, meeting, watched, usual, dump) for meeting in one.meetings]
    done: list[Done] = list(run_all(deploy, jobs))
    seconds = time.perf_counter() - began
    refused = {f"refused_{zone}": _refused(done, zone) for zone in ("far", "near")} if one.name in PLANNED else {}
    told: dict[str, Any] = {}
    for case in one.cases:
        began = time.perf_counter()
        met = [each for each in done if case.name in each.runs]
        if not met:
            continue
        lines = _joined(met, case.name)
        found = measures.score(lines) | refused
        if one.name == MADE:
            found["variants"] = _variants(one, met, case.name)
        found["checkpoints_refused"] = sum(each.watched.refused for each in watched)
        found["seconds"] = round(seconds / len(one.cases) + time.perf_counter() - began, 1)
        told[case.name] = found
    return told


def _deployment(one: Group, meeting: Meeting, watched: list[Watching], usual: float, dump: Path | None) -> Deployment:
    needed = {meeting.target, meeting.wrong, *(j for sources in meeting.sources.values() for j in sources)}
    zones = _zones(one, meeting)
    offers = {
        j: Offer(
            watched[j].watched.checkpoints if j in needed else [],
            watched[j].watched.sources if j in needed else watched[j].watched.sources[-1:],
            watched[j].anchor,
        )
        for j in sorted(needed | set(zones))
    }
    return Deployment(one.subjects[meeting.target], meeting, one.cases, offers, zones, usual, dump)


def _zones(one: Group, meeting: Meeting) -> dict[int, str]:
    """Sources for which a plan is made, and as what: surely near, surely far, or what sets a made-up target apart."""
    if one.name == MADE:
        return {j: one.subjects[meeting.target].variant for sources in meeting.sources.values() for j in sources}
    if one.apart is None or one.name not in PLANNED:
        return {}
    apart = one.apart[meeting.target]
    near, far = np.flatnonzero(apart < NEAR), np.flatnonzero((apart > FAR) & (apart < SELF))
    return dict.fromkeys(near.tolist(), "near") | dict.fromkeys(far.tolist(), "far")


def _refused(done: list[Done], zone: str) -> float | None:
    """Share of the plans for sources of a zone that keep most classes cold; None without a plan."""
    kept = [is_cold for each in done for of, is_cold in each.plans if of == zone]
    return float(np.mean(kept)) if kept else None


def _joined(done: list[Done], case: str) -> dict[str, list[measures.Run]]:
    """line -> the runs of all targets."""
    told = done[0].runs[case]
    lines = [*(line for line in LINES if line in told), *sorted(line for line in told if line not in LINES)]
    return {line: [run for each in done for run in each.runs[case][line]] for line in lines}


def _variants(one: Group, done: list[Done], case: str) -> dict[str, Any]:
    """The made family by what sets the targets apart."""
    told = {}
    for name in dict.fromkeys(one.subjects[each.target].variant for each in done):
        lines = _joined([each for each in done if one.subjects[each.target].variant == name], case)
        found = measures.score(lines)
        # A few targets of a kind are too few for an interval.
        told[name] = {key: value for key, value in found.items() if not key.endswith("_minus_cold")}
        told[name]["refused"] = _refused(done, name)
        told[name]["after_2h_over_cold"] = {line: measures.late(lines[line], lines["cold"]) for line in LATE}
    return told


def chosen(only: str | None) -> list[Case]:
    """The cases that `--only` names; all if it names none."""
    words = [word for word in (only or "").split(",") if word]
    strange = [word for word in words if word not in [case.name for case in CASES]]
    if strange:
        raise SystemExit(
            f"--only does not know {', '.join(strange)}; it takes {', '.join(case.name for case in CASES)}."
        )
    return [case for case in CASES if not words or case.name in words]


def warm_up() -> None:
    """Compile once here; others find it on disk."""
    for width in (1, 2):
        values = np.random.default_rng(0).random((900, width))
        record = Recording("", values, np.zeros(900, bool), 300_000 * np.arange(900), 600)
        watch_one(Subject(record, plain_names(record), (600,)))


def benchmark(
    data: Path, cases: list[Case], *, fast: bool, dump: Path | None = None, run_all: Mapper = map
) -> dict[str, Any]:
    """Everything that `--json` tells but for the cost of the guard and the goals."""
    began = time.perf_counter()
    told: dict[str, Any] = {"fast": fast, "cases": {}, "absent": []}
    for name in dict.fromkeys(case.set_name for case in cases):
        wanted = [case for case in cases if case.set_name == name]
        print(f"{name}: {', '.join(case.name for case in wanted)} ...", file=sys.stderr)
        one = group(data, name, wanted, fast=fast)
        if one is None:
            told["absent"].append(f"{name} (no files under {data / name})")
            continue
        told["cases"] |= measure(one, run_all, dump)
        told["absent"] += [f"{case.name} (no such pairs)" for case in wanted if case.name not in told["cases"]]
    told["seconds"] = round(time.perf_counter() - began, 1)
    return dict(measures.plain(told))


def main(arguments: list[str] | None = None) -> int:
    """`python -m benchmarks.first_hours`."""
    parser = parser_of("benchmarks.first_hours", __doc__)
    parser.add_argument("--only", metavar="LIST", help="cases, with commas")
    parser.add_argument("--fast", action="store_true", help="four targets a set, two starts each")
    parser.add_argument("--dump", type=Path, metavar="DIR", help="keep the answers, DIR/CASE/LINE/TARGET-ROW.npz")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write the forecast errors by age as an SVG")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2; 0: this one)")
    args = parser.parse_args(arguments)
    cases = chosen(args.only)
    options: dict[str, Any] = {"fast": args.fast, "dump": args.dump}
    if args.jobs > 0:
        warm_up()
        os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with ProcessPoolExecutor(args.jobs, get_context("spawn")) as pool:
            told = benchmark(folder(args.data), cases, run_all=pool.map, **options)
    else:
        told = benchmark(folder(args.data), cases, **options)
    if not args.only:
        # By itself: what runs beside it would be measured too.
        told["cost"] = measure_cost(fast=args.fast, tell=lambda what: print(what, file=sys.stderr))
    told["goals"] = judged(told)
    if args.picture is not None:
        args.picture.write_text(draw(told), encoding="utf-8")
    print(json.dumps(told)) if args.json else show(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
