"""Feature recipe: from the number on the wire to the number that is modelled.

Owns the one transform that needs memory: a cumulative counter becomes a rate per second. A reset (the counter fell)
gives no rate, and a gauge passes through. Knows nothing of models.

Not obvious: most senders (Telegraf above all) do not say which numbers are counters. A series of unknown kind is
watched for its first WATCH values; if they are whole, never fall and rise often, it is a counter from then on and its
models start afresh. A "counter" that falls again and again was a gauge, and goes back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.columns import Array, Column
from engine.kernel import inline
from engine.series import Kind

UNKNOWN, GAUGE, COUNTER = int(Kind.UNKNOWN), int(Kind.GAUGE), int(Kind.COUNTER)

#: 16 values of which 8 rises: a gauge of whole numbers does that by chance once in 2**16, or it is a slow ramp.
WATCH, RISES = 16, 8
#: A restart a week is normal; three falls within a few dozen values are a gauge.
FALLS = 3


class Recipe(NamedTuple):
    """kind: Kind; seen, rises, falls: evidence for it; last, last_ms: previous number on the wire."""

    kind: Array
    seen: Array
    rises: Array
    falls: Array
    last: Array
    last_ms: Array


COLUMNS = {
    "kind": Column(np.uint8),
    "seen": Column(np.uint8),
    "rises": Column(np.uint8),
    "falls": Column(np.uint8),
    "last": Column(np.float64, np.nan),
    "last_ms": Column(np.int64),
}


@inline
def apply(recipe: Recipe, row: int, ts_ms: int, value: float) -> tuple[float, bool]:
    """The number to model (NaN: none this time), and whether the kind has just changed.

    value: finite, as on the wire. A counter's rate is per second since its previous value.
    """
    last, last_ms = recipe.last[row], recipe.last_ms[row]
    recipe.last[row], recipe.last_ms[row] = value, ts_ms
    kind = recipe.kind[row]
    if kind == GAUGE or np.isnan(last):
        return (np.nan if kind == COUNTER else value), False
    rate = (value - last) * 1000.0 / (ts_ms - last_ms)
    if kind == UNKNOWN:
        is_counter = _watch(recipe, row, last, value)
        return (rate if is_counter else value), is_counter
    if value < last:
        recipe.falls[row] += 1
        if recipe.falls[row] >= FALLS:
            recipe.kind[row] = GAUGE
            return np.nan, True
        return np.nan, False
    if recipe.falls[row] > 0 and recipe.seen[row] == 255:
        recipe.falls[row] -= 1
    recipe.seen[row] = recipe.seen[row] + 1 if recipe.seen[row] < 255 else WATCH
    return rate, False


@inline
def _watch(recipe: Recipe, row: int, last: float, value: float) -> bool:
    if value < last or value != np.floor(value):
        recipe.kind[row] = GAUGE
        return False
    recipe.seen[row] += 1
    recipe.rises[row] += value > last
    if recipe.seen[row] < WATCH:
        return False
    recipe.kind[row] = COUNTER if recipe.rises[row] >= RISES else GAUGE
    return bool(recipe.kind[row] == COUNTER)
