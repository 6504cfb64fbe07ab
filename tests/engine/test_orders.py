"""Orders at a shard: applied once, by id; what makes no sense is refused by name and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.batch import Batch
from engine.components import level
from engine.errors import BadSample
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import pack, unpack
from tests.engine.components.feed import assert_plain_json
from tests.engine.logs import CONFIG, START_MS, admit, cold, fleet_log

SERIES = 'm0{host="h0"}'
MOVED = {"shift": 2.5, "mean": 52.0, "sd": 4.0, "season_level": 0.25}
ORIGIN = {"topic": "metrics", "partition": 0}


def order(kind: object = "retune", **changes: Any) -> dict[str, Any]:
    return {
        "schema": "graft.order/1",
        "id": "one",
        "kind": kind,
        "target": {**ORIGIN, "series": SERIES, "entity": "host=h0"},
        "component": "level",
        "params": dict(MOVED),
        "because": "a test",
        "follows": [],
        "at_ms": START_MS,
    } | changes


@pytest.fixture
def shard() -> Shard:
    found = cold()
    found.process(fleet_log(admit(found, 2, 3), 200, 4))
    return found


def arrays(shard: Shard) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in shard.export().arrays.items()}


def test_a_retune_moves_the_level_of_its_series_and_of_no_other(shard: Shard) -> None:
    mean = shard.roster.rows.level.mean.copy()
    at_once = order(params={**MOVED, "trial": False})
    (record,) = shard.apply(at_once, control_partition=0, next_offset=8)
    row, rows = shard.row_of(SERIES), shard.roster.rows
    assert rows.level.mean[row] == pytest.approx(54.5)
    assert (level.scale(rows.level, row), rows.season.level[row]) == (pytest.approx(4.0, rel=0.6), 0.25)
    assert np.count_nonzero(rows.level.mean != mean) == 1
    value = record.value
    assert (record.topic, record.key, value["id"]) == ("experiments", "one", "one")
    assert value["before"]["mean"] == pytest.approx(mean[row])
    assert value["after"]["mean"] == pytest.approx(54.5)
    assert value["applied_at"] == {"topic": "metrics", "partition": 0, "offset": shard.next_offset}
    assert shard.control_offsets == {0: 8}
    assert_plain_json([record])


def test_an_order_that_comes_twice_is_applied_once_also_after_a_restart(shard: Shard) -> None:
    shard.apply(order(), control_partition=0, next_offset=1)
    once = arrays(shard)
    assert shard.apply(order(), control_partition=0, next_offset=2) == []
    again = Shard.restore(shard.export(), CONFIG)
    assert again.apply(order(), control_partition=0, next_offset=3) == []
    assert arrays(shard) == arrays(again) == once
    assert again.control_offsets == {0: 3}


def test_the_memory_of_orders_is_bounded(shard: Shard) -> None:
    for k in range(10_020):
        shard.apply(order("label", id=f"o{k}", params={"answer": "unsure"}), control_partition=0, next_offset=k + 1)
    assert len(shard.applied) == 10_000
    again = order("label", id="o10019", params={"answer": "unsure"})
    assert shard.apply(again, control_partition=0, next_offset=1) == []


def test_a_reset_starts_the_models_of_one_series_afresh(shard: Shard) -> None:
    row = shard.row_of(SERIES)
    shard.apply(order("reset"), control_partition=0, next_offset=1)
    rows = shard.roster.rows
    assert rows.level.count[row] == rows.season.count[row] == 0
    assert not rows.season.profile[:, row].any()
    others = [at for at in range(shard.series_count) if at != row]
    assert (rows.level.count[others] > 100).all()
    # Its place in the log stays: what was read before is still late.
    assert rows.presence.last_ms[row] > 0


REFUSED = {
    "no kind": order(None),
    "kind of a later version": order("freeze"),
    "kind is a list": order(["retune"]),
    "unknown series": order("reset", target={**ORIGIN, "series": "nobody"}),
    "unknown entity": order("label", target={**ORIGIN, "entity": "host=nobody"}, params={"answer": "incident"}),
    "no target": order(target=None),
    "empty target": order(target={}),
    "retune of an entity": order(target={**ORIGIN, "entity": "host=h0"}),
    "reset of an entity": order("reset", target={**ORIGIN, "entity": "host=h0"}),
    "no shift": order(params={}),
    "no params": order(params=None),
    "shift is text": order(params={**MOVED, "shift": "much"}),
    "shift is NaN": order(params={**MOVED, "shift": float("nan")}),
    "sd is zero": order(params={**MOVED, "sd": 0.0}),
    "mean is missing": order(params={"shift": 1.0, "sd": 1.0, "season_level": 0.0}),
    "shift is infinite": order(params={**MOVED, "shift": float("inf")}),
}
#: Not yet: anything but BadSample ends the worker, and the order is read again at its next start.
CRASHES = {
    "params is text": order(params="abc"),
    "params is a list": order(params=[1]),
    "params is a number": order(params=5),
    "target is a list": order(target=[1]),
    "shift beyond a float": order(params={**MOVED, "shift": 10**400}),
}
CASES = [
    *(pytest.param(value, id=name) for name, value in REFUSED.items()),
    *(
        pytest.param(
            value,
            id=name,
        )
        for name, value in CRASHES.items()
    ),
]


@pytest.mark.parametrize("bad", CASES)
def test_what_makes_no_sense_is_refused_and_changes_nothing(shard: Shard, bad: dict[str, Any]) -> None:
    before = arrays(shard)
    with pytest.raises(BadSample) as refusal:
        shard.apply(bad, control_partition=0, next_offset=5)
    assert refusal.value.reason == "order"
    assert arrays(shard) == before
    assert shard.applied == {}
    # It was read, and is not to be read again.
    assert shard.control_offsets == {0: 5}


def test_a_shift_out_of_all_proportion_is_refused(shard: Shard) -> None:
    with pytest.raises(BadSample):
        shard.apply(order(params={**MOVED, "shift": 1e300}), control_partition=0, next_offset=1)


def test_a_re_tune_that_comes_half_a_day_late_is_refused(shard: Shard) -> None:
    """A worker that reads a long history applies the orders of that history at its end."""
    with pytest.raises(BadSample, match="too old"):
        shard.apply(order(at_ms=shard.clock_ms - 12 * 3_600_000 - 1), control_partition=0, next_offset=1)
    shard.apply(order(at_ms=shard.clock_ms - 12 * 3_600_000), control_partition=0, next_offset=2)


def test_a_new_normal_of_a_series_that_is_hardly_known_moves_nothing() -> None:
    """It has no level yet from which it could have moved."""
    for samples in (1, 2):
        young = cold()
        row = young.admit(Series.of("a", {"host": "h"}, Kind.GAUGE))
        young.process(
            Batch.of([row] * samples, START_MS + 60_000 * np.arange(samples), [5e9] * samples, range(samples), samples)
        )
        answer = order("label", target={**ORIGIN, "series": 'a{host="h"}'}, params={"answer": "new_normal"})
        (record,) = young.apply(answer, control_partition=0, next_offset=1)
        assert record.value["before"]["level"] == record.value["after"]["level"] == 5e9


def test_orders_with_long_ids_stay_a_small_part_of_a_snapshot(shard: Shard) -> None:
    answer = {"answer": "unsure"}
    for k in range(10_000):
        shard.apply(order("label", id=f"{k:0200d}", params=answer), control_partition=0, next_offset=k + 1)
    again = Shard.restore(unpack(pack(*shard.export())), CONFIG)
    assert len(again.applied) == 10_000
    for one in ("0" * 200, f"{9_999:0200d}"):
        assert again.apply(order("label", id=one, params=answer), control_partition=0, next_offset=1) == []


@pytest.mark.parametrize("characters", [201, 1_100_000])
def test_an_order_with_an_id_that_is_too_long_is_refused(characters: int, shard: Shard) -> None:
    with pytest.raises(BadSample, match=f"has {characters} characters"):
        shard.apply(order("label", id="x" * characters), control_partition=0, next_offset=1)
    pack(*shard.export())
