"""Clocks that disagree: a sender that is ahead makes nobody absent, a wrong date does no harm, a hole is crossed."""

from __future__ import annotations

import numpy as np
import pytest

from engine.batch import Batch
from engine.series import Kind, Series
from engine.shard import Shard, Verdicts
from engine.snapshot import pack
from tests.engine.components.feed import MINUTE_MS, log_of, of, without
from tests.engine.logs import CONFIG, START_MS, admit, cold, cut

STEP_MS = 10_000
YEAR_MS = 365 * 86_400_000


def fleet(hosts: int, metrics: int, ticks: int, *, step_ms: int = STEP_MS) -> tuple[Shard, Batch]:
    """Noise of sd 1, each host and metric at each step."""
    shard = cold()
    rows = admit(shard, hosts, metrics).ravel()
    values = np.random.default_rng(0).normal(size=(ticks, hosts * metrics))
    return shard, log_of(rows, values, START_MS + step_ms * np.arange(ticks))


def ahead(batch: Batch, rows: range, by_ms: int, begin: int, end: int, *, step_ms: int = STEP_MS) -> Batch:
    """The log, in the same order, with the clock of these rows wrong in the ticks [begin, end)."""
    tick = (batch.ts_ms - START_MS) // step_ms
    wrong = np.isin(batch.row, rows) & (tick >= begin) & (tick < end)
    return batch._replace(ts_ms=batch.ts_ms + by_ms * wrong)


def stopped(batch: Batch, rows: range, after: int, *, step_ms: int = STEP_MS) -> Batch:
    """The log without these rows from tick `after` on."""
    return without(batch, np.isin(batch.row, rows) & (batch.ts_ms >= START_MS + after * step_ms))


def told_of_stops(verdict: Verdicts) -> tuple[set[str], set[str]]:
    """Entities of which an absence was told, and which had an alert."""
    absent = {value["entity"] for value in of(verdict.records, "drift", "absent")}
    return absent, {value["entity"] for value in of(verdict.records, "alerts")}


@pytest.mark.parametrize("by_s", [60, 300])
def test_a_host_whose_clock_is_ahead_makes_nobody_absent(by_s: int) -> None:
    shard, batch = fleet(6, 3, 600)
    verdict = shard.process(ahead(batch, range(15, 18), 1000 * by_s, 300, 600))
    assert told_of_stops(verdict) == (set(), set())
    assert of(verdict.records, "drift", "returned") == []


@pytest.mark.parametrize("by_s", [60, 300])
def test_a_host_whose_clock_is_behind_is_not_absent(by_s: int) -> None:
    shard, batch = fleet(6, 3, 600)
    verdict = shard.process(ahead(batch, range(15, 18), -1000 * by_s, 0, 600))
    assert told_of_stops(verdict) == (set(), set())
    assert shard.ledger["late"] == 0


def test_a_host_that_was_a_quarter_of_an_hour_ahead_goes_on_when_its_clock_is_set() -> None:
    shard, batch = fleet(6, 3, 600)
    verdict = shard.process(ahead(batch, range(15, 18), 15 * MINUTE_MS, 300, 450))
    assert told_of_stops(verdict) == (set(), set())
    assert shard.ledger["late"] == 0
    assert shard.clock_ms == int(batch.ts_ms[-1])


@pytest.mark.parametrize("by_s", [60, 300])
def test_beside_a_host_whose_clock_is_ahead_a_host_that_stops_is_told_at_once(by_s: int) -> None:
    shard, batch = fleet(6, 3, 600)
    batch = ahead(stopped(batch, range(3), 400), range(15, 18), 1000 * by_s, 300, 600)
    verdict = shard.process(batch)
    assert told_of_stops(verdict) == ({"host=h0"}, {"host=h0"})
    told = [(value["at_ms"] - START_MS) / STEP_MS - 400 for value in of(verdict.records, "drift", "absent")]
    assert len(told) == 3
    assert all(4 <= steps <= 8 + by_s / 10 for steps in told)


@pytest.mark.parametrize("hosts", [1, 4])
@pytest.mark.parametrize("wrong", [range(4), range(1)], ids=["all metrics", "one metric"])
def test_one_interval_a_year_ahead_leaves_no_trace(hosts: int, wrong: range) -> None:
    shard, batch = fleet(hosts, 4, 1200)
    last_ms = int(batch.ts_ms[-1])
    value = batch.value.copy()
    value[(batch.row < 2) & (batch.ts_ms >= START_MS + 1000 * STEP_MS)] += 25.0
    verdict = shard.process(ahead(batch._replace(value=value), wrong, YEAR_MS, 300, 301))
    # The host goes on being watched, none of its samples is late, and the shard's clock is that of the others.
    assert shard.clock_ms == last_ms
    assert (shard.ledger["late"], shard.ledger["learned"]) == (0, len(batch.row))
    alerts = of(verdict.records, "alerts")
    assert [(one["state"], one["entity"]) for one in alerts][:1] == [("firing", "host=h0")]
    assert START_MS + 1000 * STEP_MS <= alerts[0]["started_ms"] <= START_MS + 1002 * STEP_MS
    assert of(verdict.records, "drift", "absent") == []


def test_after_a_year_ahead_another_host_that_stops_is_told() -> None:
    shard, batch = fleet(3, 4, 800)
    verdict = shard.process(ahead(stopped(batch, range(8, 12), 600), range(4), YEAR_MS, 300, 301))
    assert told_of_stops(verdict) == ({"host=h2"}, {"host=h2"})
    assert shard.ledger["late"] == 0


@pytest.mark.parametrize(("hosts", "metrics"), [(1, 1), (1, 4), (2, 1), (8, 3)])
def test_a_hole_in_the_log_is_crossed(hosts: int, metrics: int) -> None:
    shard, batch = fleet(hosts, metrics, 900)
    later = batch.ts_ms >= START_MS + 600 * STEP_MS
    whole = batch._replace(ts_ms=batch.ts_ms + later * 240 * MINUTE_MS)
    verdict = shard.process(whole)
    assert shard.clock_ms == int(whole.ts_ms[-1])
    assert shard.ledger["learned"] == len(batch.row)
    assert told_of_stops(verdict) == (set(), set())


@pytest.mark.parametrize("metrics", [1, 3])
def test_after_a_hole_a_host_that_stops_is_told(metrics: int) -> None:
    shard, batch = fleet(2, metrics, 900)
    gone = range(metrics, 2 * metrics)
    batch = stopped(batch, gone, 700)
    later = batch.ts_ms >= START_MS + 600 * STEP_MS
    verdict = shard.process(batch._replace(ts_ms=batch.ts_ms + later * 240 * MINUTE_MS))
    assert told_of_stops(verdict) == ({"host=h1"}, {"host=h1"})


@pytest.mark.parametrize("hosts", [1, 4])
def test_a_restart_between_the_votes_changes_nothing(hosts: int) -> None:
    """A hole, and a host with a wrong date just before it; a restart after each of the samples about both."""
    shard, batch = fleet(hosts, 2, 400)
    later = batch.ts_ms >= START_MS + 200 * STEP_MS
    batch = ahead(batch, range(2), YEAR_MS, 198, 199)
    batch = batch._replace(ts_ms=batch.ts_ms + later * 240 * MINUTE_MS)
    straight = shard.process(batch).records
    told = []
    again = fleet(hosts, 2, 400)[0]
    for part in cut(batch, list(range(396 * hosts, 412 * hosts))):
        again = Shard.restore(again.export(), CONFIG)
        told += again.process(part).records
    assert told == straight
    assert pack(*again.export()) == pack(*shard.export())
    assert shard.clock_ms == int(batch.ts_ms[-1])


@pytest.mark.parametrize("minutes", [5, 15])
def test_steps_of_several_minutes_move_the_clock(minutes: int) -> None:
    step_ms = minutes * MINUTE_MS
    shard, batch = fleet(2, 1, 300, step_ms=step_ms)
    verdict = shard.process(stopped(batch, range(1, 2), 200, step_ms=step_ms))
    assert shard.clock_ms == START_MS + 299 * step_ms
    (absent,) = of(verdict.records, "drift", "absent")
    assert absent["entity"] == "host=h1"
    assert 4 <= (absent["at_ms"] - START_MS) / step_ms - 200 <= 7


@pytest.mark.parametrize("churn", [False, True])
def test_new_series_that_come_all_the_time_do_not_hide_a_host_that_stops(churn: bool) -> None:
    shard, batch = fleet(4, 3, 600)
    batch = stopped(batch, range(9, 12), 400)
    if churn:
        pods = [shard.admit(Series.of("up", {"host": f"pod{k}"}, Kind.GAUGE)) for k in range(200)]
        births = START_MS + 3 * STEP_MS * np.arange(200) + STEP_MS // 2
        at = np.searchsorted(batch.ts_ms, births)
        row, ts_ms, value = (
            np.insert(column, at, more) for column, more in zip(batch[:3], (pods, births, 1.0), strict=True)
        )
        batch = Batch.of(row, ts_ms, value, np.arange(len(row)), len(row))
    verdict = shard.process(batch)
    told = [(value["at_ms"] - START_MS) / STEP_MS - 400 for value in of(verdict.records, "drift", "absent")]
    assert len(told) == 3
    assert all(4 <= steps <= 8 for steps in told)


@pytest.mark.parametrize("away", [3, 15, 70])
@pytest.mark.parametrize("ahead_ms", [0, 5 * MINUTE_MS])
def test_the_word_of_a_slow_series_does_not_make_the_fast_ones_silent(away: int, ahead_ms: int) -> None:
    """It comes every ten minutes; the collector was away, and the slow one is heard of first afterwards."""
    shard, batch = fleet(4, 1, 700, step_ms=MINUTE_MS)
    tick = (batch.ts_ms - START_MS) // MINUTE_MS
    is_slow = batch.row == 0
    is_away = (tick > 500) & (tick <= 500 + away - away % 10 + 9) if away > 3 else (tick > 500) & (tick <= 503)
    batch = without(batch._replace(ts_ms=batch.ts_ms + ahead_ms * is_slow), (is_slow & (tick % 10 > 0)) | is_away)
    verdict = shard.process(batch)
    assert told_of_stops(verdict)[0] - {"host=h0"} == set()
