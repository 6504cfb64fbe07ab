"""Numbers over a long life: no offset, no count and no clock may wear the arithmetic out."""

from __future__ import annotations

import numpy as np
import pytest

from engine.batch import Batch
from engine.components import level, tail
from engine.series import Kind, Series
from engine.shard import Shard
from tests.engine.components.feed import MINUTE_MS, assert_finite, entity_run, of, plain
from tests.engine.logs import CONFIG, START_MS, admit, cold, fleet_log

UPDATES = 150_000


def lone(values: np.ndarray, step_ms: int = MINUTE_MS) -> Shard:
    shard = cold()
    row = shard.admit(Series.of("m", {"host": "a"}, Kind.GAUGE))
    n = len(values)
    shard.process(Batch.of(np.full(n, row), START_MS + step_ms * np.arange(n), values, np.arange(n), n))
    return shard


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    """Noise in multiples of 2**-12: exact in float64 at any offset up to 2**40."""
    return np.round(np.random.default_rng(0).normal(size=UPDATES) * 4096) / 4096


@pytest.fixture(scope="module")
def at_zero(exact: np.ndarray) -> float:
    return float(np.sqrt(lone(exact).roster.rows.level.var[0]))


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, -1e9])
def test_the_sd_does_not_depend_on_the_offset(offset: float, exact: np.ndarray, at_zero: float) -> None:
    level = lone(exact + offset).roster.rows.level
    assert np.sqrt(level.var[0]) == pytest.approx(at_zero, rel=1e-4)
    assert at_zero == pytest.approx(exact.std(), rel=0.02)
    assert level.mean[0] - offset == pytest.approx(exact.mean(), abs=0.02)


@pytest.mark.parametrize("size", [1e-12, 1e-3, 1e9])
def test_the_unit_does_not_matter(size: float, exact: np.ndarray, at_zero: float) -> None:
    assert np.sqrt(lone(exact * size).roster.rows.level.var[0]) == pytest.approx(at_zero * size, rel=1e-6)


def test_no_variance_is_negative_and_no_histogram_loses_its_mass() -> None:
    rng = np.random.default_rng(1)
    spikes = np.where(rng.random(UPDATES) < 1e-3, 10.0 ** rng.uniform(0, 15, UPDATES), rng.normal(size=UPDATES))
    shard = lone(spikes)
    assert_finite(shard)
    assert (shard.roster.rows.level.var[:1] >= 0).all()
    own = shard.roster.ents.entity
    for counts, mass in (
        (own.counts[0], own.mass[0]),
        (shard.roster.rows.shown.counts[:1], shard.roster.rows.shown.mass[:1]),
    ):
        np.testing.assert_allclose(counts.sum(axis=-1), mass, rtol=1e-3)
        assert (counts >= 0).all()


def test_counts_stop_growing_long_before_a_float32_stops_counting() -> None:
    shard = lone(np.random.default_rng(2).normal(size=UPDATES))
    rows = shard.roster.rows
    assert rows.level.count[0] == pytest.approx(50_000)
    assert rows.season.count[0] < 2**24
    assert rows.presence.seen[0] < 2**24
    assert rows.season.visits.max() <= 255


def seasonal(ticks: int, step_ms: int, seed: int = 0, hosts: int = 4) -> tuple[np.ndarray, Batch]:
    rows = admit(cold(), hosts, 3)
    return rows, fleet_log(rows, ticks, seed, step_ms=step_ms)


def told_after(batch: Batch, at: int) -> list[dict[str, object]]:
    shard = Shard(CONFIG, topic="metrics", partition=0)
    shard.next_offset = 0
    admit(shard, 4, 3)
    records = shard.process(batch).records
    return [value for value in of(records, "alerts", "firing") if value["at_ms"] >= START_MS + at]


def test_a_fleet_that_changes_its_step_pages_nobody() -> None:
    """From minutes to ten seconds, as a collector is reconfigured."""
    ten = 10_000
    _, slow = seasonal(2880, MINUTE_MS)
    rows, _ = seasonal(10, MINUTE_MS)
    begin = 2880 * MINUTE_MS
    n, at = 2000, np.arange(2000)
    rng = np.random.default_rng(3)
    day = np.sin(2 * np.pi * (begin + at * ten) / 86_400_000)[:, None, None]
    value = 50 + 10 * day + rng.normal(size=(n, 4, 1)) + rng.normal(size=(n, 4, 3)) * 0.5 + 100 * np.arange(3)
    ts_ms = np.broadcast_to((START_MS + begin + at * ten)[:, None, None], value.shape)
    row = np.broadcast_to(rows, value.shape)
    whole = Batch.of(
        np.concatenate([slow.row, row.ravel()]),
        np.concatenate([slow.ts_ms, ts_ms.ravel()]),
        np.concatenate([slow.value, value.ravel()]),
        np.arange(len(slow.row) + value.size),
        len(slow.row) + value.size,
    )
    # More ticks an hour is more chances for noise: one page in a day of all hosts, and none from the change.
    told = told_after(whole, begin)
    assert len(told) <= 1
    assert all(value["at_ms"] > START_MS + begin + 30 * MINUTE_MS for value in told)  # type: ignore[operator]


@pytest.mark.parametrize(
    "slip_minutes",
    [
        -60,
        pytest.param(60),
    ],
)
def test_a_clock_that_slips_by_an_hour_pages_nobody(slip_minutes: int) -> None:
    """Summer time on the senders. Back: an hour of late samples. Forth: the curve of the day is an hour off."""
    _, batch = seasonal(4 * 1440, MINUTE_MS)
    begin = 3 * 1440 * MINUTE_MS
    ts_ms = batch.ts_ms.copy()
    ts_ms[ts_ms >= START_MS + begin] += slip_minutes * MINUTE_MS
    # Noise pages now and then; a slip adds nothing to that.
    assert len(told_after(batch._replace(ts_ms=ts_ms), begin)) <= len(told_after(batch, begin))


def test_irregular_steps_page_nobody() -> None:
    rng = np.random.default_rng(5)
    ts_ms = START_MS + np.cumsum(rng.integers(5_000, 115_000, 4000))
    values = rng.normal(size=(4000, 3)) + 10 * np.sin(2 * np.pi * ts_ms / 86_400_000)[:, None]
    _, verdict = entity_run(values, ts_ms)
    assert of(verdict.records, "alerts") == []
    assert of(verdict.records, "drift", "absent") == []


def test_quantiles_of_a_series_are_read_however_long_it_has_run() -> None:
    """Its memory is full after 50,000 samples; then the tails change."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=51_000), rng.standard_t(3, size=8_000)])
    shard, _ = entity_run(values[:, None], START_MS + 10_000 * np.arange(len(values)))
    shown = shard.roster.rows.shown
    wanted = np.empty(tail.QUANTILES, np.float32)
    plain(tail.summarise)(shown.counts, shown.mass, 0, wanted)
    assert shard.roster.rows.level.count[0] == level.MOST_COUNT
    np.testing.assert_allclose(shown.quantiles[0], wanted, atol=0.01)
