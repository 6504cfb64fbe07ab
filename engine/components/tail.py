"""Tail: how rare is this evidence? Decayed histograms of its logarithm, with an exponential tail beyond them.

Owns the histograms that turn evidence into a calibrated p-value, for series and for entities. A histogram of counts
is additive, so it decays, merges and seeds by itself; the tail of ln(evidence) is taken as exponential, which is a
Pareto tail of the evidence (the generalised Pareto of Siffer et al. 2017, SPOT, with one parameter less).

Not obvious: counts are not decayed one by one. The weight of a new entry grows instead (`unit`, one for all histograms
of an owner that count the same ticks), and all is scaled down when it is large; that makes an update one addition.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.kernel import inline, kernel

#: From ln(.018) to ln(54), beyond what evidence can be; quantiles are interpolated, so that finer bins gain nothing.
BINS = 40
LOW, WIDTH = -4.0, 0.2
#: The tail begins above this quantile: enough mass to be known, far enough out to be a tail.
TAIL_SHARE = 0.005
RATE = 2e-5
MOST = 12.0
#: Slopes of the tail, in ln(evidence): thinner than .05 is a constant, fatter than 2 is no tail at all.
THINNEST, FATTEST = 0.05, 2.0
# Quantiles of a summary: upper shares .5, .2, .05, TAIL_SHARE; the slope of the tail beyond.
MIDDLE, UPPER, TWENTIETH, HIGH, SLOPE = range(5)
QUANTILES = 5
#: What is rarer than one in 300 is hardly normal, and counts this much in what normal is; else one long incident would
#: teach that the next one is nothing special.
UNUSUAL, UNUSUAL_WEIGHT = 2.5, 0.2


@kernel
def bin_of(log_evidence: float) -> int:
    """Index of the bin, 0..BINS-1; the ends take what lies beyond."""
    at = int(np.floor((log_evidence - LOW) / WIDTH))
    return min(max(at, 0), BINS - 1)


@kernel
def add(counts: Array, mass: Array, index: int, log_evidence: float, weight: float) -> None:
    """Count one entry. counts: float32 (n, BINS); mass: float32 (n,), the sums; weight: in units of the owner."""
    counts[index, bin_of(log_evidence)] += np.float32(weight)
    mass[index] += np.float32(weight)


@kernel
def fade(counts: Array, mass: Array, first: int, histograms: int, unit: float, ticks: float) -> float:
    """The weight of one entry after so many ticks more, each of which lets older ones fade by RATE; unit: before.

    Where it has become large, the histograms from `first` on are scaled down instead.
    """
    unit = unit * (1.0 + RATE * ticks)
    if unit <= 1e3:
        return unit
    for index in range(first, first + histograms):
        row, total = counts[index], 0.0
        for k in range(BINS):
            row[k] = np.float32(np.float64(row[k]) / unit)
            total += np.float64(row[k])
        mass[index] = np.float32(total)
    return 1.0


@kernel
def read(counts: Array, mass: Array, index: int, top: float) -> tuple[float, float, float, float]:
    """ln(evidence) at the upper shares .5, .2, .05 and `top` (< .05), in one pass; NaN where the histogram is empty."""
    total = np.float64(mass[index])
    if total <= 0.0:
        return np.nan, np.nan, np.nan, np.nan
    row, above, k = counts[index], 0.0, BINS
    while k > 0 and above < top * total:
        k -= 1
        above += np.float64(row[k])
    high = _place(row, k, above, top * total)
    while k > 0 and above < 0.05 * total:
        k -= 1
        above += np.float64(row[k])
    rare = _place(row, k, above, 0.05 * total)
    while k > 0 and above < 0.2 * total:
        k -= 1
        above += np.float64(row[k])
    upper = _place(row, k, above, 0.2 * total)
    while k > 0 and above < 0.5 * total:
        k -= 1
        above += np.float64(row[k])
    return _place(row, k, above, 0.5 * total), upper, rare, high


@kernel
def slope(near: float, near_share: float, far: float, far_share: float) -> float:
    """Mean excess of an exponential tail through two quantiles: ln(evidence) at the upper shares near > far."""
    return np.float64(min(max((far - near) / np.log(near_share / far_share), THINNEST), FATTEST))


@kernel
def summarise(counts: Array, mass: Array, index: int, quantiles: Array) -> None:
    """What `severity` needs of a histogram. quantiles: float32 (5,), .5, .2, .05, TAIL_SHARE, and the tail's slope."""
    middle, upper, rare, high = read(counts, mass, index, TAIL_SHARE)
    quantiles[MIDDLE], quantiles[UPPER] = np.float32(middle), np.float32(upper)
    quantiles[TWENTIETH], quantiles[HIGH] = np.float32(rare), np.float32(high)
    quantiles[SLOPE] = np.float32(slope(rare, 0.05, high, TAIL_SHARE))


@inline
def weight_of(severity_now: float) -> float:
    """How much an entry of this severity counts in what is normal."""
    return UNUSUAL_WEIGHT if severity_now >= UNUSUAL else 1.0


@kernel
def _place(row: Array, k: int, above: float, wanted: float) -> float:
    """Where in bin k the mass above it reaches `wanted`, if all of the bin gives `above`."""
    inside = (above - wanted) / max(np.float64(row[k]), 1e-30)
    return LOW + WIDTH * (k + min(max(inside, 0.0), 1.0))


@kernel
def severity(x: float, quantiles: Array) -> float:
    """-log10 of the share of evidence at least this large. x: ln(evidence); quantiles: from `summarise`.

    Linear between the shares .5, .2, .05 and TAIL_SHARE, exponential beyond, capped at MOST.
    """
    middle, upper = np.float64(quantiles[MIDDLE]), np.float64(quantiles[UPPER])
    rare, high = np.float64(quantiles[TWENTIETH]), np.float64(quantiles[HIGH])
    if x >= high:
        return np.float64(min(-np.log10(TAIL_SHARE) + (x - high) / (np.float64(quantiles[SLOPE]) * np.log(10.0)), MOST))
    if x >= rare:
        return _between(x, rare, high, -np.log10(0.05), -np.log10(TAIL_SHARE))
    if x >= upper:
        return _between(x, upper, rare, -np.log10(0.2), -np.log10(0.05))
    if x >= middle:
        return _between(x, middle, upper, -np.log10(0.5), -np.log10(0.2))
    return np.float64(-np.log10(0.5) * np.exp(x - middle))


@kernel
def _between(x: float, low: float, high: float, at_low: float, at_high: float) -> float:
    return np.float64(at_low + (at_high - at_low) * (x - low) / max(high - low, 1e-9))


def merge(counts: Array, weight: float) -> Array:
    """A histogram scaled to a total of `weight` entries; zeros where it was empty."""
    total = float(counts.sum())
    return counts * (weight / total) if total > 0 else counts * 0.0


def moved(counts: Array, by: float) -> Array:
    """A histogram of evidence that is larger by `by` >= 0 in ln; what would leave it stays in the last bin."""
    whole, part = divmod(by / WIDTH, 1.0)
    at = np.minimum(np.arange(BINS) + int(whole), BINS - 1)
    above = np.zeros(BINS)
    np.add.at(above, at, counts * (1.0 - part))
    np.add.at(above, np.minimum(at + 1, BINS - 1), counts * part)
    return above


def distil(counts: Array, factory: Array) -> Array:
    """A histogram's own entries as shares of sum 1. factory: the counts that it started with, at unit 1.

    Once the counts were scaled down, the factory's part is a thousandth and no longer worth taking out; and where
    little of its own is left, all of it is taken as it is.
    """
    own = np.maximum(counts - factory, 0.0) if np.all(counts >= 0.999 * factory) else counts
    if own.sum() < 0.1 * factory.sum():
        own = counts
    return np.asarray(merge(own, 1.0))


def medians(counts: Array) -> Array:
    """ln(evidence) at the middle of each histogram, (n,); 0 where it is empty. counts: (n, 40)."""
    above = np.cumsum(counts, axis=1)
    total = above[:, -1:]
    at = np.argmax(above >= 0.5 * total, axis=1)
    row = np.arange(len(counts))
    inside = 1.0 - (above[row, at] - 0.5 * total[:, 0]) / np.maximum(counts[row, at], 1e-30)
    return np.asarray(np.where(total[:, 0] > 0.0, LOW + WIDTH * (at + inside), 0.0))
