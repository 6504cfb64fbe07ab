"""Prefetch: memory is asked for ahead, and nothing else happens; wherever the address leads."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from engine import shard as shard_module
from engine.columns import LINE_BYTES
from engine.prefetch import AHEAD, FAR_AHEAD, prefetch
from engine.shard import Shard, Verdicts
from engine.snapshot import pack
from tests.engine.logs import admit, cold, cut, disturbed, fleet_log


def asked(array: Any, index: Any, offset: Any) -> None:
    prefetch(array, index, offset)


#: An index far beyond the end; before the beginning; bytes that are in nobody's memory.
ANYWHERE = [(0, 0), (7, LINE_BYTES), (10**6, 0), (-1, 0), (-(10**9), 0), (0, 2**40), (0, -(2**40)), (2**62, 2**62)]


def test_in_python_it_does_nothing_at_all() -> None:
    for index, offset in ANYWHERE:
        asked(None, index, offset)


@pytest.mark.parametrize("index", [np.int64, np.int32, np.uint64])
def test_compiled_it_reads_nothing_and_changes_nothing(index: type) -> None:
    compiled = numba.njit(asked)
    for array in (np.arange(8.0), np.arange(16, dtype=np.float32).reshape(4, 4), np.arange(64.0)[::8]):
        before = array.copy()
        for at, offset in ANYWHERE:
            if np.iinfo(index).min <= at <= np.iinfo(index).max:
                compiled(array, index(at), np.int64(offset))
        np.testing.assert_array_equal(array, before)


def folded(hosts: int, metrics: int, ticks: int, cuts: list[int]) -> tuple[Shard, list[Verdicts]]:
    shard = cold()
    batch = fleet_log(admit(shard, hosts, metrics), ticks, 6)
    n = len(batch.row)
    batch = disturbed(batch, n - 40 * metrics, n - 38 * metrics, 40.0)
    return shard, [shard.process(part) for part in cut(batch, cuts)]


@pytest.mark.parametrize(
    ("hosts", "metrics", "ticks"), [(5, 1, 300), (5, 4, 300), (2, 50, 80)], ids=["lone", "narrow", "two blocks"]
)
def test_a_shard_that_asks_ahead_is_the_same_shard(
    hosts: int, metrics: int, ticks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Batches that end before, at and after the sample that would be asked for.
    cuts = [1, AHEAD, AHEAD + 2, FAR_AHEAD + AHEAD + 2, 100, 100 + FAR_AHEAD, 101 + 2 * FAR_AHEAD]
    near, near_said = folded(hosts, metrics, ticks, cuts)
    monkeypatch.setattr(shard_module, "NEAR_SERIES", 0)
    far, far_said = folded(hosts, metrics, ticks, cuts)
    assert pack(*near.export()) == pack(*far.export())
    for one, other in zip(near_said, far_said, strict=True):
        assert one.records == other.records
        columns = zip((*one[1:9], *one.ticks), (*other[1:9], *other.ticks), strict=True)
        assert all(a.tobytes() == b.tobytes() for a, b in columns)
    assert any(part.records for part in near_said)
