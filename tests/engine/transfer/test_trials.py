"""The account of a trial: what two shards, one seeded and one cold, would have measured; and a state like others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import twins
from engine.account import LEAST, MARGIN, accounts, median_h, parity_h
from engine.columns import allocate_one
from engine.components import worth
from engine.components.guard import BAND, MOST, log_density
from engine.errors import SnapshotError
from engine.evidence import PROOF
from engine.parcel import merge, split
from engine.prior import Prior
from engine.shard import Shard, Verdicts
from engine.snapshot import State, pack, unpack
from tests.engine.transfer.test_twins import HERE, _bytes, _cut, run, waiting
from tests.engine.transfer.towns import CONFIG, DAY, START_MS, STEP_MS, UNGUARDED, log, shard, values


def told(verdicts: Verdicts) -> dict[str, dict[str, dict[str, Any]]]:
    """entity -> finding -> worth."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for one in verdicts.records:
        if one.value.get("kind") in ("guard", "worth"):
            found.setdefault(one.value["entity"], {})[one.value["finding"]] = one.value["worth"]
    return found


def losses(verdicts: Verdicts, number: int) -> tuple[np.ndarray, np.ndarray]:
    """(loss, |value - expected|) of each sample of series `number`, from what a shard without twins says of it."""
    width = HERE.hosts * len(HERE.names)
    value = values(HERE, 2 * DAY).ravel()[number::width]
    off = value - verdicts.expected[number::width].astype(float)
    size = (verdicts.upper - verdicts.lower)[number::width].astype(float) / 2 / BAND
    return np.array([-log_density(a, b) for a, b in zip(off, size, strict=True)]), np.abs(off)


def test_it_is_what_a_seeded_and_a_cold_shard_would_have_measured(alike: Prior) -> None:
    _, verdicts = run(alike)
    free = shard(HERE, prior=alike, config=UNGUARDED)
    seeded, cold = free.process(log(values(HERE, 2 * DAY))), run(None)[1]
    for host in range(HERE.hosts):
        measured = told(verdicts)[f"host=secret-{host}"]["passed"]
        ticks = round(measured["hours"] * 3_600_000 / STEP_MS) + 1
        gains = []
        for at, name in enumerate(HERE.names):
            number = host * len(HERE.names) + at
            (a, a_off), (b, b_off) = (losses(one, number) for one in (seeded, cold))
            known = np.flatnonzero(np.isfinite(a[:ticks]) & np.isfinite(b[:ticks]))
            gains.append(float(np.clip(b - a, -MOST, MOST)[known].mean()))
            mine = next(one for one in measured["classes"] if one["class"] == name)
            assert mine["gain"] == pytest.approx(gains[-1], abs=0.02)
            assert mine["error_ratio"] == pytest.approx(a_off[known].sum() / b_off[known].sum(), rel=0.05)
            assert mine["helped"] == (gains[-1] > MARGIN)
        assert measured["gain"] == pytest.approx(np.mean(gains), abs=0.02)


def test_what_was_refused_is_measured_until_it_is_proven_to_forecast_worse(hostile: Prior) -> None:
    seeded, verdicts = run(hostile)
    for findings in told(verdicts).values():
        assert list(findings) == ["refused", "settled"]
        assert findings["refused"]["hours"] <= findings["settled"]["hours"] < 24
        assert findings["settled"]["gain"] < 0
    proofs = [one.value["evidence"]["proof"] for one in verdicts.records if one.value.get("finding") == "settled"]
    assert min(proofs) >= PROOF
    assert len(seeded.twins) == 0


def test_what_was_refused_and_is_not_proven_worse_is_measured_to_the_end_of_its_day(
    hostile: Prior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "PROOF", np.inf)
    seeded, verdicts = run(hostile)
    for findings in told(verdicts).values():
        assert list(findings) == ["refused", "settled"]
        assert findings["refused"]["hours"] < 3
        assert findings["settled"]["hours"] > 23
        assert findings["settled"]["helped"] < findings["settled"]["series"] == len(HERE.names)
    assert not any("worth" in name for name in seeded.export().arrays)


def test_a_cold_start_pays_nothing_for_it() -> None:
    _, verdicts = run(None, 1)
    assert told(verdicts) == {}
    assert not any("worth" in name or "pages" in name for name in run(None, 1)[0].export().arrays)


@pytest.mark.parametrize("pieces", [3, 30])
def test_cuts_crashes_and_moves_change_no_account(alike: Prior, hostile: Prior, pieces: int) -> None:
    whole = waiting([hostile, alike])
    numbers = values(HERE, DAY + 12)
    numbers[60:64, 0] += 400.0
    noon, rest = log(numbers[: DAY // 2]), log(numbers[DAY // 2 :], DAY // 2)
    whole.process(noon)
    parts = waiting([hostile, alike])
    for part in _cut(noon, pieces):
        parts.process(part)
        state = parts.export()
        parts = Shard.restore(unpack(pack(state.manifest, state.arrays)), CONFIG)
    assert standing(parts) == standing(whole)
    assert len(standing(whole)) == HERE.hosts
    assert standing(whole)[0]["worth"]["pages"]["seeded"] > 0
    assert _bytes(parts.export()) == _bytes(whole.export())
    moved, kept = split(whole.export(), {"host=secret-1"})
    together = Shard.restore(merge(kept, moved), CONFIG)
    assert standing(together) == standing(whole)
    theirs = np.array([together.row_of(name) for name in whole.roster.names], np.int32)
    a, b = whole.process(rest), together.process(rest._replace(row=theirs[rest.row]))
    assert told(a) == told(b)
    assert told(a).keys() == {one["entity"] for one in standing(parts)}


def test_a_state_without_an_account_or_with_a_damaged_one_is_refused(alike: Prior) -> None:
    young = waiting(alike)
    young.process(log(values(HERE, 60)))
    state = young.export()
    old = {name: array for name, array in state.arrays.items() if ".worth." not in name and ".pages." not in name}
    assert len(old) == len(state.arrays) - len(worth.FORECASTS) - len(worth.PAGES)
    for damaged in (old, state.arrays | {"twin0.series.worth.samples": state.arrays["twin0.series.worth.samples"][1:]},
                    state.arrays | {"twin0.entity.pages.number": np.zeros((HERE.hosts, 3), np.int32)}):  # fmt: skip
        with pytest.raises(SnapshotError, match="account of a trial"):
            Shard.restore(State(state.manifest, damaged), CONFIG)


def standing(of: Shard) -> list[dict[str, Any]]:
    """What is on trial, by entity, and that asking changes nothing."""
    before = _bytes(of.export())
    found = sorted((one.value for one in of.standing()), key=lambda value: value["entity"])
    assert before == _bytes(of.export())
    assert all(one["kind"] == "worth" and one["finding"] == "standing" for one in found)
    return found


def test_pages_are_counted_by_version_and_through_the_change_of_places(alike: Prior) -> None:
    """An outage that both see, after the seeded version has taken the place of the cold one."""
    numbers = values(HERE, DAY + 12)
    numbers[100:104, 0] += 400.0
    young = waiting(alike)
    verdicts = young.process(log(numbers))
    pages = told(verdicts)["host=secret-0"]["passed"]["pages"]
    assert pages["seeded"] >= 1
    for version in ("seeded", "cold"):
        assert 0 <= pages[f"{version}_alone"] <= pages[version]
    alerts = [one.value for one in verdicts.records if one.topic == "alerts" and one.value["state"] == "firing"]
    assert any(one["entity"] == "host=secret-0" and one["at_ms"] >= START_MS + 100 * STEP_MS for one in alerts)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 90)), max_size=30))
def test_a_page_is_alone_if_the_other_version_sent_none_within_an_hour(steps: list[tuple[int, int]]) -> None:
    pages = allocate_one(worth.Pages, worth.PAGES, 1)
    ticks: list[list[int]] = [[], []]
    now_ms = 1_000
    for version, minutes in steps:
        now_ms += minutes * 60_000
        ticks[version].append(now_ms)
        worth.page(pages, 0, version, now_ms)
    for version in (0, 1):
        episodes = _episodes(ticks[version])
        assert pages.number[0, version] == len(episodes)
        alone = [
            not any(first - worth.EPISODE_MS <= t <= last + worth.EPISODE_MS for t in ticks[1 - version])
            for first, last in episodes
        ]
        assert pages.alone[0, version] == sum(alone)


def _episodes(ticks: list[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for t in ticks:
        if found and t - found[-1][1] <= worth.EPISODE_MS:
            found[-1] = (found[-1][0], t)
        else:
            found.append((t, t))
    return found


def sums_of(gain: np.ndarray, samples: np.ndarray) -> worth.Forecasts:
    """Made-up sums: gain in nats a sample, (series, buckets)."""
    sums = allocate_one(worth.Forecasts, worth.FORECASTS, len(gain))
    sums.samples[:] = samples
    sums.seeded[:] = 1.5 * samples
    sums.cold[:] = (1.5 + gain) * samples
    sums.seeded_off[:] = samples
    sums.cold_off[:] = np.exp(gain) * samples
    return sums


def account_of(gain: Any, samples: Any, classes: list[str]) -> dict[str, Any]:
    sums = sums_of(np.array(gain, float), np.array(samples, np.int32))
    pages = allocate_one(worth.Pages, worth.PAGES, 1)
    borrowed = [{"scale": 0.5}] * len(classes)
    rows, of = np.arange(len(classes)), np.zeros(len(classes), np.int64)
    (found,) = accounts(sums, rows, of, classes, borrowed, pages, np.array([0]), hours=[24.0])
    return found


_GAINS = st.lists(st.lists(st.floats(-2, 2), min_size=5, max_size=5), min_size=1, max_size=60)


@given(_GAINS, st.randoms(use_true_random=False))
def test_helped_equal_and_hurt_are_all_series(gains: list[list[float]], random: Any) -> None:
    samples = [[random.choice((0, 3, 60)) for _ in range(5)] for _ in gains]
    classes = [f"m{random.randrange(50)}" for _ in gains]
    found = account_of(gains, samples, classes)
    assert found["helped"] + found["equal"] + found["hurt"] == found["series"]
    assert found["series"] + found["young"] == len(gains)
    assert found["series"] == sum(sum(one) >= LEAST for one in samples)
    assert len(found["classes"]) <= 40
    assert len(found["classes"]) + found["classes_left_out"] == len(set(classes))
    for one in found["classes"]:
        assert one["helped"] + one["equal"] + one["hurt"] == one["series"]


def test_a_known_account() -> None:
    """Two series caught up after three hours, one never, one was hurt."""
    gain = [[0.6, 0.3, 0.0, 0.0, 0.0], [0.6, 0.3, 0.0, 0.0, 0.0], [0.5] * 5, [-0.2] * 5]
    found = account_of(gain, np.full((4, 5), 100), ["a", "a", "b", "b"])
    assert [found[word] for word in ("helped", "equal", "hurt")] == [3, 0, 1]
    assert found["parity_h"] == 3.0
    assert found["not_caught_up"] == 1
    assert found["gain"] == pytest.approx((0.18 + 0.18 + 0.5 - 0.2) / 4, abs=1e-4)
    assert [row["gain"] for row in found["by_age"]] == pytest.approx([0.375, 0.225, 0.075, 0.075, 0.075])
    first = found["by_age"][0]
    assert (first["from_h"], first["to_h"], first["series"], first["samples"]) == (0, 1, 4, 400)
    assert first["cold"] - first["seeded"] == pytest.approx(first["gain"])
    assert found["classes"][0]["borrowed"] == {"scale": 0.5}


@pytest.mark.parametrize(
    ("gain", "hours"),
    [
        ([0.0] * 5, 0.0),
        ([0.5, 0.0, 0.0, 0.0, 0.0], 1.0),
        ([0.5, 0.0, 0.5, 0.0, np.nan], 6.0),
        ([0.5] * 5, np.inf),
        ([0.5, np.nan, np.nan, np.nan, np.nan], np.inf),
        ([np.nan] * 5, np.nan),
    ],
)
def test_time_to_parity(gain: list[float], hours: float) -> None:
    np.testing.assert_equal(parity_h(np.array(gain)), hours)


def test_the_median_knows_what_has_not_ended() -> None:
    assert median_h(np.array([1.0, 3.0, np.inf, np.nan])) == 3.0
    assert median_h(np.array([1.0, np.inf, np.inf])) is None
    assert median_h(np.array([np.nan])) is None


def test_one_outage_decides_nothing() -> None:
    sums = allocate_one(worth.Forecasts, worth.FORECASTS, 1)
    n = 3
    ones, far = np.ones(n, np.float32), np.array([0.0, 1e9, np.nan], np.float32)
    kind, row = np.zeros(n, np.uint8), np.zeros(n, np.int64)
    is_seeded = np.array([True, True, True])
    worth.enter(row, row, is_seeded, kind, kind, far, ones, 0 * ones, ones, sums)
    assert sums.samples[0, 0] == 2
    assert sums.seeded[0, 0] - sums.cold[0, 0] == pytest.approx(MOST)
    assert sums.seeded_off[0, 0] == pytest.approx(worth.FAR / BAND)
    # The other way round it is the cold version's, and a rate is not compared with a value.
    worth.enter(row, row + 1, ~is_seeded, kind, kind, far, ones, 0 * ones, ones, sums)
    assert sums.cold[0, 1] - sums.seeded[0, 1] == pytest.approx(MOST)
    worth.enter(row, row + 2, is_seeded, kind, kind + 2, far, ones, 0 * ones, ones, sums)
    assert sums.samples[0, 2] == 0


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_compiled_sums_are_the_plain_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 200
    off, band = rng.normal(size=(2, n)).astype(np.float32) * 10, rng.exponential(size=(2, n)).astype(np.float32)
    off[rng.random((2, n)) < 0.1] = np.nan
    band[rng.random((2, n)) < 0.1] = 0.0
    row, bucket = rng.integers(0, 3, n).astype(np.int32), rng.integers(0, worth.BUCKETS, n)
    is_seeded, kind = rng.random(n) < 0.5, rng.integers(0, 3, (2, n)).astype(np.uint8)
    given_ = (row, bucket, is_seeded, kind[0], kind[1], off[0], band[0], off[1], band[1])
    whole, plain, cut = (allocate_one(worth.Forecasts, worth.FORECASTS, 3) for _ in range(3))
    worth.enter(*given_, whole)
    worth.enter.py_func(*given_, plain)
    for part in (slice(0, 77), slice(77, n)):
        worth.enter(*(column[part] for column in given_), cut)
    for a, b, c in zip(whole, plain, cut, strict=True):
        assert a.tobytes() == c.tobytes()
        np.testing.assert_allclose(a, b, rtol=1e-12)
