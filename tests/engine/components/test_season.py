"""Season: a daily curve is found at any step, with holes and irregular times, and says nothing where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from engine.components import level, season
from engine.shard import Verdicts
from tests.engine.components.feed import MINUTE_MS, entity_run, plain
from tests.engine.logs import START_MS

DAY_MS = 86_400_000


def curve(ts_ms: np.ndarray) -> np.ndarray:
    """Two humps a day, ten units high."""
    day = 2 * np.pi * (ts_ms % DAY_MS) / DAY_MS
    return np.asarray(10.0 * np.sin(day) + 5.0 * np.sin(2 * day))


def last_day(ts_ms: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(what was expected, the curve without noise) over the last day, noise of sd 1."""
    values = curve(ts_ms) + 100.0 + np.random.default_rng(seed).normal(size=len(ts_ms))
    verdict: Verdicts
    _, verdict = entity_run(values[:, None], ts_ms)
    late = ts_ms >= ts_ms[-1] - DAY_MS
    return verdict.expected[late], curve(ts_ms[late]) + 100.0


@pytest.mark.parametrize(("step_ms", "days"), [(10_000, 3), (MINUTE_MS, 4), (300_000, 8), (3_600_000, 25)])
def test_a_daily_curve_is_found_at_any_step(step_ms: int, days: int) -> None:
    expected, wanted = last_day(START_MS + step_ms * np.arange(days * DAY_MS // step_ms))
    error = np.sqrt(np.mean((expected - wanted) ** 2))
    # The curve itself has an rms of 7.9; the noise is 1.
    assert error < 2.0


def test_holes_and_irregular_steps_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    ts_ms = START_MS + np.cumsum(rng.integers(20_000, 200_000, 4000))
    in_hole = (ts_ms % DAY_MS > 7 * 3_600_000) & (ts_ms % DAY_MS < 8 * 3_600_000)
    expected, wanted = last_day(ts_ms[~in_hole])
    assert np.sqrt(np.mean((expected - wanted) ** 2)) < 2.0


def test_noise_has_no_shape() -> None:
    shard, _ = entity_run(np.random.default_rng(2).normal(size=(5760, 1)))
    rows = shard.roster.rows
    assert np.abs(rows.season.profile[:, 0]).mean() < 0.4
    # In the unit, the typical residual is the noise and what the profile follows of it.
    sd = plain(level.scale)(rows.level, 0)
    assert sd * rows.season.sigma[0] == pytest.approx(1.0, rel=0.3)


def test_slots_are_quarters_of_an_hour_of_the_local_day() -> None:
    slot_of = plain(season.slot_of)
    assert [slot_of(START_MS + k * season.SLOT_MS, 0) for k in (0, 1, 95, 96)] == [0, 1, 95, 0]
    assert slot_of(START_MS, 3_600_000) == 4
    assert slot_of(START_MS, -3_600_000) == 92
    assert slot_of(START_MS - 1, 0) == 95


def test_distil_is_centred_and_needs_no_unit() -> None:
    ts_ms = START_MS + MINUTE_MS * np.arange(4 * 1440)
    one, _ = entity_run(curve(ts_ms)[:, None], ts_ms)
    other, _ = entity_run(5e5 + 1024.0 * curve(ts_ms)[:, None], ts_ms)
    a, b = season.distil(one.roster.rows.season, 0), season.distil(other.roster.rows.season, 0)
    assert a["shape"].mean() == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(a["shape"], b["shape"], atol=1e-3)
    assert a["shape"].max() > 1.0


def test_the_second_day_knows_the_first() -> None:
    # On its first day a series' mean moves with the day, and what a slot has seen does not move with it.
    ts_ms = START_MS + 9 * 3_600_000 + 300_000 * np.arange(2 * 288)
    expected, wanted = last_day(ts_ms)
    assert np.sqrt(np.mean((expected - wanted) ** 2)) < 2.0


def test_what_is_held_goes_with_a_level_that_was_ordered() -> None:
    ts_ms = START_MS + 300_000 * np.arange(288)
    shard, _ = entity_run((curve(ts_ms) + 100.0)[:, None], ts_ms)
    rows = shard.roster.rows
    before = rows.season.profile[:, 0].copy()
    season.relevel(rows.season, 0, 500.0, 5.0, 0.0, 255, 0.0)
    plain(season.hold)(rows.season, 0, 500.0, 5.0, 300_000.0)
    np.testing.assert_array_equal(rows.season.profile[:, 0], before)
