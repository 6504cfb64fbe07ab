"""Presence: does a series still come, and does it still move?

Owns the cadence that a series has shown (milliseconds between samples), the longest gap and the longest run of equal
values that are normal for it. Absence is judged against the shard's clock, which is event time: nothing here waits.

Not obvious: silence is counted on the shard's clock from when a series was heard of, not from the time that it wrote
on its sample, for senders' clocks disagree by minutes. And a series that stops alone is absent; when the whole log
stops, nothing is said, because event time stops too. The shell's probes report a silent log.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline

#: Absent: five steps, or twice the longest gap in memory, whichever is longer.
STEPS, GAPS, GAP_FORGET = 5.0, 2.0, 0.002
#: Flat: three times the longest run in memory and at least this many equal values.
FLAT_MIN, FLATS, FLAT_FORGET = 60, 3.0, 2e-4
WARM = 30.0
#: A habit of pauses doubles at most with each: one outage is no habit.
GROWTH = 2.0
#: A sample so far ahead of the shard's clock was written by a wrong one. The decoder lets 5 minutes pass.
MOST_AHEAD_MS = 600_000
#: Silent beyond its habit; silent for so long that it was taken away; found silent by the sweep at work.
ABSENT, GONE, FOUND = 1, 2, 3


class Presence(NamedTuple):
    """last_ms: newest sample; heard_ms: the shard's clock when it came; trusted_ms: the newest that was not far ahead
    of that clock; step_ms: typical gap; gap: longest gap in steps; flat: equal values in a row; absent: 0 or a state.
    """

    last_ms: Array
    heard_ms: Array
    trusted_ms: Array
    step_ms: Array
    gap: Array
    seen: Array
    flat: Array
    flat_most: Array
    absent: Array


COLUMNS = {
    "last_ms": Column(np.int64, -1),
    "heard_ms": Column(np.int64, -1),
    "trusted_ms": Column(np.int64, -1),
    "step_ms": Column(np.float32),
    "gap": Column(np.float32, 1.0),
    "seen": Column(np.float32),
    "flat": Column(np.int32),
    "flat_most": Column(np.float32, 1.0),
    "absent": Column(np.uint8),
}


@inline
def arrived(presence: Presence, row: int, ts_ms: int, clock_ms: int) -> None:
    """Learn the gap before a sample. One gap moves the typical one by a bounded step: an outage does not stretch it."""
    last, step = presence.last_ms[row], np.float64(presence.step_ms[row])
    presence.last_ms[row], presence.heard_ms[row] = ts_ms, clock_ms
    if ts_ms <= clock_ms + MOST_AHEAD_MS:
        presence.trusted_ms[row] = ts_ms
    if last < 0:
        return
    gap = np.float64(ts_ms - last)
    if step <= 0.0:
        presence.step_ms[row] = np.float32(gap)
    else:
        rate = max(0.02, 1.0 / (np.float64(presence.seen[row]) + 1.0))
        presence.step_ms[row] = np.float32(step + rate * min(max(gap - step, -0.5 * step), 0.5 * step))
        habit = np.float64(presence.gap[row])
        steps = min(gap / step, GROWTH * max(habit, 1.0))
        presence.gap[row] = np.float32(max(steps, habit * (1.0 - GAP_FORGET)))
    presence.seen[row] = np.float32(min(np.float64(presence.seen[row]) + 1.0, 1e6))


@inline
def was_ahead(presence: Presence, row: int, ts_ms: int, clock_ms: int) -> bool:
    """Is this sample right, and was the newest one written by a wrong clock? Else all would be late until that time."""
    latest_ms = clock_ms + MOST_AHEAD_MS
    return bool(presence.last_ms[row] > latest_ms and presence.trusted_ms[row] < ts_ms <= latest_ms)


@inline
def is_absent(presence: Presence, row: int, clock_ms: int, resumed_ms: int) -> bool:
    """Has the series stopped, by the shard's clock and its own habits? resumed_ms: end of the log's last hole."""
    if presence.last_ms[row] < 0 or np.float64(presence.seen[row]) < WARM:
        return False
    steps = max(STEPS, GAPS * np.float64(presence.gap[row]))
    silent_ms = clock_ms - max(presence.heard_ms[row], resumed_ms)
    return bool(np.float64(silent_ms) > steps * np.float64(presence.step_ms[row]))


@inline
def is_stuck(presence: Presence, row: int, is_equal: bool, count: float) -> bool:
    """Count equal values in a row; True at the sample at which the run becomes longer than any that is normal."""
    most = np.float64(presence.flat_most[row])
    if not is_equal:
        presence.flat_most[row] = np.float32(max(np.float64(presence.flat[row]), most * (1.0 - FLAT_FORGET)))
        presence.flat[row] = 0
        return False
    presence.flat[row] += 1
    return presence.flat[row] == int(max(FLAT_MIN, FLATS * most)) and count > 4.0 * FLAT_MIN
