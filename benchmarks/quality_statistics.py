"""From what was counted per entity to figures with intervals, and from two runs to what has changed.

Owns the resampling (90 % bootstrap over the entities of each set; the same draws for all methods, so differences are
paired) and Wilcoxon's signed-rank test. Knows no file and no method.
"""

from __future__ import annotations

import math
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks import quality_measures as measures
from benchmarks.quality_run import Scored
from benchmarks.series_data import Array

DRAWS = 400
#: Where a difference to a baseline is told, and where two runs are compared entity by entity.
MAIN = ("vus_pr", "ap", "ev_f1", "rec_1d")
COMPARED = (*MAIN, "false_pages_day", "recall_at_page", "rate_off")


def once(scored: Scored) -> Array:
    """Weights (1, e): each entity once."""
    return np.ones((1, len(scored.names)))


def draws(scored: Scored) -> Array:
    """Weights (b, e): how often each entity is in each resample; the same for methods that saw the same entities."""
    count = len(scored.names)
    rng = np.random.default_rng(crc32("\n".join(scored.names).encode()))
    return np.stack([np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(DRAWS)]).astype(float)


def figures(scored: Scored, weight: Array) -> dict[str, Array]:
    """Each measure under each row of weights (b, e): (b,)."""
    at_one = scored.at_one
    events, days = np.maximum(weight @ at_one.events, 1.0), weight @ at_one.days
    return {
        "vus_pr": _mean(scored.vus_pr, weight),
        "ap": _mean(scored.ap, weight),
        "ev_f1": measures.event_f1(scored.curve, weight),
        "rec_1d": measures.recall_within(scored.curve, weight, 1.0),
        "ev_f1_plain": measures.event_f1(scored.plain, weight),
        "rec_1d_plain": measures.recall_within(scored.plain, weight, 1.0),
        "false_pages_day": (weight @ at_one.false)[:, 0] / days,
        "recall_at_page": (weight @ at_one.found)[:, 0] / events,
        "rate_ok": _mean(measures.is_honest(scored.rate).astype(float), weight),
        "rate_worst": np.where(weight > 0, scored.rate, 0.0).max(axis=1),
    }


def _mean(values: Array, weight: Array) -> Array:
    """Mean over the entities that have a value."""
    known = np.isfinite(values)
    return np.asarray((weight[:, known] @ values[known]) / np.maximum(weight[:, known].sum(axis=1), 1e-9))


def summary(scored: Scored) -> dict[str, Any]:
    """Figures of one method on one set, their 90 % intervals, and the worst tenth of the entities."""
    drawn = figures(scored, draws(scored))
    worst = np.argsort(scored.vus_pr)[: math.ceil(len(scored.names) / 10)]
    return {
        **{name: float(value[0]) for name, value in figures(scored, once(scored)).items()},
        "entities": len(scored.names),
        "interval": {name: _ends(value) for name, value in drawn.items()},
        "worst_decile": {
            "vus_pr": float(scored.vus_pr[worst].mean()),
            "entities": [scored.names[at] for at in worst],
        },
    }


def mean_summary(sets: list[Scored]) -> dict[str, Any]:
    """Mean of the sets' figures (of the worst rate the worst), and its interval."""
    parts = [figures(scored, once(scored)) for scored in sets]
    drawn = [figures(scored, draws(scored)) for scored in sets]
    over = {name: np.max if name == "rate_worst" else np.mean for name in parts[0]}
    return {
        **{name: float(join([part[name][0] for part in parts])) for name, join in over.items()},
        "entities": sum(len(scored.names) for scored in sets),
        "interval": {name: _ends(join([one[name] for one in drawn], axis=0)) for name, join in over.items()},
    }


def honesty(sets: list[Scored]) -> dict[str, Any]:
    """Share of all entities whose rate is as promised, the worst factor, and the share if it were promised exactly."""
    rate = np.concatenate([scored.rate for scored in sets])
    best = [measures.honest_at_best(scored.normal, scored.runs) for scored in sets]
    return {
        "rate_ok": float(measures.is_honest(rate).mean()),
        "rate_worst": float(rate.max()),
        "rate_ok_at_best": float(np.concatenate(best).mean()),
        "entities": len(rate),
    }


def difference(ours: list[Scored], theirs: list[Scored]) -> dict[str, list[float]] | None:
    """[5 %, 50 %, 95 %] of our mean of sets less theirs; None where they did not see the same entities."""
    if [one.names for one in ours] != [one.names for one in theirs]:
        return None
    a, b = ([figures(one, draws(one)) for one in side] for side in (ours, theirs))
    return {
        name: np.quantile(np.mean([x[name] - y[name] for x, y in zip(a, b, strict=True)], axis=0), [0.05, 0.5, 0.95])
        .round(4)
        .tolist()
        for name in MAIN
    }


def _ends(values: Array) -> list[float]:
    return [float(end) for end in np.quantile(values, [0.05, 0.95]).round(4)]


def by_entity(scored: Scored) -> dict[str, dict[str, float | None]]:
    """Entity -> its own figures, at the common threshold that is best for all, and at that of one false page a day."""
    curve, at_one = scored.curve, scored.at_one
    best = measures.best_threshold(curve)
    within = np.flatnonzero(curve.false.sum(axis=0) / curve.days.sum() <= 1.0)
    # Thresholds fall, so the last one that holds the budget finds most.
    daily = within[-1] if len(within) else 0
    events = np.maximum(curve.events, 1)
    recall = curve.found[:, best] / events
    precision = curve.right[:, best] / np.maximum(curve.right[:, best] + curve.false[:, best], 1.0)
    columns = {
        "vus_pr": scored.vus_pr,
        "ap": scored.ap,
        "ev_f1": 2.0 * recall * precision / np.maximum(recall + precision, 1e-12),
        "rec_1d": curve.found[:, daily] / events,
        "false_pages_day": at_one.false[:, 0] / at_one.days,
        "recall_at_page": at_one.found[:, 0] / events,
        "rate": scored.rate,
        # A rate that is twice as high and one that is half as high are as wrong; silence counts as a twentieth.
        "rate_off": np.abs(np.log(np.maximum(scored.rate, 0.05))),
    }
    return {
        name: {key: None if np.isnan(column[at]) else round(float(column[at]), 6) for key, column in columns.items()}
        for at, name in enumerate(scored.names)
    }


def compare(new: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """Set -> measure -> what has changed between two runs' `entities` of one method; `all` is over all sets."""
    found: dict[str, Any] = {}
    for name in sorted(set(new) & set(old)):
        found[name] = {key: _change(_pairs(new[name], old[name], key)) for key in COMPARED}
    together = {
        key: {f"{name}/{one}": gap for name, each in found.items() for one, gap in each[key]["entities"].items()}
        for key in COMPARED
    }
    return {**found, "all": {key: _change(gaps) for key, gaps in together.items()}} if found else {}


def then_and_now(old: dict[str, Any], new: dict[str, Any]) -> dict[str, list[float]]:
    """`part.figure` -> [old, new], of all plain numbers that both runs have."""
    both = {name: set(old[name]) & set(new[name]) for name in old if name in new}
    return {
        f"{name}.{key}": [old[name][key], new[name][key]]
        for name, keys in both.items()
        for key in sorted(keys)
        if isinstance(old[name][key], float)
    }


def _pairs(new: dict[str, Any], old: dict[str, Any], key: str) -> dict[str, float]:
    both = [name for name in new if name in old and None not in {new[name].get(key), old[name].get(key)}]
    return {name: new[name][key] - old[name][key] for name in both}


def _change(gaps: dict[str, float]) -> dict[str, Any]:
    values = np.array(list(gaps.values()))
    return {
        "n": len(values),
        "mean": float(values.mean()) if len(values) else None,
        "up": int((values > 0).sum()),
        "down": int((values < 0).sum()),
        "p": signed_rank_p(values),
        "entities": gaps,
    }


def signed_rank_p(differences: Array) -> float:
    """Two-sided p of Wilcoxon's signed-rank test, normal approximation with the correction for ties; 1 without any.

    Zeros are left out. Below some ten pairs the approximation is rough.

    >>> round(signed_rank_p(np.array([1.0, 2.0, 3.0, 4.0, 5.0, -6.0])), 4)
    0.3454
    """
    moved = differences[differences != 0.0]
    count = len(moved)
    if count == 0:
        return 1.0
    _, place, times = np.unique(np.abs(moved), return_inverse=True, return_counts=True)
    rank = (np.cumsum(times) - (times - 1) / 2.0)[place]
    mean = count * (count + 1) / 4.0
    variance = count * (count + 1) * (2 * count + 1) / 24.0 - float(np.sum(times**3 - times)) / 48.0
    return math.erfc(abs(float(rank[moved > 0].sum()) - mean) / math.sqrt(2.0 * variance))
