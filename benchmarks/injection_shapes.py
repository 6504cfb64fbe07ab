"""What is too small to be told, and which rhythms are normal? Made-up metrics, for `benchmarks.injection`.

Owns the shapes: metrics that hardly move, bursts at the same hour, periods other than a day; each alone and as one of
eight, the other seven being ordinary. At the end of each stands an event: a wiggle that nobody should be woken for, or
a burst at a wrong hour, or a peak that does not come. All in minutes, from a Monday on. The baselines have the rows
before the judged part to set their threshold by, as in `benchmarks.quality`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.quality_measures import pages_at
from benchmarks.quality_methods import GRAFT, alarm_level, answer
from benchmarks.quality_sets import Stream
from benchmarks.series_data import Array

DAY, HOUR, MINUTE_MS = 1440, 60, 60_000
#: A Monday.
START_MS = 1_767_571_200_000
METHODS = (GRAFT, "ewma-z", "time-of-day")
OTHERS = 7
#: A page this long after the beginning of an event is due to it.
DUE = 60


class Shape(NamedTuple):
    """days of it; history: days before it is judged; make: (rows, randomness) -> values with the event in place;
    event: first row and row after the last; wanted: should the event page?"""

    days: int
    history: int
    make: Callable[[Array, np.random.Generator], Array]
    event: tuple[int, int]
    wanted: bool


def _row(day: int, hour: float) -> int:
    return day * DAY + int(hour * HOUR)


def _flat(make: Callable[[Array, np.random.Generator], Array], wiggle: Callable[[Array], Any], rows: int) -> Shape:
    """Ten days; the wiggle of so many rows on the last of them."""
    begin = _row(9, 12)

    def made(t: Array, rng: np.random.Generator) -> Array:
        values = make(t, rng)
        values[begin : begin + rows] = wiggle(values[begin : begin + rows])
        return values

    return Shape(10, 3, made, (begin, begin + DUE), wanted=False)


def _rare_ones(t: Array, rng: np.random.Generator) -> Array:
    """Zero, and a one about twice a day."""
    return (rng.random(len(t)) < 2.0 / DAY).astype(float)


def _sometimes(t: Array, rng: np.random.Generator, other: float) -> Array:
    """42, and a little more now and then, for ten minutes or so."""
    return np.where(np.repeat(rng.random(len(t) // 10 + 1) < 0.1, 10)[: len(t)], other, 42.0)


def _flicker(t: Array, rng: np.random.Generator) -> Array:
    """Three or four."""
    return 3.0 + (rng.random(len(t)) < 0.3)


def _burst(hour: float) -> Shape:
    """Twenty minutes of five times the level each day at three; on day 13 once more, at another hour."""
    begin = _row(13, hour)

    def made(t: Array, rng: np.random.Generator) -> Array:
        values = 20.0 + rng.normal(0.0, 1.0, len(t))
        is_burst = (t % DAY >= 180) & (t % DAY < 200) | (t >= begin) & (t < begin + 20)
        return values * np.where(is_burst, 5.0, 1.0)

    return Shape(14, 2, made, (begin, begin + DUE), wanted=True)


def _period(minutes: int) -> Shape:
    """A peak each period, three hours into day 25 one of them does not come."""
    begin = _row(25, 3) // minutes * minutes + minutes

    def made(t: Array, rng: np.random.Generator) -> Array:
        peak = np.exp(-0.5 * ((t % minutes - minutes / 2) / (minutes / 10)) ** 2)
        peak[begin : begin + minutes] = 0.0
        return 50.0 + 30.0 * peak + rng.normal(0.0, 1.0, len(t))

    # The peak stands in the middle, and is late before it is missing.
    return Shape(28, 14, made, (begin + minutes // 4, begin + minutes), wanted=True)


def _weekly(t: Array, rng: np.random.Generator) -> Array:
    """By day a hump, none on Saturday and Sunday; on the last Thursday none either."""
    day, hour = t // DAY, t % DAY / HOUR
    hump = np.maximum(np.sin((hour - 6.0) / 14.0 * np.pi), 0.0) * (hour > 6.0) * (hour < 20.0)
    is_off = (day % 7 >= 5) | (day == 24)
    return 20.0 + 60.0 * hump * ~is_off + rng.normal(0.0, 1.5, len(t))


SHAPES: dict[str, Shape] = {
    "jitter 1e-9, step 1e-6": _flat(
        lambda t, rng: 1000.0 * (1.0 + 1e-9 * rng.normal(size=len(t))), lambda x: x * (1.0 + 1e-6), 30
    ),
    "42.0 still, step 1e-6": _flat(lambda t, _rng: np.full(len(t), 42.0), lambda x: x * (1.0 + 1e-6), 30),
    "42.0 +- 1e-6, step 1e-5": _flat(lambda t, rng: _sometimes(t, rng, 42.0 + 1e-6), lambda x: x + 1e-5, 30),
    "0 with rare 1, a 1": _flat(_rare_ones, lambda x: x * 0.0 + 1.0, 1),
    "0 always, a 1": _flat(lambda t, _rng: 0.0 * t, lambda x: x + 1.0, 1),
    "3 or 4, a 5": _flat(_flicker, lambda x: x * 0.0 + 5.0, 1),
    "3 or 4, 4 for 20 min": _flat(_flicker, lambda x: x * 0.0 + 4.0, 20),
    "daily burst, at 16 h": _burst(16.0),
    "period 2 h, no peak": _period(120),
    "period 8 h, no peak": _period(480),
    "weekly, a day off": Shape(28, 14, _weekly, (_row(24, 8), _row(24, 20)), wanted=True),
}


def ordinary(t: Array, rng: np.random.Generator) -> Array:
    """Seven metrics of one load: a day's shape, what they share, and what each has of its own (AR 1); (T, 7)."""
    own = rng.normal(0.0, 1.0, (len(t), OTHERS + 1))
    for at in range(1, len(t)):
        own[at] += 0.9 * own[at - 1]
    day = np.sin(2.0 * np.pi * (t / DAY + rng.random()))[:, None]
    load = rng.uniform(0.5, 2.0, OTHERS) * own[:, :1] + own[:, 1:]
    return np.asarray(rng.uniform(20.0, 200.0, OTHERS) + 5.0 * day + load)


def stream_of(shape: Shape, *, alone: bool, seed: int) -> Stream:
    """The shape as a stream, alone or as the fourth of eight metrics."""
    rng = np.random.default_rng(seed)
    t = np.arange(shape.days * DAY)
    one = shape.make(t, rng)[:, None]
    values = one if alone else np.insert(ordinary(t, rng), 3, one[:, 0], axis=1)
    return Stream(values, START_MS + t * MINUTE_MS, shape.history * DAY, DAY)


def judge(shape: Shape, *, alone: bool, seeds: int) -> dict[str, dict[str, float]]:
    """Method -> pages a day outside of the event, share of events that page and that severity marks, largest page."""
    told = {}
    for method in METHODS:
        false, found, marked, days, largest = 0.0, 0.0, 0.0, 0.0, 0.0
        for seed in range(seeds):
            stream = stream_of(shape, alone=alone, seed=seed)
            said = answer(method, stream)
            page, severity = (np.nan_to_num(one) for one in (said.page, said.severity))
            label = np.zeros(len(page))
            begin, end = shape.event
            label[begin:end] = 1.0
            judged = slice(stream.history, None)
            pages = pages_at(label[judged], page[judged], np.ones(1), silence=HOUR, rows_a_day=DAY)
            false, found = false + float(pages.false[0, 0]), found + float(pages.found[0, 0])
            marked += float((severity[begin:end] >= alarm_level(method, severity, stream.history)).any())
            days, largest = days + float(pages.days[0]), max(largest, float(page[begin:end].max()))
        told[method] = {
            "pages_day": false / days,
            "event_pages": found / seeds,
            "event_marked": marked / seeds,
            "largest": largest,
        }
    return told
