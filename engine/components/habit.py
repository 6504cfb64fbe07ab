"""Habit: what pages at the same hour every day does not page for ever.

Owns, for each hour of an entity's day, on how many days of late it would have paged, and how large that was. A nightly
job is as sudden each night as in the first; whoever is paged for it has asked for nothing. Knows nothing of evidence:
it is given the ln of a page and says how much larger one has to be now.

Not obvious: jobs begin a little before or after their time, so an hour reaches into the ones beside it. And a job that
has grown, or comes at another time of the day, pages.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline

HOUR_MS, HOURS = 3_600_000, 24
#: An hour that would have paged on so many days is a habit. Each such day counts one up, at most to MOST_DAYS (a
#: weekend does not end it); each other day on which there were samples, one down.
DAYS, MOST_DAYS = 3, 6
#: A page has to be larger than it was by so much, in ln. What it was rises at once and falls slowly; it is kept in
#: steps of 1 / STEPS.
MARGIN, FALL, STEPS = 0.3, 0.2, 60.0
#: The habit of an hour reaches so far into the ones beside it.
REACH_MS = 900_000
#: ln of the largest page of an hour that has had none.
NONE = -9.0


class Habit(NamedTuple):
    """days, size (n, 24): how often of late, how large in steps; largest: ln of the largest page of this hour so far;
    ahead: of that part of it which belongs to the next hour as well; explained: was there what would have paged, had
    it not been usual at this time of the day?"""

    days: Array
    size: Array
    largest: Array
    ahead: Array
    explained: Array


COLUMNS = {
    "days": Column(np.uint8, after=(HOURS,)),
    "size": Column(np.uint8, after=(HOURS,)),
    "largest": Column(np.float32, NONE),
    "ahead": Column(np.float32, NONE),
    "explained": Column(np.uint8),
}


@inline
def needed(habit: Habit, row: int, local_ms: int) -> float:
    """How much larger, in ln, than the threshold a page has to be now."""
    return max(_of_hour(habit, row, local_ms - REACH_MS), _of_hour(habit, row, local_ms + REACH_MS))


@inline
def _of_hour(habit: Habit, row: int, local_ms: int) -> float:
    hour = (local_ms // HOUR_MS) % HOURS
    if habit.days[row, hour] < DAYS:
        return 0.0
    return np.float64(habit.size[row, hour]) / STEPS + MARGIN


@inline
def see(habit: Habit, row: int, local_ms: int, log_page: float, is_explained: bool) -> None:
    """One tick. log_page: ln of the page, 0 at the threshold, had the hour no habit. is_explained: see `Habit`."""
    if is_explained:
        habit.explained[row] = 1
    page = np.float32(log_page)
    habit.largest[row] = max(habit.largest[row], page)
    if (local_ms + REACH_MS) // HOUR_MS != local_ms // HOUR_MS:
        habit.ahead[row] = max(habit.ahead[row], page)


@inline
def learn(habit: Habit, row: int, hour: int) -> None:
    """One day more of an hour of the day (0..23) that is over."""
    days, size, largest = np.int64(habit.days[row, hour]), np.float64(habit.size[row, hour]), habit.largest[row]
    if largest < 0.0:
        habit.days[row, hour] = min(days + 1, MOST_DAYS) if habit.explained[row] != 0 and days > 0 else max(days - 1, 0)
        return
    now = min(np.float64(largest) * STEPS, 255.0)
    if days > 0 and now < size:
        now = size + FALL * (now - size)
    habit.size[row, hour] = np.int64(np.rint(now))
    habit.days[row, hour] = min(days + 1, MOST_DAYS)


@inline
def begin_hour(habit: Habit, row: int, is_next: bool) -> None:
    """Another hour. is_next: it follows the last one."""
    habit.largest[row] = habit.ahead[row] if is_next else np.float32(NONE)
    habit.ahead[row], habit.explained[row] = np.float32(NONE), 0
