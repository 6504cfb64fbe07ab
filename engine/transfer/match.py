"""Match: which metric class of a source is most like this one, how far apart are they, and what does that allow?

Owns the distance between two fingerprints and the zones: reuse, seed-and-adapt, reinitialise, and `by name` for a class
of which nothing but its name is known. Knows nothing of strengths and of how a plan is told.

Not obvious: a difference counts in units of the class's own spread in the source, so a class whose members differ
much forgives much. And it counts only as far as the target knows itself: after an hour its variance says little, so
the name decides; after a day the shape of its day has been seen and can refuse a source. What is only moved (a clock
eight hours off, another step) is moved back first, by `align`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array
from engine.series import Kind
from engine.transfer import align
from engine.transfer.align import AS_IT_IS, Aligned, Source
from engine.transfer.fingerprint import FEATURES, HALF_KNOWN, Looks, shape_likeness

REUSE, NAMED, ADAPT, COLD = "reuse", "by name", "seed-and-adapt", "reinitialise"
#: Distances up to which a class is reused, or seeded weakly. Calibrated on siblings and strangers of real services.
REUSE_MOST, ADAPT_MOST = 1.0, 1.8
#: With less than this a name stands alone: about a day must have been seen.
NAMED_EVIDENCE = 1.0
#: Without a common name there must be evidence, and the likeness must be close; then it is seeded weakly.
UNNAMED_MOST = 0.7
#: Half of a 10-90 % range where a source has few series of a class, and how many series that guess is worth.
FACTORY_SPREAD = (0.8, 0.2, 1.2, 0.6)
FACTORY_SERIES = 4.0
#: Smallest half range: below it, differences are noise of the estimates.
LEAST_SPREAD = (0.25, 0.05, 0.5, 0.2)
#: 1 - correlation of two shapes of a day that counts as one spread, and the weight of the shape beside a feature.
SHAPE_SPREAD, SHAPE_WEIGHT = 0.35, 2.0


class Match(NamedTuple):
    """source: row in the source's classes, -1 none; evidence: how much the target knows, 0..6; because: for people.

    aligned: how the source's class was moved to be compared, its gain aside.
    """

    source: int
    distance: float
    evidence: float
    zone: str
    by: str
    because: str
    aligned: Aligned = AS_IT_IS


def match(source: Source, targets: Looks, k: int) -> Match:
    """The best class of a source for the target's class k."""
    name = targets.names[k]
    if name in source.looks.names:
        return _by_name(source, targets, k, source.looks.names.index(name))
    return _by_likeness(source, targets, k)


def _by_name(source: Source, targets: Looks, k: int, j: int) -> Match:
    if (targets.kind[k] == Kind.COUNTER) != (source.looks.kind[j] == Kind.COUNTER):
        return Match(j, np.inf, 0.0, COLD, "name", "one is a counter and the other is not")
    far, evidence, worst, made = distance(source, targets, k, j)
    if evidence < NAMED_EVIDENCE:
        return Match(j, far, evidence, NAMED, "name", "same name, too young to tell more", made)
    if far <= REUSE_MOST:
        return Match(j, far, evidence, REUSE, "name", "same name, alike", made)
    if far <= ADAPT_MOST:
        return Match(j, far, evidence, ADAPT, "name", f"same name, but its {worst} differs", made)
    return Match(j, far, evidence, COLD, "name", f"same name, but its {worst} is of another kind; stays cold")


def _by_likeness(source: Source, targets: Looks, k: int) -> Match:
    best, found = -1, (np.inf, 0.0, "", AS_IT_IS)
    for j in range(len(source.looks.names)):
        if (targets.kind[k] == Kind.COUNTER) == (source.looks.kind[j] == Kind.COUNTER):
            one = distance(source, targets, k, j)
            if one[0] < found[0]:
                best, found = j, one
    if best < 0:
        return Match(-1, np.inf, 0.0, COLD, "", "the source has no class of this kind; stays cold")
    if found[1] < NAMED_EVIDENCE:
        return Match(-1, np.inf, found[1], COLD, "", "not in the source, and too young to be recognised; stays cold")
    if found[0] > UNNAMED_MOST:
        because = f"not in the source, and nothing there is alike ({found[2]}); stays cold"
        return Match(-1, found[0], found[1], COLD, "", because)
    return Match(best, found[0], found[1], ADAPT, "fingerprint", f"behaves like {source.looks.names[best]}", found[3])


def distance(source: Source, targets: Looks, k: int, j: int) -> tuple[float, float, str, Aligned]:
    """(distance in spreads, evidence behind it, what differs most, how it was moved) of target class k, source class j.

    A weighted root mean square, drawn towards 0 where the target knows little: it takes evidence to refuse a name.
    """
    known = (targets.samples[k] / (targets.samples[k] + np.array(HALF_KNOWN))) ** 2
    made, features, shape, visits = align.compared(source, targets, k, j)
    off = np.abs(targets.features[k] - features) / _spread(source.looks, j)
    weights, offs = [*known], [*off]
    seen = (targets.visits[k] > 0) & (visits > 0)
    likeness = shape_likeness(targets.shape[k], shape, seen)
    # Noise beside noise is not like it, and says nothing: one of the two must have a day.
    if np.isfinite(likeness) and (source.target_has_day[k] or source.has_day[j]):
        weights.append(SHAPE_WEIGHT * float(seen.mean()))
        offs.append((1.0 - likeness) / SHAPE_SPREAD)
    weight, apart = np.array(weights), np.minimum(np.array(offs), 6.0)
    worst = (*FEATURES, "shape of the day")[int(np.argmax(weight * apart))]
    far = float(np.sqrt(np.sum(weight * apart**2) / max(float(weight.sum()), 1.0)))
    return far, float(weight.sum()), worst, made


def _spread(sources: Looks, j: int) -> Array:
    """Half of the class's own 10-90 % range, with a factory guess of a few series' weight."""
    n, own = float(sources.series[j]) - 1.0, (sources.high[j] - sources.low[j]) / 2.0
    shrunk = (n * own + FACTORY_SERIES * np.array(FACTORY_SPREAD)) / (n + FACTORY_SERIES)
    return np.asarray(np.maximum(shrunk, LEAST_SPREAD))
