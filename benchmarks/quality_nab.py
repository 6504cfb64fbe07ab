"""NAB's score (Lavin and Ahmad 2015; Ahmad et al. 2017), standard profile, written from its rules.

Owns what a detection is worth and the search for a threshold. The rules: the first 15 % of a file, 750 rows at most,
are not scored. Of each window the best detection counts, worth 1 at the left edge and next to nothing at the right; a
window that is missed costs 1. A detection outside costs up to 0.11, less shortly after a window. One threshold serves
all files. 100 is every window at its left edge and nothing else, 0 is silence.

Not obvious: NAB takes the threshold that is best on the very files that it scores. `cross_validated` takes it from the
other files, five parts, which no published figure does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from benchmarks.quality_sets import Entity
from benchmarks.series_data import Array

FALSE_ALARM, MISSED = 0.11, 1.0
FOLDS, SHUFFLES = 5, 5
#: Rows within which only the largest score counts: a burst is one detection. NAB's windows are some 200 rows long.
QUIET_ROWS = 200


class Steps(NamedTuple):
    """A file at all thresholds: as the threshold falls to `at`, the total changes by `gain`. silent: total at none."""

    at: Array
    gain: Array
    silent: float
    windows: int


def sigmoid(x: Array) -> Array:
    """From 1 far inside a window over 0 at its right edge to -1; flat beyond three widths.

    >>> sigmoid(np.array([0.0, 9.0])).tolist()
    [0.0, -1.0]
    """
    return np.where(x > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(x, 3.0))) - 1.0)


def steps(entity: Entity, score: Array) -> Steps:
    """How the total of one file grows as the threshold falls."""
    rows = np.arange(len(score))
    worth, inside = np.full(len(score), -1.0), np.zeros(len(score), bool)
    at, gain, missed = [], [], 0
    for begin, end in entity.events:
        after = rows >= end
        # Each window speaks of the rows after it, up to the next.
        worth[after] = sigmoid((rows[after] - end + 1) / max(end - begin - 1.0, 1.0))
        inside[begin:end] = True
        own = rows[max(begin, entity.scored_from) : end]
        if not len(own):
            continue
        missed += 1
        falling = own[np.argsort(-score[own], kind="stable")]
        best = np.maximum.accumulate(sigmoid((falling - end) / (end - begin)) / sigmoid(np.array(-1.0)))
        at.append(score[falling])
        gain.append(np.diff(best, prepend=-MISSED))
    outside = ~inside & (rows >= entity.scored_from)
    at.append(score[outside])
    gain.append(FALSE_ALARM * worth[outside])
    return Steps(np.concatenate(at), np.concatenate(gain), -MISSED * missed, len(entity.events))


def curve(files: list[Steps]) -> tuple[Array, Array]:
    """Thresholds, falling from infinity, and the total of all files at each."""
    at, gain = np.concatenate([one.at for one in files]), np.concatenate([one.gain for one in files])
    order = np.argsort(-at, kind="stable")
    # All rows of the same score are detected at once.
    last = np.flatnonzero(np.diff(at[order], append=-np.inf))
    silent = sum(one.silent for one in files)
    total = silent + np.cumsum(gain[order])[last]
    return np.concatenate([[np.inf], at[order][last]]), np.concatenate([[silent], total])


def standard(files: list[Steps]) -> float:
    """The score at the best threshold for these files."""
    return _percent(float(curve(files)[1].max()), files)


def cross_validated(files: list[Steps]) -> float:
    """The score with each fifth of the files at the best threshold of the others; mean over a few ways to cut."""
    found = []
    for seed in range(SHUFFLES):
        part = np.random.default_rng(seed).permutation(len(files)) % FOLDS
        total = 0.0
        for k in np.unique(part):
            at, gained = curve([one for one, fold in zip(files, part, strict=True) if fold != k])
            threshold = at[np.argmax(gained)]
            own_at, own = curve([one for one, fold in zip(files, part, strict=True) if fold == k])
            total += float(own[np.flatnonzero(own_at >= threshold)[-1]])
        found.append(_percent(total, files))
    return float(np.mean(found))


def _percent(total: float, files: list[Steps]) -> float:
    windows = sum(one.windows for one in files)
    return 100.0 * (total + MISSED * windows) / ((1.0 + MISSED) * windows)


def quiet(score: Array, rows: int = QUIET_ROWS) -> Array:
    """A score counts only if it is larger than the last that counted, or so many rows have passed since; else 0.

    >>> quiet(np.array([1.0, 3.0, 2.0, 2.0, 2.0, 3.5]), rows=2).tolist()
    [1.0, 3.0, 0.0, 0.0, 2.0, 3.5]
    """
    kept, last = np.zeros(len(score)), -rows - 1
    for at, one in enumerate(score.tolist()):
        if at - last > rows or one > kept[last]:
            kept[at], last = one, at
    return kept
