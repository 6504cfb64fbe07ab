"""Wander: how far a series is from what the time of the day steadily has, and how long it stays there.

Owns the mean square of that distance and its product with the one before. The residual of `season` is another: its
profile follows within a quarter of an hour, so it says how well the next value is known. This one says what is nothing
new for the series, and it is what changes are measured by (`engine/diagnosis.py`): of a metric that wanders for an
hour, sixty values on one side of its day are no shift.

Not obvious: a distance counts up to FAR of its usual size, so that an outage, which is as large as it is long, does not
become what is usual.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.components.season import NO_STEADY, STEADY_STEPS, Season
from engine.kernel import inline

#: Forgets half in 3,500 samples; before, all weigh the same. A distance counts up to so many usual ones.
RATE, FAR = 2e-4, 3.0
#: Samples from which there is a usual size; a day of them says what it is. The persistence that is believed: a whitened
#: shift is more than its first step.
KNOWN, MOST = 60.0, 0.95
DAY_MS, FULL = 86_400_000.0, 4_999.0
#: The least distance that there is, in sd; and one that says that there was none.
FLOOR, NONE = 0.02, -100.0


class Wander(NamedTuple):
    """number: samples; size: mean square, in sd^2; kept: mean product of neighbours; last: distance of the newest
    sample, NONE: it had none."""

    number: Array
    size: Array
    kept: Array
    last: Array


COLUMNS = {
    "number": Column(np.float32),
    "size": Column(np.float32),
    "kept": Column(np.float32),
    "last": Column(np.float32, NONE),
}


@inline
def learn(wander: Wander, season: Season, row: int, slot: int, z: float) -> None:
    """Take in one sample, z in sd; nothing is known where the slot has no day behind it."""
    known = np.int64(season.steady[slot, row])
    if known == NO_STEADY:
        wander.last[row] = np.float32(NONE)
        return
    off = z - np.float64(season.level[row]) - np.float64(known) / STEADY_STEPS
    number, size = np.float64(wander.number[row]), np.float64(wander.size[row])
    if number >= KNOWN:
        most = FAR * np.sqrt(size) + FLOOR
        off = min(max(off, -most), most)
    rate = max(RATE, 1.0 / (number + 1.0))
    wander.size[row] = np.float32(size + rate * (off * off - size))
    before = np.float64(wander.last[row])
    if before > NONE:
        wander.kept[row] += np.float32(rate * (off * before - np.float64(wander.kept[row])))
    wander.last[row], wander.number[row] = np.float32(off), np.float32(min(number + 1.0, 1.0 / RATE))


@inline
def is_known(wander: Wander, row: int, step_ms: float) -> bool:
    """Has a whole day been compared with days before?"""
    number = np.float64(wander.number[row])
    return bool(number >= KNOWN and (number * step_ms >= DAY_MS or number >= FULL))


@inline
def clear(wander: Wander, row: int) -> None:
    """The meaning of the numbers has changed."""
    wander.number[row], wander.size[row], wander.kept[row] = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    wander.last[row] = np.float32(NONE)


def rescale(wander: Wander, row: int, factor: float) -> None:
    """Distances are `factor` times what they were."""
    wander.size[row] *= factor * factor
    wander.kept[row] *= factor * factor
    if wander.last[row] > NONE:
        wander.last[row] *= factor


def typical(wander: Wander, row: int) -> tuple[float, float] | None:
    """(typical distance in sd, share of it that is left a sample later); None while that is not known."""
    if wander.number[row] < KNOWN:
        return None
    size = float(wander.size[row])
    persistence = float(wander.kept[row]) / size if size > 0.0 else 0.0
    return float(np.sqrt(size)) + FLOOR, min(max(persistence, 0.0), MOST)
