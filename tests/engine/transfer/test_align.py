"""Aligning: a clock in another zone, a day of another size, another step are found where there is evidence, only there.

phase_s > 0: the target's day is later than the source's.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch import Batch
from engine.components import trial
from engine.errors import ConfigError
from engine.prior import Prior
from engine.roster import Roster
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State, read_json_column
from engine.transfer import Plan, align, distil, fingerprint, plan, read_plan, read_prior
from engine.transfer.align import AS_IT_IS, Aligned
from engine.transfer.lend import prior_of
from engine.transfer.match import ADAPT, NAMED, REUSE, distance
from engine.transfer.plan import looks_of
from tests.engine.transfer.towns import (
    CONFIG,
    DAY,
    METRICS,
    START_MS,
    UNGUARDED,
    Town,
    grown,
    log,
    shard,
    source,
    values,
)

HOUR_MS = 3_600_000
LAGS = np.arange(21)


@pytest.fixture(scope="module")
def lender() -> State:
    return source(Town(seed=1))


def phases(made: Plan) -> set[int]:
    return {entry.phase_s for entry in made.entries}


@pytest.mark.parametrize("days", [1, 2, 7])
@pytest.mark.parametrize("hours", [8.0, -8.0, 12.0, 3.0])
def test_a_slip_of_the_clock_is_found_after_a_day(lender: State, hours: float, days: int) -> None:
    made = plan(lender, grown(Town(seed=2, phase_h=hours, scale=7.0), days=days))
    assert phases(made) == {int(hours * 3600)}
    assert {entry.zone for entry in made.entries} <= {REUSE, ADAPT}
    word = "later" if hours > 0 else "earlier"
    assert all(f"its day is {abs(hours):g} h {word}" in entry.because for entry in made.entries)
    assert all(f"{hours:+g} h" in row[-2] for row in made.table()[1:])


@pytest.mark.parametrize("days", [1, 2, 7])
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_no_slip_stays_none(lender: State, seed: int, days: int) -> None:
    assert phases(plan(lender, grown(Town(seed=seed), days=days))) == {0}


@pytest.mark.parametrize("seed", range(6))
def test_noise_and_flat_days_have_no_phase(seed: int) -> None:
    """On either side, or on both: nothing is there to be moved, and no class votes for a shift."""
    quiet, busy = Town(seed=seed, noise=40.0), Town(seed=seed + 50, phase_h=8.0)
    white = [_white(seed + 20 * k) for k in range(2)]
    for lends in (source(quiet, 8), distil(white[0])):
        for target in (grown(busy, 2), white[1]):
            assert phases(plan(lends, target)) == {0}


def _white(seed: int, days: int = 8) -> State:
    """Three metrics of noise, and one that never moves."""
    numbers = np.random.default_rng(seed).normal(50.0, 1.0, (days * DAY, 3, 4))
    numbers[:, :, 3] = 7.0
    one = shard(Town(seed=seed))
    one.process(log(numbers))
    return one.export()


def test_classes_without_a_day_are_not_moved_with_those_that_have_one(lender: State) -> None:
    town, ticks = Town(seed=1), 14 * DAY
    there, here = values(town, ticks), values(town._replace(seed=2, phase_h=8.0), 2 * DAY)
    for seed, numbers in enumerate((there, here)):
        numbers[:, :, 3] = np.random.default_rng(seed).normal(50.0, 1.0, numbers.shape[:2])
    old, new = shard(town), shard(town)
    old.process(log(there))
    new.process(log(here))
    made = {entry.target: entry.phase_s for entry in plan(distil(old.export()), new.export()).entries}
    assert made == {"cpu": 28_800, "latency": 28_800, "load": 28_800, "queue": 0}


def test_one_class_alone_is_too_little(lender: State) -> None:
    made = plan(lender, grown(Town(seed=2, phase_h=8.0, names=("cpu", "b", "c", "d")), days=2))
    assert phases(made) == {0}


def _second_day(prior: Prior, town: Town) -> tuple[float, list[int]]:
    """Of a host that begins on the second day: mean |value - expected| before it has a day of its own; its trials."""
    one = Shard(UNGUARDED, topic="metrics", partition=0, prior=prior)
    one.next_offset = 0
    numbers = values(town._replace(hosts=1, seed=town.seed + 100), 2 * DAY)[DAY:]
    for name in METRICS:
        one.admit(Series.of(name, {"host": "late"}, Kind.GAUGE))
    rows = log(numbers, DAY)
    at = np.arange(len(rows.row))
    told = one.process(Batch.of(rows.row, rows.ts_ms, rows.value, at, len(at)))
    error = float(np.nanmean(np.abs(numbers.ravel() - told.expected)))
    return error, one.roster.rows.trial.state[: one.series_count].tolist()


@pytest.mark.parametrize("hours", [8.0, -8.0])
def test_a_moved_day_forecasts_the_second_days_new_host(lender: State, hours: float) -> None:
    town = Town(seed=2, phase_h=hours)
    made = plan(lender, grown(town, days=1))
    still = replace(made, entries=tuple(replace(entry, phase_s=0) for entry in made.entries))
    (moved, tried), (_, tried_still) = (_second_day(read_prior(lender, one), town) for one in (made, still))
    assert 2 * tried.count(trial.EVICTED) <= len(METRICS) == tried_still.count(trial.EVICTED)
    assert moved < 1.1 * _second_day(prior_of(lender, [], [], []), town)[0]


def test_a_smaller_day_is_lent_smaller() -> None:
    lends, town = source(Town(seed=1)), Town(seed=2, noise=0.6)
    made = plan(lends, grown(town, days=4))
    gains = [entry.gain for entry in made.entries]
    assert 0.4 < min(gains) <= max(gains) < 0.8
    assert all(0.8 < entry.gain < 1.25 for entry in plan(lends, grown(Town(seed=2), days=2)).entries)
    whole = replace(made, entries=tuple(replace(entry, gain=1.0) for entry in made.entries))
    lent, plain = (read_prior(lends, one).arrays() for one in (made, whole))
    np.testing.assert_allclose(lent["shape"], plain["shape"] * np.array(gains)[:, None], rtol=1e-5)
    assert _second_day(read_prior(lends, made), town)[0] < _second_day(read_prior(lends, whole), town)[0]


def test_a_target_of_an_hour_has_neither(lender: State) -> None:
    one = shard(Town(seed=2, phase_h=8.0))
    one.process(log(values(Town(seed=2, phase_h=8.0), 12)))
    assert {(entry.zone, *entry.aligned) for entry in plan(lender, one.export()).entries} == {(NAMED, *AS_IT_IS)}


def test_a_plan_with_all_of_it_comes_back_equal(lender: State) -> None:
    made = plan(lender, grown(Town(seed=2, phase_h=8.0), days=2))
    told = json.loads(json.dumps(made.to_dict(), allow_nan=False))
    assert {one["phase_s"] for one in told["entries"]} == {28_800}
    again = read_plan(told)
    assert (again, again.id) == (made, made.id)
    assert read_prior(lender, again).digest == read_prior(lender, made).digest
    still = replace(made, entries=tuple(replace(entry, phase_s=0) for entry in made.entries))
    assert still.id != made.id


def test_a_plan_from_before_reads_as_unmoved(lender: State) -> None:
    made = plan(lender, grown(Town(seed=2), days=2))
    old = replace(made, entries=tuple(replace(entry, gain=1.0) for entry in made.entries))
    told = json.loads(json.dumps(old.to_dict()))
    for one in told["entries"]:
        del one["phase_s"], one["gain"], one["step_ratio"]
    again = read_plan(told)
    assert again == old
    # As its text was before an entry had these fields.
    assert "phase_s" not in str(again.entries[0])
    assert str(again.entries[0]).startswith("Entry(target='cpu', series=3, source='cpu', distance=")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"phase_s": 100}, "whole quarters"),
        ({"phase_s": -43_200}, "within half a day"),
        ({"phase_s": 900.0}, "whole quarters"),
        ({"phase_s": True}, "whole quarters"),
        ({"gain": 2.5}, "from 0 to 2"),
        ({"gain": float("nan")}, "number >= 0"),
        ({"step_ratio": 0.0}, "ratio of two steps"),
        ({"step_ratio": 1e9}, "ratio of two steps"),
    ],
)
def test_what_is_no_alignment_is_named(lender: State, change: dict[str, object], says: str) -> None:
    told = json.loads(json.dumps(plan(lender, grown(Town(seed=2), days=2)).to_dict()))
    told["entries"][0].update(change)
    with pytest.raises(ConfigError, match=says):
        read_plan(told)


def test_what_is_not_moved_keeps_its_bits(lender: State) -> None:
    names = read_json_column(lender.arrays["classes"])
    zones = [NAMED] * len(names)
    plain = prior_of(lender, names, names, zones)
    assert prior_of(lender, names, names, zones, [AS_IT_IS] * len(names)).digest == plain.digest
    one = prior_of(lender, names, names, zones, [Aligned(3600, 0.5, 2.0), *[AS_IT_IS] * 3]).arrays()
    for name in ("shape", "ratio", "step", "own", "sigmas"):
        assert np.array_equal(one[name][1:], plain.arrays()[name][1:])
        assert not np.array_equal(one[name][0], plain.arrays()[name][0])
    np.testing.assert_array_equal(one["shape"][0], np.roll(plain.arrays()["shape"][0], 4) * np.float32(0.5))


@given(st.floats(0.15, 0.999), st.sampled_from([0.05, 1 / 6, 0.4, 1.5, 5.0, 6.0, 30.0]))
def test_an_exponential_autocorrelation_is_read_exactly_at_any_step(keep: float, by: float) -> None:
    found = align.resampled(0.8 * keep**LAGS, by)
    np.testing.assert_allclose(found, 0.8 * keep ** (LAGS * by), atol=1e-9 if keep < 0.98 else 0.3)


@given(st.lists(st.floats(-1, 1), min_size=21, max_size=21), st.floats(1e-3, 1e3))
def test_covariances_stay_finite_and_no_larger(lagged: list[float], by: float) -> None:
    found = align.resampled(np.array(lagged), by)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= np.abs(lagged).max() + 1e-12


def test_noise_stays_noise_at_any_step() -> None:
    white = np.where(LAGS == 0, 1.0, 0.02)
    for by in (1 / 6, 5.0):
        assert np.abs(align.resampled(white, by)[1:]).max() <= 0.02


def _process(step_s: int, seed: int, days: float = 2.0) -> State:
    """Hosts of four Ornstein-Uhlenbeck metrics with memories of 2.5 to 20 minutes, sampled exactly, at any step."""
    minutes, hosts = np.array([2.5, 5.0, 10.0, 20.0]), 3
    keep = np.exp(-step_s / 60.0 / minutes)
    ticks = int(days * 86_400 / step_s)
    noise = np.random.default_rng(seed).normal(size=(ticks, hosts, 4)) * np.sqrt(1.0 - keep * keep)
    numbers = np.empty_like(noise)
    numbers[0] = noise[0] / np.sqrt(1.0 - keep * keep)
    for t in range(1, ticks):
        numbers[t] = keep * numbers[t - 1] + noise[t]
    one = Shard(CONFIG, topic="metrics", partition=0)
    one.next_offset = 0
    for host in range(hosts):
        for name in METRICS:
            one.admit(Series.of(name, {"host": f"secret-{host}"}, Kind.GAUGE))
    width = hosts * 4
    ts_ms = START_MS + np.repeat(np.arange(ticks), width) * step_s * 1000
    one.process(
        Batch.of(
            np.tile(np.arange(width), ticks), ts_ms, 50.0 + numbers.ravel(), np.arange(ticks * width), ticks * width
        )
    )
    return one.export()


@pytest.fixture(scope="module")
def minutely() -> State:
    return distil(_process(60, 1, days=8.0))


@pytest.mark.parametrize(("step_s", "days"), [(10, 0.5), (10, 1.0), (300, 4.0)])
def test_the_same_process_at_another_step_is_recognised_and_lent_at_that_step(
    minutely: State, step_s: int, days: float
) -> None:
    lends, target = minutely, _process(step_s, 2, days)
    made = plan(lends, target)
    assert {entry.zone for entry in made.entries} <= {REUSE, ADAPT}
    assert all(entry.step_ratio == pytest.approx(step_s / 60, rel=0.01) for entry in made.entries)
    assert all("its step" in entry.because for entry in made.entries)
    lent = read_prior(lends, made).arrays()
    minutes = {"cpu": 2.5, "load": 5.0, "latency": 10.0, "queue": 20.0}
    for n, name in enumerate(read_json_column(lent["classes"])):
        truth = np.exp(-LAGS * step_s / 60.0 / minutes[name])
        assert np.abs(lent["own"][n] / lent["own"][n, 0] - truth).max() < 0.15
        assert np.log(lent["ratio"][n]) == pytest.approx(-np.log(2.0 * (1.0 - truth[1])), abs=0.35)


def test_a_day_of_noise_refuses_nobody(minutely: State) -> None:
    """Two series without a day are not unlike because their noise is."""
    made = plan(minutely, _process(60, 2, days=2.0))
    assert {(entry.zone, *entry.aligned) for entry in made.entries} == {(REUSE, *AS_IT_IS)}


def test_unaligned_steps_would_have_looked_like_another_process(minutely: State) -> None:
    looks = looks_of(minutely)
    target = fingerprint.by_class(fingerprint.of_rows(Roster.restore(_process(300, 2, 4.0).arrays, CONFIG)))
    own = minutely.arrays["own"].astype(np.float64)
    sources = align.towards(looks, target, own=own), align.towards(looks, target)
    for k in range(len(METRICS)):
        near, far = (distance(one, target, k, k)[0] for one in sources)
        assert near < far
