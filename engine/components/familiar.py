"""Familiar: values far out that a series keeps coming back to.

Owns, for each series, the few far values that it had most often of late, and how often. A gauge that is 0 and twice a
day 1 is never further out than it has been many times; by distances alone each 1 is as new as the first. Knows no
residual and no threshold: it says only whether a value is an old acquaintance.

Not obvious: visits are counted, not samples, and only some hours apart; or one long outage, and a service that flaps
for an afternoon, would make itself familiar. A visit is forgotten after two days, because what comes back every few
weeks is not normal: an outage that is the third this month has to page as the first did.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline, kernel

#: Values kept a series.
KEPT = 3
MINUTE_MS = 60_000
#: Minutes, and steps of a slow series, after which the same value is another visit.
APART, APART_STEPS = 360.0, 3.0
#: Minutes in which one visit is forgotten: two days.
FORGET = 2880.0
#: Visits that are not forgotten yet from which a value is familiar (the fifth at two a day, the sixth at one a day,
#: never at one in two days), and where counting stops.
ENOUGH, MOST = 3.4, 6.0
#: Values are the same within this share: rates are quotients.
SAME = 1e-3


class Familiar(NamedTuple):
    """value, weight (n, 3): what and how often, 0: nothing; minute (n, 3): its last sample, since the epoch."""

    value: Array
    weight: Array
    minute: Array


COLUMNS = {
    "value": Column(np.float32, after=(KEPT,)),
    "weight": Column(np.float32, after=(KEPT,)),
    "minute": Column(np.int32, after=(KEPT,)),
}


@kernel
def come(
    values: Array, weights: Array, minutes: Array, row: int, value: float, ts_ms: int, step_ms: float, learns: bool
) -> bool:  # fmt: skip
    """Learn a sample far out; True if the series has had its value often. Called for samples far out only.

    learns: False asks only.
    """
    minute, least, place = ts_ms // MINUTE_MS, np.inf, 0
    apart = max(APART, APART_STEPS * step_ms / MINUTE_MS)
    for k in range(KEPT):
        known, away = np.float64(values[row, k]), max(np.float64(minute - minutes[row, k]), 0.0)
        weight = max(np.float64(weights[row, k]) - away / FORGET, 0.0)
        if weight > 0.0 and abs(value - known) <= SAME * max(abs(value), abs(known)):
            # Of one visit nothing is forgotten before it is over.
            now = min(weight + 1.0, MOST) if away >= apart else np.float64(weights[row, k])
            if learns:
                weights[row, k], minutes[row, k] = np.float32(now), minute
            return bool(np.float32(now) >= ENOUGH)
        if weight < least:
            least, place = weight, k
    if not learns:
        return False
    values[row, place], weights[row, place], minutes[row, place] = np.float32(value), np.float32(1.0), minute
    return False


@inline
def clear(familiar: Familiar, row: int) -> None:
    """The meaning of the numbers has changed."""
    for k in range(KEPT):
        familiar.weight[row, k] = np.float32(0.0)
