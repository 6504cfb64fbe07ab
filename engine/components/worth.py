"""Worth: beside a trial, how well the seeded and the cold version forecast and when each would have paged, by age.

Owns the columns of the account and how a sample and a page are entered. They lie beside the rows of a twin, so they
come and go with it, and an entity without one pays nothing. Knows neither which version is believed nor what follows.

Not obvious: everything is by seeded and cold, never by own and other, because the two change places. A loss is in the
series' own unit; only differences of losses mean anything across series. One sample counts for MOST nats at most, so
that one outage decides nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array, Column, Spec
from engine.components import guard
from engine.components.habit import HOUR_MS
from engine.kernel import kernel

#: Ages in hours at which a bucket begins, and the end of a trial; the last bucket has no end.
EDGES_H = (0, 1, 3, 6, 12, 24)
AGES_MS = tuple(hours * HOUR_MS for hours in EDGES_H[1:-1])
BUCKETS = len(AGES_MS) + 1
#: Ticks that would page less than this apart are one page.
EPISODE_MS = HOUR_MS
#: An error counts for so many typical residuals at most, of the version that takes the larger one for typical.
FAR = 10.0
SEEDED, COLD = range(2)


class Forecasts(NamedTuple):
    """Per series of a twin, (n, BUCKETS): sums of forecast loss in nats and of |value - expected|, and of how many."""

    seeded: Array
    cold: Array
    seeded_off: Array
    cold_off: Array
    samples: Array


class Pages(NamedTuple):
    """Per entity of a twin, (m, 2), seeded and cold.

    last_ms: newest tick that would page, -1: none; number: pages that would have been sent; alone: those of them with
    no page of the other version within EPISODE_MS; is_alone: the newest is one of these.
    """

    last_ms: Array
    number: Array
    alone: Array
    is_alone: Array


_SUMS = Column(np.float64, after=(BUCKETS,))
FORECASTS: Spec = {
    "seeded": _SUMS, "cold": _SUMS, "seeded_off": _SUMS, "cold_off": _SUMS,
    "samples": Column(np.int32, after=(BUCKETS,)),
}  # fmt: skip
PAGES: Spec = {
    "last_ms": Column(np.int64, -1, after=(2,)),
    "number": Column(np.int32, after=(2,)),
    "alone": Column(np.int32, after=(2,)),
    "is_alone": Column(np.bool_, after=(2,)),
}
SERIES: dict[str, tuple[Any, Spec]] = {"worth": (Forecasts, FORECASTS)}
ENTITY: dict[str, tuple[Any, Spec]] = {"pages": (Pages, PAGES)}


def buckets(age_ms: Array) -> Array:
    """The bucket of each age; below the first hour is 0, and so is an age that is not known (negative)."""
    return np.searchsorted(np.array(AGES_MS), age_ms, side="right")


@kernel
def enter(
    row_of: Array, bucket: Array, own_is_seeded: Array, own_kind: Array, kind: Array, own_off: Array, own_band: Array,
    off: Array, band: Array, sums: Forecasts,
) -> None:  # fmt: skip
    """Enter the forecasts of n samples, in order. own_...: of the shard's version, the others of the twin.

    row_of: rows of the twin; off: value - expected; band: half-width. Left out is a sample of which one version has no
    forecast, or which one takes for a rate and the other for a value.
    """
    for at in range(len(row_of)):
        size, other_size = np.float64(own_band[at]) / guard.BAND, np.float64(band[at]) / guard.BAND
        if not (size > 0.0 and other_size > 0.0) or np.isnan(own_off[at]) or np.isnan(off[at]):
            continue
        if (own_kind[at] == guard.COUNTER) != (kind[at] == guard.COUNTER):
            continue
        loss = -guard.log_density(np.float64(own_off[at]), size)
        other = -guard.log_density(np.float64(off[at]), other_size)
        least = min(loss, other) + guard.MOST
        far = FAR * max(size, other_size)
        seeded, cold = min(loss, least), min(other, least)
        seeded_off, cold_off = min(abs(np.float64(own_off[at])), far), min(abs(np.float64(off[at])), far)
        if not own_is_seeded[at]:
            seeded, cold, seeded_off, cold_off = cold, seeded, cold_off, seeded_off
        row, b = row_of[at], bucket[at]
        sums.seeded[row, b] += seeded
        sums.cold[row, b] += cold
        sums.seeded_off[row, b] += seeded_off
        sums.cold_off[row, b] += cold_off
        sums.samples[row, b] += 1


def page(pages: Pages, e: int, version: int, ts_ms: int) -> None:
    """A tick of an entity would page, said one version; in order of the log."""
    other = 1 - version
    last_ms, others_ms = int(pages.last_ms[e, version]), int(pages.last_ms[e, other])
    if last_ms < 0 or abs(ts_ms - last_ms) > EPISODE_MS:
        is_alone = others_ms < 0 or abs(ts_ms - others_ms) > EPISODE_MS
        pages.number[e, version] += 1
        pages.alone[e, version] += is_alone
        pages.is_alone[e, version] = is_alone
        if not is_alone and pages.is_alone[e, other]:
            pages.alone[e, other] -= 1
            pages.is_alone[e, other] = False
    pages.last_ms[e, version] = ts_ms
