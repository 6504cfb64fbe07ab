"""Visits: values far out that a series keeps coming back to.

Owns, for each series, the few far values that it had most often of late, and how often. A gauge that is 0 and twice a
day 1 is never further out than it has been many times; by distances alone each 1 is as new as the first. Knows no
residual and no threshold: it says only whether a value is an old acquaintance.

Not obvious: visits are counted, not samples, or one long outage would make itself familiar. And a visit fades with a
half-life of days, because what comes back every few weeks is not normal: an outage that is the third this month has to
page as the first did.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import kernel

#: Values kept a series.
KEPT = 3
MINUTE_MS = 60_000
#: Minutes after which the same value is another visit, and in which half of a visit is forgotten: three days.
APART, HALF_LIFE = 60, 4320.0
#: Weight from which a value is familiar: five visits at two a day, six at one a day, never at one in two days.
FAMILIAR = 3.4
#: Values are the same within this share: rates are quotients.
SAME = 1e-3


class Visits(NamedTuple):
    """value, weight (n, 3): what and how often, 0: nothing; minute (n, 3): of the last sample, since the epoch."""

    value: Array
    weight: Array
    minute: Array


COLUMNS = {
    "value": Column(np.float32, after=(KEPT,)),
    "weight": Column(np.float32, after=(KEPT,)),
    "minute": Column(np.int32, after=(KEPT,)),
}


@kernel
def come(visits: Visits, row: int, value: float, ts_ms: int) -> bool:
    """Learn a sample far out; True if the series has had its value often. Called for samples far out only."""
    minute, least, place = ts_ms // MINUTE_MS, np.inf, 0
    for k in range(KEPT):
        known, weight = np.float64(visits.value[row, k]), np.float64(visits.weight[row, k])
        away = max(np.float64(minute - visits.minute[row, k]), 0.0)
        weight *= 0.5 ** (away / HALF_LIFE)
        if weight > 0.0 and abs(value - known) <= SAME * max(abs(value), abs(known)):
            # Of one visit nothing fades before it is over.
            if away >= APART:
                visits.weight[row, k] = np.float32(weight + 1.0)
            visits.minute[row, k] = minute
            return bool(visits.weight[row, k] >= FAMILIAR)
        if weight < least:
            least, place = weight, k
    visits.value[row, place], visits.weight[row, place] = np.float32(value), np.float32(1.0)
    visits.minute[row, place] = minute
    return False


@kernel
def clear(visits: Visits, row: int) -> None:
    """The meaning of the numbers has changed."""
    for k in range(KEPT):
        visits.weight[row, k] = np.float32(0.0)
