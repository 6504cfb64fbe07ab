"""How good is a score of every row? Measures for `benchmarks.quality`; none is point-adjusted.

Owns the formulas: average precision, VUS-PR, pages at a threshold, honesty of a rate. Arrays in, numbers out; knows no
data set and no method.

Pages are what a person gets: a page at the first row over the threshold, then silence for an hour; a score that stays
high pages each hour. An event is found if a page starts within it; a page outside of all events is false.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.quality_sets import segments
from benchmarks.series_data import Array
from engine.kernel import kernel

#: Thresholds of a volume, evenly over the ranks, and of a page curve, denser where pages are rare.
RANKS, CURVE = 250, 80
#: Longest buffer of a volume, and the one where a series shows no period.
LONGEST = 125
#: What a rate is held against: one row in a thousand.
PROMISED = 0.001


def average_precision(label: Array, score: Array) -> float:
    """Sum of precision times gain of recall, falling through the distinct scores; NaN without a positive.

    >>> average_precision(np.array([1, 0, 1, 0]), np.array([4, 3, 2, 1]))
    0.8333333333333333
    """
    order = np.argsort(-score, kind="stable")
    # Rows of the same score come at once.
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    hits = np.cumsum(label[order] > 0)[last]
    if not hits[-1]:
        return float("nan")
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * hits / (last + 1)))


def buffer_rows(values: Array) -> int:
    """Length of the buffer around events: the strongest period of the first metric, as TSB-AD chooses it."""
    most, base = 400, 3
    x = values[:20_000].astype(float)
    x = x - x.mean()
    spectrum = np.fft.rfft(x, 2 ** int(np.ceil(np.log2(2 * len(x)))))
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[: most + 1]
    if correlation[0] <= 0:
        return LONGEST
    tail = (correlation / correlation[0])[base:]
    peaks = np.flatnonzero((tail[1:-1] > tail[:-2]) & (tail[1:-1] > tail[2:])) + 1
    if not len(peaks):
        return LONGEST
    best = int(peaks[np.argsort(tail[peaks])[::-1][0]])
    return LONGEST if best < base or best > 300 else min(best + base, LONGEST)


def vus_pr(label: Array, score: Array, window: int) -> float:
    """Volume under the precision-recall surface; NaN without an event.

    Paparrizos et al. (2022), as TSB-AD computes it: the mean over buffers of 0..window rows of a range-wise average
    precision, in which the label fades out as a square root over half a buffer on both sides, and recall is weighed
    with the share of events that are touched at all (events whose buffers meet are one).
    """
    events = segments(label > 0)
    if not len(events):
        return float("nan")
    falling = -np.sort(-score)
    thresholds = falling[np.linspace(0, len(score) - 1, RANKS).astype(int)]
    # From here on a score is the number of the first threshold that it reaches.
    reached = np.searchsorted(-thresholds, -score, side="left").astype(np.int64)
    at_once = np.bincount(reached, minlength=RANKS)[:RANKS]
    core = np.bincount(reached[label > 0], minlength=RANKS)[:RANKS].astype(float)
    faded, touched = np.zeros((window + 1, RANKS)), np.zeros((window + 1, RANKS))
    extra, near = np.zeros(len(score)), np.zeros(len(score), np.int64)
    _buffers(events, reached, label > 0, extra, near, faded, touched)
    hits, beside = np.cumsum(core), np.cumsum(faded, axis=1)
    touched = np.cumsum(touched, axis=1)
    recall = np.minimum((hits + beside) / (hits[-1] + 0.5 * beside), 1.0) * touched / touched[:, -1:]
    precision = (hits + beside) / np.cumsum(at_once)
    return float(np.mean(np.sum(np.diff(recall, axis=1, prepend=0.0) * precision, axis=1)))


@kernel
def _buffers(
    events: Array, reached: Array, label: Array, extra: Array, near: Array, faded: Array, touched: Array
) -> None:
    """Per buffer and threshold: weight of the rows beside events, and events that are touched there first.

    extra and near (n,): scratch, all zero, and so again afterwards.
    """
    rows, ranks = len(reached), faded.shape[1]
    for w in range(len(faded)):
        half, count = w // 2, 0
        for e in range(len(events)):
            for k in range(1, half + 1):
                weight = np.sqrt(1.0 - k / w)
                for at in (events[e, 0] - k, events[e, 1] - 1 + k):
                    if 0 <= at < rows and not label[at]:
                        if extra[at] == 0.0:
                            near[count] = at
                            count += 1
                        extra[at] += weight
        for k in range(count):
            faded[w, reached[near[k]]] += min(extra[near[k]], 1.0)
            extra[near[k]] = 0.0
        best = ranks
        for e in range(len(events)):
            first = max(events[e, 0] - half, 0)
            if e > 0 and events[e - 1, 1] - 1 + half < first:
                touched[w, best] += 1.0
                best = ranks
            elif e > 0:
                first = events[e - 1, 1]
            for at in range(first, min(events[e, 1] + half, rows)):
                best = min(best, reached[at])
        touched[w, best] += 1.0


class Pages(NamedTuple):
    """What is paged, per entity and threshold (e, k): events found, right and false pages; events and days (e,)."""

    found: Array
    right: Array
    false: Array
    events: Array
    days: Array


def pages_at(label: Array, page: Array, thresholds: Array, *, silence: int, rows_a_day: int) -> Pages:
    """Pages of one entity (e = 1) at each threshold, where page >= threshold."""
    events = segments(label > 0)
    number = np.full(len(label), -1)
    for k, (begin, end) in enumerate(events):
        number[begin:end] = k
    counts = np.zeros((3, len(thresholds)))
    _count(page, number, thresholds, silence, np.full(len(events) + 1, -1), counts)
    return Pages(*counts[:, None, :], np.array([len(events)]), np.array([len(label) / rows_a_day]))


@kernel
def _count(page: Array, number: Array, thresholds: Array, silence: int, seen: Array, counts: Array) -> None:
    """counts (3, k): found, right, false. seen: scratch, the last threshold that has found each event."""
    for k in range(len(thresholds)):
        free = 0
        for at in range(len(page)):
            if page[at] < thresholds[k] or at < free:
                continue
            free = at + silence
            event = number[at]
            if event < 0:
                counts[2, k] += 1.0
                continue
            counts[1, k] += 1.0
            if seen[event] != k:
                seen[event] = k
                counts[0, k] += 1.0


def joined(parts: list[Pages]) -> Pages:
    """Several entities at the same thresholds."""
    return Pages(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def common_thresholds(pages: list[Array]) -> Array:
    """Thresholds for a curve over all entities, falling; what is over one reaches the number that is told here."""
    every = np.concatenate(pages)
    points = np.unique(np.quantile(every, 1.0 - np.geomspace(1e-5, 0.3, CURVE)))[::-1]
    return np.nextafter(points, np.inf)


def comparable(page: Array, history: int) -> Array:
    """Pages of an entity over their 99.9 % point in its history without labels, so that one threshold can serve all."""
    if history <= 500:
        return page
    return page / (abs(history_point(page, history)) + 1e-9)


def history_point(score: Array, history: int) -> float:
    """99.9 % point over the history; its first tenth is for getting started."""
    return float(np.quantile(score[history // 10 : history], 1.0 - PROMISED))


def event_f1(pages: Pages, weight: Array) -> Array:
    """Best F1 of events found and pages that are right, over the thresholds. weight (b, e): how often each counts."""
    return _f1(pages, weight).max(axis=1)


def best_threshold(pages: Pages) -> int:
    """Which threshold gives the best F1 over all entities."""
    return int(np.argmax(_f1(pages, np.ones((1, len(pages.days))))[0]))


def _f1(pages: Pages, weight: Array) -> Array:
    recall = (weight @ pages.found) / np.maximum(weight @ pages.events, 1.0)[:, None]
    right, false = weight @ pages.right, weight @ pages.false
    precision = right / np.maximum(right + false, 1.0)
    return np.asarray(2.0 * recall * precision / np.maximum(recall + precision, 1e-12))


def recall_within(pages: Pages, weight: Array, false_a_day: float) -> Array:
    """Best share of events found at a threshold with at most so many false pages an entity-day; (b,)."""
    recall = (weight @ pages.found) / np.maximum(weight @ pages.events, 1.0)[:, None]
    false = (weight @ pages.false) / (weight @ pages.days)[:, None]
    return np.asarray(np.where(false <= false_a_day, recall, 0.0).max(axis=1))


def rate_ratio(alarms: Array, label: Array) -> float:
    """Rate of alarms on normal rows over the promised one."""
    return float(np.mean(alarms[~(label > 0)]) / PROMISED)


def is_honest(ratio: Array) -> Array:
    """Is the rate within a factor of two of what was promised?"""
    return np.asarray((ratio >= 0.5) & (ratio <= 2.0))


def runs_of(alarms: Array, label: Array) -> Array:
    """Lengths of the stretches of alarms on normal rows."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (alarms & ~(label > 0)).astype(np.int8), [0]])))
    return np.asarray(edges[1::2] - edges[::2])


def honest_at_best(rows: Array, runs: list[Array], draws: int = 2000) -> Array:
    """Chance of each entity to keep its rate if it were promised exactly: alarms come in runs, and a run is luck.

    rows (e,): normal rows; runs: lengths of the stretches that each had. Poisson many runs, drawn from its own where it
    has ten, else from all, so that the mean rate is the promised one.
    """
    rng, pool = np.random.default_rng(0), np.concatenate(runs)
    if not len(pool):
        return np.zeros(len(rows))
    found = []
    for count, own in zip(rows, runs, strict=True):
        lengths = own if len(own) >= 10 else pool
        each = rng.poisson(count * PROMISED / lengths.mean(), draws)
        total = np.array([rng.choice(lengths, n).sum() for n in each])
        found.append(is_honest(total / (count * PROMISED)).mean())
    return np.array(found)
