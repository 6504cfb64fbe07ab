"""What is silent and what is not: one metric of many, a whole host, series that come and go, and how each ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.alerts import FIRING_TICKS
from engine.batch import Batch
from engine.components import presence
from engine.series import Kind, Series
from engine.shard import Shard
from tests.engine.components.feed import MINUTE_MS, log_of, of, without
from tests.engine.logs import START_MS, admit, cold, cut

DAY = 1440


def minute(value: dict[str, Any]) -> float:
    """When it was told, in minutes of the log."""
    return float(value["at_ms"] - START_MS) / MINUTE_MS


def noise(hosts: int, metrics: int, ticks: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(ticks, hosts * metrics))


def stopped(batch: Batch, rows: range, after: int, until: int = 1 << 30) -> Batch:
    """The log without these rows in the minutes [after, until)."""
    at = (batch.ts_ms - START_MS) // MINUTE_MS
    return without(batch, np.isin(batch.row, rows) & (at >= after) & (at < until))


def told_of(batch: Batch, hosts: int, metrics: int) -> tuple[Shard, list[tuple[float, str, str, str]]]:
    """The alerts and escalations of the first host: minute, topic, state, why."""
    shard = cold()
    admit(shard, hosts, metrics)
    records = shard.process(batch).records
    mine = [r for r in records if r.topic in ("alerts", "escalations") and r.value["entity"] == "host=h0"]
    return shard, [(minute(r.value), r.topic, r.value["state"], r.value["because"]) for r in mine]


def test_a_host_of_which_one_metric_has_stopped_still_fires() -> None:
    values = noise(2, 10, 1500)
    values[1300:1340, :5] += 25.0
    _, told = told_of(stopped(log_of(np.arange(20), values), range(9, 10), 1000), 2, 10)
    asked = next(one for one in told if one[0] >= 1000)
    assert asked[1:] == ("escalations", "opened", 'host=h0: m9{host="h0"} has stopped sending.')
    assert 1004 <= asked[0] <= 1010
    fired, resolved = [one for one in told if one[0] >= 1000 and one[1] == "alerts"]
    assert fired[1:3] == ("alerts", "firing")
    assert 1300 <= fired[0] <= 1301
    assert resolved[1:] == ("alerts", "resolved", "host=h0 is back to normal.")


def test_a_host_that_dies_is_an_alert_and_no_question() -> None:
    """The first of its series that is found silent is not one of many."""
    _, told = told_of(stopped(log_of(np.arange(20), noise(2, 10, 1100)), range(10), 1000), 2, 10)
    (fired,) = [one for one in told if one[0] >= 1000]
    assert fired[1:3] == ("alerts", "firing")


def test_a_question_that_an_alert_overtakes_is_closed() -> None:
    values = noise(2, 10, 1500)
    values[1020:1030] += 25.0
    _, told = told_of(stopped(log_of(np.arange(20), values), range(9, 10), 1000), 2, 10)
    states = [(topic, state) for at, topic, state, _ in told if at >= 1000]
    assert states == [
        ("escalations", "opened"), ("escalations", "expired"), ("alerts", "firing"), ("alerts", "resolved"),
    ]  # fmt: skip
    assert next(why for at, _, state, why in told if state == "expired" and at >= 1000).endswith(
        "overtaken the question."
    )


@pytest.mark.parametrize("gone", [5, 6])
def test_more_than_half_of_a_host_must_be_silent_for_an_alert(gone: int) -> None:
    batch = stopped(log_of(np.arange(20), noise(2, 10, 1100)), range(gone), 1000)
    _, told = told_of(batch, 2, 10)
    assert ("alerts" in [topic for _, topic, _, _ in told]) == (gone == 6)


def test_an_outage_of_all_is_no_habit_of_anyone() -> None:
    """A collector that was down for an hour; a host that dies later is told after five minutes, as an alert."""
    batch = stopped(log_of(np.arange(3), noise(3, 1, 1500)), range(3), 600, 660)
    _, told = told_of(stopped(batch, range(1), 1000), 3, 1)
    at, topic, state, _ = next(one for one in told if one[0] >= 1000)
    assert (topic, state) == ("alerts", "firing")
    assert at <= 1006


def with_containers(generation: int, until: int, ticks: int) -> tuple[Shard, Batch]:
    """Six metrics of a host, and two of containers that live for `generation` minutes; an outage at the end."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(ticks, 6))
    values[ticks - 100 : ticks - 80, :3] += 15.0
    shard = cold()
    batch = log_of(admit(shard, 1, 6)[0], values)
    short = until // generation
    rows = np.array(
        [
            [shard.admit(Series.of("c", {"host": "h0", "id": f"{k}-{c}"}, Kind.GAUGE)) for c in range(2)]
            for k in range(short)
        ]
    )
    at = np.arange(short * generation)
    row, ts_ms = rows[at // generation].ravel(), np.repeat(START_MS + MINUTE_MS * at, 2)
    order = np.argsort(np.concatenate([batch.ts_ms, ts_ms]), kind="stable")
    columns = zip(batch[:3], (row, ts_ms, rng.normal(size=len(row))), strict=True)
    return shard, Batch.of(*(np.concatenate(pair)[order] for pair in columns), np.arange(len(order)), len(order))


def test_containers_that_come_and_go_do_not_make_a_host_deaf() -> None:
    shard, batch = with_containers(generation=200, until=3500, ticks=6000)
    records = shard.process(batch)
    ents, counters = shard.roster.ents, shard.counters()
    assert ents.open.members[0] == 6
    assert ents.entity.quality[0] > 0.95
    assert (counters["absent"], counters["gone"]) == (0, 34)
    fired = of(records.records, "alerts", "firing")
    near = [one for one in fired if 5900 <= minute(one) <= 5902]
    assert len(near) == 1
    assert near[0]["confidence"] > 0.85


def test_slow_metrics_beside_fast_ones_are_no_gap_in_the_data() -> None:
    values = noise(1, 8, 3000)
    batch = log_of(np.arange(8), values)
    slow = (batch.row >= 5) & ((batch.ts_ms - START_MS) // MINUTE_MS % 6 > 0)
    shard, _ = told_of(without(batch, slow), 1, 8)
    assert shard.roster.ents.entity.quality[0] > 0.8


def test_a_series_that_comes_back_after_days_is_a_member_again() -> None:
    batch = stopped(log_of(np.arange(6), noise(2, 3, 3 * DAY)), range(1), 500, 500 + 2 * DAY)
    before = int((batch.ts_ms < START_MS + (490 + 2 * DAY) * MINUTE_MS).sum())
    shard = cold()
    admit(shard, 2, 3)
    first, second = cut(batch, [before])
    shard.process(first)
    members, absent = shard.roster.ents.open.members, shard.roster.rows.presence.absent
    assert (members[0], absent[0], shard.counters()["gone"]) == (2, presence.GONE, 1)
    records = shard.process(second).records
    assert (members[0], absent[0], shard.counters()["gone"]) == (3, 0, 0)
    assert [value["series"] for value in of(records, "drift", "returned")] == ['m0{host="h0"}']


def test_young_series_that_went_are_gone_after_a_day_too() -> None:
    """Too young for a cadence, so never absent; they may not stay members for ever."""
    shard = cold()
    admit(shard, 2, 2)
    shard.process(stopped(log_of(np.arange(4), noise(2, 2, 100 + DAY + 30)), range(1), 10))
    assert shard.counters()["gone"] == 1
    assert shard.counters()["absent"] == 0
    assert shard.roster.ents.open.members[:2].tolist() == [1, 2]


def forgotten(cuts: list[int]) -> list[dict[str, Any]]:
    """The alerts of three lone metrics, of which one ends for good and is forgotten."""
    shard = cold()
    admit(shard, 3, 1)
    batch = stopped(log_of(np.arange(3), noise(3, 1, 1700)), range(2, 3), 100)
    return of([record for part in cut(batch, cuts) for record in shard.process(part).records], "alerts")


def test_what_is_told_of_a_forgotten_host_does_not_depend_on_the_cuts() -> None:
    whole = forgotten([])
    ended = whole[-1]
    assert ended["state"] == "resolved"
    assert ended["because"] == "host=h2 has not been heard of for a day."
    assert [one["share"] for one in ended["contributors"]] == [1.0]
    assert ended["value"] is not None
    assert (ended["expected"], ended["lower"], ended["upper"]) == (None, None, None)
    for cuts in ([300], list(range(0, 3600, 50))):
        assert forgotten(cuts) == whole


def test_a_metric_that_is_forgotten_does_not_end_the_alert_of_its_host() -> None:
    """The host is in the middle of an outage when one of its metrics has been away for a day."""
    values = noise(2, 4, 500 + DAY + 120)
    values[490 + DAY : 530 + DAY, :3] += 25.0
    _, told = told_of(stopped(log_of(np.arange(8), values), range(3, 4), 500), 2, 4)
    late = [one for one in told if one[0] >= 480 + DAY and one[1] == "alerts"]
    assert [state for _, _, state, _ in late] == ["firing", "resolved"]
    assert late[0][0] <= 491 + DAY
    assert late[1][0] >= 530 + DAY
    assert late[1][3] == "host=h0 is back to normal."


def test_an_alert_that_lasts_for_too_long_does_not_say_that_all_is_well() -> None:
    """Two metrics of three are away, and the host has sent as many ticks as an alert may last: not yet a day."""
    ticks = 1000 + FIRING_TICKS + 100
    step_ms = 10_000
    batch = log_of(np.arange(6), noise(2, 3, ticks), START_MS + step_ms * np.arange(ticks))
    batch = without(batch, (batch.row < 2) & (batch.ts_ms >= START_MS + 1000 * step_ms))
    shard, told = told_of(batch, 2, 3)
    fired, ended = [one for one in told if one[1] == "alerts"]
    assert (fired[2], ended[2]) == ("firing", "resolved")
    assert ended[3] == "host=h0 has been unusual for 2880 ticks; it still is, but is no longer told as an alert."
    assert shard.counters()["absent"] == 2
