"""Who is there, and who has stopped: new series in mid-log, silences of one, of all, and for good."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.batch import Batch
from engine.events import Events, fresh_events
from engine.series import Kind, Series
from engine.shard import Shard
from tests.engine.components.feed import MINUTE_MS, log_of, of, without
from tests.engine.logs import CONFIG, START_MS, admit, cold, cut, fleet_log


def fleet_with_hole(minutes: int) -> Batch:
    """Ten hosts of four metrics; after 1000 minutes nothing at all comes for a while, then all go on."""
    batch = fleet_log(admit(cold(), 10, 4), 1200, 1)
    ts_ms = batch.ts_ms.copy()
    ts_ms[ts_ms >= START_MS + 1000 * MINUTE_MS] += minutes * MINUTE_MS
    return batch._replace(ts_ms=ts_ms)


@pytest.mark.parametrize("minutes", [10, 60, 1440])
def test_a_hole_in_the_whole_log_pages_nobody(minutes: int) -> None:
    """Noise pages now and then; a hole adds nothing to that."""
    alerts, drift = told_after_hole(minutes)
    assert len(alerts) <= len(told_after_hole(0)[0])
    assert drift == []


def told_after_hole(minutes: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Alerts of the three hours after it, and absences."""
    shard = cold()
    admit(shard, 10, 4)
    told = shard.process(fleet_with_hole(minutes)).records
    after = START_MS + (1000 + minutes) * MINUTE_MS
    alerts = [one for one in of(told, "alerts", "firing") if after <= one["started_ms"] < after + 180 * MINUTE_MS]
    return alerts, of(told, "drift", "absent")


def hosts_that_end(hosts: int, ends: int, minutes: int, after: int) -> Batch:
    """Lone metrics of many hosts; the last `ends` of them stop at minute `after`."""
    rng = np.random.default_rng(0)
    batch = log_of(np.arange(hosts), rng.normal(size=(minutes, hosts)))
    return without(batch, (batch.row >= hosts - ends) & (batch.ts_ms >= START_MS + after * MINUTE_MS))


def test_one_host_of_several_that_stops_is_an_alert_and_ends_when_it_is_back() -> None:
    shard = cold()
    rows = admit(shard, 5, 2)
    batch = fleet_log(rows, 400, 2)
    at, back = START_MS + 200 * MINUTE_MS, START_MS + 260 * MINUTE_MS
    told = shard.process(without(batch, (batch.row >= 8) & (batch.ts_ms >= at) & (batch.ts_ms < back))).records
    absent = of(told, "drift", "absent")
    assert {value["entity"] for value in absent} == {"host=h4"}
    assert len(absent) == 2
    assert all(4 * MINUTE_MS <= value["at_ms"] - at <= 15 * MINUTE_MS for value in absent)
    firing, resolved = of(told, "alerts")
    assert (firing["state"], resolved["state"], firing["entity"]) == ("firing", "resolved", "host=h4")
    assert "has stopped sending" in firing["because"]
    assert resolved["ended_ms"] >= back
    assert len(of(told, "drift", "returned")) == 2
    assert shard.counters()["absent"] == 0


def test_a_lone_series_that_stops_says_nothing() -> None:
    """Its silence stops event time as well; when it comes back, it is simply there."""
    shard = cold()
    rows = admit(shard, 1, 1)
    batch = fleet_log(rows, 400, 3)
    hole = (batch.ts_ms > START_MS + 200 * MINUTE_MS) & (batch.ts_ms < START_MS + 300 * MINUTE_MS)
    told = shard.process(without(batch, hole)).records
    assert of(told, "alerts") == []
    assert of(told, "drift", "absent") == []


def test_an_autoscaled_host_is_forgotten_after_a_day_and_its_alert_ends() -> None:
    shard = cold()
    for at in range(12):
        shard.admit(Series.of("load", {"host": f"h{at}"}, Kind.GAUGE))
    told = shard.process(hosts_that_end(12, 1, 1800, 200)).records
    states = [value["state"] for value in of(told, "alerts") if value["entity"] == "host=h11"]
    assert states == ["firing", "resolved"]
    ended = of(told, "alerts", "resolved")[0]["at_ms"]
    assert 1440 * MINUTE_MS <= ended - (START_MS + 199 * MINUTE_MS) <= 1445 * MINUTE_MS
    counters = shard.counters()
    assert (counters["firing"], counters["absent"]) == (0, 0)


def test_many_hosts_forgotten_at_once_stay_inside_the_event_buffer() -> None:
    shard = cold()
    hosts = 1200
    for at in range(hosts):
        shard.admit(Series.of("load", {"host": f"h{at}"}, Kind.GAUGE))
    # The buffer is a window on a larger one, so that what is written beyond it can be seen and breaks nothing.
    whole = fresh_events(4096)
    for column in whole:
        column.fill(77)
    room = 800
    shard._events = Events(*(column[:room] for column in whole))
    batch = hosts_that_end(hosts, hosts - 5, 1600, 60)
    # Read to the end even if the shard cannot: the question is what was written where.
    try:
        shard.process(batch)
    finally:
        touched = [name for name, column in zip(whole._fields, whole, strict=True) if (column[room:] != 77).any()]
        assert touched == []


def test_a_series_that_never_moved_is_no_news_and_one_that_stops_moving_is() -> None:
    shard = cold()
    rows = admit(shard, 1, 2)[0]
    rng = np.random.default_rng(5)
    values = np.column_stack([rng.normal(size=900), np.full(900, 7.0)])
    values[600:800, 0] = values[600, 0]
    told = shard.process(log_of(rows, values)).records
    flat = of(told, "drift", "flat")
    assert [value["series"] for value in flat if value["series"].startswith("m0")] == ['m0{host="h0"}']
    moved = next(value for value in flat if value["series"].startswith("m0"))
    assert moved["after"]["value"] == pytest.approx(values[600, 0])
    assert 60 <= (moved["at_ms"] - START_MS) // MINUTE_MS - 600 <= 70
    # A constant is told once at most, and pages never.
    assert len(flat) <= 2
    assert of(told, "alerts") == []


def growing_fleet() -> tuple[Batch, list[Series]]:
    """Two hosts of five metrics, the fifth of which appears in mid-log; series in order of first sight."""
    batch = fleet_log(np.arange(10).reshape(2, 5), 120, 0)
    batch = without(batch, (batch.row % 5 == 4) & (batch.ts_ms < START_MS + 60 * MINUTE_MS))
    _, first = np.unique(batch.row, return_index=True)
    order = [int(batch.row[at]) for at in sorted(first)]
    series = [Series.of(f"m{old % 5}", {"host": f"h{old // 5}"}, Kind.GAUGE) for old in order]
    return batch._replace(row=np.array([order.index(old) for old in batch.row], np.int32)), series


def admitted_as_read(cuts: list[int]) -> Shard:
    """As the decoder does it: all series of a batch are admitted before it is folded."""
    batch, series = growing_fleet()
    shard = cold(CONFIG)
    for part in cut(batch, cuts):
        for row in range(int(part.row.max()) + 1):
            shard.admit(series[row])
        shard.process(part)
    return shard


def test_when_a_new_series_counts_does_not_depend_on_the_cuts() -> None:
    whole, parts = admitted_as_read([]).export(), admitted_as_read(list(range(0, 1200, 50))).export()
    unequal = [name for name, array in whole.arrays.items() if array.tobytes() != parts.arrays[name].tobytes()]
    assert unequal == []
