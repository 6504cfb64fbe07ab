"""Presence: cadence, absence against a series' own habits, and runs of equal values."""

from __future__ import annotations

import numpy as np
import pytest

from engine.columns import allocate_one
from engine.components import presence
from tests.engine.components.feed import MINUTE_MS, plain
from tests.engine.logs import START_MS

is_stuck = plain(presence.is_stuck)


def arrived(columns: presence.Presence, row: int, ts_ms: int) -> None:
    """A sender whose clock is the shard's."""
    plain(presence.arrived)(columns, row, ts_ms, ts_ms)


def is_absent(columns: presence.Presence, row: int, clock_ms: int, resumed_ms: int = -1) -> bool:
    return bool(plain(presence.is_absent)(columns, row, clock_ms, resumed_ms))


def fed(gaps_ms: list[int]) -> tuple[presence.Presence, int]:
    columns = allocate_one(presence.Presence, presence.COLUMNS, 1)
    ts_ms = START_MS
    arrived(columns, 0, ts_ms)
    for gap in gaps_ms:
        ts_ms += gap
        arrived(columns, 0, ts_ms)
    return columns, ts_ms


@pytest.mark.parametrize("step_ms", [1000, 10_000, MINUTE_MS, 3_600_000])
def test_a_regular_series_is_absent_after_five_steps(step_ms: int) -> None:
    columns, last = fed([step_ms] * 100)
    assert columns.step_ms[0] == pytest.approx(step_ms)
    assert not is_absent(columns, 0, last + 5 * step_ms)
    assert is_absent(columns, 0, last + 5 * step_ms + step_ms // 2)


def test_after_a_hole_in_the_log_all_have_their_five_steps_again() -> None:
    columns, last = fed([MINUTE_MS] * 100)
    resumed = last + 600 * MINUTE_MS
    assert is_absent(columns, 0, resumed)
    assert not is_absent(columns, 0, resumed + 5 * MINUTE_MS, resumed)
    assert is_absent(columns, 0, resumed + 6 * MINUTE_MS, resumed)


def test_a_young_series_is_never_absent() -> None:
    columns, last = fed([MINUTE_MS] * 20)
    assert not is_absent(columns, 0, last + 10**9)
    assert not is_absent(allocate_one(presence.Presence, presence.COLUMNS, 1), 0, START_MS)


def test_a_series_that_pauses_by_habit_is_waited_for() -> None:
    columns, last = fed(([MINUTE_MS] * 50 + [20 * MINUTE_MS]) * 6)
    assert not is_absent(columns, 0, last + 30 * MINUTE_MS)
    assert is_absent(columns, 0, last + 60 * MINUTE_MS)


def test_one_outage_is_no_habit() -> None:
    columns, last = fed([MINUTE_MS] * 100 + [60 * MINUTE_MS] + [MINUTE_MS] * 10)
    assert not is_absent(columns, 0, last + 5 * MINUTE_MS)
    assert is_absent(columns, 0, last + 6 * MINUTE_MS)


def test_silence_is_counted_on_the_clock_of_the_shard_whatever_the_sender_writes() -> None:
    columns, last = fed([MINUTE_MS] * 100)
    plain(presence.arrived)(columns, 0, last + MINUTE_MS, last + 10 * MINUTE_MS)
    assert not is_absent(columns, 0, last + 15 * MINUTE_MS)
    assert is_absent(columns, 0, last + 16 * MINUTE_MS)


def test_an_outage_does_not_stretch_the_cadence() -> None:
    columns, _ = fed([MINUTE_MS] * 200 + [3 * 86_400_000] + [MINUTE_MS] * 5)
    assert columns.step_ms[0] == pytest.approx(MINUTE_MS, rel=0.02)


def test_a_new_cadence_is_learned_within_a_few_hundred_samples() -> None:
    columns, _ = fed([MINUTE_MS] * 500 + [10_000] * 400)
    assert columns.step_ms[0] == pytest.approx(10_000, rel=0.1)


def flat_at(runs: list[int], count: float = 1e4) -> list[int]:
    """Samples at which a run was told, for runs of equal values one after the other."""
    columns = allocate_one(presence.Presence, presence.COLUMNS, 1)
    told, at = [], 0
    for run in runs:
        for k in range(run):
            if is_stuck(columns, 0, k > 0, count):
                told.append(at)
            at += 1
    return told


def test_a_run_longer_than_any_before_is_told_once() -> None:
    assert flat_at([1] * 100 + [200]) == [100 + presence.FLAT_MIN]
    assert flat_at([1] * 100 + [presence.FLAT_MIN - 1]) == []


def test_a_series_that_often_rests_may_rest_three_times_as_long() -> None:
    assert flat_at([50, 1] * 10 + [140]) == []
    assert len(flat_at([50, 1] * 10 + [200])) == 1


def test_a_young_series_may_be_flat() -> None:
    assert flat_at([500], count=100.0) == []
    assert np.array(flat_at([500])).size == 1
