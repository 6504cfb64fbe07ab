"""Change: has the level of a series moved for good?

Owns a two-sided CUSUM (Page 1954) of how far a series is from where it would have been, and an estimate of the level
after the change. It raises drift; it never pages and never moves a model. Moving is an order that comes back from the
control topic.

Not obvious. (1) While a run lasts, the values are compared with what the models said *before* it began, and with the
profile as it was when its slot was entered: mean, scale and profile all follow a shift within minutes, and would hide
it. (2) The residual is autocorrelated, so a plain CUSUM would fire on any slow wave: each step is bounded, the run
must last, and the level after must stand SHIFT sd from the level before. (3) Where the hour has never been seen
before, a slope of the day looks like a shift; nothing is told of a series younger than two days. (4) What the models
were at the beginning of the run is told with the drift, so that the order can put them back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline

#: Per step: half of a shift of 1.5 typical residuals, the smallest shift looked for (the usual k = shift / 2).
ALLOWANCE, BOUND = 0.75, 4.0
LIMIT, SHIFT = 30.0, 2.0
#: A shift must last longer than the series' own waves, which are as long as the variance of its residual over its
#: squared step; the larger the shift, the sooner it is told from a wave (the variance of a mean falls with its length).
WAVES, SHORTEST, LONGEST = 75.0, 15.0, 280.0
#: Beyond this many sd a suspected change is kept out of the shape of the day; no day is that tall.
TALL = 3.5
AFTER_RATE = 0.15
#: A run that has led to no drift by now leads to none: it is a slow wave, and the models go on learning.
MOST_RUN = 300
#: The sums go no higher, so that they are back at 0 soon after a wave.
MOST = 40.0
#: Samples after a change in which no second one is reported: the order must have time to come back.
REST = 60
#: Age of a series below which it has no level to move from: two days, or a memory that is full.
OLD_MS, FULL = 172_800_000.0, 49_999.0


class Change(NamedTuple):
    """up, down: CUSUM in typical residuals; run: samples of the present run, negative when it goes down; after: EW
    mean of the value, its unit.

    mean, sd (unit), level, sigma (sd): the models when the run began; slot, entry: the slot of the day that the series
    is in, and its profile when it was entered; known: was that slot seen on an earlier day; previous: the value before
    the last.
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
    known: Array
    previous: Array


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
    "known": Column(np.uint8),
    "previous": Column(np.float64, np.nan),
}


@inline
def begin(
    change: Change, row: int, slot: int, visits: int, profile: float, mean: float, sd: float, level: float, sigma: float
) -> None:
    """Note the models as they are, as long as no run has begun. profile: of this slot, now."""
    if change.slot[row] != slot:
        change.slot[row] = slot
        change.known[row] = 1 if visits > 0 else 0
        change.entry[row] = np.float32(profile)
    if change.run[row] == 0:
        change.mean[row], change.sd[row] = mean, sd
        change.level[row], change.sigma[row] = np.float32(level), np.float32(sigma)


@inline
def unmoved(change: Change, row: int) -> float:
    """What the value should be now if nothing had moved since the run began, in the unit."""
    return np.float64(change.mean[row]) + np.float64(change.sd[row]) * (
        np.float64(change.level[row]) + np.float64(change.entry[row])
    )


@inline
def watch(change: Change, row: int, value: float, last: float, floor: float, step: float, is_old: bool) -> int:
    """+1 or -1 when the level has moved, else 0.

    last: the value before; floor: smallest typical residual, in sd; step: mean squared difference from one sample to
    the next, in unit squared; is_old: do the models know the day?
    """
    run = change.run[row]
    rate = max(AFTER_RATE, 1.0 / (abs(run) + 1.0))
    change.after[row] += rate * (_middle(value, last, change.previous[row]) - change.after[row])
    change.previous[row] = last
    if change.rest[row] > 0:
        change.rest[row] -= 1
        return 0
    before, sd = unmoved(change, row), np.float64(change.sd[row])
    off = min(max((value - before) / (sd * (np.float64(change.sigma[row]) + floor)), -BOUND), BOUND)
    up = max(0.0, np.float64(change.up[row]) + off - ALLOWANCE)
    down = max(0.0, np.float64(change.down[row]) - off - ALLOWANCE)
    change.up[row], change.down[row] = np.float32(min(up, MOST)), np.float32(min(down, MOST))
    side = 1 if up > down else -1
    if max(up, down) == 0.0 or run * side < 0:
        # A run is one side's: noise that swings about its mean has long sums, but short runs.
        change.run[row] = 0
        return 0
    change.run[row] = run + side
    length = abs(run) + 1
    moved = change.after[row] - before
    if length >= MOST_RUN and abs(moved) < SHIFT * sd:
        # No rest: a true shift may come the next minute.
        change.up[row], change.down[row], change.run[row] = 0.0, 0.0, 0
        return 0
    if not is_old or change.known[row] == 0 or max(up, down) < LIMIT:
        return 0
    size = SHIFT * sd / max(abs(moved), 1e-300)
    spread = sd * (np.float64(change.sigma[row]) + floor)
    if length < min(max(WAVES * spread * spread / max(step, 1e-300) * size * size, SHORTEST), LONGEST):
        return 0
    if abs(moved) < SHIFT * sd or (moved > 0.0) != (up > down):
        return 0
    return 1 if moved > 0.0 else -1


@inline
def _middle(a: float, b: float, c: float) -> float:
    """Median of three, so that one false value cannot say where a series has gone; a while c is NaN."""
    if np.isnan(c):
        return a
    return max(min(a, b), min(max(a, b), c))


@inline
def is_old(count: float, step_ms: float) -> bool:
    """Has a series of `count` samples, `step_ms` apart, seen two days?"""
    return count * step_ms >= OLD_MS or count >= FULL


@inline
def is_suspected(change: Change, row: int, is_old: bool) -> bool:
    """Does a change seem to be under way? The shape of the day had better not learn from it."""
    if not is_old or change.known[row] == 0 or max(change.up[row], change.down[row]) < LIMIT / 3.0:
        return False
    return bool(abs(change.after[row] - unmoved(change, row)) > TALL * change.sd[row])


@inline
def clear(change: Change, row: int) -> None:
    """Begin again after a change was reported or ordered."""
    change.up[row] = 0.0
    change.down[row] = 0.0
    change.run[row] = 0
    change.rest[row] = REST
