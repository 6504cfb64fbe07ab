"""Level and scale: where a series is, how far it normally strays, and how new a distance is.

Owns mean, variance and the standardised value z of each series; every other component works on z. Source: the
standardiser of a one-pass engine found by search on labelled metrics (see ARCHITECTURE.md, "Where the recipe comes
from"); the incremental form of the moments is West (1979).

Not obvious, three things. (1) A young sample variance is far too small, because metrics are autocorrelated. The
variance is therefore shrunk towards `ratio` times the squared step from sample to sample, which is known after a few
minutes; the ratio is what a seed brings, since it has neither a unit nor a level. And for those minutes the step
itself, beside the size of the value, for one that is estimated from a handful of differences is often far too small.
(2) z is clipped at 6 for learning, but a distance beyond 6 is *news* on a series that never went there, and none on
one that bursts daily: `novelty` gives the extra distance that counts for scoring only. (3) The mean is not gated, but
each step is bounded: one sample moves the mean by a share of sd that falls with age, and adds four times the squared
scale at most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline

#: Forgets half in 35,000 samples: 24 days of minutes. Shorter memories absorb long incidents.
RATE = 2e-5
#: Where the count stops: the memory is full. 1 / RATE is a hair less than this in floating point.
MOST_COUNT = 50_000.0
#: Weight, in samples, of the prior variance, and its factory ratio: sd is about 3 typical steps.
PRIOR_ROWS, PRIOR_RATIO = 600.0, 9.0
CLIP, FAR = 6.0, 50.0
#: Samples that a lent step weighs: siblings' steps differ as much as those estimated from so few samples err. And after
#: which nothing is left of it.
STEP_ROWS, STEP_MOST = 6.0, 1000.0
#: A step is bounded by so many sd over the root of the rate: one sample adds four squared scales at most, at any age.
#: For a series that is not known to burst it is 50 sd at most, or ten bad samples would blind it for weeks; for one
#: that is, a bound that does not grow with age would keep the scale too small, and each burst would look new.
WINSOR, CALM_WINSOR = 2.0, 50.0
#: Samples before what is lent may be contradicted; those of a walk per variance that they add up to, in squared steps;
#: by how much in ln siblings differ, and how many deviations of chance beyond it count.
THAW_FROM, THAW_WALK, THAW_OFF, THAW_SURE = 60.0, 6.0, 1.0, 3.0
#: Samples after which a step can be bounded by experience, and what is nonsense before.
YOUNG, NONSENSE = 8.0, 1e6
#: The least share of a variance that was set which is the series' own.
OWN_LEAST = 0.05
#: A metric outside +-6 more often than this is bursty; its bursts are no news.
RARE = 0.005


class Level(NamedTuple):
    """count in samples; mean and last in the recipe's unit; var and step (mean squared difference) in unit squared.

    far: share of samples that are far out. prior_rows, prior_ratio: weight and value of the ratio that var is shrunk
    to; prior_step: a step beside the size of the value, 0 where none was lent.
    """

    count: Array  # type: ignore[assignment]  # nobody counts the fields of columns
    mean: Array
    var: Array
    step: Array
    last: Array
    far: Array
    prior_rows: Array
    prior_ratio: Array
    prior_step: Array


COLUMNS = {
    "count": Column(np.float64),
    "mean": Column(np.float64),
    "var": Column(np.float64),
    "step": Column(np.float64),
    "last": Column(np.float64),
    "far": Column(np.float32, 0.01),
    "prior_rows": Column(np.float32, PRIOR_ROWS),
    "prior_ratio": Column(np.float32, PRIOR_RATIO),
    "prior_step": Column(np.float32),
}


@inline
def scale(level: Level, row: int) -> float:
    """Standard deviation in the recipe's unit; NaN before the second sample, floored where a series is flat."""
    count = level.count[row]
    if count < 2.0:
        return np.nan
    prior = np.float64(level.prior_rows[row])
    own, step, relative = level.var[row], level.step[row], np.float64(level.prior_step[row])
    if relative > 0.0 and count < STEP_MOST:
        lent = relative * relative * (level.mean[row] * level.mean[row] + own)
        step = (count * step + STEP_ROWS * lent) / (count + STEP_ROWS)
    wanted = np.float64(level.prior_ratio[row]) * step
    sd = np.sqrt((count * own + prior * wanted) / (count + prior))
    size = abs(level.mean[row])
    if sd < 1e-6 * (size + 1e-3):
        return np.float64(1e-3 * max(size, 0.01))
    return np.float64(sd)


@inline
def _lent_rows(level: Level, row: int) -> float:
    """Samples that what was borrowed weighs more than the factory's guess."""
    return max(np.float64(level.prior_rows[row]) - PRIOR_ROWS, 0.0)


@inline
def thaw(level: Level, row: int) -> None:
    """Half of the weight goes of a lent ratio that the series' own samples contradict; at the factory's, the ratio too.

    A variance reaches ratio times the squared step only after as many samples as the ratio says; before, as of a walk,
    it grows with their number. What is left between the two has to be more than chance and siblings explain.
    """
    weight, count = np.float64(level.prior_rows[row]), level.count[row]
    if weight <= PRIOR_ROWS or count < THAW_FROM:
        return
    own, step = level.var[row], level.step[row]
    if step <= 0.0 or own <= 0.0:
        return
    reached = min(np.float64(level.prior_ratio[row]), count / THAW_WALK)
    chance = np.sqrt(2.0 * max(reached, 1.0) / count)
    if abs(np.log(step * reached / own)) > THAW_OFF + THAW_SURE * chance:
        level.prior_rows[row] = np.float32(max(0.5 * weight, PRIOR_ROWS))
        if 0.5 * weight <= PRIOR_ROWS:
            level.prior_ratio[row] = np.float32(PRIOR_RATIO)


@inline
def score(level: Level, row: int, value: float, sd: float) -> tuple[float, float]:
    """(z, novelty): distance from the mean in sd, clipped at 6, and the signed extra distance that is news."""
    q = (value - level.mean[row]) / sd
    size = abs(q)
    if size <= CLIP:
        return q, 0.0
    sign = 1.0 if q > 0 else -1.0
    # A scale that was borrowed is known as one of so many samples.
    count = level.count[row] + _lent_rows(level, row)
    reach = CLIP + (FAR - 6.0) * count / (count + 1440.0)
    often = np.float64(level.far[row]) / RARE
    return sign * CLIP, sign * (min(size, reach) - CLIP) / (1.0 + often * often)


@inline
def learn(level: Level, row: int, value: float, sd: float) -> None:
    """Move mean, variance and step by a bounded amount. sd: what `scale` gave for this sample, or NaN."""
    count = level.count[row]
    if count < 1.0:
        level.mean[row] = value
        level.last[row] = value
        level.count[row] = 1.0
        return
    if count < YOUNG and _is_nonsense(level, row, value):
        return
    rate = max(RATE, 1.0 / (count + 1.0))
    off, step = value - level.mean[row], value - level.last[row]
    is_far = 1.0 if abs(off) > CLIP * sd else 0.0
    if count >= YOUNG:
        most = WINSOR / np.sqrt(rate)
        if np.float64(level.far[row]) < RARE:
            most = min(most, CALM_WINSOR)
        off = min(max(off, -most * sd), most * sd)
        # 10 typical steps: one jump may not make all later distances look small. The floor lets a flat series wake up.
        bound = 10.0 * np.sqrt(level.step[row]) + 0.1 * sd
        step = min(max(step, -bound), bound)
    level.var[row] = (1.0 - rate) * (level.var[row] + rate * off * off)
    level.mean[row] += rate * off
    first = rate if count > 1.0 else 1.0
    level.step[row] += first * (step * step - level.step[row])
    level.last[row] = value
    level.count[row] = min(count + 1.0, MOST_COUNT)
    if not np.isnan(sd):
        rate = max(RATE, 1.0 / (count + 100.0 + _lent_rows(level, row)))
        level.far[row] += rate * (is_far - np.float64(level.far[row]))


@inline
def _is_nonsense(level: Level, row: int, value: float) -> bool:
    """Before there is a scale that could bound a step: a value a million times larger than the one before, or back.

    The large one is not learned; if it came first, the level begins again, but not its age, so that this ends after
    YOUNG samples for a series that bursts all its life. A true jump costs one sample.
    """
    last = level.last[row]
    if abs(value - last) <= NONSENSE * max(min(abs(value), abs(last)), 1e-3):
        return False
    if abs(value) < abs(last):
        level.mean[row], level.var[row], level.step[row] = value, 0.0, 0.0
        level.count[row] += 1.0
    level.last[row] = value
    return True


def relevel(level: Level, row: int, mean: float, sd: float) -> None:
    """A deploy moved the series: take the mean that it has now, and the spread from before."""
    level.mean[row] = mean
    widen(level, row, sd)


def widen(level: Level, row: int, sd: float) -> None:
    """Have `scale` give sd: the variance is what is left of it beside what it is shrunk to."""
    count, prior = float(level.count[row]), float(level.prior_rows[row])
    wanted = float(level.prior_ratio[row]) * float(level.step[row])
    own = (sd * sd * (count + prior) - prior * wanted) / max(count, 1.0)
    level.var[row] = max(own, OWN_LEAST * sd * sd)


def rescale(level: Level, row: int, factor: float) -> None:
    """All of its values are `factor` times what they were."""
    level.mean[row] *= factor
    level.var[row] *= factor * factor
    level.step[row] *= factor * factor


def distil(level: Level, row: int) -> dict[str, float]:
    """What of the scale is general: sd over typical step (no unit, no level), and how often it goes far."""
    step = float(level.step[row])
    ratio = float(level.var[row]) / step if step > 0 else np.nan
    return {"ratio": ratio, "far": float(level.far[row]), "count": float(level.count[row])}


def log_step(level: Level, rows: Array) -> Array:
    """How restless a series is, (rows, 2): ln of the typical step beside the size of the value, and as it is.

    NaN before the second sample.
    """
    size, step = np.sqrt(level.mean[rows] ** 2 + level.var[rows]), np.sqrt(level.step[rows])
    # A step of a millionth is no step, and what is zero has no size.
    both = np.stack([np.maximum(step / np.maximum(size, 1e-12), 1e-6), np.maximum(step, 1e-12)], axis=-1)
    return np.asarray(np.where(level.count[rows][:, None] >= 2.0, np.log(both), np.nan))


def seed(level: Level, row: int, *, ratio: float, step: float, far: float, rows: float) -> None:
    """Start a fresh row from a source's ratio, with the weight of `rows` samples. The level is always its own.

    step: typical step beside the size of the value, for the first minutes.
    """
    level.prior_ratio[row] = ratio
    level.prior_rows[row] = rows
    level.far[row] = far
    level.prior_step[row] = step
