"""Un-learning: a state that is rebuilt is the state of whoever knew of the window, bit for bit; or it says why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from agents.codecs.decoder import Decoder
from agents.recovery import unlearn
from agents.recovery.unlearn import NotExact, Piece, Step, Without, rebuild, steps_between, to_mark
from engine import marking
from engine.errors import BadSample
from engine.retaking import retake
from engine.shard import Shard
from engine.snapshot import diff, pack, unpack
from engine.windows import ASKED, IN_TIME, LATE, SETTLED, Window
from tests.engine.logs import CONFIG, START_MS, cold

HOSTS, TICKS, MINUTE = 3, 700, 60_000
OUTAGE = range(400, 460)
FROM, UNTIL = (START_MS + tick * MINUTE for tick in (OUTAGE.start, OUTAGE.stop))
WINDOW = Window("host=h1", None, FROM, UNTIL, "label")
BEFORE = 390 * HOSTS * 2


def records(seed: int = 0) -> list[bytes]:
    """Two metrics of some hosts, each minute; one host is ill for an hour, and one comes late into the world."""
    rng, found = np.random.default_rng(seed), []
    for tick in range(TICKS):
        for host in range(HOSTS):
            for metric in range(2):
                value = 50 + 5 * np.sin(tick / 100) + rng.normal() + (80 if host == 1 and tick in OUTAGE else 0)
                name = f"late{metric}" if host == 2 and tick > 420 else f"m{metric}"
                body = {"name": name, "value": float(value), "timestamp": START_MS + tick * MINUTE, "host": f"h{host}"}
                found.append(orjson.dumps(body))
    return found


LOG = records()


def pieces(start: int, stop: int = len(LOG), size: int = 500) -> Iterator[Piece]:
    for first in range(start, stop, size):
        last = min(first + size, stop)
        yield Piece(LOG[first:last], np.arange(first, last), np.full(last - first, -1))


def fold(shard: Shard, stop: int, size: int = 500) -> list[Any]:
    decoder, told = Decoder(shard), []
    for piece in pieces(shard.next_offset, stop, size):
        batch, _ = decoder.decode(list(piece.values), piece.offsets, piece.times_ms, int(piece.offsets[-1]) + 1)
        told += shard.process(batch).records
    return told


def label(name: str = "label", answer: str = "incident", **params: Any) -> dict[str, Any]:
    return {
        "schema": "graft.order/1", "id": name, "kind": "label", "at_ms": UNTIL,
        "target": {"topic": "metrics", "partition": 0, "entity": "host=h1"},
        "params": {"answer": answer, "by": "ana", "from_ms": FROM, "until_ms": UNTIL} | params,
    }  # fmt: skip


def retune(name: str, at_ms: int, host: str = "h1") -> dict[str, Any]:
    return {
        "schema": "graft.order/1", "id": name, "kind": "retune", "at_ms": at_ms,
        "target": {"topic": "metrics", "partition": 0, "entity": f"host={host}", "series": f'm0{{host="{host}"}}'},
        "params": {"shift": 3.0, "mean": 50.0, "sd": 20.0, "season_level": 0.0},
    }  # fmt: skip


STEPS = [
    Step(1000, 0, 3, label("quiet", "false_alarm")),
    Step(2500, 0, 4, retune("of another", FROM, "h0")),
    Step(2600, 0, 5, label("again", "false_alarm")),
    Step(3000, 0, 7, label()),
]
END = 4000


def straight(window_at: int, steps: Sequence[Step] = STEPS, stop: int = END) -> Shard:
    """The run that is told of the window at an offset, by the plain order of things."""
    shard, marks = cold(), [(window_at, -1, None), *((one.at, one.offset, one) for one in steps)]
    for at, _, step in sorted(marks, key=lambda one: one[:2]):
        fold(shard, at)
        if step is None:
            shard.windows.add(WINDOW, now_ms=0)
        else:
            shard.apply(step.order, control_partition=step.partition, next_offset=step.offset + 1)
    fold(shard, stop)
    return shard


def learned(steps: Sequence[Step] = STEPS, stop: int = END, at: int = BEFORE) -> tuple[Shard, Shard]:
    """(the state at an offset, the state at the end) of the run that is told afterwards."""
    shard, base = cold(), None
    for where, step in sorted([(at, None), *((one.at, one) for one in steps)], key=lambda one: one[0]):
        fold(shard, where)
        if step is None:
            base = Shard.restore(unpack(pack(*shard.export())), CONFIG)
        else:
            shard.apply(step.order, control_partition=step.partition, next_offset=step.offset + 1)
    fold(shard, stop)
    assert base is not None
    return base, shard


@pytest.mark.parametrize("size", [1, 37, 500, 5000])
def test_rebuilt_equals_marked_beforehand(size: int) -> None:
    base, live = learned()
    assert [one.state for one in live.windows] == [ASKED]
    marked = to_mark(base, live.windows)
    assert marked == [WINDOW]
    if size == 1:
        base.windows.add(marked[0], now_ms=0)  # marking twice is marking once
    later = [one for one in STEPS if one.at >= base.next_offset]
    rebuild(base, Decoder(base), marked, later, pieces(base.next_offset, size=size), until=END)
    assert diff(base.export(), straight(BEFORE).export()) == []
    assert diff(base.export(), live.export()) != []


def test_an_older_snapshot_gives_the_same() -> None:
    """Also one in which the entity is not known yet."""
    ended = []
    for at in (0, 3, 700, BEFORE):
        base, live = learned(at=at)
        steps = [one for one in STEPS if one.at >= at]
        rebuild(base, Decoder(base), to_mark(base, live.windows), steps, pieces(at), until=END)
        ended.append(base.export())
    assert all(diff(one, ended[0]) == [] for one in ended[1:])


def test_retunes_that_were_measured_with_the_outage_are_left_out() -> None:
    steps = [*STEPS, Step(2700, 0, 6, retune("after the outage", UNTIL + 9 * MINUTE))]
    base, live = learned(steps)
    later = [one for one in sorted(steps, key=lambda one: one.at) if one.at >= base.next_offset]
    told = rebuild(
        base, Decoder(base), to_mark(base, live.windows), later, pieces(BEFORE), until=END,
        left_out=[Without(WINDOW, END + 1)],
    )  # fmt: skip
    assert told == []
    wanted = straight(BEFORE)
    assert base.control_offsets == wanted.control_offsets
    assert diff(base.export(), wanted.export()) == []


def test_what_was_left_out_once_stays_out() -> None:
    """A second rebuild meets the orders of the past that the first one has replaced."""
    exact = {
        "kind": "unlearn", "finding": "exact", "window": WINDOW._asdict(),
        "applied_at": {"topic": "metrics", "partition": 0, "offset": 3500},
    }  # fmt: skip
    found = unlearn.without([], [exact, {"kind": "unlearn", "finding": "refused"}], ("metrics", 0), END)
    assert found == [Without(WINDOW, 3500)]


def test_a_snapshot_that_knows_the_outage_is_not_begun_from() -> None:
    base, live = learned(at=2600)
    with pytest.raises(NotExact, match="had learned of the window"):
        to_mark(base, live.windows)


def test_a_snapshot_of_a_past_that_was_taken_back_is_not_begun_from() -> None:
    """It lies after the first window, in which it had learned; a second window begins later."""
    now = cold()
    second = Window("host=h0", None, START_MS + 600 * MINUTE, START_MS + 610 * MINUTE, "two", ASKED)
    now.windows.add(WINDOW, now_ms=0)
    now.windows.add(second, now_ms=0)
    former, _ = learned(at=3300)
    with pytest.raises(NotExact, match="host=h1 had learned"):
        to_mark(former, now.windows)
    earlier, _ = learned(at=1000)
    assert to_mark(earlier, now.windows) == [second._replace(state=IN_TIME), WINDOW]


def test_what_nobody_asks_for_stays_learned() -> None:
    base, live = learned()
    late = Window("host=h0", None, FROM, UNTIL, "late", LATE)
    live.windows.add(late, now_ms=0)
    live.windows.add(late._replace(entity="host=h2", state=SETTLED), now_ms=0)
    assert to_mark(base, live.windows) == [WINDOW]


def test_a_log_that_ends_early_is_no_answer() -> None:
    base, live = learned()
    with pytest.raises(NotExact, match="before 4000"):
        rebuild(base, Decoder(base), to_mark(base, live.windows), [], pieces(BEFORE, 3900), until=END)


def experiment(step: Step, at: int | None = None, **changes: Any) -> dict[str, Any]:
    place = {"topic": "metrics", "partition": 0, "offset": step.at if at is None else at}
    return {"id": step.order["id"], "order": step.order, "applied_at": place} | changes


def control(steps: Sequence[Step] = STEPS) -> list[tuple[int, int, Any]]:
    return [(one.partition, one.offset, one.order) for one in steps]


def test_orders_are_found_where_their_records_say() -> None:
    base, live = learned()
    first, last = (one.export().manifest for one in (base, live))
    told = [experiment(one) for one in STEPS]
    found = steps_between(first, last, control(), [*told, *told])
    assert found == STEPS[1:]
    # One that was refused has no record, one for another shard another place, one of later is not known yet.
    other = Step(5, 0, 8, label("elsewhere"))
    elsewhere = experiment(other, applied_at={"topic": "metrics", "partition": 1, "offset": 5})
    more = [*STEPS, Step(0, 0, 6, label("refused")), other, Step(3990, 0, 9, label("later"))]
    assert steps_between(first, last, control(more), [*told, elsewhere]) == STEPS[1:]
    # An id that came twice was applied once.
    assert steps_between(first, last, control([*STEPS, STEPS[2]._replace(offset=6)]), told) == STEPS[1:]


def test_an_order_of_which_no_record_is_left_is_no_answer() -> None:
    base, live = learned()
    first, last = (one.export().manifest for one in (base, live))
    told = [experiment(one) for one in STEPS if one.order["id"] != "again"]
    with pytest.raises(NotExact, match="1 orders were applied of which no record is left"):
        steps_between(first, last, control(), told)
    with pytest.raises(NotExact, match="outside of the log"):
        steps_between(first, last, control(), [experiment(one, at=7) for one in STEPS])


def test_a_seed_order_is_known_by_its_place_for_it_may_work_twice() -> None:
    seed = {"id": "seed", "kind": "seed", "target": {}, "params": {"digest": "0" * 16}}
    base, live = learned()
    first, last = (one.export().manifest for one in (base, live))
    step = Step(2800, 0, 6, seed, "unchanged")
    record = experiment(step, id="own id", kind="seed", finding="unchanged", control={"partition": 0, "offset": 6})
    earlier = experiment(step, at=2400, id="own", kind="seed", finding="applied", control={"partition": 0, "offset": 2})
    told = [earlier, record, *(experiment(one) for one in STEPS)]
    found = steps_between(first, last, control([*STEPS, step]), told)
    assert [one for one in found if one.order["kind"] == "seed"] == [step]


def test_what_was_approximated_since_is_not_repeated() -> None:
    base = {"topic": "metrics", "partition": 0, "next_offset": 1000}
    place = {"topic": "metrics", "partition": 0}
    record = {"kind": "unlearn", "finding": "approximate", "window": WINDOW._asdict()}
    after, before = (record | {"applied_at": {**place, "offset": at}} for at in (1500, 900))
    with pytest.raises(NotExact, match="by approximation"):
        unlearn.check_settled(base, [], [after])
    unlearn.check_settled(base, [], [before])
    unlearn.check_settled(base, [WINDOW], [after])


def test_where_nothing_can_be_rebuilt_the_older_models_come_back() -> None:
    base, live = learned()
    before, clock = live.export(), live.clock_ms
    rows = live.roster.rows.level
    ill = [live.row_of(f'm{metric}{{host="h1"}}') for metric in (0, 1)]
    was = rows.var[ill].copy()
    (record,) = live.settle(WINDOW._replace(state=ASKED), marking.APPROXIMATE, "the log is short", base)
    assert record.value["finding"] == "approximate"
    assert "2 series" in record.value["because"]
    assert "joint model" in record.value["because"]
    np.testing.assert_array_equal(
        rows.var[ill], base.roster.rows.level.var[[base.row_of(f'm{n}{{host="h1"}}') for n in (0, 1)]]
    )
    assert (rows.var[ill] < was / 10).all()
    assert [one.state for one in live.windows] == [SETTLED]
    assert live.clock_ms == clock
    others = {line.split(":")[0] for line in diff(before, live.export())}
    assert not others & {
        "array series.presence.last_ms",
        "array series.recipe.last",
        "array clock",
        "array entity.life.state",
    }
    # And the shard goes on.
    fold(live, len(LOG))
    assert live.settle(WINDOW, marking.REFUSED, "asked again", None) == []


def test_models_of_another_version_or_of_nobody_do_not_come_back() -> None:
    base, live = learned()
    with pytest.raises(BadSample, match="not in the older"):
        retake(live.roster, cold().roster, WINDOW)
    base.roster.ents.seed.source[base.roster.entity_of("host=h1")] = -2
    with pytest.raises(BadSample, match="another of its two versions"):
        retake(live.roster, base.roster, WINDOW)
    (record,) = live.settle(WINDOW._replace(state=ASKED), marking.APPROXIMATE, "the log is short", base)
    assert record.value["finding"] == "refused"


def test_of_a_window_of_one_series_only_that_comes_back() -> None:
    base, live = learned()
    count = live.roster.rows.level.count.copy()
    retake(live.roster, base.roster, WINDOW._replace(series='m0{host="h1"}'))
    changed = np.flatnonzero(live.roster.rows.level.count != count)
    assert [live.roster.names[row] for row in changed] == ['m0{host="h1"}']


def test_an_alert_of_the_former_past_is_told_to_have_ended() -> None:
    tick = OUTAGE.start + 20
    former, now = cold(), cold()
    told = fold(former, tick * HOSTS * 2)
    fold(now, OUTAGE.start * HOSTS * 2)
    active = former.active()
    assert [one.entity for one in active] == ["host=h1"]
    number = former.alert_number
    assert former.active() == active
    assert former.alert_number == number
    ended = now.unlearned([WINDOW], "why", 0, "a.snap", active, [{"series": "m", "kind": "level"}])
    assert ended[0].topic == "experiments"
    assert ended[0].value["finding"] == "exact"
    opened = {one.value.get("alert") or one.value["escalation"]: one.value for one in told if one.topic != "drift"}
    ending = ended[1].value
    name = ending.get("alert") or ending["escalation"]
    assert name in opened
    assert ending["id"] != opened[name]["id"]
    assert ending["state"] in ("resolved", "expired")
    assert ended[-1].topic == "drift"
    assert former.unlearned([], "why", 0, "a.snap", active, []) == []
