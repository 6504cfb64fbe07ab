"""Trial: a lent shape of the day has to prove itself on the target's first day, or it goes.

Owns the comparison, at the first sample of each quarter of an hour, of what a series should be with the lent shape
and by its own plain mean; and the mean while the trial lasts, which is learned from values that the shape has been
taken out of, so that it is right after an hour or two instead of a day. Knows nothing of where a shape comes from.

Not obvious: the twin that a guard needs is one number here, the plain mean, because a cold series has no shape on its
first day. A shape that loses is taken out of all slots that have not been visited yet, and the mean becomes the plain
one; from then on the series is as if it had begun cold. No label is needed, and no constant of the series.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.components.level import CLIP, Level
from engine.components.season import SLOTS, Season
from engine.kernel import inline

NONE, ON, KEPT, EVICTED = range(4)
#: A shape goes when its summed squared error is this many variances above that of the plain mean. Measured on
#: siblings and strangers of real services: 1 evicts a few good ones, 3 lets a bad one do harm for an hour longer.
MARGIN = 2.0
#: The count of a level after the first sample that had a scale.
FIRST = 3.0
#: A squared error counts up to this many variances, so that one incident decides nothing.
MOST = 9.0
#: Samples of one slot after which the trial ends although not all slots were seen (a series of office hours).
LONGEST = 200


class Trial(NamedTuple):
    """state; slots: first samples of a slot so far; plain: mean of all values; with_shape, without: losses in sd^2."""

    state: Array
    slots: Array
    plain: Array
    with_shape: Array
    without: Array


COLUMNS = {
    "state": Column(np.uint8, is_apart=True),
    "slots": Column(np.uint8, is_apart=True),
    "plain": Column(np.float64, is_apart=True),
    "with_shape": Column(np.float32, is_apart=True),
    "without": Column(np.float32, is_apart=True),
}


@inline
def learn(
    trial: Trial, level: Level, season: Season, row: int, slot: int, value: float, sd: float, residual: float,
    mean: float, lent: float,
) -> None:  # fmt: skip
    """Judge the shape by one sample, and set the mean. To be called after level and season have learned it.

    mean: before this sample; lent: the slot's profile when it was entered; residual: z - expected, in sd.
    """
    count = level.count[row]
    plain = trial.plain[row] if count > FIRST else mean
    off = min(max((value - plain) / sd, -CLIP), CLIP)
    trial.plain[row] = plain + sd * off / count
    aligned = min(max((value - mean) / sd - lent, -CLIP), CLIP)
    level.mean[row] = mean + sd * aligned / (count - FIRST + 1.0)
    if season.visits[slot, row] == 1:
        trial.with_shape[row] += np.float32(min(residual * residual, MOST))
        trial.without[row] += np.float32(min(off * off, MOST))
        trial.slots[row] += 1
    if np.float64(trial.with_shape[row]) > np.float64(trial.without[row]) + MARGIN:
        _evict(trial, level, season, row)
    elif trial.slots[row] >= SLOTS or season.visits[slot, row] > LONGEST:
        trial.state[row] = KEPT


@inline
def _evict(trial: Trial, level: Level, season: Season, row: int) -> None:
    """Take the lent shape out; what the series has shown itself stays."""
    trial.state[row] = EVICTED
    level.mean[row] = trial.plain[row]
    for slot in range(SLOTS):
        is_seen = season.visits[slot, row] > 0
        season.profile[slot, row] = season.profile[slot, row] + season.level[row] if is_seen else np.float32(0.0)
    season.level[row] = np.float32(0.0)


def seed(trial: Trial, row: int) -> None:
    """Put a fresh row whose shape is lent on trial."""
    trial.state[row] = ON
