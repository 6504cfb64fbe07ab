"""Tail: how rare is this evidence? Decayed histograms of its logarithm, with an exponential tail beyond them.

Owns the histograms that turn evidence into a calibrated p-value, for series and for entities. A histogram of counts
is additive, so it decays, merges and seeds by itself; the tail of ln(evidence) is taken as exponential, which is a
Pareto tail of the evidence (the generalised Pareto of Siffer et al. 2017, SPOT, with one parameter less).

Not obvious: counts are not decayed one by one. The weight of a new entry grows instead (`unit`), and all is scaled
down when it is large; that makes an update one addition.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.kernel import inline, kernel

BINS = 96
LOW, WIDTH = -5.0, 0.1
#: The tail begins above this quantile: enough mass to be known, far enough out to be a tail.
TAIL_SHARE = 0.005
RATE = 2e-5
MOST = 12.0
#: Slopes of the tail, in ln(evidence): thinner than .05 is a constant, fatter than 2 is no tail at all.
THINNEST, FATTEST = 0.05, 2.0
SLOPE = 0.8
#: What is rarer than one in 300 is hardly normal, and counts this much in what normal is; else one long incident would
#: teach that the next one is nothing special.
UNUSUAL, UNUSUAL_WEIGHT = 2.5, 0.2


@kernel
def bin_of(log_evidence: float) -> int:
    """Index of the bin, 0..BINS-1; the ends take what lies beyond."""
    at = int(np.floor((log_evidence - LOW) / WIDTH))
    return min(max(at, 0), BINS - 1)


@kernel
def add(counts: Array, unit: Array, mass: Array, index: int, log_evidence: float, weight: float, ticks: float) -> None:
    """Count one entry of so much weight, after so many ticks (each lets the older entries fade by RATE).

    counts: float32 (n, BINS); unit: float32 (n,), the weight of 1 now; mass: float32 (n,), the sum.
    """
    one: float = np.float64(unit[index])
    counts[index, bin_of(log_evidence)] += np.float32(one * weight)
    mass[index] += np.float32(one * weight)
    one = one * (1.0 + RATE * ticks)
    if one > 1e3:
        row, total = counts[index], 0.0
        for k in range(BINS):
            row[k] = np.float32(np.float64(row[k]) / one)
            total += np.float64(row[k])
        mass[index] = np.float32(total)
        one = 1.0
    unit[index] = np.float32(one)


@kernel
def read(counts: Array, mass: Array, index: int, top: float) -> tuple[float, float, float, float, float]:
    """ln(evidence) at the upper shares .5, .2, .05 and `top` (< .05), and the mean excess above the last, in one pass.

    The mean excess is the one parameter of the exponential tail. NaN where the histogram is empty.
    """
    total = np.float64(mass[index])
    if total <= 0.0:
        return np.nan, np.nan, np.nan, np.nan, THINNEST
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
    beta = SLOPE * (rare - upper) / np.log(4.0)
    return _place(row, k, above, 0.5 * total), upper, rare, high, min(max(beta, THINNEST), FATTEST)


@inline
def slope(rare: float, high: float) -> float:
    """Mean excess of the tail beyond TAIL_SHARE, from the quantiles at .05 and at TAIL_SHARE."""
    return np.float64(min(max((high - rare) / np.log(0.05 / TAIL_SHARE), THINNEST), FATTEST))


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
def severity(x: float, middle: float, upper: float, rare: float, high: float, beta: float) -> float:
    """-log10 of the share of evidence at least this large, from what `read` gave with TAIL_SHARE.

    x: ln(evidence). Linear between the shares .5, .2, .05 and TAIL_SHARE, exponential beyond, capped at 12.
    """
    if x >= high:
        return np.float64(min(-np.log10(TAIL_SHARE) + (x - high) / (beta * np.log(10.0)), MOST))
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


def distil(counts: Array, factory: Array) -> Array:
    """A histogram's own entries as shares of sum 1. factory: the counts that it started with, at unit 1.

    Once the counts were scaled down, the factory's part is a thousandth and no longer worth taking out; and where
    little of its own is left, all of it is taken as it is.
    """
    own = np.maximum(counts - factory, 0.0) if np.all(counts >= 0.999 * factory) else counts
    if own.sum() < 0.1 * factory.sum():
        own = counts
    return np.asarray(merge(own, 1.0))
