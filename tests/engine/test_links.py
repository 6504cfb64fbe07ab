"""A state whose parts do not fit together is refused: compiled code believes every link that it is given.

What is refused here is well formed, with a right checksum: it comes of an enemy, or of a defect in split or merge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.errors import SnapshotError
from engine.prior import Prior
from engine.shard import Shard
from engine.snapshot import State, json_column, read_json_column
from engine.transfer import read_prior
from tests.engine.logs import CONFIG, admit, cold, cut, fleet_log
from tests.engine.transfer.towns import Town, source

Damage = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def state() -> State:
    """Two hosts of 45 metrics, two blocks each."""
    shard = cold()
    rows = admit(shard, 2, 45)
    shard.process(cut(fleet_log(rows, 60), [3000])[0])
    return shard.export()


def first(value: Any) -> Damage:
    """The first number is another one."""

    def damaged(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[0] = value
        return array

    return damaged


def texts(change: Callable[[Any], Any]) -> Damage:
    return lambda array: json_column(change(read_json_column(array)))


def twice(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array])


DAMAGES: list[tuple[str, str, Damage]] = [
    ("an entity that is not there", "series.link.entity", first(10**6)),
    ("no entity", "series.link.entity", first(-1)),
    ("a block that is not there", "series.link.block", first(10**6)),
    ("a block before the first", "series.link.block", first(-7)),
    ("another block", "series.link.block", first(1)),
    ("no block, though a block has it", "series.link.block", first(-1)),
    ("a slot beyond the width", "series.link.slot", first(99)),
    ("a slot before the first", "series.link.slot", first(-1)),
    ("the slot of another", "series.link.slot", first(1)),
    ("a block that follows itself", "block.next", first(0)),
    ("a block that is followed by none that is there", "block.next", first(77)),
    ("a block that is followed by one before it", "block.next", lambda array: np.where(array >= 0, 0, array)),
    ("a member that is not there", "block.member", first(10**6)),
    ("a member of another slot", "block.member", first(1)),
    ("wider than its capacity", "block.width", first(500)),
    ("of no width", "block.width", first(0)),
    ("less wide than its members", "block.width", first(39)),
    ("of a capacity that there is not", "block.capacity", first(7)),
    ("of a capacity beyond all memory", "block.capacity", first(2**30)),
    ("of another capacity", "block.capacity", first(36)),
    ("an entity that begins nowhere", "entity.open.first_block", first(77)),
    ("an entity that begins before the first", "entity.open.first_block", first(-2)),
    ("an alert about nobody", "entity.life.about", first(10**6)),
    ("a state of no alert", "entity.life.state", first(200)),
    ("one number for all", "series.level.mean", lambda array: array[:1]),
    ("too many numbers", "series.level.mean", twice),
    ("of another type", "series.level.mean", lambda array: array > 0),
    ("of a narrower type", "series.level.mean", lambda array: array.astype(np.float32)),
    ("axes the other way", "series.season.profile", lambda array: np.ascontiguousarray(array.T)),
    ("a histogram too few", "entity.entity.counts", lambda array: array[:, 1:]),
    ("links of another type", "block.member", lambda array: array.astype(np.int64)),
    ("a block too many", "block.ticks", twice),
    ("a pool too small", "pool", lambda array: array[:-1]),
    ("a pool too large", "pool", twice),
    ("a pool of another type", "pool", lambda array: array.astype(np.float64)),
    ("a clock of one number", "clock", lambda array: array[:1]),
    ("fewer classes than names", "text.classes", texts(lambda names: names[:1])),
    ("one name for all", "text.names", texts(lambda names: names[:1] * len(names))),
    ("a name too few", "text.names", texts(lambda names: names[1:])),
    ("one entity for all", "text.entities", texts(lambda names: names[:1] * len(names))),
    ("an entity too few", "text.entities", texts(lambda names: names[1:])),
    ("names that are a number", "text.names", texts(len)),
    ("names that are lists", "text.names", texts(lambda names: [[name] for name in names])),
]


@pytest.mark.parametrize(("name", "damage"), [pytest.param(n, d, id=what) for what, n, d in DAMAGES])
def test_a_damaged_link_is_refused(name: str, damage: Damage, state: State) -> None:
    arrays = {**state.arrays, name: damage(state.arrays[name])}
    with pytest.raises(SnapshotError, match="use an older"):
        Shard.restore(State(state.manifest, arrays), CONFIG)


def test_a_state_without_one_of_its_arrays_is_refused(state: State) -> None:
    assert Shard.restore(state, CONFIG).series_count == 90
    for name in state.arrays:
        arrays = {key: array for key, array in state.arrays.items() if key != name}
        with pytest.raises(SnapshotError):
            Shard.restore(State(state.manifest, arrays), CONFIG)


@pytest.fixture(scope="module")
def lent() -> dict[str, np.ndarray]:
    return read_prior(source(Town(seed=1), days=8)).arrays()


NARROWER = ("shape", "tail", "own", "sigmas", "lagged", "channels", "pairs", "strength")
FEWER = ("kind", "ratio", "far", "sigma", "own_residual", "residual", "strength", "entity_strength")


@pytest.mark.parametrize("name", NARROWER)
def test_a_prior_with_a_column_too_few_is_refused(name: str, lent: dict[str, np.ndarray]) -> None:
    with pytest.raises(SnapshotError, match=rf"does not fit together .*{name}"):
        Prior({**lent, name: lent[name][:, :-1]})


@pytest.mark.parametrize("name", FEWER)
def test_a_prior_with_a_row_too_few_is_refused(name: str, lent: dict[str, np.ndarray]) -> None:
    with pytest.raises(SnapshotError, match=rf"does not fit together .*{name}"):
        Prior({**lent, name: lent[name][:-1]})


@pytest.mark.parametrize("k", [-1, 4])
def test_a_prior_with_a_pair_of_nobody_is_refused(k: int, lent: dict[str, np.ndarray]) -> None:
    assert len(read_json_column(lent["classes"])) == 4
    with pytest.raises(SnapshotError, match=r"does not fit together .*pairs"):
        Prior({**lent, "pairs": first(k)(lent["pairs"])})
