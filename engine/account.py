"""Account: what trials have come to, an entity each, as plain data that a record carries.

Owns what counts as helped, equal and hurt, when the cold version has caught up, and the bound on what is told by metric
class. Reads the sums of `components/worth`; knows no roster and decides nothing.

Not obvious: the comparison is in pairs. Both versions forecast the same values, so a difficult hour is difficult for
both; a curve of the one alone would mistake the hour of the day for learning. And a thousand trials may end at one
moment, so all numbers are worked out for all of them at once, by groups: series of an entity, of a class, of an age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array
from engine.components.worth import BUCKETS, COLD, EDGES_H, SEEDED, Forecasts, Pages
from engine.groups import means, stacked

#: Nats per sample below which two versions forecast equally well: about a band that is 5 % narrower and holds as much.
MARGIN = 0.05
#: Samples of a series, and in one bucket, below which nothing is said of it.
LEAST, LEAST_IN_BUCKET = 10, 5
#: Metric classes in one record, those with the most series first.
MOST_CLASSES = 40
#: Longest name of a class in a record.
NAME_CHARACTERS = 200


def accounts(
    sums: Forecasts, rows: Array, of: Array, classes: Sequence[str], borrowed: Sequence[Mapping[str, float]],
    pages: Pages, es: Array, *, hours: Sequence[float],
) -> list[dict[str, Any]]:  # fmt: skip
    """All that is known of the trials of m entities, one dictionary each.

    rows: their series in the twin; of, classes, borrowed: of each of them, which entity it belongs to (0..m - 1), its
    metric class and the share of each component of the seeded version that still comes from the source; es: the
    entities in the twin; hours: the ages of their trials.
    """
    samples, m = sums.samples[rows], len(es)
    seeded, cold = (_per_sample(part[rows], samples) for part in (sums.seeded, sums.cold))
    known = samples.sum(axis=1) >= LEAST
    series = _Series(
        known, _total(sums.cold[rows] - sums.seeded[rows], samples),
        _ratio(sums.seeded_off[rows], sums.cold_off[rows]), parity_h(cold - seeded),
    )  # fmt: skip
    by_age = _by_age(seeded[known], cold[known], samples[known], of[known], m)
    by_class = _by_class(classes, borrowed, series, of, m)
    number, alone = pages.number[es].tolist(), pages.alone[es].tolist()
    return [
        {
            "hours": round(hours[e], 2), **one, "by_age": by_age[e], **by_class[e],
            "pages": {
                "seeded": number[e][SEEDED], "cold": number[e][COLD],
                "seeded_alone": alone[e][SEEDED], "cold_alone": alone[e][COLD],
            },
        }
        for e, one in enumerate(_summaries(series, of, m))
    ]  # fmt: skip


def parity_h(gain: Array) -> Array:
    """Hours after which the cold version is as good for good; gain: nats per sample by age (..., ages), NaN: unknown.

    NaN if nothing is known; inf if it was not as good to the end of what is known.

    >>> float(parity_h(np.array([0.9, 0.4, 0.1, 0.01, np.nan])))
    6.0
    """
    ages = np.arange(gain.shape[-1])
    last_known, last_better = (
        np.where(is_so, ages, -1).max(axis=-1, initial=-1) for is_so in (np.isfinite(gain), gain > MARGIN)
    )
    hours = np.where(last_better < 0, 0.0, np.array(EDGES_H, np.float64)[last_better + 1])
    return np.where(last_known < 0, np.nan, np.where((last_better >= 0) & (last_better == last_known), np.inf, hours))


def median_h(hours: Array) -> float | None:
    """Median of hours, None if nothing is known or half have not come to an end (inf)."""
    return _medians_h(hours, np.zeros(len(hours), np.int64), 1)[0]


class _Series(NamedTuple):
    """Of each series: is enough known of it, gain in nats a sample, ratio of typical errors, hours to parity."""

    known: Array
    gain: Array
    ratio: Array
    parity: Array


def _summaries(series: _Series, group: Array, groups: int) -> list[dict[str, Any]]:
    """Of each group of series. series = helped + equal + hurt; young: those of which too little was seen."""
    of, gain, parity = group[series.known], series.gain[series.known], series.parity[series.known]

    def count(of: Array) -> list[int]:
        return list(np.bincount(of, minlength=groups).tolist())

    is_ratio = series.known & np.isfinite(series.ratio)
    ratio = np.exp(means(np.log(series.ratio[is_ratio]), group[is_ratio], groups))
    columns = zip(
        count(of), count(group[~series.known]), count(of[gain > MARGIN]), count(of[gain < -MARGIN]),
        means(gain, of, groups).tolist(), ratio.tolist(), _medians_h(parity, of, groups), count(of[np.isinf(parity)]),
        strict=True,
    )  # fmt: skip
    return [
        {
            "series": number,
            "young": young,
            "helped": helped,
            "equal": number - helped - hurt,
            "hurt": hurt,
            "gain": _number(mean),
            "error_ratio": _number(error),
            "parity_h": hours,
            "not_caught_up": behind,
        }
        for number, young, helped, hurt, mean, error, hours, behind in columns
    ]


def _medians_h(hours: Array, group: Array, groups: int) -> list[float | None]:
    is_known = ~np.isnan(hours)
    hours, found = hours[is_known], np.full(groups, np.nan)
    for numbers, at in stacked(group[is_known], groups):
        found[numbers] = np.sort(hours[at], axis=1)[:, (at.shape[1] - 1) // 2]
    return [middle if np.isfinite(middle) else None for middle in found.tolist()]


def _by_age(seeded: Array, cold: Array, count: Array, of: Array, m: int) -> list[list[dict[str, Any]]]:
    """Mean loss of both over the series, each in nats above the best that it came to at any age, in either version."""
    both = np.stack([seeded, cold])
    best = np.min(np.where(np.isfinite(both), both, np.inf), axis=(0, 2), initial=np.inf)
    at, age = np.nonzero(np.isfinite(both).all(axis=0))
    group, groups, samples = of[at] * BUCKETS + age, m * BUCKETS, np.zeros(m * BUCKETS, np.int64)
    np.add.at(samples, group, count[at, age])
    above = [means(part[at, age] - best[at], group, groups).tolist() for part in (seeded, cold)]
    gain = means(cold[at, age] - seeded[at, age], group, groups).tolist()
    series = np.bincount(group, minlength=groups).tolist()
    told: list[list[dict[str, Any]]] = [[] for _ in range(m)]
    for n in np.unique(group).tolist():
        e, b = divmod(n, BUCKETS)
        told[e].append({
            "from_h": EDGES_H[b], "to_h": EDGES_H[b + 1], "series": series[n], "samples": int(samples[n]),
            "seeded": _number(above[SEEDED][n]), "cold": _number(above[COLD][n]), "gain": _number(gain[n]),
        })  # fmt: skip
    return told


def _by_class(
    classes: Sequence[str], borrowed: Sequence[Mapping[str, float]], series: _Series, of: Array, m: int
) -> list[dict[str, Any]]:  # fmt: skip
    members: list[dict[str, list[int]]] = [{} for _ in range(m)]
    for at, (e, name) in enumerate(zip(of.tolist(), classes, strict=True)):
        members[e].setdefault(name, []).append(at)
    # Only those that are told: an entity may have a class for each of its series.
    told = [
        (e, name, one[name])
        for e, one in enumerate(members)
        for name in sorted(one, key=lambda name: (-len(one[name]), name))[:MOST_CLASSES]
    ]
    order = np.array([at for _, _, inside in told for at in inside], np.int64)
    group = np.repeat(np.arange(len(told)), [len(inside) for _, _, inside in told])
    found: list[dict[str, Any]] = [
        {"classes": [], "classes_left_out": max(0, len(one) - MOST_CLASSES)} for one in members
    ]
    summaries = _summaries(_Series._make(column[order] for column in series), group, len(told))
    for (e, name, inside), one in zip(told, summaries, strict=True):
        shares = _mean([borrowed[at] for at in inside])
        found[e]["classes"].append({"class": name[:NAME_CHARACTERS], **one, "borrowed": shares})
    return found


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


def _number(value: float) -> float | None:
    """None where nothing is known."""
    return None if np.isnan(value) else round(value, 4)
