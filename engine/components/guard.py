"""Guard: what is expected of a series of which there are two versions, one that has borrowed and one that began cold.

Owns the share that the other version's forecast has in what is told, learned from how probable both found each value,
and, per entity, what it has borrowed from whom. Knows nothing of where the other version is; that is `engine/twins.py`.

Not obvious: forecasts have a judge without labels, the next value; scores have none, for the likelihood is none
(that of a far source also beats a young cold model). So forecasts are mixed here, as by experts with a fixed share
(Herbster and Warmuth 1998): never much worse than the better of the two, whichever it is. Scores are not mixed at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import kernel
from engine.series import Kind

#: What an entity's models come from: it never borrowed, what was lent is not believed, or the number of its source.
NEVER, REFUSED = -1, -2
#: A value may shift the weights by e^3 at most, and each keeps half of a hundredth: what was wrong is back in minutes.
MOST, SHARE = 3.0, 0.01
#: What the other version's first forecast counts: on the first samples that of a far source is many times as wrong.
FIRST = 0.1
#: Half-width of a band in typical residuals.
BAND = 3.0
COUNTER = int(Kind.COUNTER)


class Guard(NamedTuple):
    """Per series. other: share of the other version's forecast in what is expected, 0..1."""

    other: Array


class Seed(NamedTuple):
    """Per entity. source: NEVER, REFUSED or the number of one; since_ms: when its trial began, -1 if none did."""

    source: Array
    since_ms: Array


COLUMNS = {"other": Column(np.float32, is_apart=True)}
SEED = {"source": Column(np.int16, NEVER), "since_ms": Column(np.int64, -1)}


@kernel
def log_density(off: float, size: float) -> float:
    """ln of Student's density with four degrees of freedom, but for a constant. size: typical residual."""
    ratio = off / size
    return np.float64(-np.log(size) - 2.5 * np.log1p(0.25 * ratio * ratio))


@kernel
def mix_forecasts(
    row_of: Array, begin: int, end: int, guard: Guard, kind: Array, other_kind: Array, other_off: Array,
    other_band: Array, expected: Array, off: Array, band: Array, marked: Array,
) -> None:  # fmt: skip
    """What is expected of the samples [begin, end), from both forecasts, in place; learns their weights.

    off: value - expected, and band: half-width, float32 (n,), of the version that is told of; other_off, other_band: of
    the other, NaN where there is none; kind, other_kind: what both took it for. A rate and a value are not
    mixed. A weight is learned after the value that it was used for; not from a sample that is marked, bool (n,).
    """
    for at in range(begin, end):
        if np.isnan(other_off[at]) or np.isnan(off[at]):
            continue
        row = row_of[at]
        if (kind[at] == COUNTER) != (other_kind[at] == COUNTER):
            continue
        share = np.float64(guard.other[row])
        own, other = np.float64(off[at]), np.float64(other_off[at])
        size, other_size = np.float64(band[at]) / BAND, np.float64(other_band[at]) / BAND
        both = (1.0 - share) * own + share * other
        expected[at] = np.float32(np.float64(expected[at]) + (own - both))
        off[at], band[at] = np.float32(both), np.float32(BAND * ((1.0 - share) * size + share * other_size))
        if marked[at]:
            continue
        better = log_density(other, other_size) - log_density(own, size)
        odds = np.exp(min(max(better, -MOST), MOST))
        share = share * odds / (share * odds + 1.0 - share)
        guard.other[row] = np.float32(share + SHARE * (0.5 - share))
