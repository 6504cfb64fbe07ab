"""Season: the shape of a day, on standardised values, and a level that follows slow change.

Owns a 96-slot profile of the time of day and the residual s = z - level - profile; and by the hour of the day how
large that residual usually is, for a lone series has no other to tell it that nights are quiet. The step of the data
is found, not configured: it sets how much one sample may move its slot, so that ten-second data does not forget
yesterday within one slot. Missing slots and irregular steps need no special case, because a slot is chosen by the
clock of the sample.

Not obvious. (1) The profile learns within its slot too; on minute data it follows the last quarter of an hour as much
as the same time yesterday. That was measured to be better than a slower profile, for scoring. (2) A seed brings a
shape. (3) On its first days a series' mean moves with the day, and a profile beside it would be that of another mean a
day later: so what a slot has seen is held where it was.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline, kernel

SLOTS = 96
SLOT_MS = 900_000
DAY_MS = 86_400_000
LEVEL_RATE, PROFILE_RATE = 0.002, 0.15
#: Samples a slot may hold before its rate is lowered: minutes give 15 of them.
SLOT_SAMPLES = 15.0
#: Rates are at their floors long before; float32 counts exactly to 16 million.
MOST_COUNT, TURN = 1_048_576.0, 16.0
SIGMA_RATE, SIGMA_WINSOR, SIGMA_FLOOR, MOST = 1e-4, 30.0, 0.02, 50.0
#: The spread of an hour: its share in what a lone series is measured by, samples at which half of that is trusted.
HOURS, SLOTS_AN_HOUR = 24, 4
SPREAD_SHARE, SPREAD_YOUNG = 0.7, 300.0
SPREAD_RATE, SPREAD_FIRST = 0.005, 0.25
#: What a slot steadily has moves by half of the way a day at most, the profile's own slowness included, so that one
#: day's outage is not what the next day usually has. It is kept in steps of 1 / STEADY_STEPS sd; where there is none
#: yet, a value is as far off as can be.
STEADY_RATE, STEADY_STEPS, NO_STEADY, FAR_OFF = 0.5, 20.0, -128, 12.0
#: Event time for which what a slot has seen is held while the mean moves; later the mean hardly does, and what moves is
#: the day itself.
HELD_MS, HELD_MOST = 4.0 * DAY_MS, 100.0
#: A squared residual counts up to so many of its usual ones, so that an incident is no habit of its hour.
SPREAD_MOST = 9.0


class Season(NamedTuple):
    """profile in sd, bucket-major; steady: the same of many days, in steps; visits: learned samples of a slot, to
    255; spread: variance of the residual in an hour of the day over sigma squared, bucket-major; sigma: rms of the
    residual, in sd. held_mean, held_sd: what the profile is relative to, in the recipe's unit; 0 at first."""

    profile: Array
    steady: Array
    visits: Array
    spread: Array
    level: Array
    sigma: Array
    count: Array  # type: ignore[assignment]  # nobody counts the fields of columns
    held_mean: Array
    held_sd: Array


COLUMNS = {
    "profile": Column(np.float32, before=(SLOTS,)),
    "steady": Column(np.int8, NO_STEADY, before=(SLOTS,)),
    "visits": Column(np.uint8, before=(SLOTS,)),
    "spread": Column(np.float32, 1.0, before=(HOURS,)),
    "level": Column(np.float32),
    "sigma": Column(np.float32, 1.0),
    "count": Column(np.float32),
    "held_mean": Column(np.float64),
    "held_sd": Column(np.float64),
}


@kernel
def slot_of(ts_ms: int, offset_ms: int) -> int:
    """Quarter of an hour of the day, 0..95."""
    return int(((ts_ms + offset_ms) % DAY_MS) // SLOT_MS)


@inline
def expected(season: Season, row: int, slot: int) -> float:
    """What z should be now."""
    return np.float64(season.level[row]) + np.float64(season.profile[slot, row])


@inline
def hold(season: Season, row: int, mean: float, sd: float, step_ms: float) -> None:
    """A slot begins. mean, sd: of the series, now. What visited slots have, in its unit, is what they had."""
    if np.float64(season.count[row]) * step_ms > HELD_MS:
        return
    was = season.held_sd[row]
    if was > 0.0:
        ratio = min(was / sd, HELD_MOST)
        moved = min(max((mean - season.held_mean[row]) / sd, -HELD_MOST), HELD_MOST)
        for slot in range(SLOTS):
            if season.visits[slot, row] > 0:
                season.profile[slot, row] = np.float32(np.float64(season.profile[slot, row]) * ratio - moved)
    season.held_mean[row], season.held_sd[row] = mean, sd


@inline
def enter(season: Season, row: int, slot: int, step_ms: float) -> None:
    """A slot begins: what it was until yesterday becomes a part of what is steady."""
    if season.visits[slot, row] == 0:
        return
    now, known = np.float64(season.profile[slot, row]), np.int64(season.steady[slot, row])
    if known != NO_STEADY:
        was = np.float64(known) / STEADY_STEPS
        samples = min(SLOT_MS / step_ms, SLOT_SAMPLES) if step_ms > 0.0 else SLOT_SAMPLES
        now = was + min(STEADY_RATE / (1.0 - (1.0 - PROFILE_RATE) ** max(samples, 1.0)), 1.0) * (now - was)
    season.steady[slot, row] = np.int64(np.rint(min(max(now * STEADY_STEPS, -127.0), 127.0)))


@inline
def stray(season: Season, row: int, slot: int, z: float) -> float:
    """Distance of z, in sd, from all that this quarter of an hour, the one before and the one after steadily have.

    Of three, because what happens daily does not begin at the same second, nor at the edge of a slot. FAR_OFF where
    the slot has no day behind it.
    """
    if season.steady[slot, row] == NO_STEADY:
        return FAR_OFF
    low = high = np.float64(season.steady[slot, row])
    before = season.steady[slot - 1 if slot > 0 else SLOTS - 1, row]
    after = season.steady[slot + 1 if slot < SLOTS - 1 else 0, row]
    if before != NO_STEADY:
        low, high = min(low, np.float64(before)), max(high, np.float64(before))
    if after != NO_STEADY:
        low, high = min(low, np.float64(after)), max(high, np.float64(after))
    off = z - np.float64(season.level[row])
    return np.float64(max(off - high / STEADY_STEPS, 0.0) + min(off - low / STEADY_STEPS, 0.0))


@inline
def spread_at(season: Season, row: int, slot: int, alone: float) -> float:
    """Typical size of a residual at this hour over that of the whole day; 1 for one of many series.

    alone: one over the number of series of the entity. The others tell a quiet hour from a loud one better.
    """
    count = np.float64(season.count[row])
    share = SPREAD_SHARE * alone * count / (count + SPREAD_YOUNG)
    return np.float64(np.sqrt(1.0 + share * (np.float64(season.spread[slot // SLOTS_AN_HOUR, row]) - 1.0)))


@inline
def relative(season: Season, row: int, residual: float, spread: float) -> float:
    """|residual| in its own typical size, at most 50."""
    return min(abs(residual) / (np.float64(season.sigma[row]) * spread + SIGMA_FLOOR), MOST)


@inline
def learn(
    season: Season, row: int, slot: int, residual: float, step_ms: float, is_held: bool, is_known: bool
) -> None:  # fmt: skip
    """residual: z - expected, without novelty, so that learning is bounded by the clip of z.

    is_held: a change is suspected, so only the size of the residual is learned. Else a shift would be in the
    profile of the slots that it fell into, and come back as a second one a day later. is_known: the slot was seen
    on an earlier day. If not, its residual says nothing of a level that all slots follow: of a lent shape it says how
    wrong that is, and a level that followed it would be off for all slots on the next day.
    """
    count = np.float64(season.count[row])
    rate = max(LEVEL_RATE, 1.0 / (count + 1.0))
    sigma = np.float64(season.sigma[row])
    per_slot = SLOT_MS / step_ms if step_ms > 0.0 else SLOT_SAMPLES
    dense, visits = min(1.0, SLOT_SAMPLES / per_slot), np.float64(season.visits[slot, row])
    if not is_held:
        hour = slot // SLOTS_AN_HOUR
        usual = np.float64(season.spread[hour, row])
        size = min((residual * residual + 1e-8) / (sigma * sigma + 1e-8), SPREAD_MOST * max(usual, 1.0))
        young = SPREAD_FIRST / (visits + 2.0) if visits < 255.0 else 0.0
        season.spread[hour, row] += np.float32(max(SPREAD_RATE * dense, young) * (size - usual))
        rate = rate if is_known else 0.0
        season.level[row] += np.float32(rate * residual)
        slow = max(PROFILE_RATE * dense, 1.0 / (visits + 1.0))
        season.profile[slot, row] += np.float32(slow * residual * (1.0 - rate))
        if season.visits[slot, row] < 255:
            season.visits[slot, row] += 1
    bounded = min(abs(residual), SIGMA_WINSOR * (sigma + SIGMA_FLOOR))
    weight = max(SIGMA_RATE, 1.0 / (count + 2.0))
    season.sigma[row] = np.float32(np.sqrt(sigma * sigma + weight * (bounded * bounded - sigma * sigma)))
    # Not stopped but sent back by a whole number of turns: other parts do something every so many samples.
    season.count[row] = np.float32(count + 1.0 if count < MOST_COUNT else MOST_COUNT - TURN + 1.0)


def relevel(season: Season, row: int, mean: float, sd: float, level: float, slot: int, entry: float) -> None:
    """Undo what a shift has taught: the level from before it, and the profile of the slot that it fell into.

    mean, sd: what the series has from now on, and its whole day with it.
    """
    season.held_mean[row], season.held_sd[row] = mean, sd
    season.level[row] = level
    if slot < SLOTS:
        season.profile[slot, row] = entry


def rescale(season: Season, row: int, factor: float, sigma: float) -> None:
    """The sd that everything is measured in is `factor` times what it was, and the residual `sigma` of the new one."""
    season.profile[:, row] /= np.float32(factor)
    known = season.steady[:, row] != NO_STEADY
    season.steady[known, row] = np.clip(np.rint(season.steady[known, row] / factor), -127, 127).astype(np.int8)
    season.level[row] /= np.float32(factor)
    season.sigma[row] = sigma


def turn(season: Season, row: int, slots: int) -> None:
    """The day comes `slots` quarters of an hour later than it did."""
    for column in (season.profile, season.steady, season.visits):
        column[:, row] = np.roll(column[:, row], slots)
    season.spread[:, row] = np.roll(season.spread[:, row], round(slots / SLOTS_AN_HOUR))


def relearn(season: Season, row: int) -> None:
    """Another day than it was: nothing is steady any more, and each slot follows its next samples."""
    season.steady[:, row] = NO_STEADY
    season.visits[:, row] = np.minimum(season.visits[:, row], 1)


def distil(season: Season, row: int) -> dict[str, Any]:
    """The centred shape in sd, with the visits behind it: no level, no unit."""
    profile = season.profile[:, row].astype(np.float64)
    visits = season.visits[:, row].astype(np.float64)
    seen = visits > 0
    centre = profile[seen].mean() if seen.any() else 0.0
    return {"shape": np.where(seen, profile - centre, 0.0), "visits": visits, "sigma": float(season.sigma[row])}


def seed(season: Season, row: int, *, shape: Array, sigma: float, rows: float) -> None:
    """Start from a source's shape, (96,) in sd, which a slot's first sample of its own replaces.

    rows: samples that the size of the residual counts for; the level of the season begins to move as after so many.
    """
    season.profile[:, row] = shape
    season.sigma[row] = sigma
    season.count[row] = rows
