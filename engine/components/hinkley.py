"""Hinkley: has the mean of a quantity grown or fallen? The Page-Hinkley test, as a kernel.

Owns the recursion of Page (1954) and Hinkley (1971) in the form of River's `drift.PageHinkley`, which it equals, and
its columns. What the quantity is and what follows are the caller's. Used for the squared residual of a series (in its
own typical sizes), so that noise that grows is seen within tens of samples.

Why this one of the family: it needs 26 bytes a series and a dozen operations a sample. ADWIN keeps some hundreds of
bytes and cuts windows; KSWIN keeps and sorts a hundred values. Neither fits beside ten thousand series on the hot path;
of the changes looked for here, a mean is what moves.

Departures: everything is kept in single precision, so it equals River to six digits; where the test
stands since (`run`) is kept as well, because a diagnosis needs to know where a change began.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline

#: For squared residuals, in what they usually are, cut at MOST: growth that is looked for is threefold, so half of it
#: is allowed; and how far the sum must rise. Chance makes noise of constant size do so every few weeks of minutes; what
#: follows is a trial. LEAST: samples from which it is known what is usual; before, 1.
DELTA, THRESHOLD, LEAST, MOST = 0.65, 20.0, 60.0, 9.0
#: A handful of values tell that something has happened, and not yet what: samples since it began, and since it was
#: noticed, before it is told. What the mean weighs afterwards, so that it follows.
SHORTEST, SOONEST, CALMED = 12, 6, 240.0
#: A minimum before there is one.
NOWHERE = 1e30
#: The share of the sums that is kept from sample to sample.
ALPHA = 1.0 - 1e-4


class Hinkley(NamedTuple):
    """number: samples; mean; grown, least: sum of growth and its minimum; fallen, most: of fall, and its maximum; run:
    samples since `grown` was at its minimum; wait: samples until what was noticed is told, 0: nothing was."""

    number: Array
    mean: Array
    grown: Array
    least: Array
    fallen: Array
    most: Array
    run: Array
    wait: Array


COLUMNS = {
    "number": Column(np.float32),
    "mean": Column(np.float32),
    "grown": Column(np.float32),
    "least": Column(np.float32, NOWHERE),
    "fallen": Column(np.float32),
    "most": Column(np.float32, -1.0),
    "run": Column(np.uint16),
    "wait": Column(np.uint8),
}


@inline
def usual(hinkley: Hinkley, row: int) -> float:
    """The mean of x so far; 1 while that is not known."""
    return max(np.float64(hinkley.mean[row]), 1e-6) if hinkley.number[row] >= LEAST else 1.0


@inline
def watch(hinkley: Hinkley, row: int, x: float, delta: float, threshold: float, fewest: float) -> int:
    """+1 when the mean of x has grown by more than delta allows, -1 when it has fallen, else 0.

    After a change the caller clears. fewest: samples before anything is told.
    """
    number = np.float64(hinkley.number[row]) + 1.0
    mean = np.float64(hinkley.mean[row])
    mean += (x - mean) / number
    off = x - mean
    grown = ALPHA * np.float64(hinkley.grown[row]) + off - delta
    fallen = ALPHA * np.float64(hinkley.fallen[row]) + off + delta
    hinkley.number[row], hinkley.mean[row] = np.float32(number), np.float32(mean)
    hinkley.grown[row], hinkley.fallen[row] = np.float32(grown), np.float32(fallen)
    if grown < np.float64(hinkley.least[row]):
        hinkley.least[row], hinkley.run[row] = np.float32(grown), np.uint16(0)
    elif hinkley.run[row] < 65_535:
        hinkley.run[row] += np.uint16(1)
    if fallen > np.float64(hinkley.most[row]):
        hinkley.most[row] = np.float32(fallen)
    if number < fewest:
        return 0
    if grown - np.float64(hinkley.least[row]) > threshold:
        return 1
    return -1 if np.float64(hinkley.most[row]) - fallen > threshold else 0


@inline
def has_waited(hinkley: Hinkley, row: int, is_noticed: bool) -> bool:
    """Is it time to tell what was noticed, now or some samples ago?"""
    if hinkley.wait[row] > 0:
        hinkley.wait[row] -= np.uint8(1)
        return bool(hinkley.wait[row] == 0)
    if is_noticed:
        hinkley.wait[row] = np.uint8(max(SHORTEST - int(hinkley.run[row]), SOONEST))
    return False


@inline
def calm(hinkley: Hinkley, row: int) -> None:
    """A change was told: the sums begin again, and the mean follows within some hundred samples."""
    hinkley.number[row] = np.float32(min(np.float64(hinkley.number[row]), CALMED))
    hinkley.grown[row], hinkley.least[row] = np.float32(0.0), np.float32(NOWHERE)
    hinkley.fallen[row], hinkley.most[row] = np.float32(0.0), np.float32(-1.0)
    hinkley.run[row], hinkley.wait[row] = np.uint16(0), np.uint8(0)


@inline
def clear(hinkley: Hinkley, row: int) -> None:
    """Begin again."""
    calm(hinkley, row)
    hinkley.number[row], hinkley.mean[row] = np.float32(0.0), np.float32(0.0)
