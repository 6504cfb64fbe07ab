"""Learned: what a series, or a class, has learned of each component that is lent, as plain vectors to be compared.

Owns for each component (those of `prior.STRENGTHS`) a vector without unit and level: of scale and level a logarithm, of
the season the shape by slot, of structure the autocorrelation at the first lags, of the tail ln(evidence) at three
shares. And with each what the factory would have said, and how uncertain one sample leaves it. Knows no entity.

Not obvious: the uncertainty is that of textbooks for normal data, with the series' own autocorrelation. It decides how
many samples a source is worth, where a factor of two hardly matters and a factor of a hundred does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.columns import Array
from engine.components import block, entity, level, season, tail
from engine.components.factory import FACTORY_ROWS
from engine.components.factory import factory as histograms
from engine.prior import STRENGTHS
from engine.state import SERIES_ROWS
from engine.transfer.fingerprint import LOG_RATIO, LOG_SIGMA, Looks

if TYPE_CHECKING:
    from engine.roster import Roster

#: The lags that every block keeps.
LAGS = 3
#: Upper shares at which tails are compared.
SHARES = (0.5, 0.05, 0.005)
#: Samples that each component remembers: of the season visits of a slot, of which a profile is the mean of so many.
MEMORY = {"scale": level.MOST_COUNT, "season": 12.0, "level": 1.0 / season.SIGMA_RATE, "structure": level.MOST_COUNT,
          "tail": level.MOST_COUNT}  # fmt: skip
#: Of a squared correlation from one lag to the next, beyond the lags that are kept: a day of minutes at most.
MOST_KEPT = 0.998

#: component -> (rows, width), NaN: not learned.
Learned = dict[str, Array]


def of_rows(roster: Roster, looks: Looks, rows: Array) -> Learned:
    """Of some series of a shard, those that have a fingerprint."""
    own = np.array([_own(roster, int(row)) for row in rows]).reshape(-1, LAGS + 1)
    return _learned(looks.features[rows], looks.shape[rows], looks.visits[rows], own, tails(roster, rows))


def tails(roster: Roster, rows: Sequence[int] | Array) -> Array:
    """(rows, 40): each series' own share of its histogram of evidence; what the factory gave is taken out."""
    given = histograms()[entity.SEVERE].astype(np.float64) * (SERIES_ROWS / FACTORY_ROWS)
    return np.array([tail.distil(roster.rows.shown.counts[row].astype(np.float64), given) for row in rows])


def of_classes(arrays: Mapping[str, Array]) -> Learned:
    """Of the classes of a source."""
    own = arrays["own"][:, : LAGS + 1].astype(np.float64)
    return _learned(arrays["features"].astype(np.float64), arrays["shape"], arrays["visits"], own, arrays["tail"])


def factory() -> Learned:
    """What a fresh row believes, one row."""
    start = histograms()[entity.SEVERE].astype(np.float64)
    features = np.zeros((1, 4))
    features[0, LOG_RATIO] = np.log(level.PRIOR_RATIO)
    shape = np.zeros((1, season.SLOTS))
    return _learned(features, shape, shape + 1.0, np.eye(1, LAGS + 1), start[None])


def one_sample(arrays: Mapping[str, Array]) -> Array:
    """(classes, components): variance that one sample (a visit, for the season) leaves in an entry of each vector.

    Of an autocorrelated series a sample says less, by 1 + 2 sum r_k^2 for what is made of squares (Bartlett 1935).
    """
    learned = of_classes(arrays)
    slow = _slowness(arrays["own"].astype(np.float64))
    at = learned["tail"]
    beyond = np.diff(at, axis=1) / np.log(np.array(SHARES[:-1]) / np.array(SHARES[1:]))
    slopes = np.maximum(np.concatenate([beyond[:, :1], beyond], axis=1), tail.THINNEST)
    upper = np.array(SHARES)
    variances = {
        "scale": 2.0 * slow,
        "season": np.exp(2.0 * learned["level"][:, 0]),
        "level": 0.5 * slow,
        "structure": np.maximum(1.0 - learned["structure"] ** 2, 0.05).mean(axis=1),
        "tail": slow * ((1.0 - upper) / upper * slopes**2).mean(axis=1),
    }
    return np.stack([variances[name] for name in STRENGTHS], axis=1)


def _slowness(own: Array) -> Array:
    """(classes,): samples that say as much as one of an uncorrelated series. own: (classes, 21), lag covariances.

    Beyond the lags that are kept the correlation goes on falling as it fell over the second half of them.
    """
    power = np.where(own[:, :1] > 0, own[:, :1], np.nan)
    squares = np.nan_to_num(np.clip(own[:, 1:] / power, -1.0, 1.0)) ** 2
    half = block.MOST_LAGS // 2
    last, before = squares[:, -1], squares[:, -1 - half]
    falls = np.clip(last / np.maximum(before, 1e-12), 0.0, 1.0) ** (1.0 / half)
    falls = np.minimum(falls, MOST_KEPT)
    return np.asarray(1.0 + 2.0 * (squares.sum(axis=1) + last * falls / (1.0 - falls)))


def samples_behind(looks: Looks, rows: Array) -> Array:
    """(rows, components): how many samples each component rests on, as far as it remembers."""
    seen = looks.visits[rows] > 0
    visits = looks.visits[rows].sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    behind = [visits if name == "season" else looks.samples[rows] for name in STRENGTHS]
    most = np.array([MEMORY[name] for name in STRENGTHS])
    return np.asarray(np.clip(np.stack(behind, axis=1), 1.0, most))


def thinned(of: Array, most: int) -> Array:
    """At most so many of them, at even distances."""
    if len(of) <= most:
        return of
    return np.asarray(of[np.linspace(0, len(of) - 1, most).astype(int)])


def mean_known(rows: Array) -> Array:
    """Mean over rows of what is not NaN; NaN where nothing is known."""
    known = np.isfinite(rows)
    count = known.sum(axis=0)
    total = np.where(known, rows, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _learned(features: Array, shape: Array, visits: Array, own: Array, counts: Array) -> Learned:
    power = np.where(own[:, :1] > 0, own[:, :1], np.nan)
    return {
        "scale": features[:, [LOG_RATIO]],
        "season": np.where(visits > 0, shape, np.nan),
        "level": features[:, [LOG_SIGMA]],
        "structure": np.clip(own[:, 1:] / power, -1.0, 1.0),
        "tail": _at_shares(np.asarray(counts, np.float64).reshape(-1, tail.BINS)),
    }


def _own(roster: Roster, row: int) -> Array:
    b, j = int(roster.rows.link.block[row]), int(roster.rows.link.slot[row])
    return block.distil(roster.part(b), j, j)[0][: LAGS + 1]


def _at_shares(counts: Array) -> Array:
    """ln(evidence) that each share lies above, (n, 3); NaN where a histogram is empty."""
    above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    row, total = np.arange(len(counts)), above[:, 0]
    places = []
    for share in SHARES:
        wanted = share * total
        at = tail.BINS - 1 - np.argmax((above >= wanted[:, None])[:, ::-1], axis=1)
        inside = (above[row, at] - wanted) / np.maximum(counts[row, at], 1e-30)
        places.append(tail.LOW + tail.WIDTH * (at + np.clip(inside, 0.0, 1.0)))
    return np.where(total[:, None] > 0, np.stack(places, axis=1), np.nan)
