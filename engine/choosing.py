"""Choosing: which version of each entity on trial is to be believed.

Owns the decision, of many entities at once. Changes nothing: what follows from a decision is `engine/twins.py`. When
one is due is the caller's question, too; how alike an entity and a source are is that of `engine/likeness.py`.

Not obvious: what is decided of one entity depends on nothing of any other, so they may be asked in any company.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine import likeness
from engine.columns import Array
from engine.components import guard
from engine.likeness import Likeness
from engine.pairs import Pairs
from engine.roster import Roster

#: What may be decided; NOTHING: it stays as it is, or nothing is known yet.
NOTHING, ADOPTED, REFUSED, RETURNED, PASSED = "", "adopted", "refused", "returned", "passed"
#: Likeness in fewer metrics than this is chance, and of several sources one will have it: the first is taken.
CHOOSING = 4


class Decisions(NamedTuple):
    """Of m entities. what: see NOTHING; source: its number, -1 with NOTHING; unlike, loud: see `Likeness`."""

    what: Array
    source: Array
    unlike: Array
    loud: Array

    @staticmethod
    def none(entities: int) -> Decisions:
        """Of so many entities nothing."""
        unknown = np.full(entities, np.nan)
        return Decisions(np.full(entities, NOTHING, "U8"), np.full(entities, -1), unknown, unknown.copy())

    def enter(self, at: Array, what: Array, source: int, found: Likeness) -> None:
        """What was decided of some of them."""
        self.what[at], self.source[at], self.unlike[at], self.loud[at] = what, source, *found


def decide(
    own: Roster, twins: Sequence[Roster], pairs: Sequence[Pairs], es: Array, age_ms: Array, settled_ms: int
) -> Decisions:  # fmt: skip
    """Of entities whose trial is old enough for it. es, age_ms: (m,); after settled_ms what is believed has passed."""
    decided, source = Decisions.none(len(es)), own.ents.seed.source[es]
    for k in np.unique(source[source >= 0]).tolist():
        at = np.flatnonzero(source == k)
        _go_on(decided, at, own, es[at], age_ms[at], k, settled_ms)
    at = np.flatnonzero(source == guard.NEVER)
    if len(at):
        _choose(decided, at, own, twins, pairs, es[at], age_ms[at])
    return decided


def _go_on(
    decided: Decisions, at: Array, own: Roster, es: Array, age_ms: Array, k: int, settled_ms: int
) -> None:  # fmt: skip
    """Are those that believe source k still like it?"""
    prior = own.priors[k]
    found = Likeness(likeness.unlike(own, es, prior), likeness.loud(own, es, prior))
    is_far = found.is_beyond(likeness.limits(age_ms, is_taken=True))
    what = np.where(is_far, RETURNED, np.where(age_ms >= settled_ms, PASSED, NOTHING))
    said = np.flatnonzero(what != NOTHING)
    decided.enter(at[said], what[said], k, Likeness(found.unlike[said], found.loud[said]))


def _choose(
    decided: Decisions, at: Array, own: Roster, twins: Sequence[Roster], pairs: Sequence[Pairs], es: Array,
    age_ms: Array,
) -> None:  # fmt: skip
    """The source that each is most like, and whether that is enough, by now."""
    unlike = np.full((len(twins), len(es)), np.inf)
    may_ask, is_narrow = np.ones(len(es), bool), own.ents.open.members[es] < CHOOSING
    for k, roster in enumerate(twins):
        asked = np.flatnonzero(may_ask & pairs[k].has_borrowed(roster, es))
        apart = likeness.unlike(own, es[asked], own.priors[k])
        unlike[k, asked] = np.where(np.isfinite(apart), apart, np.inf)
        may_ask[asked[is_narrow[asked]]] = False
    best, least = unlike.argmin(axis=0), unlike.min(axis=0)
    for k in np.unique(best[np.isfinite(least)]).tolist():
        of = np.flatnonzero((best == k) & np.isfinite(least))
        loud = likeness.loud(twins[k], pairs[k].twin[es[of]], own.priors[k])
        found = Likeness(least[of], loud)
        is_far = found.is_beyond(likeness.limits(age_ms[of], is_taken=False))
        what = np.where(is_far, REFUSED, np.where(likeness.is_clear(found, age_ms[of]), ADOPTED, NOTHING))
        said = np.flatnonzero(what != NOTHING)
        decided.enter(at[of[said]], what[said], k, Likeness(found.unlike[said], found.loud[said]))
