"""Recent: the last values of a series, as they came.

Owns a ring of the newest KEPT values with the time between them. It scores nothing and learns nothing: it is what a
person is shown around a moment, and what a change is told by (`engine/diagnosis.py`).

Not obvious: values are kept as distances from the first that a series had, in single precision, because a counter of
1e12 that moves by 3 has to keep its 3; and times as the logarithm of the gap before each, good to a tenth of a
percent from a millisecond to months.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline

KEPT = 32
#: Steps for each unit of ln(1 + gap in ms): 16 bits hold gaps of three months.
GAP_STEPS, GAP_MOST = 1400.0, 32_000.0


class Recent(NamedTuple):
    """origin: what values are relative to; place: where the next one goes; value, gap (n, KEPT): gap -1 where empty."""

    origin: Array
    place: Array
    value: Array
    gap: Array


COLUMNS = {
    "origin": Column(np.float64, np.nan),
    "place": Column(np.uint8),
    "value": Column(np.float32, after=(KEPT,)),
    "gap": Column(np.int16, -1, after=(KEPT,)),
}


@inline
def keep(recent: Recent, row: int, value: float, gap_ms: int) -> None:
    """Take in the newest value. gap_ms: time since the one before; 0 or less: there was none."""
    if np.isnan(recent.origin[row]):
        recent.origin[row] = value
    k = np.int64(recent.place[row])
    recent.value[row, k] = np.float32(value - recent.origin[row])
    recent.gap[row, k] = np.int16(min(GAP_STEPS * np.log1p(max(np.float64(gap_ms), 0.0)), GAP_MOST))
    recent.place[row] = np.uint8((k + 1) % KEPT)


@inline
def clear(recent: Recent, row: int) -> None:
    """The meaning of the numbers has changed."""
    recent.origin[row], recent.place[row] = np.nan, np.uint8(0)
    for k in range(KEPT):
        recent.gap[row, k] = np.int16(-1)


def window(recent: Recent, row: int, last_ms: int) -> tuple[Array, Array]:
    """(times in ms, values), oldest first; empty where nothing has come. last_ms: when the newest came.

    >>> from engine.columns import allocate_one
    >>> kept = allocate_one(Recent, COLUMNS, 1)
    >>> keep(kept, 0, 5.0, 0), keep(kept, 0, 7.5, 60_000)
    (None, None)
    >>> times, values = window(kept, 0, 1_000_000)
    >>> values.tolist(), [round(one, -2) for one in times.tolist()]
    ([5.0, 7.5], [940000, 1000000])
    """
    order = (np.arange(KEPT) + int(recent.place[row])) % KEPT
    order = order[recent.gap[row, order] >= 0]
    gaps = np.expm1(recent.gap[row, order].astype(np.float64) / GAP_STEPS)
    after = np.concatenate([np.cumsum(gaps[:0:-1])[::-1], [0.0]]) if len(order) else np.zeros(0)
    times = last_ms - np.rint(after).astype(np.int64)
    return times, recent.origin[row] + recent.value[row, order].astype(np.float64)
