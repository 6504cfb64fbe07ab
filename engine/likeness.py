"""Likeness: is an entity like the source that would lend to it, or has lent to it?

Owns the two measures and their limits. Knows nothing of who asks, when, and what follows; that is `engine/twins.py`.

Not obvious: neither measure is one of success. How restless an entity's metrics are says within the hour whether it is
of the source's kind: nearly all siblings of real services are below the limit then, and nearly all strangers well
above it. How loud its evidence is comes after that. Both are means over hours, so one incident moves neither. What is
taken has to be clearly alike; what has been taken is given back only if it is clearly unlike, or a borderline case
would change its models all day.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array
from engine.components import entity, level, tail
from engine.components.habit import HOUR_MS
from engine.prior import Prior
from engine.roster import Roster

#: Samples of a series before its restlessness is known.
KNOWN = 10.0
#: The mean over metrics of |ln(restlessness / the source's)|, each at most MOST_UNLIKE, in units of BESIDE if it is
#: meant beside the size of the value, of AMONG if beside the entity's other metrics, and those are MANY.
BESIDE, AMONG, MANY, MOST_UNLIKE = 0.75, 0.52, 9, 3.0


class Likeness(NamedTuple):
    """unlike: see BESIDE, 1 is the limit for what is taken; loud: ln(median evidence / the source's), mean of channels.

    NaN: nothing is known yet.
    """

    unlike: float
    loud: float

    def is_beyond(self, limit: Likeness) -> bool:
        """Is one of the two more than that?"""
        return self.unlike > limit.unlike or self.loud > limit.loud


#: The most of what is taken, and of what has been taken and is kept; and by how much louder it may be after an hour, in
#: which the scale is a guess and all evidence is in its units. That falls with the age.
_TAKEN, _KEPT, FIRST_HOUR = Likeness(1.0, 0.8), Likeness(1.3, 1.1), 0.6


def limit(age_ms: int, *, is_taken: bool) -> Likeness:
    """The most at an age of a trial. is_taken: of what has been taken already."""
    most = _KEPT if is_taken else _TAKEN
    return most._replace(loud=round(most.loud + FIRST_HOUR * HOUR_MS / max(age_ms, HOUR_MS), 4))


def of(own: Roster, seeded: Roster, e: int, prior: Prior) -> Likeness:
    """Of entity e of a shard to a source. seeded: the roster in which it has borrowed, the shard's or a twin's."""
    return Likeness(_unlike(own, e, prior), _loud(seeded, seeded.entity_of(own.entities[e]), prior))


def _unlike(own: Roster, e: int, prior: Prior) -> float:
    rows = own.members_of(e)
    off = level.log_step(own.rows.level, rows) - prior.restlessness([own.classes[row] for row in rows])
    beside, among = off[np.isfinite(off).all(axis=1) & (own.rows.level.count[rows] >= KNOWN)].T
    if not len(beside):
        return np.nan
    unlike = _apart(beside) / BESIDE
    return unlike if len(beside) < MANY else min(unlike, _apart(among - np.median(among)) / AMONG)


def _loud(seeded: Roster, e: int, prior: Prior) -> float:
    lent = prior.channels_lent(seeded, e)
    if lent is None:
        return 0.0
    own = np.maximum(seeded.ents.entity.counts[e, : entity.G].astype(np.float64) - lent[: entity.G], 0.0)
    return float(np.mean(tail.medians(own) - tail.medians(lent[: entity.G])))


def _apart(off: Array) -> float:
    return float(np.minimum(np.abs(off), MOST_UNLIKE).mean())
