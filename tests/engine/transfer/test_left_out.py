"""Leave one entity out: an outlier is seen, agreement makes a source worth much, difference makes it worth little."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.prior import SCALE, SEASON, STRENGTHS
from engine.snapshot import State
from engine.transfer import distil, left_out, lend
from engine.transfer.match import NAMED
from tests.engine.transfer.towns import DAY, METRICS, Town, log, shard, source, values

MOST = np.array(lend.STRENGTHS[NAMED])


def of_hosts(*towns: Town, days: int = 14) -> State:
    """A source with one host of each town."""
    numbers = np.concatenate([values(town, days * DAY) for town in towns], axis=1)
    whole = shard(Town(hosts=numbers.shape[1]))
    whole.process(log(numbers))
    return distil(whole.export())


def alike(count: int, **fields: Any) -> list[Town]:
    return [Town(seed=seed, hosts=1, **fields) for seed in range(count)]


@pytest.fixture(scope="module")
def agreed() -> State:
    return of_hosts(*alike(6))


def table(made: State) -> dict[str, Any]:
    told: dict[str, Any] = made.manifest["card"]["validation"]
    return told


def test_entities_that_agree_are_worth_what_is_lent_now(agreed: State) -> None:
    told = table(agreed)
    assert (told["entities"], told["because"], len(told["left_out"])) == (6, None, 6)
    assert [one["class"] for one in told["classes"]] == sorted(METRICS)
    for one in told["classes"]:
        assert one["judged"] == 6
        assert one["zones"] == {"reuse": 6}
        assert set(one["error_ratio"]) == set(STRENGTHS)
        assert all(ratio < 0.6 for ratio in one["error_ratio"].values())
    assert agreed.arrays["n0"].dtype == np.float32
    assert (agreed.arrays["n0"] >= 0.4 * MOST).all()


def test_an_outlier_is_seen_as_such() -> None:
    told = table(of_hosts(*alike(5), Town(seed=9, hosts=1, harmonic=3, noise=2.0)))
    far = [one["distance"] for one in told["left_out"]]
    assert far[5] > 1.0 > 3.0 * max(far[:5])
    assert "reuse" not in told["left_out"][5]["zones"]


def test_a_season_that_differs_is_worth_little_and_the_scale_as_before(agreed: State) -> None:
    phased = of_hosts(*(Town(seed=at, hosts=1, phase_h=4.0 * at) for at in range(6)))
    n0 = phased.arrays["n0"]
    assert (n0[:, SEASON] < 0.5).all()
    assert (n0[:, SCALE] > 0.3 * agreed.arrays["n0"][:, SCALE]).all()
    for one in table(phased)["classes"]:
        assert one["error_ratio"]["season"] > 0.9 > one["error_ratio"]["scale"]


def test_scales_that_differ_are_worth_little(agreed: State) -> None:
    restless = of_hosts(*(Town(seed=at, hosts=1, noise=0.1 * 2.0**at) for at in range(6)))
    assert (restless.arrays["n0"][:, SCALE] < 0.05 * agreed.arrays["n0"][:, SCALE]).all()


@pytest.mark.parametrize("hosts", [1, 2])
def test_of_two_entities_nothing_is_said(hosts: int) -> None:
    made = source(Town(hosts=hosts))
    told = table(made)
    assert told["because"] == f"{hosts} entities with a fingerprint, wanted at least 3 to leave one out"
    assert told["classes"] == told["left_out"] == []
    np.testing.assert_array_equal(made.arrays["n0"], np.tile(MOST, (len(METRICS), 1)))


def test_strengths_of_a_source_are_never_above_those_of_now(agreed: State) -> None:
    strengths = lend.strengths_of(agreed)
    assert strengths.shape == (len(METRICS), len(STRENGTHS))
    np.testing.assert_array_equal(strengths, np.minimum(agreed.arrays["n0"], MOST))
    more = State(agreed.manifest, {**agreed.arrays, "n0": agreed.arrays["n0"] * 1e6})
    np.testing.assert_array_equal(lend.strengths_of(more), np.tile(MOST, (len(METRICS), 1)))


def test_worth_is_one_sample_over_what_lies_between() -> None:
    one = np.full(len(STRENGTHS), 2.0)
    np.testing.assert_allclose(left_out.worth(one, one), np.ones(len(STRENGTHS)))
    np.testing.assert_array_equal(left_out.worth(one, 0 * one), MOST)
    np.testing.assert_array_equal(left_out.worth(one, np.nan * one), MOST)


def test_twenty_at_most_are_left_out() -> None:
    told = table(source(Town(hosts=25, names=("cpu",)), days=8))
    assert (told["entities"], len(told["left_out"]), told["classes"][0]["judged"]) == (25, 20, 20)
