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
from engine.kernel import kernel

BINS = 96
LOW, WIDTH = -5.0, 0.1
#: The tail is fitted above this quantile: enough mass to fit, far enough out to be a tail.
TAIL_SHARE = 0.02
RATE = 2e-5
MOST = 12.0
#: Slopes of the tail, in ln(evidence): thinner than .05 is a constant, fatter than 2 is no tail at all.
THINNEST, FATTEST = 0.05, 2.0


@kernel
def bin_of(log_evidence: float) -> int:
    """Index of the bin, 0..BINS-1; the ends take what lies beyond."""
    at = int(np.floor((log_evidence - LOW) / WIDTH))
    return min(max(at, 0), BINS - 1)


@kernel
def add(counts: Array, unit: Array, index: int, log_evidence: float, weight: float) -> None:
    """Count one entry. counts: float32 (n, BINS); unit: float32 (n,), the weight of an entry now."""
    one = float(unit[index])
    counts[index, bin_of(log_evidence)] += np.float32(one * weight)
    one = one * (1.0 + RATE)
    if one > 1e3:
        for k in range(BINS):
            counts[index, k] = np.float32(float(counts[index, k]) / one)
        one = 1.0
    unit[index] = np.float32(one)


@kernel
def quantile(counts: Array, index: int, share: float) -> float:
    """ln(evidence) below which `share` of the counts lies, linear within a bin; NaN while empty."""
    total = 0.0
    for k in range(BINS):
        total += float(counts[index, k])
    if total <= 0.0:
        return np.nan
    left, k = share * total, 0
    while k < BINS - 1 and left > float(counts[index, k]):
        left -= float(counts[index, k])
        k += 1
    inside = left / max(float(counts[index, k]), 1e-30)
    return LOW + WIDTH * (k + min(inside, 1.0))


@kernel
def slope(counts: Array, index: int, start: float) -> float:
    """Mean excess of ln(evidence) above `start`: the one parameter of the exponential tail."""
    mass, excess = 0.0, 0.0
    for k in range(bin_of(start) + 1, BINS):
        weight = float(counts[index, k])
        mass += weight
        excess += weight * (LOW + WIDTH * (k + 0.5) - start)
    mean = excess / mass if mass > 0.0 else THINNEST
    return min(max(mean, THINNEST), FATTEST)


@kernel
def severity(counts: Array, index: int, log_evidence: float, start: float, beta: float) -> float:
    """-log10 of the share of evidence at least this large. start, beta: of the tail, cached by the caller."""
    if log_evidence >= start:
        return min(-np.log10(TAIL_SHARE) + (log_evidence - start) / (beta * np.log(10.0)), MOST)
    at = (log_evidence - LOW) / WIDTH
    first = min(max(int(np.floor(at)), 0), BINS - 1)
    total, above = 0.0, 0.0
    for k in range(BINS):
        weight = float(counts[index, k])
        total += weight
        above += weight if k > first else 0.0
    above += float(counts[index, first]) * min(max(first + 1.0 - at, 0.0), 1.0)
    if total <= 0.0:
        return np.nan
    return min(-np.log10(max(above / total, 1e-12)), -np.log10(TAIL_SHARE))


def merge(counts: Array, weight: float) -> Array:
    """A histogram scaled to a total of `weight` entries; zeros where it was empty."""
    total = float(counts.sum())
    return counts * (weight / total) if total > 0 else counts * 0.0
