"""Values that reach the engine and should not have: they may hurt their own series, within bounds, and nobody else.

Named as in the table of bad inputs (B-rows): what a codec can refuse never comes here. Limits of the codecs: values
are finite and at most 1e15 in size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from engine.batch import Batch
from engine.components import level as level_of
from engine.parcel import split
from engine.records import Record
from engine.shard import Shard
from engine.verdict import QUIET
from tests.engine.components.feed import MINUTE_MS, assert_finite, assert_plain_json, log_of, of, plain
from tests.engine.logs import START_MS, admit, cold, fleet_log

HOSTS, METRICS, TICKS, AT = 4, 3, 500, 300
Spoil = Callable[[Batch, np.ndarray], Batch]


def clean() -> Batch:
    return fleet_log(admit(cold(), HOSTS, METRICS), TICKS, 8)


def mine(batch: Batch) -> np.ndarray:
    """Places of the spoilt series: one metric of host 1, from minute AT on."""
    return np.flatnonzero((batch.row == METRICS) & (batch.ts_ms >= START_MS + AT * MINUTE_MS))


def value_of(*values: float) -> Spoil:
    """The next samples have these values."""

    def spoil(batch: Batch, at: np.ndarray) -> Batch:
        value = batch.value.copy()
        value[at[: len(values)]] = values
        return batch._replace(value=value)

    return spoil


def change(length: int, new: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    """The next `length` values go through `new`."""

    def spoil(batch: Batch, at: np.ndarray) -> Batch:
        value = batch.value.copy()
        value[at[:length]] = new(value[at[:length]])
        return batch._replace(value=value)

    return spoil


def moved_back(steps: int) -> Spoil:
    def spoil(batch: Batch, at: np.ndarray) -> Batch:
        ts_ms = batch.ts_ms.copy()
        ts_ms[at[:3]] -= steps * MINUTE_MS
        return batch._replace(ts_ms=ts_ms)

    return spoil


def same_time_other_value(batch: Batch, at: np.ndarray) -> Batch:
    ts_ms = batch.ts_ms.copy()
    ts_ms[at[1]] = ts_ms[at[0]]
    return batch._replace(ts_ms=ts_ms)


def silent(batch: Batch, at: np.ndarray) -> Batch:
    """No samples for the rest of the log but for the last; the records hold nothing."""
    keep = np.ones(len(batch.row), bool)
    keep[at[:-1]] = False
    row, ts_ms, value, offset = (column[keep] for column in batch[:4])
    return Batch(row, ts_ms, value, offset, batch.next_offset, empty=np.unique(batch.offset[~keep]))


def day_ahead(batch: Batch, at: np.ndarray) -> Batch:
    """Its next sample is a day later than all others; so are those that follow."""
    ts_ms = batch.ts_ms.copy()
    ts_ms[at] += 1440 * MINUTE_MS
    return batch._replace(ts_ms=ts_ms)


SPOILS: dict[str, Spoil] = {
    "NaN": value_of(np.nan),
    "NaN for an hour": value_of(*[np.nan] * 60),
    "minus zero": value_of(-0.0),
    "1e15": value_of(1e15),
    "-1e15": value_of(-1e15),
    "1e15 and back and forth": value_of(1e15, -1e15, 1e15, -1e15),
    "denormal": value_of(5e-324, -5e-324),
    "same time, other value": same_time_other_value,
    "out of order by 1": moved_back(1),
    "out of order by 1000": moved_back(1000),
    "silent": silent,
    "a day ahead": day_ahead,
    "counter reset": change(60, lambda x: x - x[0]),
    "unit times 1000": change(60, lambda x: x * 1000.0),
    "constant": change(150, lambda x: np.full_like(x, x[0])),
    "zero": change(150, np.zeros_like),
    "step": change(150, lambda x: x + 30.0),
}


def folded(batch: Batch) -> tuple[Shard, list[Record]]:
    shard = cold()
    admit(shard, HOSTS, METRICS)
    return shard, shard.process(batch).records


def others(shard: Shard) -> dict[str, bytes]:
    """State of all entities but the spoilt one. The shard's clock belongs to no entity."""
    _, rest = split(shard.export(), {"host=h1"})
    return {name: array.tobytes() for name, array in rest.arrays.items() if name != "clock"}


@pytest.mark.parametrize("name", SPOILS)
def test_a_bad_value_touches_its_own_entity_only(name: str) -> None:
    plain, _ = folded(clean())
    bad = SPOILS[name](clean(), mine(clean()))
    spoilt, told = folded(bad)
    assert spoilt.ledger.total == spoilt.next_offset == bad.next_offset
    assert others(spoilt) == others(plain)
    assert_finite(spoilt)
    assert_plain_json(told)


@pytest.mark.parametrize("name", ["NaN", "same time, other value", "out of order by 1", "out of order by 1000"])
def test_a_single_odd_sample_pages_nobody(name: str) -> None:
    _, told = folded(SPOILS[name](clean(), mine(clean())))
    assert of(told, "alerts") == []


@pytest.mark.parametrize("first", [0.0, -0.0, 5e-324, -1.0, *(pytest.param(x) for x in (4294967295.0, 1e15, -1e15))])
def test_a_series_that_begins_with_nonsense_is_well_after_a_day(first: float) -> None:
    """The bound of a step comes from experience; before there is any, one value may not decide for good."""
    shard = cold()
    rows = admit(shard, 1, 2)[0]
    rng = np.random.default_rng(0)
    value = rng.normal(size=(2000, 2)) + 10.0
    value[3, 0] = first
    shard.process(log_of(rows, value))
    assert_finite(shard)
    level = shard.roster.rows.level
    np.testing.assert_allclose(level.mean[:2], 10.0, atol=0.5)
    assert 0.8 < plain(level_of.scale)(level, 0) < 5.0


def test_garbage_of_all_sorts_leaves_no_nan() -> None:
    rng = np.random.default_rng(3)
    nasty = np.array([0.0, -0.0, 1e15, -1e15, 5e-324, 1.0, np.nan, 1e-300, 123456789.0, -1.0])
    shard = cold()
    rows = admit(shard, 2, 5).ravel()
    n = 20_000
    row = rng.choice(rows, n)
    ts_ms = START_MS + np.cumsum(rng.choice([0, 1, 1000, 60_000, 3_600_000], n)) - rng.choice([0, 10_000], n)
    told = shard.process(Batch.of(row, ts_ms, rng.choice(nasty, n), np.arange(n), n)).records
    assert shard.ledger.total == n
    assert_finite(shard)
    assert_plain_json(told)


def test_two_days_without_any_value_are_not_learned_as_calm() -> None:
    """Reports that say that there is nothing: no evidence of calm, and no storm when values come again."""
    shard = cold()
    rows = admit(shard, 20, 3).ravel()
    values = np.random.default_rng(1).normal(size=(5500, len(rows)))
    values[2500:5000] = np.nan
    verdict = shard.process(log_of(rows, values))
    minute = (verdict.ticks.ts_ms - START_MS) // MINUTE_MS
    empty, after = (minute >= 2500) & (minute < 5000), minute >= 5002
    assert empty.sum() == 20 * 2500
    assert np.isnan(verdict.ticks.severity[empty]).all()
    assert np.isnan(verdict.ticks.page[empty]).all()
    assert (verdict.ticks.decision[empty] == QUIET).all()
    assert np.mean(verdict.ticks.severity[after] >= 3.0) < 0.01
    late = [value for value in of(verdict.records, "escalations", "opened") if value["opened_ms"] > after_ms(5000)]
    assert len(late) <= 1


def after_ms(minutes: int) -> int:
    return START_MS + minutes * MINUTE_MS


def test_an_alert_does_not_resolve_while_there_is_no_value() -> None:
    """No evidence is no calm."""
    shard = cold()
    rows = admit(shard, 1, 3)[0]
    values = np.random.default_rng(2).normal(size=(1200, 3))
    values[1000:1004] += 25.0
    values[1004:1100] = np.nan
    told = of(shard.process(log_of(rows, values)).records, "alerts")
    fired, resolved = [value for value in told if value["at_ms"] >= after_ms(1000)]
    assert fired["at_ms"] <= after_ms(1002)
    assert resolved["at_ms"] >= after_ms(1100)
