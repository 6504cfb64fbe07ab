"""Recipe: counters become rates, resets give none, and a kind that was guessed wrong is put right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import recipe
from engine.batch import Batch
from engine.columns import allocate_one
from engine.config import EngineConfig
from engine.series import Kind, Series
from engine.shard import Shard
from tests.engine.components.feed import plain
from tests.engine.logs import START_MS, cold

STEP_MS = 10_000


def modelled(values: list[float], kind: Kind = Kind.UNKNOWN) -> tuple[list[float], list[bool], int]:
    """(numbers to model, whether the kind changed at each, the kind in the end)."""
    columns = allocate_one(recipe.Recipe, recipe.COLUMNS, 1)
    columns.kind[0] = kind
    found = [plain(recipe.apply)(columns, 0, START_MS + STEP_MS * k, value) for k, value in enumerate(values)]
    return [float(number) for number, _ in found], [bool(is_new) for _, is_new in found], int(columns.kind[0])


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """`apply` calls `_watch`, which is a kernel of its own."""
    monkeypatch.setattr(recipe, "_watch", plain(recipe._watch))


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=40))
def test_a_gauge_passes_through(values: list[float]) -> None:
    assert modelled(values, Kind.GAUGE) == (values, [False] * len(values), Kind.GAUGE)


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=40))
def test_a_counter_is_its_rate_per_second(steps: list[int]) -> None:
    rates, _, kind = modelled(np.cumsum(steps).astype(float).tolist(), Kind.COUNTER)
    assert np.isnan(rates[0])
    assert rates[1:] == pytest.approx([step / 10 for step in steps[1:]])
    assert kind == Kind.COUNTER


def test_a_reset_gives_no_rate_and_the_next_value_does() -> None:
    rates, _, kind = modelled([100.0, 200.0, 5.0, 105.0], Kind.COUNTER)
    assert np.isnan(rates[2])
    assert (rates[1], rates[3], kind) == (10.0, 10.0, Kind.COUNTER)


def test_whole_numbers_that_only_grow_are_found_to_be_a_counter() -> None:
    values = [7.0 * k for k in range(recipe.WATCH + 5)]
    numbers, changed, kind = modelled(values)
    assert kind == Kind.COUNTER
    assert changed.index(True) == recipe.WATCH
    assert sum(changed) == 1
    # Until then it is taken as it is; from then on it is a rate, the first time at the change itself.
    assert numbers[: recipe.WATCH] == values[: recipe.WATCH]
    assert numbers[recipe.WATCH :] == pytest.approx([0.7] * 5)


@pytest.mark.parametrize(
    "values",
    [
        [0.5 * k for k in range(40)],
        [float(k % 5) for k in range(40)],
        [3.0] * 40,
        [-float(k) for k in range(40)],
        [float(min(k, recipe.RISES - 1)) for k in range(40)],
    ],
    ids=["fractions", "up and down", "constant", "falling", "rises too rarely"],
)
def test_everything_else_is_a_gauge(values: list[float]) -> None:
    numbers, changed, kind = modelled(values)
    assert (kind, any(changed)) == (Kind.GAUGE, False)
    assert numbers == values


def test_a_counter_that_falls_again_and_again_was_a_gauge() -> None:
    values = [float(k) for k in range(30)] + [5.0, 9.0, 2.0, 9.0, 1.0, 8.0]
    numbers, changed, kind = modelled(values)
    assert kind == Kind.GAUGE
    assert sum(changed) == 2
    assert numbers[-1] == values[-1]


def test_a_restart_a_week_is_forgiven() -> None:
    columns = allocate_one(recipe.Recipe, recipe.COLUMNS, 1)
    columns.kind[0] = Kind.COUNTER
    for k in range(6 * 500):
        plain(recipe.apply)(columns, 0, START_MS + STEP_MS * k, float(k % 500))
    assert columns.kind[0] == Kind.COUNTER


def test_a_found_counter_begins_its_models_again() -> None:
    shard = cold(EngineConfig())
    row = shard.admit(Series.of("bytes", {"host": "a"}))
    n = 30
    at = np.arange(n)
    shard.process(Batch.of(np.full(n, row), START_MS + STEP_MS * at, 1e6 + 50.0 * at, at, n))
    level = shard.roster.rows.level
    assert level.mean[row] == pytest.approx(5.0)
    assert level.count[row] == n - recipe.WATCH


def test_the_config_may_say_that_nothing_is_guessed() -> None:
    shard = Shard(EngineConfig(counters_from_shape=False), topic="t", partition=0)
    assert shard.roster.rows.recipe.kind[shard.admit(Series.of("bytes", {}))] == Kind.GAUGE
    assert shard.roster.rows.recipe.kind[shard.admit(Series.of("bytes_total", {}))] == Kind.COUNTER
