"""Change: has the level of a series moved for good?

Owns a two-sided CUSUM (Page 1954) of how far a series is from where it would have been, and an estimate of the level
after the change. It raises drift; it never pages and never moves a model. Moving is an order that comes back from the
control topic.

Not obvious. (1) While a run lasts, the values are compared with what the models said *before* it began, and with the
profile as it was when its slot was entered: mean, scale and profile all follow a shift within minutes, and would hide
it. (2) The residual is autocorrelated, so a plain CUSUM would fire on any slow wave: each step is bounded, the run
must last, and the level after must stand SHIFT sd from the level before. (3) What the models were at the beginning of
the run is told with the drift, so that the order can put them back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline

#: Per step: half of a shift of 1.5 typical residuals, the smallest shift looked for (the usual k = shift / 2).
ALLOWANCE, BOUND = 0.75, 4.0
LIMIT, MIN_RUN, SHIFT = 30.0, 15, 2.0
AFTER_RATE = 0.15
#: Samples after a change in which no second one is reported: the order must have time to come back.
REST = 60
WARM = 200.0


class Change(NamedTuple):
    """up, down: CUSUM in typical residuals; run: samples since both were 0; after: EW mean of the value, its unit.

    mean, sd (unit), level, sigma (sd): the models when the run began; slot, entry: the slot of the day that the series
    is in, and its profile when it was entered.
    """

    up: Array
    down: Array
    run: Array
    rest: Array
    after: Array
    mean: Array
    sd: Array
    level: Array
    sigma: Array
    slot: Array
    entry: Array


COLUMNS = {
    "up": Column(np.float32),
    "down": Column(np.float32),
    "run": Column(np.int32),
    "rest": Column(np.int32),
    "after": Column(np.float64),
    "mean": Column(np.float64),
    "sd": Column(np.float64, 1.0),
    "level": Column(np.float32),
    "sigma": Column(np.float32, 1.0),
    "slot": Column(np.uint8, 255),
    "entry": Column(np.float32),
}


@inline
def begin(
    change: Change, row: int, slot: int, profile: float, mean: float, sd: float, level: float, sigma: float
) -> None:
    """Note the models as they are, as long as no run has begun. profile: of this slot, now."""
    if change.slot[row] != slot:
        change.slot[row] = slot
        change.entry[row] = np.float32(profile)
    if change.run[row] == 0:
        change.mean[row], change.sd[row] = mean, sd
        change.level[row], change.sigma[row] = np.float32(level), np.float32(sigma)


@inline
def unmoved(change: Change, row: int) -> float:
    """What the value should be now if nothing had moved since the run began, in the unit."""
    return float(change.mean[row]) + float(change.sd[row]) * (float(change.level[row]) + float(change.entry[row]))


@inline
def watch(change: Change, row: int, value: float, floor: float, count: float) -> int:
    """+1 or -1 when the level has moved, else 0. floor: smallest typical residual, in sd; count: samples learned."""
    run = change.run[row]
    rate = max(AFTER_RATE, 1.0 / (run + 1.0))
    change.after[row] += rate * (value - change.after[row])
    if change.rest[row] > 0:
        change.rest[row] -= 1
        return 0
    before, sd = unmoved(change, row), float(change.sd[row])
    step = min(max((value - before) / (sd * (float(change.sigma[row]) + floor)), -BOUND), BOUND)
    up = max(0.0, float(change.up[row]) + step - ALLOWANCE)
    down = max(0.0, float(change.down[row]) - step - ALLOWANCE)
    change.up[row], change.down[row] = np.float32(min(up, 4.0 * LIMIT)), np.float32(min(down, 4.0 * LIMIT))
    if up == 0.0 and down == 0.0:
        change.run[row] = 0
        return 0
    change.run[row] = run + 1
    if count < WARM or run < MIN_RUN or max(up, down) < LIMIT:
        return 0
    moved = change.after[row] - before
    if abs(moved) < SHIFT * sd or (moved > 0.0) != (up > down):
        return 0
    return 1 if moved > 0.0 else -1


@inline
def clear(change: Change, row: int) -> None:
    """Begin again after a change was reported or ordered."""
    change.up[row] = 0.0
    change.down[row] = 0.0
    change.run[row] = 0
    change.rest[row] = REST
