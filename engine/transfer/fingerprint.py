"""Fingerprint: what a series is like, whatever its unit, level and name.

Owns the features by which metric classes of two environments are compared, and how they are read from a shard's
columns. A metric class is the series of one name. Knows nothing of matching or lending.

Not obvious: no feature has a unit. The scale of a series is seen as the ratio of its variance to its squared step
from sample to sample, and its shape of a day is in its own standard deviations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engine.columns import Array
from engine.components import block, level, season
from engine.series import Kind

if TYPE_CHECKING:
    from engine.roster import Roster

#: ln(variance / squared step); autocorrelation at lag 1; ln(share of far samples); ln(size of the seasonal residual).
FEATURES = ("log_ratio", "lag1", "log_far", "log_sigma")
LOG_RATIO, LAG1, LOG_FAR, LOG_SIGMA = range(len(FEATURES))
#: Samples at which a feature is half known. The young variance of an autocorrelated series says little.
HALF_KNOWN = (600.0, 300.0, 1440.0, 300.0)
#: Share of the day that must have been seen before two shapes are compared.
SEEN_SHARE = 0.6
#: A series with fewer samples has no fingerprint.
YOUNGEST = 8.0


class Looks(NamedTuple):
    """Fingerprints of n series or of n classes, by row.

    names; series (n,): how many are behind it; samples (n,); features (n, 4) with their 10 and 90 % points low
    and high over the series behind; shape (n, 96) in sd, visits (n, 96); step_ms (n,); kind (n,).
    """

    names: list[str]
    series: Array
    samples: Array
    features: Array
    low: Array
    high: Array
    shape: Array
    visits: Array
    step_ms: Array
    kind: Array


def of_rows(roster: Roster) -> Looks:
    """One fingerprint for each series of a shard; NaN features where a series has not moved yet."""
    n = len(roster.names)
    features = np.array([_features(roster, row) for row in range(n)]).reshape(n, len(FEATURES))
    shapes = [season.distil(roster.rows.season, row) for row in range(n)]
    return Looks(
        names=list(roster.classes),
        series=np.ones(n, np.int64),
        samples=roster.rows.level.count[:n].copy(),
        features=features,
        low=features,
        high=features,
        shape=np.array([one["shape"] for one in shapes]).reshape(n, season.SLOTS),
        visits=np.array([one["visits"] for one in shapes]).reshape(n, season.SLOTS),
        step_ms=roster.rows.presence.step_ms[:n].astype(np.float64),
        kind=roster.rows.recipe.kind[:n].copy(),
    )


def _features(roster: Roster, row: int) -> tuple[float, ...]:
    scale, rows = level.distil(roster.rows.level, row), roster.rows
    if rows.link.block[row] < 0:
        return (np.nan,) * len(FEATURES)
    b, j = int(rows.link.block[row]), int(rows.link.slot[row])
    own = block.distil(roster.part(b), j, j)[0]
    lag1 = own[1] / own[0] if own[0] > 0 else np.nan
    log_ratio = float(np.log(scale["ratio"])) if scale["ratio"] > 0 else np.nan
    sigma = float(rows.season.sigma[row])
    return log_ratio, float(np.clip(lag1, -1, 1)), float(np.log(scale["far"] + 1e-4)), float(np.log(sigma + 1e-3))


def largest(names: list[str], series: Array, most: int) -> list[int]:
    """Which classes have the most series, at most so many, in their own order. series: of each class."""
    return sorted(sorted(range(len(names)), key=lambda k: (-int(series[k]), names[k]))[:most])


def by_class(looks: Looks) -> Looks:
    """Pool the fingerprints of each name, in order of names: medians, with their spread."""
    kept = list(members(looks).items())
    features = [looks.features[rows] for _, rows in kept]

    def stack(parts: list[Array], *width: int) -> Array:
        return np.array(parts, np.float64).reshape(len(kept), *width)

    shapes = [_pooled_shape(looks, rows) for _, rows in kept]
    return Looks(
        names=[name for name, _ in kept],
        series=np.array([len(rows) for _, rows in kept], np.int64),
        samples=stack([np.median(looks.samples[rows]) for _, rows in kept]),
        features=stack([np.median(part, axis=0) for part in features], len(FEATURES)),
        low=stack([np.quantile(part, 0.1, axis=0) for part in features], len(FEATURES)),
        high=stack([np.quantile(part, 0.9, axis=0) for part in features], len(FEATURES)),
        shape=stack([shape for shape, _ in shapes], season.SLOTS),
        visits=stack([visits for _, visits in shapes], season.SLOTS),
        step_ms=stack([np.median(looks.step_ms[rows]) for _, rows in kept]),
        kind=np.array([_common(looks.kind[rows]) for _, rows in kept], np.uint8),
    )


def members(looks: Looks) -> dict[str, Array]:
    """Rows behind each name, in order of names; series that are too young or never moved are left out."""
    grown = (looks.samples >= YOUNGEST) & np.isfinite(looks.features).all(axis=1)
    found: dict[str, list[int]] = {}
    for row in np.flatnonzero(grown).tolist():
        found.setdefault(looks.names[row], []).append(row)
    return {name: np.array(found[name]) for name in sorted(found)}


def _pooled_shape(looks: Looks, rows: Array) -> tuple[Array, Array]:
    """Mean shape of the series that have visited a slot, and the mean number of visits."""
    seen = looks.visits[rows] > 0
    behind = seen.sum(axis=0)
    shape = np.where(seen, looks.shape[rows], 0.0).sum(axis=0) / np.maximum(behind, 1)
    return shape, looks.visits[rows].mean(axis=0)


def _common(kinds: Array) -> int:
    return int(Kind.COUNTER) if np.mean(kinds == Kind.COUNTER) > 0.5 else int(Kind.GAUGE)


def shape_likeness(a: Array, b: Array, seen: Array) -> float:
    """Correlation of two shapes over the slots that both have seen; NaN if those are too few or a shape is flat."""
    if seen.mean() < SEEN_SHARE:
        return np.nan
    x, y = a[seen] - a[seen].mean(), b[seen] - b[seen].mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 1e-9 else np.nan
