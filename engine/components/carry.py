"""Carry: a quarter of an hour of the day begins as far off as the one before has ended.

Owns what is told beyond the profile at the first sample of a slot: a share of how far off the slot before was, and, of
a lent shape that is on trial, how much of it shows in this series. Both are learned by recursive least squares with
one regressor, from the first samples of all slots. Touches neither profile nor severity: a stretch that is as far off
as the one before it is as unusual as that was.

Not obvious: on its first day a series has seen none of the slots that come, so all that it knows of the next one is how
this one ends. And a shape can be right but for its size, which shows within hours; where it is not right at all, none
of it is left then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.components.change import Change
from engine.components.level import CLIP
from engine.components.season import SLOT_MS, SLOTS, Season
from engine.kernel import inline

#: What is believed before anything is seen, and the weight of that, in sd^2.
SHARE, SHARE_WEIGHT = 0.9, 0.3
GAIN, GAIN_WEIGHT = 0.8, 0.1
#: What ended longer ago, in event time, says nothing of how it goes on.
NEAR_MS = 2 * SLOT_MS
#: Of so much, in sd^2, half is forgotten.
MOST = 200.0


class Carry(NamedTuple):
    """Sums over first samples of slots, in sd^2. size, agreed: (how far off the slot before was) squared, and times how
    far off this one begins; power, along: the same of what a lent shape says."""

    size: Array
    agreed: Array
    power: Array
    along: Array


COLUMNS = {
    "size": Column(np.float32, is_apart=True),
    "agreed": Column(np.float32, is_apart=True),
    "power": Column(np.float32, is_apart=True),
    "along": Column(np.float32, is_apart=True),
}


@inline
def into(
    carry: Carry, season: Season, change: Change, row: int, slot: int, since_ms: int, z: float, is_tried: bool
) -> float:  # fmt: skip
    """How far z should be from what the profile expects, in sd, said before z is learned; 0 but where a slot begins.

    To be called before `change.begin` has noted this slot, for it still knows the one before, and what was expected of
    it when it began. since_ms: from the sample before. is_tried: the shape of this series is lent and on trial.
    """
    before = np.int64(change.slot[row])
    # A fresh row has seen no slot, and says so by a number that is none.
    if before >= SLOTS or (before + 1) % SLOTS != slot or since_ms > NEAR_MS:
        return 0.0
    here, there = np.float64(season.profile[slot, row]), np.float64(change.entry[row])
    ended, begun = np.float64(season.profile[before, row]), z - np.float64(season.level[row])
    size, agreed = np.float64(carry.size[row]), np.float64(carry.agreed[row])
    share = min(max((agreed + SHARE_WEIGHT * SHARE) / (size + SHARE_WEIGHT), 0.0), 1.0)
    gain = 1.0
    if is_tried:
        power, along = np.float64(carry.power[row]), np.float64(carry.along[row])
        gain = min(max((along + GAIN_WEIGHT * GAIN) / (power + GAIN_WEIGHT), 0.0), 1.0)
        says = min(max(here - share * there, -CLIP), CLIP)
        carry.power[row] = np.float32(power + says * says)
        carry.along[row] = np.float32(along + says * min(max(begun - share * ended, -CLIP), CLIP))
    off = min(max(ended - gain * there, -CLIP), CLIP)
    size, agreed = size + off * off, agreed + off * min(max(begun - gain * here, -CLIP), CLIP)
    kept = 0.5 if size > MOST else 1.0
    carry.size[row], carry.agreed[row] = np.float32(kept * size), np.float32(kept * agreed)
    return np.float64((gain - 1.0) * here + share * off)


@inline
def restart(carry: Carry, row: int) -> None:
    """Nothing is known any more."""
    carry.size[row], carry.agreed[row] = np.float32(0.0), np.float32(0.0)
    carry.power[row], carry.along[row] = np.float32(0.0), np.float32(0.0)
