"""The numbers of `benchmarks.first_hours`: what one run was like, and what many runs of several lines say together.

Owns the formulas; arrays and runs in, plain numbers out. Knows no data set, no engine and no source. Labels are used
here and nowhere else.

error: |value - expected| on normal rows over the warm model's, geometric mean over the metrics that move in the
window; median over runs. Pages: one an hour at most; an event is found if a page starts within it. ev_f1, rec_1d:
best F1 over events and recall at one false page a day, one common threshold for all runs of a line. An age is that of
the target; an event is of the age at which it begins; day_one is told where the window is longer than one day. late:
hourly error over another line's from two hours on, geometric mean of a run. Intervals: 5 %, 50 %, 95 % of a bootstrap
over targets. None stands for a number that cannot be had.

Not obvious: a target has few rows in its first days, so even a perfect rate is not always seen as one. With the 1,700
rows of six first days at 300 s, 72 % of targets would be within a factor of two; with 8,300 at 60 s, 91 %.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from benchmarks.quality_measures import PROMISED, Pages, event_f1, is_honest, joined, pages_at, recall_within
from benchmarks.quality_sets import segments
from benchmarks.series_data import Array, Recording

#: Ages in hours.
BANDS = ((0, 1), (1, 3), (3, 6), (6, 12), (12, 24), (24, 48))
BOOTSTRAPS, CURVE = 400, 80
ALARM_SEVERITY = 3.0
#: A rate is judged within these hours.
RATE_HOURS = (1, 24)
#: As good as the warm model.
PARITY = 1.1
#: Forecast loss over that of `cold` which counts as hurt.
HURT = 0.02
#: By then a guard must have seen through a source.
LATE_HOURS = 2
#: Lines whose harm against cold is told, and how its keys begin.
HARMED = {"seeded": "harm", "wrong": "harm_wrong", "unguarded": "harm_unguarded", "naive": "harm_naive"}


class Run(NamedTuple):
    """One line on one target from one start. label, page, severity (n,); ratio: forecast error over warm's.

    bands: the same by age; hourly: hour by hour; day_one: of the first 24 hours. NaN where there is nothing to compare.
    """

    target: int
    rows_an_hour: float
    label: Array
    page: Array
    severity: Array
    ratio: float
    bands: Array
    hourly: Array
    day_one: float = float("nan")

    @property
    def rows_a_day(self) -> int:
        """Rows of 24 hours."""
        return round(24 * self.rows_an_hour)


def run_of(target: int, record: Recording, start: int, rows: int, said: tuple[Array, Array, Array], warm: Array) -> Run:
    """said: expected (m, d), severity and page (m,) of a line; warm: expected of the warm model; m >= rows."""
    expected, severity, page = (column[:rows] for column in said)
    values, label = record.values[start : start + rows], record.label[start : start + rows]
    an_hour = record.rows_a_day / 24.0
    normal = ~label
    normal[:2] = False  # no line can expect anything of the first sample
    size = np.nanstd(values, axis=0)
    moves = size > 1e-5 * (np.abs(np.nanmean(values, axis=0)) + 1e-9)
    floor = 0.01 * size[moves]
    own, theirs = (np.abs(values - one)[:, moves] for one in (expected, warm[:rows]))

    def between(begin_h: float, end_h: float) -> float:
        part = slice(round(begin_h * an_hour), round(end_h * an_hour))
        return _ratio(own[part][normal[part]], theirs[part][normal[part]], floor)

    hours = round(rows / an_hour)
    bands = np.array([between(*band) if band[1] <= hours else np.nan for band in BANDS])
    hourly = np.array([between(hour, hour + 1) for hour in range(hours)])
    day_one = between(0, 24) if hours >= 24 else float("nan")
    return Run(target, an_hour, label, page, severity, between(0, hours), bands, hourly, day_one)


def _ratio(own: Array, theirs: Array, floor: Array) -> float:
    """Geometric mean over the columns of which both have an error."""
    mean, other = _mean_rows(own), _mean_rows(theirs)
    both = np.isfinite(mean) & np.isfinite(other)
    if not both.any():
        return float("nan")
    return float(np.exp(np.mean(np.log((mean[both] + floor[both]) / (other[both] + floor[both])))))


def _mean_rows(errors: Array) -> Array:
    """Mean of each column over its numbers; NaN where it has none."""
    count = np.isfinite(errors).sum(axis=0)
    return np.where(count > 0, np.nansum(errors, axis=0) / np.maximum(count, 1), np.nan)


def hours_to_parity(hourly: Array) -> float:
    """Age from which each hour's error is within 1.1 of the warm model's; the whole length if it never is.

    NaN where no hour can be compared.

    >>> hours_to_parity(np.array([2.0, 1.0, 1.3, 1.05, np.nan, 1.0]))
    3.0
    """
    if not np.isfinite(hourly).any():
        return float("nan")
    late = np.flatnonzero(hourly > PARITY)
    return float(late[-1] + 1) if len(late) else 0.0


class Counted(NamedTuple):
    """All that a line's numbers are made of. curve: at common thresholds; at_one (r, 1): at page >= 1; ratio (r,)."""

    curve: Pages
    at_one: Pages
    ratio: Array


def count(runs: list[Run]) -> Counted:
    """What would have been paged in each run."""
    pages = [np.nan_to_num(run.page) for run in runs]
    points = np.unique(np.quantile(np.concatenate(pages), 1.0 - np.geomspace(1e-5, 0.3, CURVE)))[::-1]
    points = points[points > 0] if (points > 0).any() else np.ones(1)

    def paged(thresholds: Array) -> Pages:
        return joined([
            pages_at(run.label, page, thresholds, silence=_silence(run), rows_a_day=run.rows_a_day)
            for run, page in zip(runs, pages, strict=True)
        ])  # fmt: skip

    return Counted(paged(points), paged(np.ones(1)), np.array([run.ratio for run in runs]))


def _silence(run: Run) -> int:
    return max(run.rows_a_day // 24, 1)


def figures(one: Counted, weight: Array) -> dict[str, float]:
    """The numbers of one line; weight (r,): how often each run counts (for the bootstrap)."""
    once, at_one = weight[None, :], one.at_one
    return {
        "error_ratio": _median(np.repeat(one.ratio, weight.astype(int))),
        "false_pages_day": float(weight @ at_one.false[:, 0] / (weight @ at_one.days)),
        "recall_at_page": float(weight @ at_one.found[:, 0] / max(float(weight @ at_one.events), 1.0)),
        "ev_f1": float(event_f1(one.curve, once)[0]),
        "rec_1d": float(recall_within(one.curve, once, 1.0)[0]),
    }


def _median(numbers: Array) -> float:
    """Of those that are numbers; NaN if none is."""
    known = numbers[np.isfinite(numbers)]
    return float(np.median(known)) if len(known) else float("nan")


def rates(runs: list[Run]) -> dict[str, float]:
    """Severity as a probability: share of targets whose rate is within a factor of two of promised, and mean ratio."""
    by_target: dict[int, list[Array]] = {}
    for run in runs:
        part = slice(*(round(hour * run.rows_an_hour) for hour in RATE_HOURS))
        severity = run.severity[part][~run.label[part]]
        by_target.setdefault(run.target, []).append(severity[np.isfinite(severity)])
    joint = [np.concatenate(each) for each in by_target.values()]
    ratio = np.array([np.mean(each >= ALARM_SEVERITY) / PROMISED for each in joint if len(each)])
    if not len(ratio):
        return {"rate_ok": float("nan"), "rate_mean": float("nan")}
    return {"rate_ok": float(np.mean(is_honest(ratio))), "rate_mean": float(ratio.mean())}


def by_age(runs: list[Run]) -> dict[str, dict[str, float]]:
    """error_ratio, false_pages_day, recall_at_page at page >= 1, and events, for each age that the window has."""
    hours = len(runs[0].hourly)
    aged = [_page_ages(run) for run in runs]
    return {
        f"{begin}-{end}": _between(begin, end, aged, [run.bands[at] for run in runs])
        for at, (begin, end) in enumerate(BANDS)
        if end <= hours
    }


def day_one(runs: list[Run]) -> dict[str, float]:
    """The same of the first 24 hours."""
    return _between(0, 24, [_page_ages(run) for run in runs], [run.day_one for run in runs])


def _between(begin: int, end: int, aged: list[_Ages], errors: list[float]) -> dict[str, float]:
    false = sum(int(((begin <= ages.false) & (ages.false < end)).sum()) for ages in aged)
    in_band = [(begin <= ages.event) & (ages.event < end) for ages in aged]
    events = sum(int(mask.sum()) for mask in in_band)
    hits = sum(int(ages.is_found[mask].sum()) for ages, mask in zip(aged, in_band, strict=True))
    return {
        "error_ratio": _median(np.array(errors)),
        "false_pages_day": 24.0 * false / (len(aged) * (end - begin)),
        "recall_at_page": hits / events if events else float("nan"),
        "events": events,
    }


class _Ages(NamedTuple):
    """Hours at which there were false pages, at which events began, and whether those were found."""

    false: Array
    event: Array
    is_found: Array


def _page_ages(run: Run) -> _Ages:
    starts = page_rows(np.nan_to_num(run.page), _silence(run))
    events = segments(run.label)
    is_found = np.array([bool(((begin <= starts) & (starts < end)).any()) for begin, end in events], bool)
    return _Ages(starts[~run.label[starts]] / run.rows_an_hour, events[:, 0] / run.rows_an_hour, is_found)


def page_rows(page: Array, silence: int) -> Array:
    """Rows at which a page is sent: at 1 or more, and then nothing for so many rows.

    >>> page_rows(np.array([0, 2, 2, 0, 2, 1]), 3).tolist()
    [1, 4]
    """
    found: list[int] = []
    for at in np.flatnonzero(page >= 1.0).tolist():
        if not found or at >= found[-1] + silence:
            found.append(at)
    return np.array(found, int)


def score(lines: dict[str, list[Run]]) -> dict[str, Any]:
    """All numbers of all lines of a case, and what the lines say about one another."""
    counted = {line: count(runs) for line, runs in lines.items()}
    targets = np.array([run.target for run in lines["cold"]])
    once = np.ones(len(targets))
    case: dict[str, Any] = {}
    for line, runs in lines.items():
        ages = np.array([hours_to_parity(run.hourly) for run in runs])
        case[line] = figures(counted[line], once) | rates(runs)
        case[line] |= {"hours_to_parity": _median(ages), "by_age": by_age(runs)}
        if len(runs[0].hourly) > 24:
            case[line]["day_one"] = day_one(runs)
    case["seeded_minus_cold"] = differences(counted["seeded"], counted["cold"], targets)
    case["warm_minus_cold"] = differences(counted["warm"], counted["cold"], targets)
    case["gap_closed"] = gap_closed(case)
    for line, key in HARMED.items():
        found = harm(counted[line].ratio, counted["cold"].ratio, targets)
        case |= {f"{key}_{name}": value for name, value in found.items()}
    case["share_hurt"] = case.pop("harm_share_hurt")
    events = int(counted["cold"].at_one.events.sum())
    return case | {"targets": len(np.unique(targets)), "runs": len(targets), "events": events}


def gap_closed(case: dict[str, Any]) -> float | None:
    """(seeded - cold) / (warm - cold) in ev_f1; None where warm is not surely better than cold."""
    if case["warm_minus_cold"]["ev_f1"][0] <= 0:
        return None
    cold, seeded, warm = (case[line]["ev_f1"] for line in ("cold", "seeded", "warm"))
    return float((seeded - cold) / (warm - cold)) if warm > cold else None


def harm(own: Array, cold: Array, targets: Array) -> dict[str, float]:
    """Forecast loss against cold, per target the mean over its runs, as a fraction: mean, worst, share over 2 %."""
    with np.errstate(invalid="ignore"):
        loss = own / cold - 1.0
    each = [loss[(targets == target) & np.isfinite(loss)] for target in np.unique(targets)]
    found = np.array([one.mean() for one in each if len(one)])
    if not len(found):
        return dict.fromkeys(("mean", "worst", "share_hurt"), float("nan"))
    return {"mean": float(found.mean()), "worst": float(found.max()), "share_hurt": float(np.mean(found > HURT))}


def late(own: list[Run], cold: list[Run]) -> dict[str, float]:
    """Error over cold's from two hours on: median and worst of the runs of which both have one."""
    with np.errstate(invalid="ignore"):
        logs = [np.log(a.hourly[LATE_HOURS:] / b.hourly[LATE_HOURS:]) for a, b in zip(own, cold, strict=True)]
    each = np.array([np.exp(one[np.isfinite(one)].mean()) for one in logs if np.isfinite(one).any()])
    if not len(each):
        return dict.fromkeys(("median", "worst"), float("nan"))
    return {"median": float(np.median(each)), "worst": float(each.max())}


def differences(one: Counted, other: Counted, targets: Array) -> dict[str, list[float]]:
    """measure -> [5 %, 50 %, 95 %] of one less the other over resampled targets."""
    rng, names = np.random.default_rng(0), np.unique(targets)
    found: list[dict[str, float]] = []
    for _ in range(BOOTSTRAPS):
        picked = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weight = picked[np.searchsorted(names, targets)].astype(float)
        first, second = figures(one, weight), figures(other, weight)
        found.append({name: first[name] - second[name] for name in first})
    return {name: np.quantile([draw[name] for draw in found], [0.05, 0.5, 0.95]).round(4).tolist() for name in found[0]}


def plain(told: Any) -> Any:
    """The same with None for what is no number, as JSON has no NaN.

    >>> plain({"a": [1.0, float("nan")]})
    {'a': [1.0, None]}
    """
    if isinstance(told, dict):
        return {key: plain(value) for key, value in told.items()}
    if isinstance(told, list):
        return [plain(value) for value in told]
    return None if isinstance(told, float) and not np.isfinite(told) else told
