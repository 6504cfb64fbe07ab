"""From a level that has moved to an order, and back: the loop of drift, tuner and shard.

The tuner is pure: its cool-down is event time, its memory bounded. A re-tune brings the forecast back within an hour of
minutes, and what was sent because of the move ends.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from engine import retune
from engine.batch import Batch
from engine.errors import BadSample
from engine.records import Record
from engine.retune import COOL_DOWN_MS, DAY_MS, ORDERS_A_DAY, Tuner
from engine.shard import Shard, Verdicts
from tests.engine.components.feed import MINUTE_MS, assert_plain_json, log_of, of, tuned
from tests.engine.logs import START_MS, admit, cold

SHIFTED = 3000
METRICS = 4
DEPLOYED_MS = START_MS + SHIFTED * MINUTE_MS


def deploy(shift: float, *, seed: int = 0, ticks: int = 3600, spike: float | None = None) -> tuple[Shard, Batch]:
    """A host of four metrics of sd 1; from SHIFTED on the first is `shift` higher, if wanted after one false value."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(ticks, METRICS)) + 10.0 * np.arange(METRICS)
    values[SHIFTED:, 0] += shift
    if spike is not None:
        values[SHIFTED, 0] = spike
    shard = cold()
    return shard, log_of(admit(shard, 1, METRICS)[0], values)


def error_by_tick(batch: Batch, parts: list[Verdicts]) -> np.ndarray:
    """|value - expected| of the first metric, a value a tick."""
    expected = np.concatenate([part.expected for part in parts])
    first = batch.row == 0
    return np.abs(batch.value[first] - expected[first])


def moves(told: list[Record]) -> list[dict[str, Any]]:
    """Drifts of the metric that was moved, since it was."""
    return [v for v in of(told, "drift", "level") if v["series"].startswith("m0") and v["at_ms"] >= DEPLOYED_MS]


@pytest.mark.parametrize("seed", range(4))
def test_after_a_deploy_the_order_brings_the_forecast_back(seed: int) -> None:
    shard, batch = deploy(5.0, seed=seed)
    told, parts = tuned(shard, batch, Tuner())
    drifts, trials = moves(told), [v for v in of(told, "experiments") if v["at_ms"] >= DEPLOYED_MS]
    assert len(drifts) == 1
    assert [v["finding"] for v in trials[:2]] == ["started", "kept"]
    orders = trials[1:2]
    at = (drifts[0]["at_ms"] - START_MS) // MINUTE_MS
    assert SHIFTED + 10 <= at <= SHIFTED + 60
    assert abs(orders[0]["before"]["mean"]) < 1.0
    assert orders[0]["after"]["mean"] == pytest.approx(5.0, abs=1.5)
    error = error_by_tick(batch, parts)
    before, soon = np.nanmean(error[1500:SHIFTED]), np.nanmean(error[at + 60 : at + 360])
    assert soon < 1.3 * before
    states = [value["state"] for value in of(told, "alerts") if value["started_ms"] >= DEPLOYED_MS]
    assert states in ([], ["firing", "resolved"])
    assert_plain_json(told)


def test_without_a_tuner_the_forecast_stays_off_for_much_longer() -> None:
    shard, batch = deploy(5.0)
    told, parts = tuned(shard, batch, None)
    other, same = deploy(5.0)
    _, tuned_parts = tuned(other, same, Tuner())
    alone, helped = error_by_tick(batch, parts), error_by_tick(same, tuned_parts)
    assert moves(told)
    after = slice(SHIFTED + 100, SHIFTED + 400)
    assert np.nanmean(alone[after]) > 1.25 * np.nanmean(helped[after])


@pytest.mark.parametrize("spike", [1e6, 1e15])
def test_one_false_value_before_a_deploy_does_not_decide_where_the_level_goes(spike: float) -> None:
    shard, batch = deploy(5.0, seed=1, spike=spike)
    told, _ = tuned(shard, batch, Tuner())
    assert all(abs(value["after"]["level"]) < 20.0 for value in moves(told))
    assert abs(shard.roster.rows.level.mean[0]) < 20.0


def test_a_day_after_a_deploy_there_is_no_second_drift() -> None:
    found = []
    for seed in range(4):
        shard, batch = deploy(7.5, seed=seed, ticks=5000)
        told, _ = tuned(shard, batch, Tuner())
        found.append(len(moves(told)))
    assert found == [1, 1, 1, 1]


def drift(at_ms: int = START_MS, *, series: str = "a", kind: str = "level", after: float = 5.0) -> dict[str, Any]:
    return {
        "schema": "graft.drift/1",
        "id": f"{series}-{at_ms}",
        "kind": kind,
        "at_ms": at_ms,
        "environment": "default",
        "entity": "host=a",
        "series": series,
        "before": {"level": 1.0, "mean": 0.5, "sd": 2.0, "season_level": 0.1},
        "after": {"level": after},
        "evidence": {},
        "because": "it moved",
        "follows": [{"topic": "metrics", "partition": 3, "offset": 77}],
    }


def test_an_order_says_what_to_do_to_whom_and_why() -> None:
    order = Tuner().order_for(drift())
    assert order is not None
    assert (order["schema"], order["kind"], order["component"]) == ("graft.order/1", "retune", "level")
    assert order["params"] == {"action": "relevel", "shift": 4.0, "mean": 0.5, "sd": 2.0, "season_level": 0.1}
    assert order["target"] == {"topic": "metrics", "partition": 3, "series": "a", "entity": "host=a"}
    assert order["follows"] == drift()["follows"]
    assert "it moved" in order["because"]
    json.dumps(order, allow_nan=False)


def test_the_same_drifts_give_the_same_orders() -> None:
    signals = [drift(START_MS + k * 1_800_000, series=f"s{k % 3}") for k in range(50)]
    one, two = Tuner(), Tuner()
    assert [one.order_for(signal) for signal in signals] == [two.order_for(signal) for signal in signals]


@pytest.mark.parametrize("kind", ["absent", "returned", "flat", "gap", "scale", None])
def test_only_a_moved_level_is_retuned(kind: str) -> None:
    assert Tuner().order_for(drift(kind=kind)) is None


def test_the_cool_down_is_event_time() -> None:
    tuner = Tuner()
    assert tuner.order_for(drift()) is not None
    assert tuner.order_for(drift(START_MS + COOL_DOWN_MS - 1)) is None
    assert tuner.order_for(drift(START_MS + COOL_DOWN_MS - 1, series="b")) is not None
    assert tuner.order_for(drift(START_MS + COOL_DOWN_MS)) is not None


def test_a_series_that_moves_all_day_is_left_alone() -> None:
    tuner = Tuner()
    orders = [tuner.order_for(drift(START_MS + k * COOL_DOWN_MS)) for k in range(DAY_MS // COOL_DOWN_MS)]
    assert [order is not None for order in orders] == [True] * ORDERS_A_DAY + [False] * (24 - ORDERS_A_DAY)
    assert tuner.order_for(drift(START_MS + DAY_MS + COOL_DOWN_MS)) is not None


def test_the_memory_of_the_tuner_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retune, "MOST_SERIES", 10)
    tuner = Tuner()
    for k in range(100):
        tuner.order_for(drift(START_MS + k, series=f"s{k}"))
        tuner.order_for(drift(START_MS + k + 1, series=f"s{k}"))
    assert len(tuner._orders) == 10
    assert tuner.order_for(drift(START_MS + 200, series="s99")) is None


@pytest.mark.parametrize(
    "change",
    [
        {"after": {"level": float("nan")}},
        {"after": {}},
        {"after": None},
        {"before": {"level": 1.0}},
        {"follows": []},
        {"at_ms": None},
    ],
    ids=["nan", "empty", "none", "no models", "no origin", "no time"],
)
def test_a_drift_record_that_makes_no_sense_is_refused_by_name(change: dict[str, Any]) -> None:
    try:
        order = Tuner().order_for(drift() | change)
    except BadSample:
        return
    assert order is None
