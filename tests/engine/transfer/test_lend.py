"""Laws of lending: nothing lent is cold bit for bit, a prior is state, cuts do not matter, units do not matter."""

from __future__ import annotations

import numpy as np
import pytest

from engine.batch import Batch
from engine.config import ENGINE_VERSION
from engine.errors import ConfigError, SnapshotError
from engine.parcel import merge, split
from engine.prior import Prior
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State, json_column, pack, unpack
from engine.transfer import read_prior
from tests.engine.logs import cut
from tests.engine.transfer import towns
from tests.engine.transfer.towns import DAY, STEP_MS, Town, grown, log, source, values
from tests.engine.transfer.towns import UNGUARDED as CONFIG

HERE = Town(seed=5, level=150.0, scale=3.0)


def shard(town: Town, *, prior: Prior | None = None) -> Shard:
    return towns.shard(town, prior=prior, config=CONFIG)


@pytest.fixture(scope="module")
def lender() -> State:
    return source(Town(seed=1))


def _columns(state: State) -> State:
    """Without what a prior itself adds to a state."""
    manifest = {key: value for key, value in state.manifest.items() if key != "seed"}
    return State(manifest, {name: array for name, array in state.arrays.items() if not name.startswith("prior")})


def _bytes(state: State) -> bytes:
    return pack(state.manifest, state.arrays)


def _after(target: Shard, ticks: int = DAY) -> State:
    target.process(log(values(HERE, ticks)))
    return target.export()


def test_strength_nought_is_cold_bit_for_bit(lender: State) -> None:
    arrays = read_prior(lender).arrays()
    arrays["strength"] = np.zeros_like(arrays["strength"])
    state = _after(shard(HERE, prior=Prior(arrays)))
    assert _bytes(_columns(state)) == _bytes(_columns(_after(shard(HERE))))


def test_a_prior_of_other_classes_is_cold_bit_for_bit(lender: State) -> None:
    arrays = read_prior(lender).arrays()
    arrays["classes"] = json_column(["a", "b", "c", "d"])
    state = _after(shard(HERE, prior=Prior(arrays)))
    assert _bytes(_columns(state)) == _bytes(_columns(_after(shard(HERE))))


def test_a_seeded_shard_differs_and_says_what_it_borrows(lender: State) -> None:
    prior = read_prior(lender)
    target = shard(HERE, prior=prior)
    assert prior.borrowed(target.roster, 0) == {}
    numbers = values(HERE, DAY)
    target.process(log(numbers[:1]))
    before = prior.borrowed(target.roster, 0)
    assert before == {"scale": 0.9994, "season": 1.0, "structure": 1.0, "tail": 1.0}
    target.process(log(numbers[1:], 1))
    after = prior.borrowed(target.roster, 0)
    assert all(0.0 < after[name] < before[name] for name in before)
    assert prior.seeded_in(target.roster) == 12
    assert prior.borrowed(shard(Town(names=("else",)), prior=prior).roster, 0) == {}


def test_a_restored_shard_lends_the_same_to_later_series(lender: State) -> None:
    straight = shard(HERE, prior=read_prior(lender))
    _after(straight)
    restored = Shard.restore(unpack(_bytes(straight.export())), CONFIG)
    for one in (straight, restored):
        late = [one.admit(Series.of(name, {"host": "late"}, Kind.GAUGE)) for name in HERE.names]
        at = one.next_offset
        one.process(Batch.of(late, [one.clock_ms + 1000] * 4, [1.0, 2.0, 3.0, 4.0], range(at, at + 4), at + 4))
    assert _bytes(straight.export()) == _bytes(restored.export())
    assert restored.roster.seeded_count() == 16


def test_seeding_does_not_depend_on_cuts(lender: State) -> None:
    batch = log(values(HERE, 60))
    # One metric of one host begins twenty ticks late, when its entity's model has run for a while.
    is_early = (batch.row == 6) & (batch.ts_ms < batch.ts_ms[0] + 20 * STEP_MS)
    batch = Batch.of(*(column[~is_early] for column in batch[:4]), batch.next_offset)
    batch = batch._replace(empty=np.flatnonzero(is_early))
    whole, parts = (shard(HERE, prior=read_prior(lender)) for _ in range(2))
    whole.process(batch)
    for part in cut(batch, [1, 7, 100, 101, 333]):
        parts.process(part)
    assert _bytes(whole.export()) == _bytes(parts.export())


def test_a_seeded_shard_can_be_split_and_merged(lender: State) -> None:
    prior = read_prior(lender)
    target = shard(HERE, prior=prior)
    state = _after(target)
    parcel, keeper = split(state, ["host=secret-1"])
    whole = Shard.restore(merge(keeper, parcel), CONFIG)
    text = target.roster.names[5]
    assert whole.roster.borrowed(whole.row_of(text)) == target.roster.borrowed(5)
    assert whole.roster.seeded_count() == 12


def test_one_prior_serves_many_shards(lender: State) -> None:
    prior = read_prior(lender)
    first = _after(shard(HERE, prior=prior))
    second = _after(shard(HERE, prior=prior))
    assert _bytes(first) == _bytes(second)


def test_unit_and_level_of_the_target_do_not_matter(lender: State) -> None:
    """Powers of two keep the arithmetic exact; what is said in standard deviations is the same."""
    here, there = Town(seed=5, level=64.0), Town(seed=5, level=65_536.0, scale=1024.0)
    plain, scaled = (shard(town, prior=read_prior(lender)).process(log(values(town, DAY))) for town in (here, there))
    np.testing.assert_allclose(scaled.ticks.severity, plain.ticks.severity, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scaled.expected / 1024.0, plain.expected, rtol=1e-3, atol=1e-3)


def test_a_thousandfold_target_far_from_nought_behaves_alike(lender: State) -> None:
    here, there = Town(seed=5, level=50.0), Town(seed=5, level=50_005.0, scale=1000.0)
    plain, scaled = (shard(town, prior=read_prior(lender)).process(log(values(town, DAY))) for town in (here, there))
    np.testing.assert_allclose(scaled.ticks.severity, plain.ticks.severity, rtol=0.02, atol=0.02)


def test_what_is_no_source_does_not_seed(lender: State) -> None:
    with pytest.raises(ConfigError, match="kind 'checkpoint' cannot seed"):
        read_prior(grown(Town(), days=8))
    arrays = read_prior(lender).arrays()
    del arrays["sigmas"]
    with pytest.raises(SnapshotError, match="lacks 'sigmas'"):
        Prior(arrays)


def test_a_counter_in_the_source_makes_a_counter_of_the_unknown(lender: State) -> None:
    arrays = read_prior(lender).arrays()
    arrays["kind"] = np.full_like(arrays["kind"], Kind.COUNTER)
    prior = Prior(arrays)
    fresh = Shard(
        CONFIG.__class__(counters_from_shape=True, guard_seeds=False), topic="metrics", partition=0, prior=prior
    )
    unknown = fresh.admit(Series.of("cpu", {"host": "a"}))
    gauge = fresh.admit(Series.of("load", {"host": "a"}, Kind.GAUGE))
    fresh.next_offset = 0
    fresh.process(Batch.of([unknown, gauge], [1000, 1000], [5.0, 6.0], [0, 1], 2))
    assert fresh.roster.rows.recipe.kind[unknown] == Kind.COUNTER
    assert prior.borrowed(fresh.roster, unknown) != {}
    assert prior.borrowed(fresh.roster, gauge) == {}


def _wide(lender: State, cuts: list[int]) -> Shard:
    """One host of 100 series of known and unknown classes, some of which begin later."""
    target = Shard(CONFIG, topic="metrics", partition=0, prior=read_prior(lender))
    target.next_offset = 0
    rng = np.random.default_rng(3)
    begins = np.where(np.arange(100) % 7 == 6, rng.integers(0, 12, 100), 0)
    numbers = rng.normal(size=(20, 100))
    whole = log(numbers)
    is_early = np.arange(20)[:, None] < begins
    keep = ~is_early.ravel()
    whole = Batch.of(*(column[keep] for column in whole[:4]), whole.next_offset)
    names = [*HERE.names, "of nobody"]
    for part in cut(whole._replace(empty=np.flatnonzero(~keep)), cuts):
        texts = [Series.of(names[j % 5], {"host": "wide", "disk": str(j)}, Kind.GAUGE) for j in part.row]
        target.process(part._replace(row=np.array([target.admit(one) for one in texts], np.int32)))
    return target


@pytest.mark.parametrize("cuts", [[1], [40], [41, 85], [130, 131, 700], list(range(0, 2000, 3))])
def test_lending_to_a_wide_entity_does_not_depend_on_cuts(cuts: list[int], lender: State) -> None:
    whole, parts = _wide(lender, []), _wide(lender, cuts)
    assert len(whole.roster.blocks_of(0)) == 3
    assert whole.counters()["seeded"] == 80
    assert _bytes(whole.export()) == _bytes(parts.export())


def test_a_source_of_another_engine_does_not_seed(lender: State) -> None:
    for engine in ("0", None):
        with pytest.raises(ConfigError, match=f"cut by engine {engine}, this is engine {ENGINE_VERSION}"):
            read_prior(State({**lender.manifest, "engine": engine}, lender.arrays))
