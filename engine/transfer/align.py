"""Align: what of a source has to be moved before it is compared with a target, or lent to it. Data in, data out.

Owns three corrections, each made only with evidence for it. Phase: the target's day is later than the source's (its
clock is in another zone); one shift for the whole environment, since a slip of the clock moves all metrics alike, while
one metric alone finds a fair likeness somewhere by chance. Gain: how large the target's day is beside the source's.
Step: the source was sampled at another step, so its autocorrelation is read at other lags, and what follows from it
moves as well. A level is never lent. Structure needs no code: covariances are learned on standardised metrics and come
back in each metric's own scale, which is whitening and recolouring (CORAL) with the diagonal of the covariance alone;
of a young target more of it is not known.

Not obvious: that a target's first day looks like its day at all. What a slot has seen is held while the mean still runs
after the day (`season.hold`); before it was, a sine was turned by hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.columns import Array
from engine.components.season import DAY_MS, SLOT_MS, SLOTS, SLOTS_AN_HOUR
from engine.transfer.fingerprint import LAG1, LOG_RATIO, SEEN_SHARE, Looks, shape_likeness

SLOT_S = SLOT_MS // 1000
#: The mean likeness of the moved classes is this at least, and beyond that of the unmoved by so many standard errors
#: (Fisher's z); and so many of the classes that have a day must say so, each for itself, and two at least: one day of
#: a slow series is like any sine somewhere.
LIKE, SURE, AGREED, LEAST_AGREED = 0.7, 2.5, 2.0 / 3.0, 2
#: Slots that say as much as one that is independent: neighbouring quarters of an hour are alike.
ALIKE_SLOTS = 4.0
#: Zones are whole hours, nearly all; another shift has to be likelier by so much.
WHOLE_HOURS = 0.03
#: A day is flat, or noise, if its quarters of an hour say nothing of those an hour later: in noise, a correlation as
#: large as this comes by chance once in ten thousand.
SMOOTH = 0.4
#: How far a gain is from 1 usually; how far off a first day finds it, whose scale is young; the most it may be.
GAIN_SPREAD, GAIN_YOUNG, MOST_GAIN = 0.3, 0.4, 2.0
#: Steps that differ by less are the same, and by more are nonsense.
SAME_STEP, MOST_RATIO = 1.2, 1000.0
#: 1 - autocorrelation from sample to sample: beyond these nothing is known. Below such a correlation nothing is known
#: of shorter steps. Covariances beyond the last lag fall by this from lag to lag at least.
LEAST_DROP, MOST_DROP, LEAST_KEPT, MOST_KEPT = 1e-4, 1.5, 0.1, 0.98
#: Bounds of the factor by which the sizes of forecast errors move.
MOST_FACTOR = 10.0


class Aligned(NamedTuple):
    """How one class of a source is moved. phase_s > 0: the target's day is later; step_ratio: target's over its."""

    phase_s: int = 0
    gain: float = 1.0
    step_ratio: float = 1.0


AS_IT_IS = Aligned()


class Source(NamedTuple):
    """The classes of a source as one target is to see them, see `towards`.

    has_day, target_has_day: bool, of the classes of each side; own: lag covariances, (classes, 21); phase_s: of the
    whole environment.
    """

    looks: Looks
    has_day: Array
    target_has_day: Array
    own: Array | None
    phase_s: int = 0


def towards(looks: Looks, targets: Looks, *, own: Array | None = None) -> Source:
    """The classes of a source, as they are to be seen by a target. own: None if steps are the same."""
    source = Source(looks, _days(looks), _days(targets), own)
    return source._replace(phase_s=phase_s(source, targets))


def phase_s(source: Source, targets: Looks) -> int:
    """Seconds by which the target's day is later than the source's, in whole quarters, -43,200 < s <= 43,200; 0: as is.

    By circular correlation over the classes of the same name of which both have a day.
    """
    curves = [curve for k in range(len(targets.names)) if (curve := _curve(source, targets, k)) is not None]
    if len(curves) < LEAST_AGREED:
        return 0
    likeness = np.array(curves)
    mean = likeness.mean(axis=0)
    best = int(np.argmax(mean))
    hours = mean[::SLOTS_AN_HOUR]
    if hours.max() >= mean[best] - WHOLE_HOURS:
        best = int(np.argmax(hours)) * SLOTS_AN_HOUR
    agree = [_is_better(curve[best], curve[0]) for curve in likeness]
    if not _is_better(mean[best], mean[0]) or sum(agree) < max(AGREED * len(agree), LEAST_AGREED):
        return 0
    return signed(best) * SLOT_S


def signed(slots: int) -> int:
    """A circular shift of 0..95 slots as the shorter way, -47..48."""
    return slots if slots <= SLOTS // 2 else slots - SLOTS


def later(slots: int) -> str:
    """Such a shift for people.

    >>> later(32), later(-2)
    ('8 h later', '0.5 h earlier')
    """
    return f"{abs(slots) / SLOTS_AN_HOUR:g} h {'later' if slots > 0 else 'earlier'}"


def _is_better(moved: float, as_it_is: float) -> bool:
    """Is one likeness so high, and so much higher than the other, that it is no chance?"""
    apart = float(np.arctanh(min(moved, 0.999)) - np.arctanh(np.clip(as_it_is, -0.999, 0.999)))
    return moved >= LIKE and apart >= SURE * np.sqrt(2.0 / (SLOTS / ALIKE_SLOTS - 3.0))


def _curve(source: Source, targets: Looks, k: int) -> Array | None:
    """(96,): likeness of target class k and its namesake for each shift; None where one of them has no day."""
    if targets.names[k] not in source.looks.names or not source.target_has_day[k]:
        return None
    j = source.looks.names.index(targets.names[k])
    return _likeness(source, targets, k, j, range(SLOTS)) if source.has_day[j] else None


def _likeness(source: Source, targets: Looks, k: int, j: int, shifts: Sequence[int]) -> Array:
    """Of target class k and source class j, for shifts in slots; a flat one is like nothing."""
    moved = source.looks.shape[j][(np.arange(SLOTS) - np.array(shifts)[:, None]) % SLOTS]
    seen = targets.visits[k] > 0
    x, y = moved[:, seen], targets.shape[k][seen]
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean()
    sizes = np.sqrt((x * x).sum(axis=1) * (y * y).sum())
    return np.asarray(np.where(sizes > 1e-9, (x * y).sum(axis=1) / np.maximum(sizes, 1e-9), 0.0))


def _days(looks: Looks) -> Array:
    """(classes,): was the day of a class seen, and is it a shape rather than noise?"""
    found = np.zeros(len(looks.names), bool)
    for k in range(len(looks.names)):
        seen = looks.visits[k] > 0
        both = seen & np.roll(seen, SLOTS_AN_HOUR)
        likeness = shape_likeness(looks.shape[k], np.roll(looks.shape[k], SLOTS_AN_HOUR), both)
        found[k] = _is_seen(looks, k) and likeness > SMOOTH
    return found


def _is_seen(looks: Looks, k: int) -> bool:
    return bool((looks.visits[k] > 0).mean() >= SEEN_SHARE)


def phase_of(source: Source, targets: Looks, k: int, j: int) -> int:
    """The environment's phase, if source class j has a day and target class k, where it was seen, does not object."""
    if source.phase_s == 0 or not source.has_day[j]:
        return 0
    if not _is_seen(targets, k):
        return source.phase_s
    as_it_is, moved = _likeness(source, targets, k, j, (0, source.phase_s // SLOT_S))
    return source.phase_s if source.target_has_day[k] and _is_better(moved, as_it_is) else 0


def step_ratio(source: Source, targets: Looks, k: int, j: int) -> float:
    """Step of target class k over that of source class j; 1 where they are the same, or one is not known."""
    theirs, ours = float(source.looks.step_ms[j]), float(targets.step_ms[k])
    if source.own is None or not theirs > 0 or not ours > 0:
        return 1.0
    ratio = ours / theirs
    is_other = SAME_STEP < max(ratio, 1.0 / ratio) <= MOST_RATIO
    return round(ratio, 4 if ratio > 1.0 else 6) if is_other else 1.0


def compared(source: Source, targets: Looks, k: int, j: int) -> tuple[Aligned, Array, Array, Array]:
    """How source class j is moved towards target class k, and so moved its features, shape and visits. Gain is 1."""
    made = Aligned(phase_of(source, targets, k, j), 1.0, step_ratio(source, targets, k, j))
    looks, slots = source.looks, made.phase_s // SLOT_S
    features = looks.features[j]
    if made.step_ratio != 1.0 and source.own is not None:
        features = features.copy()
        own = source.own[j].astype(np.float64)
        other = resampled(own, made.step_ratio)
        features[LOG_RATIO] += np.log(_drop(own) / _drop(other))
        features[LAG1] = np.clip(features[LAG1] + _drop(own) - _drop(other), -1.0, 1.0)
    shape, visits = looks.shape[j], looks.visits[j]
    return (made, features, np.roll(shape, slots), np.roll(visits, slots)) if slots else (made, features, shape, visits)


def gain(source: Source, targets: Looks, k: int, j: int, phase: int) -> float:
    """How large the day of target class k is beside that of source class j, 0..2; 1 where a day was not seen.

    Least squares of the target's shape on the source's, drawn towards 1 as far as noise and youth leave it open.
    """
    if not _is_seen(targets, k) or not source.has_day[j]:
        return 1.0
    seen = targets.visits[k] > 0
    x, y = np.roll(source.looks.shape[j], phase // SLOT_S)[seen], targets.shape[k][seen]
    x, y = x - x.mean(), y - y.mean()
    power = float((x * x).sum())
    if power < 1e-6:
        return 1.0
    found = float((x * y).sum()) / power
    noise = float(np.mean((y - found * x) ** 2)) * ALIKE_SLOTS / power
    days = max(float(targets.samples[k] * targets.step_ms[k]) / DAY_MS, 0.5)
    sure = GAIN_SPREAD**2 / (GAIN_SPREAD**2 + noise + GAIN_YOUNG**2 / days)
    return round(float(np.clip(1.0 + sure * (found - 1.0), 0.0, MOST_GAIN)), 4)


def resampled(lagged: Array, by: float) -> Array:
    """Covariances at lags 0..20 of a step `by` times as long, from those at a step's own lags; both (21,).

    Between two lags they fall evenly in the logarithm, as those of a process without memory beyond its value. Beyond
    the last they go on as they fell over the second half. Of an uncorrelated series nothing is known of shorter steps:
    it stays as it is.
    """
    last = len(lagged) - 1
    at = np.arange(last + 1) * by
    if by < 1.0 and abs(lagged[1]) < LEAST_KEPT * abs(lagged[0]):
        return lagged
    low = np.minimum(at.astype(np.int64), last - 1)
    a, b, share = lagged[low], lagged[low + 1], np.minimum(at - low, 1.0)
    is_alike = a * b > 0
    sizes = np.abs(np.where(is_alike, a, 1.0)), np.abs(np.where(is_alike, b, 1.0))
    even = np.sign(a) * sizes[0] ** (1.0 - share) * sizes[1] ** share
    inside = np.where(is_alike, even, (1.0 - share) * a + share * b)
    half = last // 2
    is_falling = lagged[last] * lagged[half] > 0
    falls = min(abs(lagged[last]), abs(lagged[half])) / abs(lagged[half]) if is_falling else 0.0
    beyond = lagged[last] * min(falls ** (1.0 / (last - half)), MOST_KEPT) ** np.maximum(at - last, 0.0)
    return np.asarray(np.where(at > last, beyond, inside))


def _drop(own: Array) -> float:
    """1 - autocorrelation from one sample to the next, bounded."""
    return float(np.clip(1.0 - own[1] / own[0], LEAST_DROP, MOST_DROP)) if own[0] > 0 else 1.0


def applied(arrays: dict[str, Array], aligned: list[Aligned]) -> dict[str, Array]:
    """What is lent, moved: arrays as a prior holds them, by class and by pair. Rows that stay as they are keep bits."""
    out = {**arrays, **{name: arrays[name].copy() for name in ("shape", "ratio", "step", "own", "sigmas", "lagged")}}
    for n, made in enumerate(aligned):
        if made[:2] != AS_IT_IS[:2]:
            out["shape"][n] = np.roll(arrays["shape"][n], made.phase_s // SLOT_S) * np.float32(made.gain)
        if made.step_ratio != 1.0:
            own = arrays["own"][n].astype(np.float64)
            other = resampled(own, made.step_ratio)
            was, now = _drop(own), _drop(other)
            out["own"][n] = other
            out["ratio"][n] *= was / now
            out["step"][n] += 0.5 * np.log(now / was)
            # The error of the best forecast from one value: its variance is 1 - rho^2.
            factor = np.sqrt(now * (2.0 - now) / (was * (2.0 - was)))
            out["sigmas"][n] *= np.clip(factor, 1.0 / MOST_FACTOR, MOST_FACTOR)
    for p, (i, j) in enumerate(arrays["pairs"].tolist()):
        by = float(np.sqrt(aligned[i].step_ratio * aligned[j].step_ratio))
        if by != 1.0:
            out["lagged"][p] = resampled(arrays["lagged"][p].astype(np.float64), by)
    return out


def words(made: Aligned) -> str:
    """What was moved, for people; empty where nothing was.

    >>> words(Aligned(28_800, 0.8, 5.0))
    'its day is 8 h later and 0.8 times as large, its step 5 times as long'
    """
    slipped = later(made.phase_s // SLOT_S) if made.phase_s else ""
    large = f"{made.gain:.2g} times as large" if round(made.gain, 1) != 1.0 else ""
    day = " and ".join(part for part in (slipped, large) if part)
    told = [f"its day is {day}"] * bool(day) + [f"its step {made.step_ratio:.3g} times as long"] * (
        made.step_ratio != 1.0
    )
    return ", ".join(told)
