"""Laws of merging sources: one is itself, the order does not matter, copies add nothing, and means lie between."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.components import season
from engine.errors import ConfigError
from engine.prior import SCALE
from engine.series import Kind
from engine.snapshot import State, digest_of, pack, read_json_column, unpack
from engine.transfer import card, form, merge, plan, read_prior
from engine.transfer.fingerprint import LOG_RATIO
from engine.transfer.match import COLD
from tests.engine.transfer.towns import DAY, UNGUARDED, Town, first_day, grown, shard, source

OTHER = Town(hosts=4, seed=3, phase_h=2.0, noise=0.8, names=("cpu", "load", "latency", "new"))


@pytest.fixture(scope="module")
def parents() -> list[State]:
    return [source(Town(hosts=3)), source(OTHER), source(Town(hosts=1, seed=8, harmonic=2), days=10)]


def bits(state: State) -> dict[str, tuple[Any, ...]]:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in state.arrays.items()}


def renamed(state: State, owner: str) -> State:
    told = {**state.manifest["card"], "origin": {"environment": "copy", "owner": owner, "licence": None}}
    return State({**state.manifest, "card": told}, state.arrays)


def test_one_source_merged_is_itself_bit_for_bit(parents: list[State]) -> None:
    for one in parents:
        assert bits(merge([one])) == bits(one)
        assert bits(merge([one], [7.0])) == bits(one)


def test_the_order_does_not_matter(parents: list[State]) -> None:
    weights = {id(one): weight for one, weight in zip(parents, (1.0, 2.5, 0.1), strict=True)}
    ways = [list(way) for way in permutations(parents)]
    assert len({pack(*merge(way)) for way in ways}) == 1
    assert len({pack(*merge(way, [weights[id(one)] for one in way])) for way in ways}) == 1


def test_copies_add_nothing(parents: list[State]) -> None:
    first, second = parents[:2]
    assert pack(*merge([first] * 3)) == pack(*merge([first]))
    assert pack(*merge([first, second, first])) == pack(*merge([first, second]))


def test_copies_under_other_names_change_no_number_but_how_many_series(parents: list[State]) -> None:
    many = [renamed(parents[1], owner) for owner in "abcde"]
    merged, alone = bits(merge(many)), bits(parents[1])
    assert {name for name, one in merged.items() if one != alone[name]} == {"series"}
    assert merge(many).arrays["series"].tolist() == [20] * 4


def test_a_weight_for_a_copy_adds_up(parents: list[State]) -> None:
    first, second = parents[:2]
    twice, weighted = merge([first, first, second], [1.0, 2.0, 4.0]), merge([first, second], [3.0, 4.0])
    assert pack(*twice) == pack(*weighted)


def test_means_lie_between_by_weight(parents: list[State]) -> None:
    first, second = parents[:2]
    merged = merge([first, second], [3.0, 1.0])
    names = read_json_column(merged.arrays["classes"])
    assert names == ["cpu", "latency", "load", "new", "queue"]
    a, b, both = first.arrays, second.arrays, merged.arrays
    assert both["series"].tolist() == [7, 7, 7, 4, 3]
    # cpu is class 0 of all three.
    ratio = np.exp((3 * np.log(a["ratio"][0]) + np.log(b["ratio"][0])) / 4)
    np.testing.assert_allclose(both["ratio"][0], ratio, rtol=1e-6)
    np.testing.assert_allclose(both["tail"][0], (3 * a["tail"][0] + b["tail"][0]) / 4, atol=1e-7)
    np.testing.assert_allclose(both["own"][0], (3 * a["own"][0] + b["own"][0]) / 4, rtol=1e-5, atol=1e-7)
    visits = np.stack([3.0 * a["visits"][0], b["visits"][0]])
    shape = (visits * np.stack([a["shape"][0], b["shape"][0]])).sum(axis=0) / visits.sum(axis=0)
    np.testing.assert_allclose(both["shape"][0], shape, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(both["low"][0], np.minimum(a["low"][0], b["low"][0]))
    np.testing.assert_array_equal(both["high"][0], np.maximum(a["high"][0], b["high"][0]))
    assert both["low"][0, LOG_RATIO] <= both["features"][0, LOG_RATIO] <= both["high"][0, LOG_RATIO]
    # What only one of them knows is as it was there.
    np.testing.assert_array_equal(both["shape"][names.index("new")], b["shape"][3])
    np.testing.assert_allclose(both["channels"].sum(axis=1), 1.0, rtol=1e-5)


def test_without_weights_a_class_counts_by_its_series(parents: list[State]) -> None:
    first, second = parents[:2]
    assert (first.arrays["series"][0], second.arrays["series"][0]) == (3, 4)
    np.testing.assert_array_equal(
        merge([first, second]).arrays["ratio"][:3], merge([first, second], [3.0, 4.0]).arrays["ratio"][:3]
    )


def test_pairs_are_united(parents: list[State]) -> None:
    merged = merge(parents[:2])
    names = read_json_column(merged.arrays["classes"])
    pairs = {(names[i], names[j]) for i, j in merged.arrays["pairs"].tolist()}
    wanted = {
        (theirs[i], theirs[j])
        for one in parents[:2]
        for theirs in (read_json_column(one.arrays["classes"]),)
        for i, j in one.arrays["pairs"].tolist()
    }
    assert pairs == wanted
    assert ("new", "queue") not in pairs


def test_sources_that_differ_are_worth_fewer_samples(parents: list[State]) -> None:
    first, second = parents[:2]
    merged = merge([first, second])
    assert merged.arrays["n0"][0, SCALE] < 0.2 * min(first.arrays["n0"][0, SCALE], second.arrays["n0"][0, SCALE])


def test_the_card_of_all(parents: list[State]) -> None:
    first, second = renamed(parents[0], "blue"), parents[1]
    merged = merge([first, second], [2.0, 1.0])
    card.check(unpack(pack(*merged)))
    told = merged.manifest["card"]
    assert told["origin"] == {"environment": "copy + old town", "owner": "blue", "licence": None}
    assert merged.manifest["environment"] == "copy + old town"
    step = told["lineage"][0]
    assert (step["made"], step["parents"]) == ("merged", sorted([digest_of(first), digest_of(second)]))
    assert sorted(step["weights"]) == [1.0, 2.0]
    assert [one["made"] for one in told["lineage"][1:]] == ["cut", "cut"]
    assert told["labels"] == {"keys": [{"name": "host", "distinct": 4}], "entity": ["host"]}
    assert told["validation"]["entities"] == 7
    again = merge([merged, parents[2]])
    card.check(again)
    made = [one["made"] for one in again.manifest["card"]["lineage"]]
    assert made[0] == "merged"
    assert sorted(made) == ["cut"] * 3 + ["merged"] * 2
    assert "1 entities with a fingerprint" in again.manifest["card"]["validation"]["because"]


def test_health_is_the_worst_of_each(parents: list[State]) -> None:
    sick = State(
        {**parents[1].manifest, "health": {**parents[1].manifest["health"], "missing_share": 0.15}}, parents[1].arrays
    )
    health = merge([parents[0], sick, parents[2]]).manifest["health"]
    assert health["missing_share"] == 0.15
    assert health["age_samples"] == 10 * DAY
    assert (health["series"], health["entities"]) == (3 * 4 + 4 * 4 + 4, 8)


def test_kinds_that_conflict_are_named(parents: list[State]) -> None:
    first, second = parents[:2]
    kind = np.array([Kind.COUNTER, Kind.GAUGE, Kind.COUNTER, Kind.GAUGE], np.uint8)
    told = {**second.manifest["card"]}
    counters = State(second.manifest, {**second.arrays, "kind": kind})
    told |= {
        "metrics": card.metrics(read_json_column(counters.arrays["classes"]), counters.arrays),
        "edges": card.edges.edges(read_json_column(counters.arrays["classes"]), counters.arrays),
    }
    counters = State({**second.manifest, "card": told}, counters.arrays)
    with pytest.raises(ConfigError, match="cpu, load is a counter in one and a gauge in another"):
        merge([first, counters])


def test_what_is_no_source_of_this_version_is_named(parents: list[State]) -> None:
    old = State({**parents[1].manifest, "engine": "0"}, parents[1].arrays)
    with pytest.raises(ConfigError, match=rf"'old town' \({digest_of(old)}\) cannot be merged: .* cut by engine 0"):
        merge([parents[0], old])
    with pytest.raises(ConfigError, match="kind 'checkpoint'"):
        merge([parents[0], grown(Town(hosts=1), days=8)])


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], [1.0, 1e9]])
def test_weights_that_are_none(parents: list[State], weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="weight"):
        merge(parents[:2], weights)
    with pytest.raises(ConfigError, match="no source was given"):
        merge([])


def test_steps_that_differ_are_told(parents: list[State]) -> None:
    second = parents[1]
    arrays = {**second.arrays, "step_ms": second.arrays["step_ms"] / 10}
    told = {**second.manifest["card"], "metrics": card.metrics(read_json_column(arrays["classes"]), arrays)}
    merged = merge([parents[0], State({**second.manifest, "card": told}, arrays)])
    assert merged.manifest["card"]["lineage"][0]["steps_differ"] == ["cpu", "latency", "load"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(1e-3, 1e3)), min_size=1, max_size=6), st.randoms())
def test_any_merge_is_a_sound_source_whatever_the_order(
    parents: list[State], picked: list[tuple[int, float]], chance: Any
) -> None:
    def made(of: list[tuple[int, float]]) -> State:
        return merge([parents[at] for at, _ in of], [float(np.float32(weight)) for _, weight in of])

    merged = made(picked)
    form.check(merged)
    for name in ("ratio", "sigma", "shape", "tail", "own", "n0"):
        assert np.isfinite(merged.arrays[name]).all(), name
    shuffled = sorted(picked, key=lambda _: chance.random())
    assert pack(*made(shuffled)) == pack(*merged)


def test_a_merged_source_seeds_as_well_as_its_parents(parents: list[State]) -> None:
    """Of two twins of the target: what it lends is as good, and the plan takes all of it."""
    merged = merge([source(Town(seed=1)), source(Town(seed=4))])
    target = Town(seed=5, level=150.0, scale=3.0)
    made = plan(merged, grown(Town(seed=2), days=2))
    assert all(entry.zone != COLD for entry in made.entries)
    cold, seeded = first_day(target, None), first_day(target, read_prior(merged))
    assert seeded.error < cold.error
    assert read_prior(merged).seeded_in(shard(target, config=UNGUARDED).roster) == 0
    assert merged.arrays["shape"].shape == (4, season.SLOTS)
