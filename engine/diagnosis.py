"""Diagnosis: what kind of change has a series gone through? The last values, told by each kind in turn.

Owns the kinds (level, gain, scale, phase, season), the estimate of each from the last values of a series, and which of
them explains these best. Reads the columns of a roster, changes nothing, is run once a drift signal. What follows of a
kind is `engine/retune.py`; how it is proven, `engine/shadows.py`.

The judge is the likelihood of the values since the change began, of which a kind with a free number pays ln(n) / 2 for
it (Schwarz 1978), and one that was searched for among many, the logarithm of how many. Residuals are whitened first, as
those of a first-order autoregression with the series' own persistence: of a metric that wanders, sixty values are no
sixty witnesses, and a shift shows in its first step.

Not obvious, two things. (1) The profile follows within its slot, so it says what is, not what was: compared is with
what slots *steadily* had (`season.steady`), which no day changes by more than half. (2) A level and a gain move a
steady metric in the same way, and differ in what they do to its noise: a host with twice the load is twice as noisy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array
from engine.components import level, recent, season, wander
from engine.components.bets import FARTHEST
from engine.roster import Roster

NONE, LEVEL, GAIN, SCALE, PHASE, SEASON = "none", "level", "gain", "scale", "phase", "season"
KINDS = (LEVEL, GAIN, SCALE, PHASE, SEASON)
#: A gain or a scale is looked for within this factor, a value that is not beyond sign and size of the level.
MOST_FACTOR = 50.0
#: Nats by which a gain is the less likely answer where a shift would do as well.
RARER = 2.0
#: Nats by which a change has to be more likely than none.
LEAST = 5.0
#: The smallest changes that matter: in sd, as ln of a factor, as a factor of noise, in slots of the day.
LEAST_SHIFT, LEAST_GAIN, LEAST_SCALE, LEAST_TURN = 1.5, 0.2, 1.4, 3
#: Fewest values since a change began that tell anything.
FEWEST = 6


class Setting(NamedTuple):
    """What the models of a series say, as numbers that a change moves.

    mean, sd in the recipe's unit; level in sd; sigma: typical distance from the day, in sd; shape (96,) in sd, NaN
    where a slot is not known; persistence: share of a distance that is left a sample later.
    """

    mean: float
    sd: float
    level: float
    sigma: float
    shape: Array
    persistence: float

    def expects(self, slot: Array) -> Array:
        """Value at slots of the day."""
        return np.asarray(self.mean + self.sd * (self.level + self.shape[slot]))


class Diagnosis(NamedTuple):
    """kind: the best explanation, NONE where there is none; number: of it (shift in the unit, factor, slots); evidence:
    nats by which each kind is better than no change; numbers: the best of each; middle: what the value should have
    been, had nothing changed; samples: since it began; sisters: (moving, all): series of the entity that seem
    to move at this moment."""

    kind: str
    number: float
    evidence: dict[str, float]
    numbers: dict[str, float]
    middle: float
    samples: int
    sisters: tuple[int, int]


def slots_of(times_ms: Array, offset_ms: int) -> Array:
    """Quarters of an hour of the day, int64, as `season.slot_of` has them."""
    return np.asarray(((times_ms + offset_ms) % season.DAY_MS) // season.SLOT_MS, np.int64)


def setting_of(roster: Roster, row: int, *, is_before: bool) -> Setting:
    """The models of a series; is_before: as they were when the run of its newest change began."""
    rows = roster.rows
    change, level_now = rows.change, rows.level
    if is_before:
        mean, sd = float(change.mean[row]), float(change.sd[row])
        middle, sigma = float(change.level[row]), float(change.sigma[row])
    else:
        mean, sd = float(level_now.mean[row]), float(level.scale(level_now, row))
        middle, sigma = float(rows.season.level[row]), float(rows.season.sigma[row])
    sigma, persistence = wander.typical(rows.wander, row) or (sigma + season.SIGMA_FLOOR, 0.0)
    return Setting(mean, sd, middle, sigma, shape_of(roster, row), persistence)


def shape_of(roster: Roster, row: int) -> Array:
    """(96,) in sd: what slots steadily have; what they have where that is not known yet; NaN where none was seen."""
    own = roster.rows.season
    steady = own.steady[:, row].astype(np.float64) / season.STEADY_STEPS
    now = np.where(own.visits[:, row] > 0, own.profile[:, row].astype(np.float64), np.nan)
    return np.asarray(np.where(own.steady[:, row] != season.NO_STEADY, steady, now))


def moved(setting: Setting, kind: str, number: float) -> Setting:
    """The setting after a change of that kind.

    >>> one = Setting(10.0, 2.0, 0.0, 0.5, np.zeros(96), 0.0)
    >>> moved(one, LEVEL, 3.0).mean, moved(one, GAIN, 2.0)[:2], round(moved(one, SCALE, 2.0).sigma, 3)
    (13.0, (20.0, 4.0), 0.756)
    """
    if kind == LEVEL:
        return setting._replace(mean=setting.mean + number)
    if kind == GAIN:
        return setting._replace(mean=setting.mean * number, sd=setting.sd * number)
    if kind == SCALE:
        wider = widened(setting.sigma, number)
        return setting._replace(
            sd=setting.sd * wider,
            level=setting.level / wider,
            sigma=setting.sigma * number / wider,
            shape=setting.shape / wider,
        )
    if kind == PHASE:
        return setting._replace(shape=np.roll(setting.shape, int(number)))
    if kind == SEASON:
        return setting._replace(shape=np.zeros(season.SLOTS), sigma=1.0)
    return setting


def widened(sigma: float, factor: float) -> float:
    """By how much sd grows when the residual's part of it, sigma^2, grows by factor^2."""
    share = min(sigma * sigma, 1.0)
    return float(np.sqrt(1.0 - share + share * factor * factor))


def losses(setting: Setting, slots: Array, values: Array) -> Array:
    """(n,): loss of each value, given the one before, in nats of the value in its unit. The first stands alone."""
    off = (values - setting.expects(slots)) / setting.sd
    return _losses(setting, off)


def _losses(setting: Setting, off: Array) -> Array:
    """The same of residuals in sd; off (..., n)."""
    rho = setting.persistence
    size = np.full(off.shape[-1], setting.sigma * np.sqrt(1.0 - rho * rho))
    fresh = off.copy()
    fresh[..., 1:] -= rho * off[..., :-1]
    size[0] = setting.sigma
    # -ln of the normal density, but for a constant and cut: Student's would see a threefold variance half as well, and
    # without a cut one false value would speak for any change.
    return np.asarray(np.log(setting.sd * size) + 0.5 * np.minimum(np.square(fresh / size), FARTHEST))


def diagnose(roster: Roster, row: int, known: Setting, *, last_ms: int, offset_ms: int) -> Diagnosis:
    """The kind of change that the last values speak for, and since when. known: before it; last_ms: of the newest."""
    times, values = recent.window(roster.rows.recent, row, last_ms)
    slots = slots_of(times, offset_ms)
    known = known._replace(shape=filled(known.shape))
    middle = float(np.median(known.expects(slots[-FEWEST:]))) if len(values) else known.mean
    best: dict[str, tuple[float, float, int]] = {}
    if len(values) > FEWEST:
        usual = losses(known, slots, values)
        for kind, number, evidence, since in _candidates(known, slots, values, usual):
            if kind not in best or evidence > best[kind][0]:
                best[kind] = (evidence, number, since)
    told = max(best, key=lambda kind: best[kind][0], default=NONE)
    if not best or best[told][0] <= LEAST or not _matters(known, told, best[told][1], middle):
        told = NONE
    return Diagnosis(
        told,
        best[told][1] if told != NONE else 0.0,
        {kind: evidence for kind, (evidence, _, _) in best.items()},
        {kind: number for kind, (_, number, _) in best.items()},
        middle,
        best[told][2] if told != NONE else len(values),
        _sisters(roster, row),
    )


def _matters(known: Setting, kind: str, number: float, middle: float) -> bool:
    """Is a change large enough that models have to follow it? What is smaller is learned as it comes."""
    if kind == LEVEL:
        return abs(number) >= LEAST_SHIFT * known.sd
    if kind == GAIN:
        return abs(math.log(number)) >= LEAST_GAIN and abs(number - 1.0) * abs(middle) >= known.sd
    if kind == SCALE:
        return number >= LEAST_SCALE
    return abs(number) >= LEAST_TURN


def _candidates(
    known: Setting, slots: Array, values: Array, usual: Array
) -> Iterator[tuple[str, float, float, int]]:  # fmt: skip
    """(kind, its best number, nats by which it is better than no change, samples since) for each moment it may have
    begun at."""
    n = len(values)
    expected = known.expects(slots)
    off, rho = (values - expected) / known.sd, known.persistence
    turned = _turned(known, slots, values) if np.ptp(known.shape) > known.sigma else None
    for since in range(FEWEST, n):
        at = n - since
        here, there, now, price = slots[at:], off[at:], values[at:], 0.5 * math.log(since) + math.log(n)
        base = float(usual[at:].sum()) - price
        numbers = {LEVEL: float(np.median(there)) * known.sd}
        before, after = float(np.median(expected[at:])), float(np.median(now))
        if before * after > 0.0 and 1.0 / MOST_FACTOR <= after / before <= MOST_FACTOR:
            numbers[GAIN] = after / before
        fresh = (there[1:] - rho * there[:-1]) / (known.sigma * np.sqrt(1.0 - rho * rho))
        factor = float(np.sqrt(np.mean(np.minimum(np.square(fresh), MOST_FACTOR))))
        if 1.0 / MOST_FACTOR <= factor <= MOST_FACTOR:
            numbers[SCALE] = factor
        for kind, number in numbers.items():
            nats = base - float(losses(moved(known, kind, number), here, now).sum())
            yield kind, number, nats - (RARER if kind == GAIN else 0.0), since
        if turned is not None:
            every = _losses(known, turned[:, at:]).sum(axis=1)
            turn = int(np.argmin(every))
            yield PHASE, float(TURNS[turn]), base - float(every[turn]) - math.log(len(TURNS)), since


#: By how many slots a day may be moved.
TURNS = np.array([turn for turn in range(-season.SLOTS // 2, season.SLOTS // 2) if turn != 0])


def _turned(known: Setting, slots: Array, values: Array) -> Array:
    """(turns, n): residuals in sd, had the day been moved by each of TURNS."""
    shape = known.shape[(slots[None, :] - TURNS[:, None]) % season.SLOTS]
    return np.asarray((values - known.mean) / known.sd - known.level - shape)


def filled(shape: Array) -> Array:
    """The shape with the mean of what is known where nothing is."""
    return np.asarray(np.where(np.isnan(shape), np.nanmean(shape) if np.any(~np.isnan(shape)) else 0.0, shape))


def _sisters(roster: Roster, row: int) -> tuple[int, int]:
    """(series of the same entity that seem to move, all of them), the one itself included."""
    e = int(roster.rows.link.entity[row])
    members = roster.members_of_all(np.array([e]))[1]
    change = roster.rows.change
    height = np.maximum(change.up[members], change.down[members])
    is_moving = (height >= MOVING) & (np.abs(change.run[members]) >= FEWEST)
    is_moving[members == row] = True
    return int(is_moving.sum()), len(members)


#: A sum of `components/change` from which a series seems to move: a third of what a drift takes.
MOVING = 10.0


def told(found: Diagnosis) -> dict[str, Any]:
    """For a record."""
    return {
        "kind": found.kind,
        "number": round(found.number, 9),
        "nats": {kind: round(value, 3) for kind, value in found.evidence.items()},
        "samples": found.samples,
        "sisters_moving": found.sisters[0],
        "sisters": found.sisters[1],
    }
