"""Change: has the level of a series moved for good?

Owns a two-sided CUSUM (Page 1954) over the seasonal residual in units of its own size, and an estimate of the level
after the change. It raises drift; it never pages and never moves a model. Moving is an order that comes back from
the control topic.

Not obvious: the residual is autocorrelated, so a plain CUSUM would fire on any slow wave. Three things guard it: each
step is bounded (4), the run must last (MIN_RUN samples), and the level after must stand SHIFT sd from the level before.
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
    """up, down: CUSUM in typical residuals; run: samples since both were 0; after: EW mean of the value, its unit."""

    up: Array
    down: Array
    run: Array
    rest: Array
    after: Array


COLUMNS = {
    "up": Column(np.float32),
    "down": Column(np.float32),
    "run": Column(np.int32),
    "rest": Column(np.int32),
    "after": Column(np.float64),
}


@inline
def watch(change: Change, row: int, residual: float, value: float, expected: float, sd: float, count: float) -> int:
    """+1 or -1 when the level has moved, else 0. residual in typical sizes, signed; value, expected, sd in the unit."""
    run = change.run[row]
    rate = max(AFTER_RATE, 1.0 / (run + 1.0))
    change.after[row] += rate * (value - change.after[row])
    if change.rest[row] > 0:
        change.rest[row] -= 1
        return 0
    step = min(max(residual, -BOUND), BOUND)
    up = max(0.0, float(change.up[row]) + step - ALLOWANCE)
    down = max(0.0, float(change.down[row]) - step - ALLOWANCE)
    change.up[row], change.down[row] = np.float32(min(up, 4 * LIMIT)), np.float32(min(down, 4 * LIMIT))
    if up == 0.0 and down == 0.0:
        change.run[row] = 0
        return 0
    change.run[row] = run + 1
    if count < WARM or run < MIN_RUN or max(up, down) < LIMIT:
        return 0
    moved = change.after[row] - expected
    if abs(moved) < SHIFT * sd or (moved > 0.0) != (up > down):
        return 0
    clear(change, row)
    return 1 if moved > 0.0 else -1


@inline
def clear(change: Change, row: int) -> None:
    """Begin again after a change was reported or ordered."""
    change.up[row] = 0.0
    change.down[row] = 0.0
    change.run[row] = 0
    change.rest[row] = REST
