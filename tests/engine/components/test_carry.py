"""Carry: what is told where a slot begins, and that nothing but what is told depends on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch import Batch
from engine.columns import Array, allocate_one
from engine.components import carry, change, season
from engine.components.carry import Carry
from engine.components.change import Change
from engine.components.season import SLOT_MS, SLOTS, Season
from engine.config import EngineConfig
from engine.series import Kind, Series
from engine.shard import Shard, Verdicts

DAY = 3 * SLOTS
STEP_MS = SLOT_MS // 3
into = carry.into.py_func  # type: ignore[attr-defined]  # the plain twin of a kernel
numbers = st.floats(-6.0, 6.0, width=32)


def columns() -> tuple[Carry, Season, Change]:
    """One fresh series."""
    return (
        allocate_one(Carry, carry.COLUMNS, 1),
        allocate_one(Season, season.COLUMNS, 1),
        allocate_one(Change, change.COLUMNS, 1),
    )


def told_at(parts: tuple[Carry, Season, Change], slot: int, z: float, *, is_tried: bool = False) -> float:
    """What is carried into a slot."""
    return float(into(*parts, 0, slot, STEP_MS, z, is_tried))


@pytest.mark.parametrize("slot", range(SLOTS))
def test_a_fresh_series_carries_nothing_into_any_slot(slot: int) -> None:
    parts = columns()
    assert told_at(parts, slot, 3.0) == 0.0
    assert not any(column.any() for column in parts[0])


def test_after_a_gap_nothing_is_carried() -> None:
    parts = columns()
    parts[1].profile[10, 0], parts[2].slot[0] = 2.0, 10
    assert into(*parts, 0, 11, carry.NEAR_MS + 1, 1.0, False) == 0.0
    assert not parts[0].size.any()
    assert into(*parts, 0, 11, carry.NEAR_MS, 1.0, False) == pytest.approx(1.8)


@given(slot=st.integers(0, SLOTS - 1), before=st.integers(0, SLOTS - 1), ended=numbers, z=numbers)
def test_only_from_the_slot_before_into_the_next_one(slot: int, before: int, ended: float, z: float) -> None:
    parts = columns()
    parts[1].profile[before, 0], parts[2].slot[0] = ended, before
    carried = told_at(parts, slot, z)
    assert (carried != 0.0) == (ended != 0.0 and slot == (before + 1) % SLOTS)
    assert carried == 0.0 or carried == pytest.approx(carry.SHARE * ended, rel=1e-6)


@given(seen=st.lists(st.tuples(numbers, numbers), max_size=40), is_tried=st.booleans())
def test_it_is_never_more_than_what_was_off_and_what_is_lent(
    seen: list[tuple[float, float]], *, is_tried: bool
) -> None:
    parts = columns()
    for at, (ended, z) in enumerate(seen):
        slot = (at + 1) % SLOTS
        parts[1].profile[at % SLOTS, 0], parts[1].profile[slot, 0] = ended, 0.5
        parts[2].slot[0], parts[2].entry[0] = at % SLOTS, 0.25
        assert abs(told_at(parts, slot, z, is_tried=is_tried)) <= 0.5 + abs(ended) + 0.25 + 1e-6


def learned(off: Array, begins: Array) -> float:
    """The share of 1 that is carried after slots that ended at `off` and were followed by `begins`."""
    parts = columns()
    for at, (ended, z) in enumerate(zip(off, begins, strict=True)):
        parts[1].profile[at % SLOTS, 0], parts[1].profile[(at + 1) % SLOTS, 0] = ended, 0.0
        parts[2].slot[0] = at % SLOTS
        told_at(parts, (at + 1) % SLOTS, float(z))
    parts[1].profile[4, 0], parts[2].slot[0], parts[1].profile[5, 0] = 1.0, 4, 0.0
    return told_at(parts, 5, 0.0)


def test_the_share_is_learned() -> None:
    rng = np.random.default_rng(0)
    off = rng.normal(size=60)
    assert learned(off, off) > 0.95
    assert learned(off, rng.normal(size=60)) < 0.3
    assert learned(off, 0.5 * off) == pytest.approx(0.5, abs=0.05)


def test_of_a_lent_shape_as_much_is_told_as_shows() -> None:
    """The size of a lent day, 0, half and whole, is found within hours."""
    shape = np.sin(2 * np.pi * np.arange(SLOTS) / SLOTS)
    for size in (0.0, 0.5, 1.0):
        parts = columns()
        parts[1].profile[:, 0] = shape
        for slot in range(1, 30):
            parts[2].slot[0], parts[2].entry[0] = slot - 1, shape[slot - 1]
            parts[1].profile[slot - 1, 0] = size * shape[slot - 1]
            carried = told_at(parts, slot, size * float(shape[slot]), is_tried=True)
        assert float(shape[29]) + carried == pytest.approx(size * float(shape[29]), abs=0.05)


def run(values: Array) -> Verdicts:
    """One lone series."""
    one = Shard(EngineConfig(), topic="metrics", partition=0)
    one.next_offset = 0
    row = one.admit(Series.of("m", {"host": "a"}, Kind.GAUGE))
    at = np.arange(len(values))
    return one.process(Batch.of(np.full(len(at), row), at * STEP_MS, values, at, len(at)))


@pytest.mark.parametrize("begins_at", [0, 64 * 3, 95 * 3])
def test_cuts_of_a_log_that_begins_at_any_hour_change_nothing(begins_at: int) -> None:
    """The slot that a fresh row claims to have seen is none; it must not be taken for the one before 16:00."""
    values = np.random.default_rng(3).normal(size=(DAY, 8)).cumsum(axis=0)
    states = []
    for size in (DAY, 7):
        one = Shard(EngineConfig(), topic="metrics", partition=0)
        one.next_offset = 0
        rows = np.array([one.admit(Series.of("m", {"host": f"h{k}"}, Kind.GAUGE)) for k in range(8)])
        for first in range(0, DAY, size):
            at = np.arange(first, min(first + size, DAY))
            one.process(Batch.of(
                np.tile(rows, len(at)), np.repeat((at + begins_at) * STEP_MS, 8), values[at].ravel(),
                np.repeat(at, 8), int(at[-1]) + 1,
            ))  # fmt: skip
        states.append(one.export())
    assert all(np.array_equal(array, states[1].arrays[name]) for name, array in states[0].arrays.items())


def test_a_first_day_is_forecast_as_it_goes() -> None:
    """Where a slot begins, a day that moves is expected where it is, and not at the mean of what was seen."""
    at = np.arange(DAY)
    rng = np.random.default_rng(1)
    values = 100.0 + 20.0 * np.sin(2 * np.pi * at / DAY) + rng.normal(0.0, 0.5, DAY)
    off = np.abs(values - run(values).expected)
    begins = (at % 3 == 0) & (at > 30)
    assert np.mean(off[begins]) < 3.0
