"""Useful: from when on does a fleet's model know its fleet? The same rule for the seeded and the cold one.

Owns the rule: the error of the one-step forecast, each series in units of its final error, averaged over the fleet and
over an hour, is at most NEAR and stays so to the end. Hours of an incident are left out for the entity it hits. Pure.

Not obvious: "final" is the better of the two fleets' ends, series by series, so that a model that ends badly cannot
call itself useful early.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.demo.incidents import Incident
from agents.demo.world import Fleet, Floats

#: At most half as much again as at the end.
NEAR = 1.5
WINDOW_MIN = 60
#: The end: the last quiet hours of the story.
FINAL_MIN = 240
#: One series' error counts at most so many times its final one, so that no single one decides.
MOST = 20.0


def masked(errors: Floats, fleet: Fleet, script: Sequence[Incident]) -> Floats:
    """A copy without the stretches that an incident spoils, and without what it has taught (an hour more)."""
    kept = np.array(errors, float)
    for incident in script:
        columns = fleet.named(incident.entity).columns
        kept[incident.start_min : incident.window_min[1] + WINDOW_MIN, columns.start : columns.stop] = np.nan
    return kept


def final_error(errors: Floats) -> Floats:
    """(series,): typical error over the last FINAL_MIN minutes. errors: (minutes, series), NaN: no forecast."""
    return np.asarray(_mean(errors[-FINAL_MIN:]))


def hourly(errors: Floats, final: Floats) -> Floats:
    """(hours,): error of the fleet in units of its final one, NaN where nothing is known."""
    relative = np.minimum(errors / np.maximum(final, 1e-12), MOST)
    whole = len(relative) // WINDOW_MIN * WINDOW_MIN
    return _mean(relative[:whole].reshape(whole // WINDOW_MIN, -1).T)


def useful_s(hours: Floats) -> float | None:
    """Event seconds until the error is near its end for good; None if it never was.

    >>> useful_s(np.array([9.0, 2.0, 1.2, 1.6, 1.1, 1.0]))
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
