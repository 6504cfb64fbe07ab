"""Groups: each is as if it stood alone, to the last bit, in whatever company."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.groups import means, stacked


@given(st.lists(st.integers(0, 300), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_mean_is_that_of_the_group_alone(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    values = rng.normal(size=len(group)) * 10.0 ** rng.integers(-6, 6, len(group))
    found = means(values, group, len(sizes))
    for k, size in enumerate(sizes):
        alone = values[group == k].mean() if size else np.nan
        assert found[k].tobytes() == np.float64(alone).tobytes()


@given(st.lists(st.integers(0, 7), max_size=60))
def test_each_element_is_in_its_group_once_and_in_order(group: list[int]) -> None:
    found: dict[int, list[int]] = {}
    for numbers, at in stacked(np.array(group, np.int64), 8):
        found.update(zip(numbers.tolist(), at.tolist(), strict=True))
    assert found == {k: [n for n, one in enumerate(group) if one == k] for k in set(group)}
