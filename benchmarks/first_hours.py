"""What a seed is worth on the first day: `python -m benchmarks.first_hours [--data DIR] [--json] [--fast]`.

A service of JS-D2 is first seen at t0 (six starts each, 1.5 days apart); nothing of it before t0 may be used. Its
nearest sibling (distance of Kolmogorov and Smirnov between their histories, below 0.2) has run all along and hands
over a source snapshot at t0; where the sibling is not healthy then, its last healthy one. All lines are Graft's own
engine: `cold` no seed; `naive` a copy of the sibling's whole state, levels and all; `seeded` what `read_prior` lends;
`wrong` the same from a far service (distance above 0.45); `warm` the model that has watched the target all along.

Measures of the first day. error_ratio: |value - expected| on normal rows over warm's, geometric mean over the metrics
that move, median over runs. false_pages_day, recall_at_page: at page >= 1, one page an hour at most. ev_f1, rec_1d:
best F1 over events, and recall at one false page a day, with one common threshold for all runs. Seeded - cold comes
with a 90 % interval from a bootstrap over targets. refused_*: pairs of which `plan` keeps most classes cold, once the
target has been seen for a day; it is what a user is told before a wrong source is applied.

Law: labels are used for scoring only, and every line is printed, also where Graft is worse.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.quality_measures import Pages, event_f1, joined, pages_at, recall_within
from benchmarks.series_data import CONFIG, Array, Day, Recording, feed, folder, fresh, load, parser_of
from engine.errors import ConfigError
from engine.shard import Shard
from engine.snapshot import State
from engine.transfer import distil, plan, read_prior
from engine.transfer.match import COLD

SET, CASE = "JS-D2", "JS-D2-near-1d"
NEAR, FAR = 0.2, 0.45
START_DAYS, STARTS = 1.5, 6
LINES = ("cold", "naive", "wrong", "seeded", "warm")
BOOTSTRAPS = 400


class Service(NamedTuple):
    """One entity: where it may start, its checkpoints by row, and the day of its own warm model from each start."""

    record: Recording
    starts: list[int]
    checkpoints: dict[int, State]
    warm: dict[int, Day]


class Run(NamedTuple):
    """One first day: label and page (n,), error per metric over warm's."""

    target: int
    label: Array
    page: Array
    ratio: float


def watch(record: Recording, starts_most: int) -> Service:
    """Fold all of a recording once, leaving a checkpoint at each start and on the two days before the first."""
    day = record.rows_a_day
    last = len(record.values) - day
    starts = [at for k in range(starts_most) if (at := record.history + int(k * START_DAYS * day)) <= last]
    shard, at, checkpoints = fresh(record.values.shape[1]), 0, {}
    for stop in sorted({*starts, record.history - day, record.history - 2 * day}):
        feed(shard, record, at, stop)
        checkpoints[stop], at = shard.export(), stop
    warm = {start: feed(Shard.restore(checkpoints[start], CONFIG), record, start, start + day) for start in starts}
    return Service(record, starts, checkpoints, warm)


def distances(records: list[Recording]) -> Array:
    """Mean over metrics of the largest gap between two histories' distribution functions, (n, n); 9 on the diagonal."""
    grid = np.linspace(0.01, 0.99, 49)
    quantiles = [np.quantile(record.values[: record.history], grid, axis=0) for record in records]
    far = np.full((len(records), len(records)), 9.0)
    for i, j in np.ndindex(far.shape):
        if i < j:
            far[i, j] = far[j, i] = np.mean([_gap(a, b) for a, b in zip(quantiles[i].T, quantiles[j].T, strict=True)])
    return far


def _gap(a: Array, b: Array) -> float:
    both = np.concatenate([a, b])
    return float(np.abs(np.searchsorted(a, both, side="right") - np.searchsorted(b, both, side="right")).max()) / len(a)


class Sources:
    """Source snapshots, distilled once each; counts the checkpoints that were refused as not healthy."""

    def __init__(self, services: list[Service]) -> None:
        self._services = services
        self._made: dict[tuple[int, int], State | None] = {}
        self.refused = 0

    def at(self, j: int, row: int) -> State | None:
        """The newest healthy snapshot of service j at a row; None if it has none."""
        if (j, row) not in self._made:
            self._made[j, row] = self._newest(j, row)
        return self._made[j, row]

    def _newest(self, j: int, row: int) -> State | None:
        for stop in sorted((at for at in self._services[j].checkpoints if at <= row), reverse=True):
            try:
                return distil(self._services[j].checkpoints[stop])
            except ConfigError:
                self.refused += 1
        return None


def first_day(line: str, target: Service, near: Service, start: int, source: State | None) -> Day:
    """The target's first day under one line."""
    end = start + target.record.rows_a_day
    if line == "warm":
        return target.warm[start]
    if line == "naive":
        return feed(Shard.restore(near.checkpoints[start], CONFIG), target.record, start, end)
    prior = read_prior(source) if line in ("seeded", "wrong") and source is not None else None
    return feed(fresh(target.record.values.shape[1], prior=prior), target.record, start, end)


def error_ratio(record: Recording, start: int, day: Day, warm: Day) -> float:
    """Forecast error over warm's. A metric that does not move that day has no error to compare."""
    values = record.values[start : start + len(day.page)]
    normal = ~record.label[start : start + len(day.page)]
    normal[:2] = False  # no line can expect anything of the first sample
    size = np.nanstd(values, axis=0)
    moves = size > 1e-5 * (np.abs(np.nanmean(values, axis=0)) + 1e-9)
    own, theirs = (np.nanmean(np.abs(values - one.expected)[normal][:, moves], axis=0) for one in (day, warm))
    floor = 0.01 * size[moves]
    return float(np.exp(np.mean(np.log((own + floor) / (theirs + floor)))))


def count(runs: list[Run], thresholds: Array, rows_a_day: int) -> Pages:
    """What would have been paged at each threshold, per run; after a page, silence for an hour."""
    silence = max(rows_a_day // 24, 1)
    return joined([
        pages_at(run.label, np.nan_to_num(run.page), thresholds, silence=silence, rows_a_day=rows_a_day)
        for run in runs
    ])  # fmt: skip


def thresholds_of(runs: list[Run]) -> Array:
    """Common thresholds, falling; the last is 1, where the engine itself would page."""
    pages = np.nan_to_num(np.concatenate([run.page for run in runs]))
    points = np.unique(np.quantile(pages, 1 - np.geomspace(1e-5, 0.3, 80)))[::-1]
    return np.concatenate([points[points > 0], [1.0]])


def measures(counts: Pages, ratios: Array, weight: Array) -> dict[str, float]:
    """The numbers of one line; weight (r,): how often each run counts (for the bootstrap)."""
    once = weight[None, :]
    found, false = counts.found, counts.false
    curve = counts._replace(found=found[:, :-1], right=counts.right[:, :-1], false=false[:, :-1])
    return {
        "error_ratio": float(np.median(np.repeat(ratios, weight.astype(int)))),
        "false_pages_day": float(weight @ false[:, -1] / (weight @ counts.days)),
        "recall_at_page": float(weight @ found[:, -1] / max(float(weight @ counts.events), 1.0)),
        "ev_f1": float(event_f1(curve, once)[0]),
        "rec_1d": float(recall_within(curve, once, 1.0)[0]),
    }


def score(lines: dict[str, list[Run]], rows_a_day: int) -> dict[str, Any]:
    """All measures of all lines, the bootstrap of seeded - cold, gap closed and harm."""
    counted = {line: count(runs, thresholds_of(runs), rows_a_day) for line, runs in lines.items()}
    ratios = {line: np.array([run.ratio for run in runs]) for line, runs in lines.items()}
    targets = np.array([run.target for run in lines["cold"]])
    once = np.ones(len(targets))
    case: dict[str, Any] = {line: measures(counted[line], ratios[line], once) for line in lines}
    case["seeded_minus_cold"] = _bootstrap(counted, ratios, targets)
    gap = case["warm"]["ev_f1"] - case["cold"]["ev_f1"]
    case["gap_closed"] = (case["seeded"]["ev_f1"] - case["cold"]["ev_f1"]) / gap if gap > 0 else None
    of = [targets == target for target in np.unique(targets)]
    harm = np.array([ratios["seeded"][own].mean() / ratios["cold"][own].mean() - 1.0 for own in of])
    wrong = np.array([ratios["wrong"][own].mean() / ratios["cold"][own].mean() - 1.0 for own in of])
    case |= {"harm_mean": float(harm.mean()), "harm_worst": float(harm.max()), "harm_wrong_mean": float(wrong.mean())}
    case |= {"targets": len(of), "runs": len(targets), "events": int(counted["cold"].events.sum())}
    return case


def _bootstrap(counted: dict[str, Pages], ratios: dict[str, Array], targets: Array) -> dict[str, list[float]]:
    """measure -> [5 %, 50 %, 95 %] of seeded - cold over resampled targets."""
    rng, names = np.random.default_rng(0), np.unique(targets)
    found: list[dict[str, float]] = []
    for _ in range(BOOTSTRAPS):
        picked = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weight = picked[np.searchsorted(names, targets)].astype(float)
        one, other = (measures(counted[line], ratios[line], weight) for line in ("seeded", "cold"))
        found.append({name: one[name] - other[name] for name in one})
    return {name: np.quantile([one[name] for one in found], [0.05, 0.5, 0.95]).round(4).tolist() for name in found[0]}


def refusals(services: list[Service], far: Array, sources: Sources, *, most: int) -> dict[str, Any]:
    """Share of near and of far pairs of which a plan keeps most classes cold, after the target's first day."""
    kept: dict[str, list[float]] = {"near": [], "far": []}
    for i, target in enumerate(services[:most]):
        start = target.starts[-1]
        shard = fresh(target.record.values.shape[1])
        feed(shard, target.record, start, start + target.record.rows_a_day)
        seen = shard.export()
        for j in range(len(services)):
            source = sources.at(j, start) if j != i and not NEAR <= far[i, j] <= FAR else None
            if source is not None:
                entries = plan(source, seen).entries
                cold = sum(entry.zone == COLD for entry in entries) > len(entries) / 2
                kept["near" if far[i, j] < NEAR else "far"].append(float(cold))
    return {f"refused_{zone}": float(np.mean(found)) if found else None for zone, found in kept.items()}


def run(records: list[Recording], *, starts: int, most: int, note: Callable[[str], None]) -> dict[str, Any]:
    """The near case of one set."""
    note(f"{SET}: {len(records)} services; watching each once")
    services, far = [watch(record, starts) for record in records], distances(records)
    sources, rng = Sources(services), np.random.default_rng(0)
    lines: dict[str, list[Run]] = {line: [] for line in LINES}
    targets = [i for i in range(len(services)) if far[i].min() < NEAR][:most]
    for i in targets:
        near, strangers = int(np.argmin(far[i])), np.flatnonzero((far[i] > FAR) & (far[i] < 9.0))
        stranger = int(rng.choice(strangers)) if len(strangers) else near
        for start in services[i].starts:
            for line in LINES:
                source = sources.at(stranger if line == "wrong" else near, start)
                day = first_day(line, services[i], services[near], start, source)
                ratio = error_ratio(records[i], start, day, services[i].warm[start])
                label = records[i].label[start : start + len(day.page)]
                lines[line].append(Run(i, label, day.page, ratio))
    note("scoring")
    case = score(lines, records[0].rows_a_day) | refusals(services, far, sources, most=most)
    return case | {"checkpoints_refused": sources.refused}


def _print(case: dict[str, Any]) -> None:
    print(f"{CASE}: {case['targets']} targets, {case['runs']} first days, {case['events']} events")
    columns = ("error_ratio", "false_pages_day", "recall_at_page", "ev_f1", "rec_1d")
    print(f"{'line':<8}" + "".join(f"{name:>17}" for name in columns))
    for line in LINES:
        print(f"{line:<8}" + "".join(f"{case[line][name]:>17.3f}" for name in columns))
    print("seeded - cold, 90 % interval over targets:")
    for name, (low, middle, high) in case["seeded_minus_cold"].items():
        print(f"  {name:<16} {middle:+.3f} [{low:+.3f}, {high:+.3f}]")
    print(
        f"forecast loss against cold, per target: mean {case['harm_mean']:+.1%}, worst {case['harm_worst']:+.1%}; from "
        f"a wrong source without a plan: {case['harm_wrong_mean']:+.1%}"
    )
    print(f"plan after a day refuses: far {case['refused_far']:.0%}, near {case['refused_near']:.0%}")


def main() -> int:
    """Run it."""
    parser = parser_of("benchmarks.first_hours", __doc__)
    parser.add_argument("--fast", action="store_true", help="six targets, two starts each")
    args = parser.parse_args()
    began = time.perf_counter()
    data = folder(args.data)
    records = load(data, SET)
    told: dict[str, Any] = {"cases": {}, "absent": [] if records else [f"{SET} (no files under {data / SET})"]}
    if records:
        starts, most = (2, 6) if args.fast else (STARTS, len(records))
        told["cases"][CASE] = run(records, starts=starts, most=most, note=lambda text: print(text, file=sys.stderr))
    told["seconds"] = round(time.perf_counter() - began, 1)
    if args.json:
        print(json.dumps(told))
    elif records:
        _print(told["cases"][CASE])
    else:
        print(f"absent: {told['absent'][0]}; give --data DIR or set GRAFT_DATA")
    return 0


if __name__ == "__main__":
    sys.exit(main())
