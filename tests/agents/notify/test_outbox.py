"""Laws of the outbox: nothing lost, nothing told twice on purpose, an end never before its beginning."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.notify import again
from agents.notify.incident_turns import TURN, UNKNOWN, Start, Turn
from agents.notify.outbox import Incoming, Outbox
from agents.sinks.delivery import Event, State
from agents.sinks.notice import FIRING, RESOLVED
from engine.errors import OutsideError

TOPIC, PARTITION = "graft.alerts", 0
HOME = (TOPIC, PARTITION)


def alert(
    number: int, state: str = FIRING, *, incident: str = "i", started_ms: int = 1000, offset: int = -1
) -> Incoming:
    record = {
        "schema": "graft.alert/1", "id": f"id-{number}-{state}", "incident": incident, "state": state,
        "started_ms": started_ms, "at_ms": started_ms, "severity": 9.0, "entity": "host=web-1",
    }  # fmt: skip
    return Incoming(TOPIC, PARTITION, number if offset < 0 else offset, record)


def take(box: Outbox, *batch: Incoming, now_s: float = 0.0, heard: bool = False) -> Any:
    return box.accept(batch, {HOME: batch[-1].offset + 1}, now_s=now_s, heard=heard)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.db", destinations=("a", "b"))
    box.own([HOME], settled={}, now_s=0.0)
    yield box
    box.close()


def due(box: Outbox, destination: str = "a", now_s: float = 10.0) -> list[str]:
    return [one.notice.id for one in box.due(destination, now_s=now_s, limit=100)]


def sent(box: Outbox, destination: str = "a", event: Event = Event.DELIVERED, now_s: float = 10.0) -> None:
    """The first that is due, done."""
    box.mark(box.due(destination, now_s=now_s, limit=1)[0].seq, event, due_s=now_s, now_s=now_s)


def test_position_and_rows_are_one(box: Outbox) -> None:
    take(box, alert(7))
    assert box.positions() == {HOME: 8}
    assert (due(box, "a"), due(box, "b")) == (["id-7-firing"], ["id-7-firing"])


def test_a_failure_in_between_leaves_neither(tmp_path: Path) -> None:
    def fail(name: str) -> None:
        if name == "position-written":
            raise OSError("disk full")

    box = Outbox(tmp_path / "outbox.db", destinations=("a",), point=fail)
    box.own([HOME], settled={}, now_s=0.0)
    with pytest.raises(OSError, match="disk full"):
        take(box, alert(7))
    assert (box.positions(), due(box)) == ({}, [])
    box.close()


def test_a_record_is_taken_once(box: Outbox) -> None:
    assert take(box, alert(1), alert(1, offset=2)) == (1, 1, 0, 0)
    sent(box)
    assert take(box, alert(1, offset=3)) == (0, 1, 0, 0)
    assert due(box) == []


def test_an_end_waits_for_its_beginning(box: Outbox) -> None:
    take(box, alert(1), alert(2, RESOLVED), alert(3, incident="other"))
    assert due(box) == ["id-1-firing", "id-3-firing"]
    seq = box.due("a", now_s=10.0, limit=1)[0].seq
    box.mark(seq, Event.FAILED, due_s=500.0, now_s=10.0, detail="503")
    assert due(box) == ["id-3-firing"], "while the beginning is backed off, its end must not overtake it"
    assert due(box, now_s=500.0)[0] == "id-1-firing"
    sent(box, now_s=500.0)
    assert due(box, now_s=500.0)[0] == "id-2-resolved"
    assert due(box, "b")[0] == "id-1-firing", "destinations do not wait for each other"


def test_replayed_beginning_after_the_end_does_not_reopen(box: Outbox) -> None:
    take(box, alert(1), alert(2, RESOLVED))
    sent(box)
    sent(box)
    assert take(box, alert(9)).stale == 1, "even under another id"
    assert due(box) == []


def test_a_later_episode_of_the_same_incident_is_told(box: Outbox) -> None:
    take(box, alert(1), alert(2, RESOLVED))
    sent(box)
    sent(box)
    take(box, alert(3, started_ms=9000), alert(4, RESOLVED, started_ms=9000))
    assert due(box) == ["id-3-firing"]
    sent(box)
    assert due(box) == ["id-4-resolved"]


def test_a_late_end_of_an_earlier_episode_does_not_close_the_present_one(box: Outbox) -> None:
    take(box, alert(1), alert(2, started_ms=9000))
    assert take(box, alert(3, RESOLVED, started_ms=1000)).stale == 1


@pytest.mark.parametrize(
    ("known", "state", "start"), list(itertools.product((UNKNOWN, FIRING, RESOLVED), (FIRING, RESOLVED), Start))
)
def test_every_turn(known: str, state: str, start: Start) -> None:
    move = TURN[known, state, start]
    if known == RESOLVED and start is not Start.LATER:
        assert move is Turn.STALE
    if move is Turn.OPENS:
        assert state == FIRING
    if move is Turn.ENDS:
        assert state == RESOLVED


def test_parked_beginning_folds_its_end_and_both_come_back_by_hand(box: Outbox) -> None:
    take(box, alert(1), alert(2, RESOLVED))
    sent(box, event=Event.REJECTED)
    assert (due(box), box.counts()["a", "parked"], box.counts()["a", "folded"]) == ([], 1, 1)
    assert [(one.id, one.since_s) for one in again.parked(box._db, "a")] == [("id-1-firing", 10.0)]
    assert again.requeue(box._db, "a", now_s=20.0) == 2
    assert again.parked(box._db, "a") == []
    assert due(box, now_s=20.0) == ["id-1-firing"]
    sent(box, now_s=20.0)
    assert due(box, now_s=20.0) == ["id-2-resolved"]


def test_what_is_put_back_and_the_offset_of_the_group_do_not_judge_each_other(box: Outbox) -> None:
    """The group's offset is past what was parked, so `own` would take it for told by another."""
    take(box, alert(1), alert(2, incident="j"))
    for destination in ("a", "b"):
        sent(box, destination, event=Event.REJECTED)
        sent(box, destination)
    assert box.settled_below() == {HOME: 3}
    again.requeue(box._db, "a", now_s=20.0)
    assert box.settled_below() == {HOME: 3}, "nobody is to read again what came since"
    box.own([HOME], settled={HOME: 99}, now_s=21.0)
    assert due(box, now_s=21.0) == ["id-1-firing"]


def test_of_an_incident_only_the_present_episode_is_put_back(box: Outbox) -> None:
    """Both have one key: an earlier trigger and resolve after a later trigger would close the later one."""
    take(box, alert(1), alert(2, RESOLVED))
    sent(box, event=Event.REJECTED)
    take(box, alert(3, started_ms=9000))
    sent(box)
    assert again.requeue(box._db, "a", now_s=20.0) == 0
    assert (due(box, now_s=20.0), again.parked(box._db, "a")) == ([], [])


def test_an_end_is_told_when_any_part_of_its_beginning_was(box: Outbox) -> None:
    take(box, alert(1), alert(2))
    sent(box)
    sent(box, event=Event.REJECTED)
    take(box, alert(3, RESOLVED))
    assert due(box) == ["id-3-resolved"]


# Late


DAY_S = 86_400.0


@pytest.fixture
def prompt(tmp_path: Path) -> Iterator[Outbox]:
    """An alert is late after 900 s at `a`, never at `b`."""
    box = Outbox(tmp_path / "outbox.db", destinations=("a", "b"), late_s={"a": 900.0, "b": 1e12})
    box.own([HOME], settled={}, now_s=0.0)
    yield box
    box.close()


def test_what_was_over_before_it_could_be_told_is_not(prompt: Outbox) -> None:
    assert take(prompt, alert(1), now_s=DAY_S).new == 1
    take(prompt, alert(2, RESOLVED), alert(3, incident="burns"), now_s=DAY_S + 30)
    assert due(prompt, "a", now_s=DAY_S + 30) == [], "the end of what burns may be close behind"
    assert due(prompt, "b", now_s=DAY_S + 30) == ["id-1-firing", "id-3-firing"]
    assert due(prompt, "a", now_s=DAY_S + 90) == ["id-3-firing"]
    assert prompt.counts()["a", "folded"] == 2
    sent(prompt, "a", now_s=DAY_S + 90)
    take(prompt, alert(4, RESOLVED, incident="burns"), now_s=DAY_S + 91)
    assert due(prompt, "a", now_s=DAY_S + 91) == ["id-4-resolved"]
    assert again.requeue(prompt._db, "a", now_s=DAY_S) == 0


def test_what_was_over_everywhere_is_counted_and_settled(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db", destinations=("a",), late_s={"a": 900.0})
    box.own([HOME], settled={}, now_s=0.0)
    assert take(box, alert(1), alert(2, RESOLVED), alert(3, incident="j"), now_s=DAY_S) == (2, 0, 0, 1)
    assert box.settled_below() == {HOME: 3}
    assert take(box, alert(4, started_ms=int(DAY_S * 1000) - 5000), now_s=DAY_S).new == 1
    assert due(box, now_s=DAY_S) == ["id-4-firing"], "the next episode is not late"
    box.close()


def test_an_end_that_comes_while_its_late_beginning_is_on_its_way_is_told(prompt: Outbox) -> None:
    take(prompt, alert(1), now_s=DAY_S)
    (on_its_way,) = prompt.due("a", now_s=DAY_S + 60, limit=1)
    take(prompt, alert(2, RESOLVED), now_s=DAY_S + 61)
    assert due(prompt, "a", now_s=DAY_S + 61) == []
    prompt.mark(on_its_way.seq, Event.DELIVERED, due_s=0.0, now_s=DAY_S + 62)
    assert due(prompt, "a", now_s=DAY_S + 62) == ["id-2-resolved"]


def test_a_late_beginning_that_was_tried_keeps_its_end(prompt: Outbox) -> None:
    take(prompt, alert(1), now_s=DAY_S)
    sent(prompt, "a", event=Event.FAILED, now_s=DAY_S + 60)
    take(prompt, alert(2, RESOLVED), now_s=DAY_S + 61)
    sent(prompt, "a", now_s=DAY_S + 61)
    assert due(prompt, "a", now_s=DAY_S + 61) == ["id-2-resolved"]


def test_end_that_comes_after_its_beginning_was_parked_is_folded_too(box: Outbox) -> None:
    take(box, alert(1))
    sent(box, event=Event.EXPIRED)
    take(box, alert(2, RESOLVED))
    assert due(box) == []
    take(box, alert(3, started_ms=9000))
    assert due(box) == ["id-3-firing"], "the next episode is another matter"


def test_only_owned_partitions_are_told(box: Outbox) -> None:
    take(box, alert(1))
    box.own([], settled={}, now_s=1.0)
    assert (due(box), box.next_due_s("a"), box.to_repeat("a", now_s=1.0, limit=9)) == ([], None, [])
    box.own([HOME], settled={HOME: 1}, now_s=2.0)
    assert due(box) == ["id-1-firing"], "the other had not settled it"
    box.own([HOME], settled={HOME: 2}, now_s=3.0)
    assert due(box) == []


def test_settled_is_below_the_first_that_waits(box: Outbox) -> None:
    take(box, alert(1), alert(2, incident="j"), alert(3, incident="k"))
    for _ in range(3):
        sent(box, "a")
    assert box.settled_below() == {HOME: 1}
    sent(box, "b")
    assert box.settled_below() == {HOME: 2}
    sent(box, "b")
    sent(box, "b")
    assert box.settled_below() == {HOME: 4}


def test_what_another_notifier_told_is_learned_and_not_sent(box: Outbox) -> None:
    take(box, alert(1), heard=True)
    assert due(box) == []
    assert [one.id for one in box.to_repeat("a", now_s=0.0, limit=9)] == ["id-1-firing"]
    take(box, alert(2, RESOLVED))
    assert due(box) == ["id-2-resolved"]


def test_repeats_what_burns_and_what_ended_just_now(box: Outbox) -> None:
    take(box, alert(1))
    assert box.to_repeat("a", now_s=0.0, limit=9) == [], "first it must have been told"
    sent(box)
    assert [one.state for one in box.to_repeat("a", now_s=99_999.0, limit=9)] == [FIRING]
    take(box, alert(2, RESOLVED), now_s=1000.0)
    sent(box, now_s=1000.0)
    assert [one.state for one in box.to_repeat("a", now_s=1299.0, limit=9)] == [RESOLVED]
    assert box.to_repeat("a", now_s=1301.0, limit=9) == []


def test_identity_is_that_of_the_opening_record(box: Outbox) -> None:
    take(box, alert(1))
    end = alert(2, RESOLVED)
    take(box, end._replace(record={**end.record, "severity": 1.0}))
    sent(box)
    notice = box.due("a", now_s=10.0, limit=1)[0].notice
    assert (notice.first["id"], notice.level, notice.record["severity"]) == ("id-1-firing", "critical", 1.0)


def test_prune_keeps_what_burns_and_what_waits(box: Outbox) -> None:
    take(box, alert(1), alert(2, incident="j"), alert(3, RESOLVED, incident="j"), alert(4, incident="k"))
    for destination in ("a", "b"):
        for _ in range(4):
            sent(box, destination)
    assert box.prune(now_s=50.0, keep_s=100.0) == 0
    assert box.prune(now_s=101.0, keep_s=100.0) == 2
    assert box.counts() == {("a", "sent"): 2, ("b", "sent"): 2}
    assert take(box, alert(1, offset=9)).known == 1, "its incident still burns"


def test_sinks_that_are_gone_do_not_hold_up_the_commit(tmp_path: Path) -> None:
    first = Outbox(tmp_path / "outbox.db", destinations=("a", "old"))
    first.own([HOME], settled={}, now_s=0.0)
    take(first, alert(1))
    first.close()
    second = Outbox(tmp_path / "outbox.db", destinations=("a",))
    assert again.dismiss(second._db, ["a"], now_s=1.0) == 1
    sent(second)
    assert second.settled_below() == {HOME: 2}
    second.close()


def test_a_new_sink_hears_what_burns_and_no_more(box: Outbox, tmp_path: Path) -> None:
    take(box, alert(1, incident="over"), alert(2, RESOLVED, incident="over"), alert(3), alert(4))
    new = Outbox(tmp_path / "outbox.db", destinations=("a", "new"))
    assert (again.adopt(new._db, "a", now_s=5.0), again.adopt(new._db, "new", now_s=5.0)) == (0, 1)
    assert again.adopt(new._db, "new", now_s=6.0) == 0, "once"
    new.own([HOME], settled={HOME: 99}, now_s=7.0)
    assert due(new, "new") == ["id-4-firing"], "the latest that is known of it"
    assert new.settled_below() == {HOME: 5}
    take(new, alert(5, RESOLVED))
    sent(new, "new")
    assert due(new, "new") == ["id-5-resolved"]
    new.close()


def test_a_sink_that_is_here_again_hears_both_what_burns_and_the_end_of_what_it_was_told(
    box: Outbox, tmp_path: Path
) -> None:
    take(box, alert(1, incident="told"))
    sent(box, "b")
    take(box, alert(2, incident="waits"), alert(3, incident="waited"))
    without = Outbox(tmp_path / "outbox.db", destinations=("a",))
    assert again.dismiss(without._db, ["a"], now_s=5.0) == 2
    take(without, alert(4, RESOLVED, incident="told"), alert(5, RESOLVED, incident="waited"))
    without.close()
    assert again.adopt(box._db, "b", now_s=6.0) == 2
    assert due(box, "b") == ["id-2-firing", "id-4-resolved"]


def test_an_end_that_waits_behind_a_beginning_that_backs_off_is_not_due(box: Outbox) -> None:
    take(box, alert(1), alert(2, RESOLVED))
    seq = box.due("a", now_s=10.0, limit=1)[0].seq
    box.mark(seq, Event.FAILED, due_s=500.0, now_s=10.0)
    assert box.next_due_s("a") == 500.0


def test_repeats_come_in_parts_and_leave_none_out(box: Outbox) -> None:
    take(box, *(alert(n, incident=f"i-{n}") for n in range(12)))
    for _ in range(12):
        sent(box)
    parts, after = [], ""
    while part := box.to_repeat("a", now_s=0.0, after=after, limit=5):
        parts.append(len(part))
        after = part[-1].incident
    assert parts == [5, 5, 2]


def test_the_first_format_is_taken_over(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db", destinations=("a",))
    box.own([HOME], settled={}, now_s=0.0)
    take(box, alert(1))
    box._db.execute("ALTER TABLE deliveries DROP COLUMN requeued")
    box._db.execute("PRAGMA user_version = 1")
    box.close()
    box = Outbox(tmp_path / "outbox.db", destinations=("a",))
    assert due(box) == ["id-1-firing"]
    sent(box, event=Event.REJECTED)
    assert again.requeue(box._db, "a", now_s=20.0) == 1
    box.close()


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox.db", destinations=())
    box._db.execute("PRAGMA user_version = 99")
    box.close()
    with pytest.raises(OutsideError, match="format 99"):
        Outbox(tmp_path / "outbox.db", destinations=())


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutsideError, match=r"state\.dir"):
        Outbox(tmp_path / "absent" / "outbox.db", destinations=())


EVENTS = st.one_of(
    st.tuples(st.just("take"), st.integers(0, 3), st.sampled_from([FIRING, RESOLVED]), st.integers(0, 3)),
    st.tuples(st.just("answer"), st.sampled_from(["a", "b"]), st.sampled_from([Event.DELIVERED, Event.FAILED])),
    st.tuples(st.just("reopen")),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=40))
def test_incident_tool_sees_order_whatever_happens(tmp_path_factory: pytest.TempPathFactory, steps: list[Any]) -> None:
    """A tool that merges by key: begins and ends alternate per episode, starts only grow, ids never repeat."""
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    box, offset, told = Outbox(path, destinations=("a", "b")), 0, []
    box.own([HOME], settled={}, now_s=0.0)
    for step in steps:
        if step[0] == "take":
            _, incident, state, episode = step
            record = _record(incident, state, episode)
            box.accept([Incoming(TOPIC, PARTITION, offset, record)], {HOME: offset + 1}, now_s=0.0)
            offset += 1
        elif step[0] == "answer":
            for delivery in box.due(step[1], now_s=0.0, limit=1):
                box.mark(delivery.seq, step[2], due_s=0.0, now_s=0.0)
                if step[2] is Event.DELIVERED:
                    told.append((step[1], delivery.notice))
        else:
            box.close()
            box = Outbox(path, destinations=("a", "b"))
    box.close()
    keys = [(destination, notice.id) for destination, notice in told]
    assert len(keys) == len(set(keys))
    for destination, incident in {(destination, notice.incident) for destination, notice in told}:
        lives = [
            (n.record["started_ms"], n.state == RESOLVED) for d, n in told if (d, n.incident) == (destination, incident)
        ]
        assert lives == sorted(lives), lives


def _record(incident: int, state: str, episode: int) -> Mapping[str, Any]:
    name = f"{incident}-{episode}-{state}"
    return {"id": name, "incident": str(incident), "state": state, "started_ms": episode, "at_ms": episode}


def test_state_words_are_those_in_the_file() -> None:
    assert [str(state) for state in State] == ["queued", "sent", "parked", "folded"]
