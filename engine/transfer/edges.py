"""Edges: how a distilled class takes the cases at the edge, as short made-up windows in its own standard deviations.

Owns the cases (spike, step, flat line, gap, reset of a counter, a clock that is an hour off) and what is said of them.
They are made from the class alone - shape, size of the residual, tail - so they hold nothing of a sample, and anybody
can make them again from the arrays beside them, which `check` does.

Not obvious: a severity here is that of one sample's residual by itself. The engine smooths evidence and looks at all
metrics of an entity, so this tells classes apart; it does not foretell an alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.columns import Array
from engine.components import season, tail
from engine.errors import ConfigError
from engine.series import Kind
from engine.transfer.fingerprint import SEEN_SHARE, largest

#: Classes that are shown: those of most series.
MOST_CLASSES = 12
#: Quarters of an hour in a window, from when the day moves most; where in it something happens; how large it is, in sd.
LENGTH, AT, SIZE = 8, 4, 5.0

Window = list[float | None]


def edges(names: list[str], arrays: Mapping[str, Array]) -> list[dict[str, Any]]:
    """class, case, window (sd; null: no number), expected (sd), severity (-log10 p of each residual, null: none)."""
    return [one for k in largest(names, arrays["series"], MOST_CLASSES) for one in _of_class(names[k], k, arrays)]


def check(told: object, names: list[str], arrays: Mapping[str, Array]) -> None:
    """Nothing, or ConfigError: the cases in the card are not those of the arrays."""
    for theirs, ours in zip(told if isinstance(told, list) else [], wanted := edges(names, arrays), strict=False):
        same = isinstance(theirs, dict) and all(theirs.get(key) == ours[key] for key in ("class", "case"))
        if not same or not all(_near(theirs.get(key), ours[key]) for key in ("window", "expected", "severity")):
            raise ConfigError(
                f"edge case {ours['case']} of class {ours['class']} does not follow from the source's arrays."
            )
    if not isinstance(told, list) or len(told) != len(wanted):
        raise ConfigError(f"the card has not the {len(wanted)} edge cases that follow from its classes; cut it again.")


def _near(theirs: object, ours: Window) -> bool:
    if not isinstance(theirs, list) or len(theirs) != len(ours):
        return False
    if not all(one is None or type(one) in (int, float) for one in theirs):
        return False
    a, b = (np.array([np.nan if one is None else one for one in window]) for window in (theirs, ours))
    return bool(np.allclose(a, b, rtol=1e-3, atol=2e-3, equal_nan=True))


def _of_class(name: str, k: int, arrays: Mapping[str, Array]) -> list[dict[str, Any]]:
    shape = arrays["shape"][k].astype(np.float64)
    has_shape = float((arrays["visits"][k] > 0).mean()) >= SEEN_SHARE
    start = int(np.argmax(np.abs(np.roll(shape, -LENGTH) - shape))) if has_shape else 0
    slots = (start + np.arange(LENGTH)) % season.SLOTS
    expected = shape[slots] if has_shape else np.zeros(LENGTH)
    far = np.where(np.arange(LENGTH) >= AT, SIZE, 0.0)
    cases = {
        "spike": expected + np.where(np.arange(LENGTH) == AT, SIZE, 0.0),
        "step": expected + far,
        "flat line": np.full(LENGTH, expected[0]),
        "gap": np.where(far > 0, np.nan, expected),
    }
    if int(arrays["kind"][k]) == Kind.COUNTER:
        cases["counter reset"] = np.where(np.arange(LENGTH) == AT, np.nan, expected)
    if has_shape:
        cases["hour late"] = shape[(slots - season.SLOTS_AN_HOUR) % season.SLOTS]
    sigma, counts = float(arrays["sigma"][k]), arrays["tail"][k].astype(np.float64)
    return [
        {
            "class": name,
            "case": case,
            "window": _plain(window),
            "expected": _plain(expected),
            "severity": _plain(_severity(window - expected, sigma, counts)),
        }
        for case, window in cases.items()
    ]


def _severity(residual: Array, sigma: float, counts: Array) -> Array:
    """-log10 of the share of the class's evidence above each residual, exponential beyond TAIL_SHARE; NaN: none."""
    total = counts.sum()
    x = np.log(np.maximum(np.abs(residual) / (sigma + season.SIGMA_FLOOR), 1e-3))
    if total <= 0:
        return np.full(len(x), np.nan)
    above = np.append(np.cumsum(counts[::-1])[::-1], 0.0) / total
    bounds = tail.LOW + tail.WIDTH * np.arange(tail.BINS + 1)
    high = float(np.interp(-tail.TAIL_SHARE, -above, bounds))
    near = float(np.interp(-0.05, -above, bounds))
    slope = min(max((high - near) / np.log(0.05 / tail.TAIL_SHARE), tail.THINNEST), tail.FATTEST)
    body = -np.log10(np.maximum(np.interp(x, bounds, above), tail.TAIL_SHARE))
    beyond = -np.log10(tail.TAIL_SHARE) + (x - high) / (slope * np.log(10.0))
    return np.asarray(np.minimum(np.where(x >= high, beyond, body), tail.MOST))


def _plain(values: Array) -> Window:
    return [None if not np.isfinite(one) else round(float(one), 3) + 0.0 for one in values]
