"""Windows: what lies in one is scored and told of, and teaches nothing; and that is part of the state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import frozen, windows
from engine import state as layout
from engine.batch import Batch
from engine.errors import BadSample, SnapshotError
from engine.parcel import merge, split
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State, json_column, pack, unpack
from engine.windows import Window
from tests.engine.logs import CONFIG, START_MS, admit, cold, cut, disturbed, fleet_log
from tests.engine.test_parcel import by_entity

MINUTE = 60_000
FROM, UNTIL = START_MS + 200 * MINUTE, START_MS + 260 * MINUTE
HOST = Window("host=h1", None, FROM, UNTIL, "one")
#: Columns that go on in a window. With those of `frozen` they are all that there are.
GOES_ON = {
    "link": set(layout.LINK),
    "recipe": {"kind", "seen", "rises", "falls", "last", "last_ms"},
    "change": {"slot", "entry", "known"},
    "presence": set(layout.SERIES["presence"][1]),
    "recent": set(layout.SERIES["recent"][1]),
    "shown": {"value", "expected", "band", "severe", "gate"},
}
ENTITY_GOES_ON = {
    "open": set(layout.OPEN),
    "entity": {"severe", "present", "urgent", "recent", "gate", "untold", "step_ms", "quality"},
    "life": set(layout.ENTITY["life"][1]),
    "seed": set(layout.ENTITY["seed"][1]),
}


def marked(*wanted: Window) -> Shard:
    """A cold shard that knows of windows."""
    shard = cold()
    for one in wanted:
        shard.windows.add(one, now_ms=0)
    return shard


def until(batch: Batch, ts_ms: int) -> Batch:
    """The log up to the first sample of this time."""
    return cut(batch, [int(batch.offset[np.argmax(batch.ts_ms >= ts_ms)])])[0]


def rest(shard: Shard, batch: Batch) -> Batch:
    return batch.since(shard.next_offset)


def in_order(batch: Batch) -> Batch:
    """The same log without samples that come late: then windows begin and end at one offset."""
    good = np.diff(batch.ts_ms, prepend=0) >= 0
    kept = np.maximum.accumulate(batch.ts_ms) == batch.ts_ms
    keep = good | kept
    row, ts_ms, value = (column[keep] for column in batch[:3])
    return Batch.of(row, ts_ms, value, np.arange(len(row)), len(row))


def learned(shard: Shard, entity: str) -> dict[str, bytes]:
    """All that an entity has learned, by name."""
    arrays = split(shard.export(), {entity})[0].arrays
    found = {
        f"{group}.{name}.{field}": arrays[f"{group}.{name}.{field}"].tobytes()
        for group, table in (("series", frozen.SERIES), ("entity", frozen.ENTITY))
        for name, fields in table.items()
        for field in fields
    }
    e = shard.roster.entity_of(entity)
    for b in shard.roster.blocks_of(e):
        part = shard.roster.part(b)
        found |= {f"{b}.{name}": part[name].tobytes() for name in frozen.BLOCK}
        found[f"{b}.vectors"] = part["vectors"][list(frozen.VECTORS)].tobytes()
        found[f"{b}.ticks"] = shard.roster.block.ticks[b].tobytes() + shard.roster.block.solve_at[b].tobytes()
    return found


def test_each_column_is_learned_or_goes_on() -> None:
    for table, learned_of, goes_on in (
        (layout.SERIES, frozen.SERIES, GOES_ON),
        (layout.ENTITY, frozen.ENTITY, ENTITY_GOES_ON),
    ):
        for name, (_, spec) in table.items():
            mine, others = set(learned_of.get(name, ())), goes_on.get(name, set())
            assert not mine & others, name
            assert mine | others == set(spec), name


@pytest.mark.parametrize("metrics", [1, 3, 45])
def test_nothing_is_learned_of_an_outage_in_a_window(metrics: int) -> None:
    shard = marked(HOST)
    log = in_order(fleet_log(admit(shard, 2, metrics), 320, 5))
    inside = (log.ts_ms >= FROM) & (log.ts_ms < UNTIL) & np.isin(log.row, np.arange(metrics, 2 * metrics))
    log = log._replace(value=np.where(inside, log.value + 60.0, log.value))
    told = shard.process(until(log, FROM + MINUTE)).records
    # One tick is open, and the one before it lies before the window.
    before = learned(shard, "host=h1")
    others = learned(shard, "host=h0")
    verdicts = shard.process(until(rest(shard, log), UNTIL))
    assert learned(shard, "host=h1") == before
    assert learned(shard, "host=h0") != others
    assert np.nanmax(verdicts.severity) > 2.5
    assert any(one.topic in ("alerts", "escalations") for one in [*told, *verdicts.records])
    assert shard.ledger.counts()["scored_only"] >= 0.95 * np.count_nonzero(inside)
    shard.process(rest(shard, log))
    assert learned(shard, "host=h1") != before


def test_what_is_not_learned_does_not_show_afterwards() -> None:
    """An outage in a window leaves the same models as no outage would."""
    shards = []
    for add in (0.0, 500.0):
        shard = marked(HOST)
        log = in_order(fleet_log(admit(shard, 2, 3), 320, 5))
        inside = (log.ts_ms >= FROM) & (log.ts_ms < UNTIL) & (log.row >= 3)
        shard.process(log._replace(value=np.where(inside, log.value + add, log.value)))
        shards.append(shard)
    calm, bad = (one.roster.rows for one in shards)
    for name in ("count", "mean", "var"):
        np.testing.assert_array_equal(getattr(bad.level, name)[:6], getattr(calm.level, name)[:6])
    np.testing.assert_array_equal(bad.season.sigma[:6], calm.season.sigma[:6])
    free = cold()
    log = in_order(fleet_log(admit(free, 2, 3), 320, 5))
    inside = (log.ts_ms >= FROM) & (log.ts_ms < UNTIL) & (log.row >= 3)
    free.process(log._replace(value=np.where(inside, log.value + 500.0, log.value)))
    assert (free.roster.rows.level.var[3:6] > 100 * calm.level.var[3:6]).all()


def test_other_entities_do_not_notice_a_window() -> None:
    plain, with_window = cold(), marked(HOST)
    log = fleet_log(admit(plain, 3, 2), 320, 6)
    admit(with_window, 3, 2)
    one, other = plain.process(log), with_window.process(log)
    mine = np.isin(log.row, [2, 3])
    for name in ("expected", "severity", "page", "decision", "outcome"):
        np.testing.assert_array_equal(getattr(one, name)[~mine], getattr(other, name)[~mine])
    a, b = by_entity(plain.export()), by_entity(with_window.export())
    for entity in ("host=h0", "host=h2"):
        b[entity].pop(windows.COLUMN, None)
        assert a[entity] == b[entity]
    assert a["host=h1"] != b["host=h1"]


def test_cuts_of_the_log_do_not_matter() -> None:
    ended = []
    for cuts in ([], list(range(0, 3000, 7)), [1200, 1201, 1202, 1500, 1561]):
        shard = marked(HOST, Window("host=h0", 'm1{host="h0"}', FROM - 7 * MINUTE, FROM + 90 * MINUTE, "two"))
        log = disturbed(fleet_log(admit(shard, 2, 3), 320, 7), 1250, 1500, 40.0)
        verdicts = [shard.process(part) for part in cut(log, cuts)]
        ids = [record.value["id"] for one in verdicts for record in one.records]
        ended.append((state_of(shard), ids, np.concatenate([one.page for one in verdicts]).tobytes()))
    assert ended[0] == ended[1] == ended[2]


def test_a_state_is_stored_in_mid_window_and_goes_on() -> None:
    straight = marked(HOST)
    log = fleet_log(admit(straight, 2, 3), 320, 8)
    straight.process(log)
    for at in (1230, 1231, 1232, 1400):
        shard = marked(HOST)
        admit(shard, 2, 3)
        first, second = cut(log, [at])
        shard.process(first)
        stored = unpack(pack(*shard.export()))
        again = Shard.restore(stored, CONFIG)
        again.process(second)
        assert state_of(again) == state_of(straight)


def test_windows_go_along_with_their_entity() -> None:
    shard = marked(HOST, Window("host=h0", None, FROM, UNTIL, "two"), Window("host=later", None, FROM, UNTIL, "three"))
    first, second = cut(fleet_log(admit(shard, 3, 2), 320, 9), [1000])
    shard.process(first)
    one, two = split(shard.export(), {"host=h1"})
    assert [each.entity for each in Shard.restore(one, CONFIG).windows] == ["host=h1"]
    assert [each.entity for each in Shard.restore(two, CONFIG).windows] == ["host=h0", "host=later"]
    again = Shard.restore(merge(two, one), CONFIG)
    assert list(again.windows) == list(shard.windows)
    names = {shard.row_of(text): row for row, text in enumerate(again.roster.names)}
    again.process(second._replace(row=np.array([names[int(row)] for row in second.row], np.int32)))
    shard.process(second)
    assert by_entity(again.export()) == by_entity(shard.export())


def test_of_one_marked_series_the_others_learn_by_themselves_but_not_together() -> None:
    shard = marked(Window("host=h1", 'm1{host="h1"}', FROM, UNTIL, "one"))
    log = in_order(fleet_log(admit(shard, 2, 3), 320, 5))
    shard.process(until(log, FROM + MINUTE))
    count, block = shard.roster.rows.level.count[:6].copy(), shard.roster.blocks_of(1)[0]
    ticks = float(shard.roster.block.ticks[block])
    shard.process(until(rest(shard, log), UNTIL))
    more = shard.roster.rows.level.count[:6] - count
    assert more[4] == 0.0
    assert (more[[0, 1, 2, 3, 5]] > 50).all()
    # But for ticks that it has not reported in.
    assert shard.roster.block.ticks[block] <= ticks + 3


def test_no_drift_is_raised_from_a_window() -> None:
    """A shift that would be a drift within a quarter of an hour lies in a window; after it, it is one."""
    told = []
    for shard in (cold(), marked(Window("m", None, START_MS + 3000 * MINUTE, START_MS + 3400 * MINUTE, "one"))):
        row = shard.admit(Series.of("m", {}, Kind.GAUGE))
        at, rng = np.arange(4000), np.random.default_rng(2)
        value = rng.normal(size=4000) + np.where(at >= 3000, 12.0, 0.0)
        verdicts = shard.process(Batch.of(np.full(4000, row), START_MS + at * MINUTE, value, at, 4000))
        drifts = [one.value["at_ms"] for one in verdicts.records if one.value.get("kind") == "level"]
        told.append([(ms - START_MS) // MINUTE for ms in drifts])
    assert 3000 < told[0][0] < 3300
    assert told[1][0] >= 3400


def test_a_series_that_becomes_a_counter_in_a_window_begins_anew() -> None:
    shard = Shard(type(CONFIG)(counters_from_shape=True), topic="metrics", partition=0)
    shard.next_offset = 0
    row = shard.admit(Series.of("requests", {"host": "h1"}))
    shard.windows.add(Window("host=h1", None, START_MS, START_MS + 12 * MINUTE, "one"), now_ms=0)
    at = np.arange(60)
    shard.process(Batch.of(np.full(60, row), START_MS + at * MINUTE, 1000.0 * at, at, 60))
    assert shard.roster.rows.level.mean[row] == pytest.approx(1000 / 60)


def test_the_first_tick_after_a_window_has_no_past() -> None:
    """Else the covariances between now and the outage would be learned."""
    shard = marked(HOST)
    log = in_order(fleet_log(admit(shard, 2, 3), 264, 5))
    inside = (log.ts_ms >= FROM) & (log.ts_ms < UNTIL) & (log.row >= 3)
    log = log._replace(value=np.where(inside, log.value + 500.0, log.value))
    shard.process(log)
    assert np.abs(shard.roster.part(shard.roster.blocks_of(1)[0])["history"]).max() < 6.0
    during = marked(HOST)
    admit(during, 2, 3)
    during.process(until(log, UNTIL - MINUTE))
    assert np.abs(during.roster.part(during.roster.blocks_of(1)[0])["history"]).max() > 5.0


def test_a_lone_series_is_still_small() -> None:
    shard = cold()
    shard.process(fleet_log(admit(shard, 50, 1), 100))
    # 4.2 KiB: the last 32 values, which people are shown and changes are told by, take 200 bytes of it.
    assert shard.counters()["state_bytes"] / 50 < 4320


def order(kind: str = "mark", **changes: Any) -> dict[str, Any]:
    return {
        "schema": "graft.order/1",
        "id": "order-1",
        "kind": kind,
        "target": {"topic": "metrics", "partition": 0, "entity": "host=h1"},
        "params": {"from_ms": FROM, "until_ms": UNTIL},
    } | changes


def give(shard: Shard, one: dict[str, Any], at: int = 1) -> Any:
    return shard.apply(one, control_partition=0, next_offset=at)


def running(ticks: int) -> Shard:
    shard = cold()
    shard.process(fleet_log(admit(shard, 2, 2), ticks, 4))
    return shard


def test_an_order_marks_what_comes() -> None:
    by_order, known = cold(), marked(HOST._replace(order="order-1"))
    log = fleet_log(admit(by_order, 2, 2), 320, 4)
    admit(known, 2, 2)
    by_order.process(cut(log, [600])[0])
    (record,) = give(by_order, order())
    told = record.value
    assert (told["kind"], told["finding"], told["window"]["state"]) == ("mark", "marked", "in_time")
    assert told["applied_at"] == {"topic": "metrics", "partition": 0, "offset": by_order.next_offset}
    by_order.process(log.since(by_order.next_offset))
    known.process(log)
    assert state_of(by_order) == state_of(known)
    assert give(by_order, order(), at=2) == []
    (again,) = give(by_order, order(id="order-2"), at=3)
    assert again.value["finding"] == "unchanged"


def test_a_window_that_has_begun_is_history_unless_somebody_asks_for_more() -> None:
    shard = running(300)
    (late,) = give(shard, order())
    assert late.value["window"]["state"] == "late"
    assert shard.windows.asked() == []
    (asked,) = give(shard, order("unlearn", id="order-2"), at=2)
    assert asked.value["window"]["state"] == "asked"
    assert [one.entity for one in shard.windows.asked()] == ["host=h1"]


@pytest.mark.parametrize("answer", ["incident", "expected"])
def test_an_answer_with_a_window_asks_to_unlearn_it(answer: str) -> None:
    shard = running(300)
    params = {"answer": answer, "by": "ana", "from_ms": FROM, "until_ms": UNTIL}
    (record,) = give(shard, order("label", params=params))
    assert record.value["after"]["window"]["state"] == "asked"
    assert len(shard.windows.asked()) == 1


@pytest.mark.parametrize("answer", ["new_normal", "false_alarm", "unsure"])
def test_other_answers_mark_nothing(answer: str) -> None:
    shard = running(300)
    give(shard, order("label", params={"answer": answer, "by": "ana", "from_ms": FROM, "until_ms": UNTIL}))
    assert len(shard.windows) == 0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"params": {"from_ms": UNTIL, "until_ms": FROM}}, "begins before it ends"),
        ({"params": {"from_ms": FROM, "until_ms": FROM}}, "begins before it ends"),
        ({"params": {"from_ms": -1, "until_ms": FROM}}, "begins before it ends"),
        ({"params": {"from_ms": FROM, "until_ms": 10**15}}, "begins before it ends"),
        ({"params": {"from_ms": FROM, "until_ms": FROM + 40 * 86_400_000}}, "40 days"),
        ({"params": {"from_ms": FROM}}, "whole numbers"),
        ({"params": {"from_ms": True, "until_ms": UNTIL}}, "whole numbers"),
        ({"params": {"from_ms": "1", "until_ms": 2.5}}, "whole numbers"),
        ({"target": {"entity": "host=nobody"}}, "unknown here"),
        ({"target": {"entity": "host=h1", "series": "nothing"}}, "not known here"),
        ({"kind": "label", "params": {"answer": "incident", "from_ms": UNTIL, "until_ms": FROM}}, "begins before"),
    ],
)
def test_what_is_no_window_is_refused_and_changes_nothing(changes: dict[str, Any], what: str) -> None:
    shard = running(150)
    before = state_of(shard)
    with pytest.raises(BadSample, match=what):
        give(shard, order(**changes))
    shard.control_offsets.clear()
    assert state_of(shard) == before


def test_a_million_windows_are_refused() -> None:
    shard = cold()
    shard.process(fleet_log(admit(shard, 40, 1), 30, 4))
    refused = 0
    for n in range(1_000_000):
        params = {"from_ms": FROM + n, "until_ms": UNTIL + n}
        try:
            give(shard, order(id=str(n), target={"entity": f"host=h{n % 40}"}, params=params), at=n + 1)
        except BadSample:
            refused += 1
        if refused >= 2000:
            break
    assert len(shard.windows) == windows.MOST
    assert len(shard.export().arrays[windows.COLUMN]) < 100_000
    # Those of long ago make room.
    shard.roster.clock[layout.CLOCK] = UNTIL + n + windows.REMEMBERED_MS + 1
    later = {"from_ms": UNTIL + 10 * 86_400_000, "until_ms": UNTIL + 11 * 86_400_000}
    give(shard, order(id="later", params=later), at=n + 2)
    assert len(shard.windows) == 1


def test_of_one_host_only_some_are_kept() -> None:
    shard = running(150)
    for n in range(windows.MOST_OF_ONE):
        give(shard, order(id=str(n), params={"from_ms": FROM + n, "until_ms": UNTIL}), at=n + 1)
    with pytest.raises(BadSample, match="host=h1 has 16 windows"):
        give(shard, order(id="one more", params={"from_ms": FROM - 1, "until_ms": UNTIL}), at=99)


def test_a_retune_that_answers_a_drift_in_a_window_is_refused() -> None:
    shard = running(300)
    give(shard, order())
    before = shard.roster.rows.level.mean[:4].copy()
    params = {"shift": 9.0, "mean": 1.0, "sd": 1.0, "season_level": 0.0}
    target = {"topic": "metrics", "partition": 0, "series": 'm0{host="h1"}', "entity": "host=h1"}
    (record,) = give(shard, order("retune", id="2", target=target, params=params, at_ms=FROM + 1), at=2)
    assert record.value["finding"] == "refused"
    np.testing.assert_array_equal(shard.roster.rows.level.mean[:4], before)
    at_once = {**params, "trial": False}
    give(shard, order("retune", id="3", target=target, params=at_once, at_ms=UNTIL), at=3)
    assert shard.roster.rows.level.mean[2] != before[2]


@pytest.mark.parametrize(
    "column",
    [
        {"a": 1},
        [["host=h1", None, 5, 4, "one", 0]],
        [["host=h1", None, 1, 2, "one", 9]],
        [[1, None, 1, 2, "one", 0]],
        [["host=h1", None, 1, 2]],
        [["host=h1", None, n, n + 1, "one", 0] for n in range(windows.MOST + 1)],
    ],
)
def test_windows_that_are_none_make_no_state(column: Any) -> None:
    manifest, arrays = running(50).export()
    with pytest.raises(SnapshotError, match="window"):
        Shard.restore(State(manifest, arrays | {windows.COLUMN: json_column(column)}), CONFIG)


def state_of(shard: Shard) -> tuple[dict[str, Any], dict[str, bytes]]:
    manifest, arrays = shard.export()
    manifest = {name: value for name, value in manifest.items() if name not in ("control_offsets", "applied")}
    return manifest, {name: array.tobytes() for name, array in arrays.items()}
