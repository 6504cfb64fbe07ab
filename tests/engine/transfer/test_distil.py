"""Laws of distilling: same bytes twice, nothing of a raw sample or level left, no sick source."""

from __future__ import annotations

import numpy as np
import pytest

from engine.components.block import MOST_LAGS
from engine.errors import ConfigError
from engine.snapshot import State, pack, read_json_column, unpack
from engine.transfer import distil
from tests.engine.transfer.towns import METRICS, Town, grown, source

LEVEL = 7_654_321.0


@pytest.fixture(scope="module")
def state() -> State:
    return grown(Town(level=LEVEL, scale=3.0))


def test_a_state_distilled_twice_gives_the_same_bytes(state: State) -> None:
    first, second = distil(state), distil(unpack(pack(state.manifest, state.arrays)))
    assert pack(first.manifest, first.arrays) == pack(second.manifest, second.arrays)


def test_a_source_is_a_snapshot_like_any_other(state: State) -> None:
    made = distil(state)
    read = unpack(pack(made.manifest, made.arrays))
    assert read.manifest == made.manifest
    assert made.manifest["kind"] == "source"
    assert read_json_column(made.arrays["classes"]) == sorted(METRICS)
    assert made.arrays["lagged"].shape == (len(METRICS) * (len(METRICS) - 1), MOST_LAGS + 1)


def test_no_level_no_sample_no_host_survives(state: State) -> None:
    """A canary: levels are in the millions, all that is general of them is small."""
    made = distil(state)
    for name, array in made.arrays.items():
        if name in ("samples", "visits", "step_ms", "classes"):
            continue
        assert np.all(np.abs(array[np.isfinite(array)]) < 1e5), name
    everything = pack(made.manifest, made.arrays)
    assert b"secret" not in everything
    values = np.concatenate([state.arrays[f"series.level.{field}"] for field in ("mean", "last", "var", "step")])
    held = np.concatenate([array.astype(np.float64).ravel() for array in made.arrays.values()])
    assert not np.isin(values.astype(np.float32), held.astype(np.float32)).any()


def test_scale_and_level_of_the_source_leave_no_trace() -> None:
    """The same town in another unit gives the same snapshot, but for rounding."""
    plain, other = source(Town(level=50.0)), source(Town(level=512.0, scale=1024.0))
    for name, array in plain.arrays.items():
        # How restless a metric is for its size is what it says.
        if array.dtype == np.float32 and name != "step":
            np.testing.assert_allclose(array, other.arrays[name], rtol=0.02, atol=0.02, err_msg=name)


def test_a_young_source_is_refused_with_the_number() -> None:
    with pytest.raises(ConfigError, match=r"no healthy source: age_samples is 288, wanted at least 1000"):
        source(Town(), days=2)


def test_a_source_with_holes_or_alarms_is_refused(state: State) -> None:
    ledger = {**state.manifest["ledger"], "missing": 10_000_000}
    sick = State({**state.manifest, "ledger": ledger, "alert_number": 5_000}, state.arrays)
    with pytest.raises(ConfigError, match=r"alert_records is 5000, .*missing_share is"):
        distil(sick)


def test_only_a_checkpoint_is_distilled(state: State) -> None:
    with pytest.raises(ConfigError, match="kind 'source' was given to distil"):
        distil(distil(state))


def test_health_is_stored(state: State) -> None:
    health = distil(state).manifest["health"]
    assert health["series"] == 3 * len(METRICS)
    assert health["age_samples"] >= 1000
    assert health["missing_share"] == 0.0
