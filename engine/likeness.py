"""Likeness: is an entity like the source that would lend to it, or has lent to it?

Owns the two measures and their limits, of many entities at once. Knows nothing of who asks, when, and what follows;
that is `engine/choosing.py`.

Not obvious: neither measure is one of success. How restless an entity's metrics are says within the hour whether it is
of the source's kind: nearly all siblings of real services are below the limit then, and nearly all strangers well
above it. How loud its evidence is comes after that. Both are means over hours, so one incident moves neither. What is
taken has to be clearly alike; what has been taken is given back only if it is clearly unlike, or a borderline case
would change its models all day.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array
from engine.components import entity, level, tail
from engine.components.habit import HOUR_MS
from engine.groups import stacked
from engine.prior import Prior
from engine.roster import Roster

#: Samples of a series before its restlessness is known.
KNOWN = 10.0
#: The mean over metrics of |ln(restlessness / the source's)|, each at most MOST_UNLIKE, in units of BESIDE if it is
#: meant beside the size of the value, of AMONG if beside the entity's other metrics, and those are MANY.
BESIDE, AMONG, MANY, MOST_UNLIKE = 0.75, 0.52, 9, 3.0
#: Entities of which the evidence is compared at once: their histograms stay in the cache.
AT_ONCE = 64


class Likeness(NamedTuple):
    """unlike: see BESIDE, 1 is the limit for what is taken; loud: ln(median evidence / the source's), mean of channels.

    Of one entity or, as arrays, of many. NaN: nothing is known yet.
    """

    unlike: Any
    loud: Any

    def is_beyond(self, limit: Likeness) -> Any:
        """Is one of the two more than that?"""
        return (self.unlike > limit.unlike) | (self.loud > limit.loud)


#: The most of what is taken, and of what has been taken and is kept; and by how much louder it may be after an hour, in
#: which the scale is a guess and all evidence is in its units. That falls with the age.
_TAKEN, _KEPT, FIRST_HOUR = Likeness(1.0, 0.8), Likeness(1.3, 1.1), 0.6
#: What is not below this after an hour is not clearly alike yet, and waits; in CLEAR_H hours that rises to the limit.
CLEAR, CLEAR_H = 0.75, 3.0


def limit(age_ms: int, *, is_taken: bool) -> Likeness:
    """The most at an age of a trial. is_taken: of what has been taken already."""
    most = _KEPT if is_taken else _TAKEN
    return most._replace(loud=round(most.loud + FIRST_HOUR * HOUR_MS / max(age_ms, HOUR_MS), 4))


def limits(age_ms: Array, *, is_taken: bool) -> Likeness:
    """The same of many trials. age_ms: (m,)."""
    ages, which = np.unique(age_ms, return_inverse=True)
    of = np.array([limit(age, is_taken=is_taken) for age in ages.tolist()]).reshape(-1, 2)
    return Likeness(*of[which].T)


def is_clear(found: Likeness, age_ms: Array) -> Array:
    """Is what is within its limit clearly so, by now? Strangers that look alike after an hour seldom do after three."""
    waited = np.clip((age_ms / HOUR_MS - 1.0) / (CLEAR_H - 1.0), 0.0, 1.0)
    return np.asarray(found.unlike <= CLEAR + (_TAKEN.unlike - CLEAR) * waited)


def unlike(own: Roster, es: Array, prior: Prior) -> Array:
    """How far entities of a shard are from a source, (m,); NaN where nothing is known yet."""
    which, rows = own.members_of_all(es)
    off = level.log_step(own.rows.level, rows) - prior.restlessness(own, rows)
    is_known = np.isfinite(off).all(axis=1) & (own.rows.level.count[rows] >= KNOWN)
    beside, among = off[is_known].T
    found = np.full(len(es), np.nan)
    for numbers, at in stacked(which[is_known], len(es)):
        found[numbers] = _apart(beside[at]) / BESIDE
        if at.shape[1] >= MANY:
            middle = np.median(among[at], axis=1, keepdims=True)
            found[numbers] = np.minimum(found[numbers], _apart(among[at] - middle) / AMONG)
    return found


def loud(seeded: Roster, es: Array, prior: Prior) -> Array:
    """How much louder their evidence is, (m,). seeded: the roster in which they have borrowed, es: their numbers in it.

    0 where the histograms were not borrowed.
    """
    found, lenders = np.zeros(len(es)), np.flatnonzero(prior.lends_channels(seeded, es))
    lent, counts = prior.channels_lent[: entity.G], seeded.ents.entity.counts
    theirs = tail.medians(lent)
    for begin in range(0, len(lenders), AT_ONCE):
        at = lenders[begin : begin + AT_ONCE]
        own = np.maximum(counts[es[at], : entity.G] - lent, 0.0)
        middle = tail.medians(own.reshape(-1, tail.BINS)).reshape(-1, entity.G)
        found[at] = np.mean(middle - theirs, axis=1)
    return found


def _apart(off: Array) -> Array:
    return np.asarray(np.minimum(np.abs(off), MOST_UNLIKE).mean(axis=1))
