"""`python -m benchmarks.drift`: metrics that change in a known way. Is it named, absorbed, and paged no more than once?

Two hundred made-up cases of each kind (`benchmarks/drift_cases.py`), each an entity of one or four metrics, of which
one changes: a deploy's step, all values doubled or halved, the day shifted, threefold variance, another day; an outage
that begins as a deploy does; and nothing at all. Every case runs twice in this process, with re-tuning and without,
which is the baseline. Orders are carried out at the sample that raised the drift, as `graft replay` does.

What is counted, in samples after the change, of the metric that changes:
  named     the first re-tune that was kept is of the right kind; seen: the first drift is
  within_30 the right one was kept within 30 samples (a season: within three days)
  absorbed  from within 30 samples on, the median error of 30 forecasts is at most half as large again as before
  alerts    alerts that fire within a day of the change: at most one, and at least one
  returned  (outages) what was kept was rolled back when it was over, or nothing was kept
  false     re-tunes kept before the change, for 10,000 hours of a series; the kind `still` has no change
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np

from benchmarks import drift_cases
from benchmarks.drift_cases import DAY_MS, START_MS, Case, case, log

CASES, FAST = 200, 12
#: Samples within which a change should be absorbed, and days for another season.
SOON, SEASON_DAYS = 30, 3
ACTION_KIND = {"relevel": "level", "regain": "gain", "rescale": "scale", "rephase": "phase", "relearn": "season"}


class Run(NamedTuple):
    """One case. Moments in samples after the change; drifts, kept: (kind, moment); early: kept before the change."""

    kind: str
    step_s: int
    hours: float
    right: tuple[str, ...]
    drifts: list[tuple[str, float]]
    kept: list[tuple[str, float]]
    rolled_back: int
    alerts: int
    is_absorbed: bool
    early: int


def fold(one: Case, *, is_tuned: bool) -> tuple[list[dict[str, Any]], Any]:
    """(records with their topic, |error| of the changed metric by sample)."""
    from engine.batch import Batch
    from engine.config import EngineConfig
    from engine.errors import BadSample
    from engine.retune import Tuner
    from engine.series import Kind, Series
    from engine.shard import Shard

    shard = Shard(EngineConfig(counters_from_shape=False), topic="made", partition=0)
    shard.next_offset = 0
    metrics = one.values.shape[1]
    rows = np.array([shard.admit(Series.of(f"m{j}", {"host": "made"}, Kind.GAUGE)) for j in range(metrics)])
    row, ts_ms, value, offset = log(one, rows, 0)
    batch = Batch.of(row, ts_ms, value, offset, len(offset))
    tuner, told, begin, expected = Tuner() if is_tuned else None, [], 0, []
    while begin < len(batch.row):
        rest = Batch(*(column[begin:] for column in batch[:4]), batch.next_offset)
        verdicts = shard.process(rest, stop_at_drift=True)
        begin += verdicts.consumed
        expected.append(verdicts.expected)
        told += [{**record.value, "topic": record.topic} for record in verdicts.records]
        for record in verdicts.records:
            order = tuner.order_for(record.value) if tuner and record.topic == "drift" else None
            if order is None:
                continue
            try:
                answers = shard.apply(order, control_partition=0, next_offset=1)
            except BadSample:  # another trial goes on, or it is barred
                continue
            told += [{**answer.value, "topic": answer.topic} for answer in answers]
    every = np.concatenate(expected).reshape(-1, metrics)
    return told, np.abs(one.values[:, one.lead] - every[:, one.lead])


def run(job: tuple[str, int, bool]) -> Run:
    """One case, with re-tuning or without."""
    kind, number, is_tuned = job
    one = case(kind, number)
    told, error = fold(one, is_tuned=is_tuned)
    changed_ms, step_ms = START_MS + one.at * one.step_s * 1000, one.step_s * 1000
    after = [(record, (record["at_ms"] - changed_ms) / step_ms) for record in told]
    mine = [(record, at) for record, at in after if str(record.get("series")).startswith(f"m{one.lead}{{") and at >= 0]
    kept = [(ACTION_KIND[r["action"]], at) for r, at in mine if r["topic"] == "experiments" and r["finding"] == "kept"]
    before = float(np.nanmedian(error[max(one.at - 200, 0) : one.at]))
    soon = (float(np.nanmedian(error[one.at + at : one.at + at + 30])) for at in range(SOON + 1))
    return Run(
        kind,
        one.step_s,
        one.at * one.step_s / 3600 * one.values.shape[1],
        one.right,
        [(r["kind"], at) for r, at in mine if r["topic"] == "drift"],
        kept,
        sum(r["topic"] == "experiments" and r["finding"] == "rolled_back" for r, _ in mine),
        sum(
            r["topic"] == "alerts" and r["state"] == "firing" and 0 <= at * step_ms < DAY_MS for r, at in after
        ),
        any(value <= 1.5 * before for value in soon),
        sum(r["topic"] == "experiments" and r.get("finding") == "kept" and at < 0 for r, at in after),
    )  # fmt: skip


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """Shares of the cases of one kind."""
    within = [SEASON_DAYS * 86_400 / one.step_s if one.kind == "season" else SOON for one in runs]

    def share(found: Sequence[bool]) -> float:
        return round(float(np.mean(found)), 3) if found else float("nan")

    return {
        "cases": len(runs),
        "seen": share([bool(one.drifts) and one.drifts[0][0] in one.right for one in runs]),
        "named": share([bool(one.kept) and one.kept[0][0] in one.right for one in runs]),
        "within_30": share(
            [any(k in one.right and at <= most for k, at in one.kept) for one, most in zip(runs, within, strict=True)]
        ),
        "absorbed": share([one.is_absorbed for one in runs]),
        "alerts_at_most_1": share([one.alerts <= 1 for one in runs]),
        "alerted": share([one.alerts >= 1 for one in runs]),
        "returned": share([one.rolled_back > 0 or not one.kept for one in runs]),
        "false_per_10k_h": round(1e4 * sum(one.early for one in runs) / sum(one.hours for one in runs), 2),
    }


def measure(kinds: Sequence[str], cases: int, jobs: int) -> dict[str, Any]:
    """Kind -> retuned and off, and by step of the series."""
    work = [(kind, number, is_tuned) for kind in kinds for number in range(cases) for is_tuned in (True, False)]
    with get_context("spawn").Pool(jobs) as pool:
        found = pool.map(run, work, chunksize=4)
    results: dict[str, Any] = {}
    for kind in kinds:
        by = {
            name: [one for one, job in zip(found, work, strict=True) if job[0] == kind and job[2] == is_tuned]
            for name, is_tuned in (("retuned", True), ("off", False))
        }
        results[kind] = {name: summary(runs) for name, runs in by.items()}
        results[kind]["by_step_s"] = {
            step_s: summary([one for one in by["retuned"] if one.step_s == step_s]) for step_s in drift_cases.STEPS_S
        }
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", default=",".join(drift_cases.KINDS), help="kinds, with commas between")
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--fast", action="store_true", help=f"{FAST} cases of each kind")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    kinds = options.only.split(",")
    if unknown := set(kinds) - set(drift_cases.KINDS):
        parser.error(f"{min(unknown)!r} is no kind; known: {', '.join(drift_cases.KINDS)}")
    results = measure(kinds, FAST if options.fast else options.cases, options.jobs)
    if options.json:
        json.dump({"kinds": results}, sys.stdout)
        return 0
    names = list(next(iter(results.values()))["retuned"])
    print(f"{'kind':10}{'':10}" + "".join(f"{name:>17}" for name in names))
    for kind, lines in results.items():
        told = {"retuned": lines["retuned"], "off": lines["off"]}
        told |= {f"  {step_s} s": one for step_s, one in lines["by_step_s"].items()}
        for name, values in told.items():
            print(f"{kind:10}{name:10}" + "".join(f"{values[one]:>17}" for one in names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
