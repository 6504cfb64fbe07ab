"""Familiar: what comes often is familiar, what stays long or comes seldom is not."""

from __future__ import annotations

import numpy as np
import pytest

from engine.columns import allocate
from engine.components import familiar
from tests.engine.components.feed import MINUTE_MS, entity_run, of, plain
from tests.engine.logs import START_MS

DAY_MS = 1440 * MINUTE_MS


def fresh() -> familiar.Familiar:
    return familiar.Familiar(*allocate({"familiar": (familiar.Familiar, familiar.COLUMNS)}, 1)[0])


def came(state: familiar.Familiar, value: float, ts_ms: int) -> bool:
    return bool(plain(familiar.come)(*state, 0, value, ts_ms, 60_000.0, True))


@pytest.mark.parametrize(("every_days", "first_familiar"), [(0.5, 4), (1.0, 5), (2.0, None), (7.0, None)])
def test_a_value_is_familiar_if_it_comes_more_than_every_other_day(
    every_days: float, first_familiar: int | None
) -> None:
    state = fresh()
    told = [came(state, 1.0, START_MS + int(k * every_days * DAY_MS)) for k in range(30)]
    assert told == [first_familiar is not None and k >= first_familiar for k in range(30)]


def test_one_long_stay_is_one_visit_and_what_was_is_forgotten() -> None:
    state = fresh()
    assert not any(came(state, 0.0, START_MS + k * MINUTE_MS) for k in range(5000))
    for k in range(12):
        came(state, 7.0, START_MS + k * DAY_MS // 2)
    assert came(state, 7.0005, START_MS + 6 * DAY_MS)
    assert not came(state, 7.1, START_MS + 6 * DAY_MS)
    assert not came(state, 7.0, START_MS + 30 * DAY_MS)


def test_what_comes_often_stays_known_among_values_that_never_come_again() -> None:
    state, rng = fresh(), np.random.default_rng(0)
    told = []
    for k in range(40):
        told.append(came(state, 1.0, START_MS + k * DAY_MS // 2))
        came(state, float(rng.uniform(5, 9)), START_MS + k * DAY_MS // 2 + DAY_MS // 4)
    assert all(told[10:])


def test_a_gauge_that_is_one_twice_a_day_pages_for_its_first_days_only() -> None:
    rng, days = np.random.default_rng(1), 21
    values = np.zeros(days * 1440)
    for half in range(2 * days):
        values[half * 720 + int(rng.integers(60, 660))] = 1.0
    values[-30:-27] = 5.0
    _, verdict = entity_run(values[:, None])
    day = [(one["started_ms"] - START_MS) / DAY_MS for one in of(verdict.records, "alerts", "firing")]
    assert sum(at > 4.0 for at in day[:-1]) <= 1
    # Five is another thing.
    assert day[-1] == pytest.approx(days, abs=0.03)
