"""The guard: a seed that does not fit is taken back, one that fits passes, and cuts and crashes change nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.batch import Batch
from engine.components import guard
from engine.errors import ConfigError
from engine.parcel import merge, split
from engine.prior import Prior
from engine.series import Kind, Series
from engine.shard import Shard, Verdicts
from engine.snapshot import State, pack, unpack
from tests.engine.transfer.towns import CONFIG, DAY, START_MS, UNGUARDED, Town, log, shard, values

HERE = Town(seed=5, level=150.0, scale=3.0)
#: The verdict of a shard, sample by sample, that is told.
TOLD = ("expected", "lower", "upper", "severity", "page", "decision", "outcome")


def waiting(prior: Prior | Sequence[Prior] | None) -> Shard:
    """A shard that has seen nothing but the names of HERE."""
    named = shard(HERE).roster
    fresh = Shard(CONFIG, topic="metrics", partition=0, prior=prior)
    fresh.next_offset = 0
    for row in range(len(named.names)):
        fresh.roster.admit_all_like(named, np.array([row]))
    return fresh


def run(prior: Prior | Sequence[Prior] | None, days: int = 2) -> tuple[Shard, Verdicts]:
    seeded = waiting(prior)
    return seeded, seeded.process(log(values(HERE, days * DAY)))


def with_one_of_nobody(prior: Prior, host: str, minutes: int) -> Shard:
    """A shard with one series, to which nobody lends."""
    fresh = Shard(CONFIG, topic="metrics", partition=0, prior=prior)
    fresh.next_offset = 0
    row = fresh.admit(Series.of("of nobody", {"host": host}, Kind.GAUGE))
    minute = np.arange(minutes)
    fresh.process(Batch.of(np.full(minutes, row), START_MS + minute * 60_000, np.sin(minute), minute, minutes))
    return fresh


def findings(verdicts: Verdicts) -> dict[str, list[tuple[str, float]]]:
    """entity -> (what was found, after how many hours)."""
    told: dict[str, list[tuple[str, float]]] = {}
    for one in verdicts.records:
        if one.value.get("kind") == "guard":
            hours = (one.value["at_ms"] - START_MS) / 3_600_000
            told.setdefault(one.value["entity"], []).append((one.value["finding"], hours))
    return told


def error(verdicts: Verdicts, days: int = 1) -> float:
    numbers = values(HERE, DAY * days).ravel()
    return float(np.nanmean(np.abs(numbers - verdicts.expected[: len(numbers)])))


def test_a_seed_that_fits_is_adopted_and_after_a_day_its_cold_twin_is_given_up(alike: Prior) -> None:
    seeded, verdicts = run(alike)
    told = findings(verdicts)
    assert len(told) == HERE.hosts
    for (what, first), (then, last) in told.values():
        assert (what, then) == ("adopted", "passed")
        assert 1 <= first < 3
        assert 24 <= last < 25
    assert len(seeded.twins) == 0
    assert not any(name.startswith("twin") for name in seeded.export().arrays)
    _, cold = run(None)
    assert error(verdicts) < error(cold)
    assert seeded.roster.borrowed(0)["structure"] > 0


def test_a_hostile_seed_changes_no_verdict_and_no_state_but_forecasts_which_it_betters(hostile: Prior) -> None:
    seeded, verdicts = run(hostile)
    cold_shard, cold = run(None)
    assert all([what for what, _ in one] == ["refused"] and one[0][1] < 3 for one in findings(verdicts).values())
    for name in cold.ticks._fields:
        np.testing.assert_array_equal(getattr(verdicts.ticks, name), getattr(cold.ticks, name), err_msg=name)
    assert error(verdicts) <= 1.02 * error(cold)
    assert seeded.roster.borrowed(0) == {}
    ours, theirs = seeded.export().arrays, cold_shard.export().arrays
    differs = {
        name
        for name, array in theirs.items()
        if not np.array_equal(ours[name], array, equal_nan=array.dtype.kind == "f")
    }
    assert differs == {"entity.seed.source", "entity.seed.since_ms"}
    assert {name.split(".")[0] for name in set(ours) - set(theirs)} == {"prior0"}


def test_without_the_guard_the_hostile_seed_moves_the_scores(hostile: Prior) -> None:
    """Or the test before would show nothing."""
    seeded = shard(HERE, prior=hostile, config=UNGUARDED)
    bare = seeded.process(log(values(HERE, DAY)))
    _, cold = run(None, 1)
    assert np.nanmax(np.abs(bare.ticks.severity - cold.ticks.severity)) > 0.3


def test_of_two_sources_the_one_that_is_alike_is_adopted(alike: Prior, hostile: Prior) -> None:
    seeded, verdicts = run([hostile, alike])
    assert all([what for what, _ in one] == ["adopted", "passed"] for one in findings(verdicts).values())
    _, first = run(alike)
    assert error(verdicts) < 1.1 * error(first)
    assert (seeded.roster.ents.seed.source[: HERE.hosts] == 1).all()


def test_what_is_no_longer_alike_gives_way_to_the_cold_version(alike: Prior) -> None:
    """After three hours the town is ten times as restless: the cold version comes back, as if nothing had been lent."""
    numbers = values(HERE, DAY)
    numbers[18:] += np.random.default_rng(1).normal(0, 90.0, numbers[18:].shape)
    seeded, cold = waiting(alike), waiting(None)
    verdicts, plain = seeded.process(log(numbers)), cold.process(log(numbers))
    told = findings(verdicts)
    assert all([what for what, _ in one] == ["adopted", "returned"] for one in told.values())
    hours = max(one[1][1] for one in told.values())
    late = (verdicts.ticks.ts_ms - START_MS) / 3_600_000 > hours + 1
    np.testing.assert_array_equal(verdicts.ticks.severity[late], plain.ticks.severity[late])


@pytest.mark.parametrize("pieces", [2, 7, 40])
def test_cuts_and_crashes_change_nothing(alike: Prior, hostile: Prior, pieces: int) -> None:
    """Cut anywhere, and stored and restored at each cut."""
    whole, verdicts = run([hostile, alike])
    numbers = values(HERE, 2 * DAY)
    other = waiting([hostile, alike])
    said: dict[str, list[Any]] = {name: [] for name in TOLD}
    for part in _cut(log(numbers), pieces):
        told = other.process(part)
        for name in TOLD:
            said[name].append(getattr(told, name))
        state = other.export()
        other = Shard.restore(unpack(pack(state.manifest, state.arrays)), CONFIG)
    for name in TOLD:
        np.testing.assert_array_equal(np.concatenate(said[name]), getattr(verdicts, name), err_msg=name)
    assert _bytes(other.export()) == _bytes(whole.export())


def test_entities_that_move_take_their_twins_along(alike: Prior) -> None:
    numbers = values(HERE, DAY)
    whole = shard(HERE, prior=alike)
    whole.process(log(numbers[: DAY // 2]))
    moved, kept = split(whole.export(), {"host=secret-1"})
    together = Shard.restore(merge(kept, moved), CONFIG)
    assert len(together.twins) == len(whole.twins) == HERE.hosts
    rest, names = log(numbers[DAY // 2 :], DAY // 2), whole.roster.names
    theirs = np.array([together.row_of(name) for name in names], np.int32)
    a, b = whole.process(rest), together.process(rest._replace(row=theirs[rest.row]))
    for name in TOLD:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def test_an_order_reaches_the_twin_as_well(hostile: Prior) -> None:
    seeded = waiting(hostile)
    seeded.process(log(values(HERE, 8)))
    name = seeded.roster.names[0]
    order = {"id": "o", "kind": "label", "target": {"series": name}, "params": {"answer": "false_alarm"}}
    seeded.apply(order, control_partition=0, next_offset=1)
    twin = seeded.twins.rosters[0]
    e, row = twin.entity_of("host=secret-0"), twin.row_of(name)
    assert twin.ents.entity.gate[e] == seeded.roster.ents.entity.gate[0] > 0
    assert twin.rows.shown.gate[row] == seeded.roster.rows.shown.gate[0] > 0


def test_a_stop_at_a_drift_leaves_both_at_the_same_sample(alike: Prior) -> None:
    """`graft replay` stops at each drift signal to carry out the tuner's order; the rest of the batch comes again."""
    numbers = values(HERE, 2 * DAY)
    numbers[100:, 0, 0] += 200.0
    straight, stopping = shard(HERE, prior=alike), shard(HERE, prior=alike)
    wanted = straight.process(log(numbers))
    batch, said = log(numbers), list[Verdicts]()
    while len(batch.row):
        said.append(stopping.process(batch, stop_at_drift=True))
        at = said[-1].consumed
        batch = batch._replace(
            row=batch.row[at:], ts_ms=batch.ts_ms[at:], value=batch.value[at:], offset=batch.offset[at:]
        )
    np.testing.assert_array_equal(np.concatenate([one.page for one in said]), wanted.page)
    assert _bytes(stopping.export()) == _bytes(straight.export())


def test_a_better_forecast_gains_weight_and_a_wrong_one_recovers() -> None:
    n = 200
    columns = guard.Guard(np.full(1, 0.5, np.float32))
    own, other = np.full(n, 5.0, np.float32), np.zeros(n, np.float32)
    own[100:], other[100:] = 0.0, 5.0
    band, kind, row = np.full(n, 3.0, np.float32), np.zeros(n, np.uint8), np.zeros(n, np.int64)
    expected, off, width, marked = np.zeros(n, np.float32), own.copy(), band.copy(), np.zeros(n, bool)
    guard.mix_forecasts(row, 0, 100, columns, kind, kind, other, band, expected, off, width, marked)
    assert columns.other[0] > 0.99
    assert abs(off[99]) < 0.1
    np.testing.assert_allclose(expected[:100] + off[:100], own[:100], atol=1e-5)
    guard.mix_forecasts(row, 100, 200, columns, kind, kind, other, band, expected, off, width, marked)
    assert columns.other[0] < 0.01
    assert np.abs(off[110:]).max() < 0.2


def _cut(batch: Batch, pieces: int) -> list[Batch]:
    ends = np.sort(np.random.default_rng(pieces).choice(len(batch.row), pieces - 1, replace=False)).tolist()
    return [
        batch._replace(
            row=batch.row[begin:end], ts_ms=batch.ts_ms[begin:end], value=batch.value[begin:end],
            offset=batch.offset[begin:end], next_offset=end,
        )
        for begin, end in zip([0, *ends], [*ends, len(batch.row)], strict=True)
    ]  # fmt: skip


def _holes(batch: Batch) -> Batch:
    """One metric misses every fifth scrape and comes last in the next."""
    return _without(batch, (batch.row == 3) & (batch.offset // 12 % 5 == 0))


def _pause(batch: Batch) -> Batch:
    """Nothing for two days."""
    late = np.where(batch.offset >= 12 * 30, 2 * 86_400_000, 0)
    return batch._replace(ts_ms=batch.ts_ms + late)


def _wrong_clock(batch: Batch) -> Batch:
    """One host is eleven hours ahead."""
    return batch._replace(ts_ms=batch.ts_ms + np.where(batch.row // 4 == 1, 39_600_000, 0))


def _gone(batch: Batch) -> Batch:
    """One host is silent for more than a day, and comes back."""
    return _without(batch, (batch.row // 4 == 1) & (batch.offset // 12 > 20) & (batch.offset // 12 < 220))


def _clock_set_right(batch: Batch) -> Batch:
    """One host is four hours ahead for a while."""
    is_ahead = (batch.row // 4 == 1) & (batch.offset // 12 < 30)
    return batch._replace(ts_ms=batch.ts_ms + np.where(is_ahead, 14_400_000, 0))


def _without(batch: Batch, which: np.ndarray) -> Batch:
    kept = batch._replace(**{name: getattr(batch, name)[~which] for name in ("row", "ts_ms", "value")})
    return kept._replace(offset=np.arange(len(kept.row)), next_offset=len(kept.row))


@pytest.mark.parametrize("trouble", [_holes, _pause, _wrong_clock, _gone, _clock_set_right])
@pytest.mark.parametrize("pieces", [6, 40])
def test_trouble_is_told_of_as_by_a_cold_shard_wherever_it_is_cut(
    hostile: Prior, trouble: Callable[[Batch], Batch], pieces: int
) -> None:
    batch = trouble(log(values(HERE, 2 * DAY)))
    whole, parts, cold = waiting(hostile), waiting(hostile), waiting(None)
    verdicts, plain = whole.process(batch), cold.process(batch)
    for name in plain.ticks._fields:
        np.testing.assert_array_equal(getattr(verdicts.ticks, name), getattr(plain.ticks, name), err_msg=name)
    for part in _cut(batch, pieces):
        parts.process(part)
    assert _bytes(whole.export()) == _bytes(parts.export())
    # And while the twins are still there.
    whole, parts = waiting(hostile), waiting(hostile)
    early = batch._replace(row=batch.row[:1001], ts_ms=batch.ts_ms[:1001], value=batch.value[:1001])
    early = early._replace(offset=batch.offset[:1001], next_offset=1001)
    whole.process(early)
    for part in _cut(early, pieces):
        parts.process(part)
    assert _bytes(whole.export()) == _bytes(parts.export())
    alerts = [[one.value for one in said.records if one.topic == "alerts"] for said in (verdicts, plain)]
    assert alerts[0] == alerts[1]


def test_a_series_that_is_admitted_during_the_first_day_harms_nothing(alike: Prior) -> None:
    numbers = values(HERE, DAY)
    seeded = waiting(alike)
    seeded.process(log(numbers[:5]))
    extra = seeded.admit(Series.of("extra", {"host": "secret-0"}, Kind.GAUGE))
    seeded.process(log(numbers[5:20], 5))
    at, now_ms = seeded.next_offset, seeded.clock_ms
    seeded.process(Batch.of([extra, extra], [now_ms + 1000, now_ms + 2000], [1.0, 2.0], [at, at + 1], at + 2))
    assert seeded.twins.rosters[0].row_of(seeded.roster.names[extra]) >= 0


def test_counters_that_are_told_from_their_shape_do_not_depend_on_cuts(alike: Prior) -> None:
    """The source says counter, the cold version has to find out, and may change its mind in the middle of a stretch."""
    arrays = alike.arrays()
    arrays["kind"] = np.full_like(arrays["kind"], Kind.COUNTER)
    config = replace(CONFIG, counters_from_shape=True)
    totals = np.cumsum(np.random.default_rng(4).integers(1, 50, (120, 4)), axis=0).astype(float)
    batch = _clock_set_right(log(totals[:, None, :]))
    said = []
    for pieces in (1, 2, 9):
        fresh = Shard(config, topic="metrics", partition=0, prior=Prior(arrays))
        fresh.next_offset = 0
        for name in HERE.names:
            fresh.admit(Series.of(name, {"host": "a"}))
        said.append(np.concatenate([fresh.process(part).expected for part in _cut(batch, pieces)]))
    for other in said[1:]:
        np.testing.assert_array_equal(other, said[0])


def test_a_parcel_goes_only_where_its_sources_are_known_and_keeps_its_trial(alike: Prior, hostile: Prior) -> None:
    young = waiting(alike)
    young.process(log(values(HERE, 60)))
    moved, _ = split(young.export(), {"host=secret-1"})

    def keeper(prior: Prior) -> State:
        return with_one_of_nobody(prior, "old", 100).export()

    with pytest.raises(ConfigError, match="borrowed from sources that the keeper does not have"):
        merge(keeper(hostile), moved)
    together = Shard.restore(merge(keeper(alike), moved), CONFIG)
    assert len(together.twins) == 1
    assert together.roster.borrowed(together.row_of(young.roster.names[4]))["structure"] > 0


def test_an_entity_to_which_nothing_is_lent_has_no_twin_for_long(alike: Prior) -> None:
    fresh = with_one_of_nobody(alike, "a", 90)
    assert len(fresh.twins) == 0
    assert fresh.roster.ents.seed.source[0] == guard.NEVER


def _bytes(state: State) -> bytes:
    return pack(state.manifest, state.arrays)
