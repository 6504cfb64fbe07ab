"""Priors that somebody has changed: refused with a sentence before a shard takes them in, or harmless."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.recovery.seed_topic import opened
from engine.config import ENGINE_VERSION
from engine.errors import SnapshotError
from engine.prior import BOUNDS, MAY_BE_UNKNOWN, MOST_NUMBER, Prior
from engine.shard import Shard
from engine.snapshot import State, json_column, pack, unpack
from engine.transfer import read_prior
from tests.engine.transfer.forging import ODD
from tests.engine.transfer.towns import CONFIG, UNGUARDED, Town, log, shard, source, values

Arrays = dict[str, np.ndarray]
NUMBERS = (
    "ratio", "far", "step", "shape", "sigma", "tail", "own", "own_residual", "sigmas", "lagged", "residual",
    "channels", "strength", "entity_strength",
)  # fmt: skip
MANIFEST = {"kind": "prior", "engine": ENGINE_VERSION}


@pytest.fixture(scope="module")
def lender() -> State:
    return source(Town(seed=1), days=8)


@pytest.fixture(scope="module")
def lent(lender: State) -> Arrays:
    return read_prior(lender).arrays()


def first(array: np.ndarray, number: float) -> np.ndarray:
    """The array with another first number."""
    changed = array.copy()
    changed.ravel()[0] = number
    return changed


def wrong(name: str) -> Iterator[float]:
    low, high = BOUNDS.get(name, (-MOST_NUMBER, MOST_NUMBER))
    yield from (np.inf, -np.inf)
    if name != MAY_BE_UNKNOWN:
        yield np.nan
    yield low - max(abs(low), 1e-9)
    if high < MOST_NUMBER:
        yield high * 1.01
    yield 1e19


def test_what_distil_writes_is_within_all_bounds(lent: Arrays) -> None:
    assert Prior(lent).arrays().keys() == lent.keys()


@pytest.mark.parametrize(("name", "number"), [(name, number) for name in NUMBERS for number in wrong(name)])
def test_a_number_out_of_bounds_is_refused_by_name(name: str, number: float, lent: Arrays) -> None:
    for forge in (Prior, lambda arrays: opened(pack(MANIFEST, arrays), None)):
        with pytest.raises(SnapshotError, match=rf"does not fit together .*\b{name}\b"):
            forge({**lent, name: first(lent[name], number)})


@pytest.mark.parametrize("name", ["classes", "origin"])
@pytest.mark.parametrize("value", [*ODD, ["a", "a", "b", "c"], ["a", "b", 1, "c"], {"source": 1}], ids=repr)
def test_texts_of_another_form_are_refused(name: str, value: Any, lent: Arrays) -> None:
    if (name, value) == ("origin", {}):
        assert Prior({**lent, name: json_column(value)}).summary()["environment"] is None
        return
    with pytest.raises(SnapshotError):
        Prior({**lent, name: json_column(value)})


def test_a_summary_tells_where_it_comes_from_and_nothing_else(lent: Arrays) -> None:
    told = Prior({**lent, "origin": json_column({"environment": "eu", "source": None})}).summary()
    assert told.keys() == {"environment", "source", "classes", "entity"}
    for origin in ({"environment": "e" * 4097}, {"environment": "eu", "classes": "9"}, {"source": ["eu"]}):
        with pytest.raises(SnapshotError):
            Prior({**lent, "origin": json_column(origin)})


@given(data=st.data())
def test_an_array_of_any_other_form_is_refused_or_the_same(lent: Arrays, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(lent)))
    dtype = data.draw(st.sampled_from(["bool", "int8", "int64", "uint8", "float32", "float64"]))
    shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
    array = np.full(shape, data.draw(st.sampled_from([0, 1])), dtype)
    try:
        Prior({**lent, name: array})
    except SnapshotError:
        return
    assert (array.dtype, array.shape) == (lent[name].dtype, lent[name].shape)


def test_a_state_with_a_forged_prior_is_no_state(lent: Arrays) -> None:
    """And the store goes on to an older one, for it is told by a SnapshotError."""
    state = shard(Town(seed=5), prior=Prior(lent)).export()
    for name, array in (("origin", json_column([1])), ("ratio", first(lent["ratio"], 0.0))):
        with pytest.raises(SnapshotError):
            Shard.restore(State(state.manifest, {**state.arrays, f"prior0.{name}": array}), CONFIG)


@pytest.mark.parametrize("at", ["low", "high"])
def test_what_is_just_within_bounds_poisons_nothing(at: str, lent: Arrays) -> None:
    town = Town(seed=5)
    for name, bounds in BOUNDS.items():
        number = bounds[at == "high"]
        prior = Prior({**lent, name: np.full_like(lent[name], np.float32(number))})
        told = shard(town, prior=prior, config=UNGUARDED)
        with np.errstate(all="ignore"):
            verdicts = told.process(log(values(town, 30)))
        assert np.isfinite(verdicts.expected[-12:]).all(), name
        Shard.restore(unpack(pack(told.export().manifest, told.export().arrays)), UNGUARDED)


def test_an_infinite_number_in_a_source_lends_nothing(lender: State) -> None:
    for name in ("step", "sigmas", "own", "own_residual", "lagged", "residual", "far"):
        arrays = {**lender.arrays, name: first(lender.arrays[name], np.inf)}
        with pytest.raises(SnapshotError, match=f"array {name} "):
            read_prior(State(lender.manifest, arrays))
    arrays = {**lender.arrays, "step": first(lender.arrays["step"], np.nan)}
    read_prior(State(lender.manifest, arrays))
    card = {**lender.manifest["card"], "origin": []}
    with pytest.raises(SnapshotError, match=r"card\.origin"):
        read_prior(State({**lender.manifest, "card": card}, lender.arrays))
