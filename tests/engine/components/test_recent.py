"""The ring of last values gives back what came, with its times, also where values are large and gaps are long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.columns import allocate_one
from engine.components import recent
from tests.engine.components.feed import plain


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=100),
    gaps=st.lists(st.integers(1, 3 * 86_400_000), min_size=100, max_size=100),
    origin=st.sampled_from([0.0, 1e9, -3.0]),
)
def test_what_came_comes_back(values: list[float], gaps: list[int], origin: float) -> None:
    kept, now_ms = allocate_one(recent.Recent, recent.COLUMNS, 1), 1_700_000_000_000
    came = []
    for value, gap in zip(values, gaps, strict=False):
        now_ms += gap
        plain(recent.keep)(kept, 0, origin + value, gap if came else 0)
        came.append((now_ms, origin + value))
    times, told = recent.window(kept, 0, now_ms)
    wanted = came[-recent.KEPT :]
    assert len(told) == len(wanted)
    scale = max(abs(value - came[0][1]) for _, value in came) + 1e-30
    assert np.allclose(told, [value for _, value in wanted], rtol=0, atol=1e-6 * scale + 1e-6 * abs(origin) * 1e-9)
    away = now_ms - np.array([at for at, _ in wanted])
    assert np.allclose(now_ms - times, away, rtol=2e-3, atol=1.0)


def test_a_long_pause_is_a_long_pause() -> None:
    kept = allocate_one(recent.Recent, recent.COLUMNS, 1)
    plain(recent.keep)(kept, 0, 1.0, 0)
    plain(recent.keep)(kept, 0, 2.0, 400 * 86_400_000)
    times, _ = recent.window(kept, 0, 10**13)
    assert 10**13 - times[0] > 60 * 86_400_000


@pytest.mark.parametrize("count", [0, 5, 40])
def test_cleared_it_is_empty(count: int) -> None:
    kept = allocate_one(recent.Recent, recent.COLUMNS, 1)
    for value in range(count):
        plain(recent.keep)(kept, 0, float(value), 1000)
    plain(recent.clear)(kept, 0)
    assert len(recent.window(kept, 0, 0)[1]) == 0
