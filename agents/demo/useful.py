"""Useful: from when on does a fleet's model know its fleet? The same rule for the seeded and the cold one.

Owns the rule: the score of the band that is told, each series in units of its final one, averaged over the fleet and
over an hour, is at most NEAR and stays so to the end. Hours of an incident are left out for the entity it hits. Pure.

Not obvious, two things. A band is scored by its width and by how far values lie outside (the interval score of
Gneiting and Raftery 2007, section 6.2), for the middle of it alone is as good as the last value from the first minute
on: what a young model does not know is how far is far. And "final" is the better of the two fleets' ends, series by
series, so that a model that ends badly cannot call itself useful early.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.demo.incidents import Incident
from agents.demo.world import Fleet, Floats

#: At most twice as much as at the end.
NEAR = 2.0
WINDOW_MIN = 60
#: The end: the last quiet hours of the story.
FINAL_MIN = 240
#: One series' score counts at most so many times its final one, so that no single one decides.
MOST = 20.0
#: The share of values that a band leaves out: what lies outside of it weighs by one over that.
OUTSIDE = 0.02


def band_scores(off: Floats, half_band: Floats) -> Floats:
    """Half of the interval score; off: value - expected; NaN where there is no band.

    >>> band_scores(np.array([1.0, -3.0]), np.array([2.0, 2.0])).tolist()
    [2.0, 52.0]
    """
    return np.asarray(half_band + np.maximum(np.abs(off) - half_band, 0.0) / OUTSIDE)


def masked(scores: Floats, fleet: Fleet, script: Sequence[Incident]) -> Floats:
    """A copy without the stretches that an incident spoils, and without what it has taught (an hour more)."""
    kept = np.array(scores, float)
    for incident in script:
        columns = fleet.named(incident.entity).columns
        kept[incident.start_min : incident.window_min[1] + WINDOW_MIN, columns.start : columns.stop] = np.nan
    return kept


def final_score(scores: Floats) -> Floats:
    """(series,): typical score over the last FINAL_MIN minutes. scores: (minutes, series), NaN: no forecast."""
    return np.asarray(_mean(scores[-FINAL_MIN:]))


def hourly(scores: Floats, final: Floats) -> Floats:
    """(hours,): score of the fleet in units of its final one, NaN where nothing is known."""
    relative = np.minimum(scores / np.maximum(final, 1e-12), MOST)
    whole = len(relative) // WINDOW_MIN * WINDOW_MIN
    return _mean(relative[:whole].reshape(whole // WINDOW_MIN, -1).T)


def useful_s(hours: Floats) -> float | None:
    """Event seconds until the score is near its end for good; None if it never was.

    >>> useful_s(np.array([9.0, 3.0, 1.2, 2.6, 1.1, 1.0]))
    14400.0
    """
    far = np.flatnonzero(~(hours <= NEAR))
    if len(hours) == 0 or (len(far) and far[-1] == len(hours) - 1):
        return None
    return float((far[-1] + 1 if len(far) else 0) * WINDOW_MIN * 60)


def _mean(rows: Floats) -> Floats:
    """Mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
