"""Account: what a trial has come to for one entity, as plain data that a record carries.

Owns what counts as helped, equal and hurt, when the cold version has caught up, and the bound on what is told by metric
class. Reads the sums of `components/worth`; knows no roster and decides nothing.

Not obvious: the comparison is in pairs. Both versions forecast the same values, so a difficult hour is difficult for
both; a curve of the one alone would mistake the hour of the day for learning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.columns import Array
from engine.components.habit import HOUR_MS
from engine.components.worth import BUCKETS, COLD, EDGES_H, SEEDED, Forecasts, Pages

#: Nats per sample below which two versions forecast equally well: about a band that is 5 % narrower and holds as much.
MARGIN = 0.05
#: Samples of a series, and in one bucket, below which nothing is said of it.
LEAST, LEAST_IN_BUCKET = 10, 5
#: Metric classes in one record, those with the most series first.
MOST_CLASSES = 40
#: Longest name of a class in a record.
NAME_CHARACTERS = 200


def account(
    sums: Forecasts, rows: Array, classes: Sequence[str], borrowed: Sequence[Mapping[str, float]], pages: Pages, e: int,
    *, age_ms: int,
) -> dict[str, Any]:  # fmt: skip
    """All that is known of one entity's trial.

    rows: its series in the twin; classes, borrowed: of each of them, its metric class and the share of each component
    of the seeded version that still comes from the source; e: the entity in the twin.
    """
    samples = sums.samples[rows]
    seeded, cold = (_per_sample(part[rows], samples) for part in (sums.seeded, sums.cold))
    known = samples.sum(axis=1) >= LEAST
    gain = _total(sums.cold[rows] - sums.seeded[rows], samples)
    ratio = _ratio(sums.seeded_off[rows], sums.cold_off[rows])
    parity = np.array([parity_h(one) for one in cold - seeded])
    number = pages.number[e].tolist()
    alone = pages.alone[e].tolist()
    return {
        "hours": round(age_ms / HOUR_MS, 2),
        **_summary(known, gain, ratio, parity),
        "by_age": _by_age(seeded[known], cold[known], samples[known]),
        **_by_class(classes, borrowed, known, gain, ratio, parity),
        "pages": {
            "seeded": number[SEEDED], "cold": number[COLD], "seeded_alone": alone[SEEDED], "cold_alone": alone[COLD],
        },
    }  # fmt: skip


def parity_h(gain: Array) -> float:
    """Hours after which the cold version is as good for good; gain: nats per sample by age, NaN where unknown.

    NaN if nothing is known; inf if it was not as good to the end of what is known.

    >>> parity_h(np.array([0.9, 0.4, 0.1, 0.01, np.nan]))
    6.0
    """
    known = np.flatnonzero(np.isfinite(gain))
    if len(known) == 0:
        return np.nan
    better = known[gain[known] > MARGIN]
    if len(better) == 0:
        return 0.0
    return np.inf if better[-1] == known[-1] else float(EDGES_H[better[-1] + 1])


def median_h(hours: Array) -> float | None:
    """Median of hours, None if nothing is known or half have not come to an end (inf)."""
    known = hours[~np.isnan(hours)]
    middle = float(np.sort(known)[(len(known) - 1) // 2]) if len(known) else np.nan
    return middle if np.isfinite(middle) else None


def _summary(known: Array, gain: Array, ratio: Array, parity: Array) -> dict[str, Any]:
    """series = helped + equal + hurt; young: those of which too little was seen."""
    of = gain[known]
    helped, hurt = int((of > MARGIN).sum()), int((of < -MARGIN).sum())
    is_ratio = known & np.isfinite(ratio)
    return {
        "series": len(of),
        "young": int((~known).sum()),
        "helped": helped,
        "equal": len(of) - helped - hurt,
        "hurt": hurt,
        "gain": _number(of.mean()) if len(of) else None,
        "error_ratio": _number(np.exp(np.log(ratio[is_ratio]).mean())) if is_ratio.any() else None,
        "parity_h": median_h(parity[known]),
        "not_caught_up": int(np.isinf(parity[known]).sum()),
    }


def _by_age(seeded: Array, cold: Array, count: Array) -> list[dict[str, Any]]:
    """Mean loss of both over the series, each in nats above the best that it came to at any age, in either version."""
    told = []
    both = np.stack([seeded, cold])
    best = np.min(np.where(np.isfinite(both), both, np.inf), axis=(0, 2)) if len(seeded) else np.empty(0)
    for b in range(BUCKETS):
        here = np.isfinite(seeded[:, b]) & np.isfinite(cold[:, b])
        if here.any():
            above = [_number((part[here, b] - best[here]).mean()) for part in (seeded, cold)]
            told.append({
                "from_h": EDGES_H[b], "to_h": EDGES_H[b + 1], "series": int(here.sum()),
                "samples": int(count[here, b].sum()), "seeded": above[SEEDED], "cold": above[COLD],
                "gain": _number((cold[here, b] - seeded[here, b]).mean()),
            })  # fmt: skip
    return told


def _by_class(
    classes: Sequence[str], borrowed: Sequence[Mapping[str, float]], known: Array, gain: Array, ratio: Array,
    parity: Array,
) -> dict[str, Any]:  # fmt: skip
    members: dict[str, list[int]] = {}
    for at, name in enumerate(classes):
        members.setdefault(name, []).append(at)
    order = sorted(members, key=lambda name: (-len(members[name]), name))
    told = []
    for name in order[:MOST_CLASSES]:
        of = members[name]
        one = _summary(known[of], gain[of], ratio[of], parity[of])
        told.append({"class": name[:NAME_CHARACTERS], **one, "borrowed": _mean([borrowed[at] for at in of])})
    return {"classes": told, "classes_left_out": max(0, len(order) - MOST_CLASSES)}


def _mean(shares: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for one in shares for name in one)
    return {name: round(sum(one.get(name, 0.0) for one in shares) / len(shares), 4) for name in names}


def _per_sample(sums: Array, count: Array) -> Array:
    return np.where(count >= LEAST_IN_BUCKET, sums / np.maximum(count, 1), np.nan)


def _total(sums: Array, count: Array) -> Array:
    return np.asarray(sums.sum(axis=1) / np.maximum(count.sum(axis=1), 1))


def _ratio(seeded: Array, cold: Array) -> Array:
    """Of the typical errors; NaN where one version was never wrong."""
    a, b = seeded.sum(axis=1), cold.sum(axis=1)
    return np.where((a > 0) & (b > 0), a / np.where(b > 0, b, 1.0), np.nan)


def _number(value: float) -> float:
    return round(float(value), 4)
