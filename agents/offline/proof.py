"""Proof: the numbers of `graft plan --prove`, `graft.proof/1`: one run's, and what all runs say together. Pure.

error: |truth - expected| of a line over the warm one's on the same samples, geometric mean over the metrics that move
in the window; median over runs. change: seeded over cold less 1, mean over a target's runs. Pages: at page >= 1, one an
hour at most; nobody has labelled them, so none of them is called false. Intervals: 5 % and 95 % of a bootstrap over
targets. None stands for a number that cannot be had.

Not obvious: where the warm line is not surely better than the cold one, a seed has nothing to gain, and no share of the
gap is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array
from engine.transfer.trial import ADOPTED, PASSED, REFUSED, RETURNED

SCHEMA = "graft.proof/1"
LINES = ("cold", "seeded", "warm")
#: Ages in hours.
BANDS = ((0, 1), (1, 3), (3, 6), (6, 12), (12, 24))
HOURS, HOUR_MS = 24, 3_600_000
#: As good as the warm line.
PARITY = 1.1
#: A target is hurt if its errors grow by more; and a seed hurts on the mean (exit status 1) if the mean does.
HURT, HURT_MEAN = 0.02, 0.005
BOOTSTRAPS = 400
#: What became of a run's seed, beside the words of `engine.transfer.trial`.
UNDECIDED, NO_SOURCE = "undecided", "no source"
OUTCOMES = (PASSED, ADOPTED, RETURNED, REFUSED, UNDECIDED, NO_SOURCE)


class Answers(NamedTuple):
    """One line in one window: expected (n,) of each sample, NaN: no answer; page_ms: ticks that page."""

    expected: Array
    page_ms: Array


class Run(NamedTuple):
    """One target from one start. Of cold and seeded: ratio, bands (5,), hourly (24,): error over warm's, NaN: none.

    pages: of each line within the day. outcome: one of OUTCOMES.
    """

    target: int
    start_ms: int
    ratio: dict[str, float]
    bands: dict[str, Array]
    hourly: dict[str, Array]
    pages: dict[str, int]
    outcome: str


#: Runs by target.
Groups = Sequence[Sequence[Run]]


def run_of(
    target: int, start_ms: int, age_h: Array, at: Array, truth: Array, answers: Mapping[str, Answers], outcome: str
) -> Run:
    """The numbers of one window. age_h, truth (n,): of each sample; at (n,): its series; answers: line -> its own."""
    width = int(at.max(initial=-1)) + 1
    floor = _floor(at, truth, width)
    errors = {line: np.abs(truth - answers[line].expected) for line in LINES}
    known = np.all([np.isfinite(one) for one in errors.values()], axis=0) & np.isfinite(floor[at])

    def ratio(line: str, begin_h: float, end_h: float) -> float:
        part = known & (begin_h <= age_h) & (age_h < end_h)
        if not part.any():
            return float("nan")
        count = np.bincount(at[part], minlength=width)
        seen = count > 0
        own, theirs = (
            np.bincount(at[part], errors[name][part], width)[seen] / count[seen] + floor[seen]
            for name in (line, "warm")
        )
        return float(np.exp(np.mean(np.log(own / theirs))))

    told = LINES[:2]
    return Run(
        target,
        start_ms,
        {line: ratio(line, 0, HOURS) for line in told},
        {line: np.array([ratio(line, *band) for band in BANDS]) for line in told},
        {line: np.array([ratio(line, hour, hour + 1) for hour in range(HOURS)]) for line in told},
        {line: pages_sent(answers[line].page_ms) for line in LINES},
        outcome,
    )


def _floor(at: Array, truth: Array, width: int) -> Array:
    """A hundredth of each series' spread (d,), below which an error is none; NaN where it does not move."""
    floor = np.full(width, np.nan)
    for number in range(width):
        values = truth[at == number]
        values = values[np.isfinite(values)]
        if len(values) > 1 and (size := float(values.std())) > 1e-5 * (abs(float(values.mean())) + 1e-9):
            floor[number] = 0.01 * size
    return floor


def pages_sent(page_ms: Array) -> int:
    """Pages, each followed by an hour of silence.

    >>> pages_sent(np.array([0, 60_000, 3_600_000, 3_700_000]))
    2
    """
    sent, silent_until = 0, -np.inf
    for moment in page_ms.tolist():
        if moment >= silent_until:
            sent, silent_until = sent + 1, moment + HOUR_MS
    return sent


def proof(
    runs: Sequence[Run],
    names: Sequence[str],
    *,
    source: str | None,
    entities_found: int,
    history_h: float,
    refused: Sequence[str] = (),
) -> dict[str, Any]:
    """`graft.proof/1`. names: of all entities that took part; source: of the snapshot, None: the other entities."""
    groups = _grouped(runs)
    outcomes = Counter(run.outcome for run in runs)
    told: dict[str, Any] = {
        "schema": SCHEMA,
        "source": source or "the other entities",
        "left_out": source is None,
        "entities": len(names),
        "entities_found": entities_found,
        "targets": len(groups),
        "runs": len(runs),
        "history_h": round(history_h, 1),
        "by_age": [_band(groups, at) for at in range(len(BANDS))],
        "error": {line: _told(groups, partial(_median, line=line)) for line in LINES[:2]},
        "seeded_minus_cold": _told(groups, lambda of: _median(of, "seeded") - _median(of, "cold")),
        "harm": _harm(groups, names),
        "hours_to_parity": {line: _parity(runs, line) for line in LINES[:2]},
        "pages_a_day": {line: _told(groups, partial(_pages, line=line)) for line in LINES},
        "guard": {word: outcomes[word] for word in OUTCOMES} | _shares(outcomes),
        "sources_refused": {"times": len(refused), "first": refused[0] if refused else None},
        "by_target": [_target(one, names) for one in groups],
    }
    cold = told["error"]["cold"]
    told["warm_is_better"] = cold["low"] is not None and cold["low"] > 1.0
    told["gap_closed"] = _gap_closed(told)
    told["hurts"] = (told["harm"]["mean"]["value"] or 0.0) > HURT_MEAN
    return told | {"headline": headline(told)}


def _grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each target."""
    found: dict[int, list[Run]] = {}
    for run in runs:
        found.setdefault(run.target, []).append(run)
    return [found[target] for target in sorted(found)]


def _told(groups: Groups, figure: Callable[[Groups], float]) -> dict[str, float | None]:
    """value, low, high of a figure over targets drawn again and again."""
    rng, count = np.random.default_rng(0), len(groups)
    draws = [figure([groups[pick] for pick in rng.integers(0, count, count)]) for _ in range(BOOTSTRAPS)]
    known = np.array([one for one in draws if isfinite(one)])
    low, high = np.quantile(known, [0.05, 0.95]) if len(known) else (np.nan, np.nan)
    return {"value": _plain(figure(groups)), "low": _plain(low), "high": _plain(high)}


def _plain(number: float) -> float | None:
    return round(float(number), 4) if isfinite(number) else None


def _median(groups: Groups, line: str) -> float:
    return _middle([run.ratio[line] for runs in groups for run in runs])


def _middle(numbers: Sequence[float]) -> float:
    known = [one for one in numbers if isfinite(one)]
    return float(np.median(known)) if known else float("nan")


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else float("nan")


def _band(groups: Groups, at: int) -> dict[str, Any]:
    def middle(of: Groups, line: str) -> float:
        return _middle([float(run.bands[line][at]) for runs in of for run in runs])

    return {
        "from_h": BANDS[at][0],
        "to_h": BANDS[at][1],
        "cold": _told(groups, lambda of: middle(of, "cold")),
        "seeded": _told(groups, lambda of: middle(of, "seeded")),
        "seeded_minus_cold": _told(groups, lambda of: middle(of, "seeded") - middle(of, "cold")),
    }


def _change(runs: Sequence[Run]) -> float:
    """Mean change of one target's runs, NaN if none can be had."""
    changes = (run.ratio["seeded"] / run.ratio["cold"] - 1.0 for run in runs)
    return _mean([one for one in changes if isfinite(one)])


def _mean_change(groups: Groups) -> float:
    return _mean([one for one in map(_change, groups) if isfinite(one)])


def _harm(groups: Groups, names: Sequence[str]) -> dict[str, Any]:
    known = {runs[0].target: change for runs in groups if isfinite(change := _change(runs))}
    worst = max(known, key=lambda number: known[number], default=None)
    return {
        "mean": _told(groups, _mean_change),
        "worst": None if worst is None else _plain(known[worst]),
        "worst_target": None if worst is None else names[worst],
        "share_hurt": _plain(_mean([float(one > HURT) for one in known.values()])),
    }


def _parity(runs: Sequence[Run], line: str) -> float | None:
    """Age from which on the median run's error of each hour is within PARITY of warm's; 24.0 if it never is."""
    hourly = np.array([_middle([float(run.hourly[line][hour]) for run in runs]) for hour in range(HOURS)])
    if not np.isfinite(hourly).any():
        return None
    late = np.flatnonzero(hourly > PARITY)
    return float(late[-1] + 1) if len(late) else 0.0


def _pages(groups: Groups, line: str) -> float:
    return _mean([float(run.pages[line]) for runs in groups for run in runs])


def _shares(outcomes: Counter[str]) -> dict[str, float | None]:
    """Of the runs that had a source: how many, and which share kept the seed and gave it back."""
    tried = sum(outcomes.values()) - outcomes[NO_SOURCE]
    kept, back = outcomes[PASSED] + outcomes[ADOPTED], outcomes[REFUSED] + outcomes[RETURNED]
    return {
        "tried": tried,
        "share_adopted": _plain(kept / tried) if tried else None,
        "share_refused": _plain(back / tried) if tried else None,
    }


def _target(runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    return {
        "entity": names[runs[0].target],
        "runs": len(runs),
        **{line: _plain(_median([runs], line)) for line in LINES[:2]},
        "change": _plain(_change(runs)),
        "pages_a_day": {line: _plain(_pages([runs], line)) for line in LINES},
        "outcomes": dict(Counter(run.outcome for run in runs)),
    }


def _gap_closed(told: Mapping[str, Any]) -> float | None:
    """Share of what cold lacks of warm that the seed makes good; None where it is not sure that cold lacks anything."""
    cold, seeded = (told["error"][line]["value"] for line in LINES[:2])
    return _plain((cold - seeded) / (cold - 1.0)) if told["warm_is_better"] else None


def headline(told: Mapping[str, Any]) -> str:
    """What it says, in a sentence or two."""
    mean, of = told["harm"]["mean"], f"{told['targets']} entities, {told['runs']} first days"
    if mean["value"] is None:
        return f"Nothing moved in these recordings, so nothing could be compared ({of})."
    if not told["guard"]["tried"]:
        return f"Nothing was lent, as there was no healthy source ({of}): {told['sources_refused']['first']}"
    change = (
        f"the forecast errors of a first day change by {_percent(mean['value'])} (90 %: {_percent(mean['low'])} to "
        f"{_percent(mean['high'])}; {of})."
    )
    gap = f" Of what a cold model lacks of one that has watched all along, it makes good {_part(told)}."
    if mean["low"] > 0:
        return f"A seed would have hurt: {change}"
    if not told["warm_is_better"]:
        return f"No claim is made: {_no_gap(told['error']['cold'])} With a seed, {change}"
    said = "A seed would have helped:" if mean["high"] < 0 else "There is no sure difference: with a seed,"
    return f"{said} {change}{gap}"


def _no_gap(cold: Mapping[str, Any]) -> str:
    """Why a seed has little to gain."""
    is_worse = cold["high"] is not None and cold["high"] < 1.0
    return (
        f"a model that has watched all along is {'worse' if is_worse else 'not surely better'} here than a cold one "
        f"(the cold one's errors are x {_ratio(cold['value'])}, 90 %: {_ratio(cold['low'])} to "
        f"{_ratio(cold['high'])}), so there is little for a seed to gain."
    )


def _part(told: Mapping[str, Any]) -> str:
    share = told["gap_closed"]
    return "nothing" if share is None or share <= 0 else "all" if share >= 1 else f"{100 * share:.0f} %"


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


def _ratio(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"
