"""Filing: whatever comes, in whatever order and however often, the rows are the same; what is malformed is refused."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.review import filing, history, questions
from agents.review.schema import TABLES, connect, connect_reader
from benchmarks import review_data as made
from engine.errors import BadSample


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    found = in_memory()
    yield found
    found.close()


def in_memory() -> sqlite3.Connection:
    found = sqlite3.connect(":memory:", isolation_level=None)
    found.row_factory = sqlite3.Row
    found.executescript(TABLES)
    return found


def put(db: sqlite3.Connection, topic: str, *records: Any) -> None:
    for record in records:
        filing.FILERS[topic](db, made.came(topic, 0, record), 1.0)


def dump(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    tables = ("questions", "labels", "alerts", "incidents", "drifts", "experiments", "names")
    return [(table, *row) for table in tables for row in map(tuple, db.execute(f"SELECT * FROM {table} ORDER BY 1, 2"))]


def test_the_order_of_states_and_their_repeats_change_nothing() -> None:
    records = [
        ("escalations", made.escalation(4)), ("escalations", made.escalation(4, "asked")),
        ("escalations", made.escalation(4, "answered")), ("feedback", made.label(4)),
        ("alerts", made.alert(3)), ("alerts", made.alert(3, "resolved")), ("alerts", made.alert(4)),
    ]  # fmt: skip
    seen = set()
    chance = random.Random(1)
    orders = [records, *(chance.sample(records, len(records)) for _ in range(30))]
    for order in orders:
        db = in_memory()
        for topic, record in [*order, *order]:
            put(db, topic, record)
        seen.add(repr(dump(db)))
        db.close()
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("states", "status", "rank"),
    [
        (["opened"], "opened", 1), (["opened", "asked"], "asked", 0), (["opened", "folded"], "folded", 2),
        (["opened", "asked", "answered"], "answered", 3), (["opened", "expired"], "expired", 3),
        (["opened", "answered", "expired"], "answered", 3), (["opened", "expired", "answered"], "answered", 3),
    ],
)  # fmt: skip
def test_the_life_of_a_question(db: sqlite3.Connection, states: list[str], status: str, rank: int) -> None:
    put(db, "escalations", *(made.escalation(1, state) for state in states))
    (row,) = db.execute("SELECT status, rank FROM questions").fetchall()
    assert tuple(row) == (status, rank)


def test_a_question_that_is_asked_after_it_was_folded_is_asked(db: sqlite3.Connection) -> None:
    put(db, "escalations", made.escalation(1), made.escalation(1, "folded", at_ms=made.START_MS + 100_000))
    put(db, "escalations", made.escalation(1, "asked", at_ms=made.START_MS + 200_000, score=9.5))
    (row,) = db.execute("SELECT status, score FROM questions").fetchall()
    assert tuple(row) == ("asked", 9.5)


def test_a_question_about_a_page_is_whole_when_it_is_asked(db: sqlite3.Connection) -> None:
    told = made.escalation(4)
    asked = {**told, **made.escalation(4, "asked"), "about": "alert", "because": "it paged", "id": "another"}
    put(db, "escalations", asked)
    (row,) = db.execute("SELECT status, because, opened FROM questions").fetchall()
    assert (row["status"], row["because"]) == ("asked", "it paged")
    assert row["opened"] is not None


def test_a_second_person_overrides(db: sqlite3.Connection) -> None:
    first, later = made.escalation(1, "answered"), made.START_MS + 9_000_000
    put(db, "escalations", made.escalation(1), first)
    put(db, "escalations", {**first, "answer": "incident", "by": "eve", "label": "l2", "at_ms": later})
    put(db, "escalations", first)
    (row,) = db.execute("SELECT answer, person, label FROM questions").fetchall()
    assert tuple(row) == ("incident", "eve", "l2")


def test_asked_come_first_by_score_and_folded_under_the_one_that_stands_for_them(db: sqlite3.Connection) -> None:
    names = [made.escalation(n)["escalation"] for n in range(5)]
    put(db, "escalations", *(made.escalation(n) for n in range(5)))
    put(db, "escalations", made.escalation(1, "asked", score=1.0), made.escalation(2, "asked", score=3.0))
    put(db, "escalations", made.escalation(3, "folded", into=names[2]), made.escalation(4, "folded", into="unknown"))
    found = questions.queue(db, status="open", page=1)
    assert [row["id"] for row in found.listed.rows] == [names[2], names[1], names[0], names[4]]
    assert [row["id"] for row in found.under[names[2]]] == [names[3]]
    put(db, "escalations", made.escalation(2, "answered"))
    found = questions.queue(db, status="open", page=1)
    assert names[3] in [row["id"] for row in found.listed.rows], "what stood for it is closed"


def test_two_that_stand_for_each_other_are_both_seen(db: sqlite3.Connection) -> None:
    a, b = (made.escalation(n)["escalation"] for n in range(2))
    put(db, "escalations", made.escalation(0), made.escalation(1))
    put(db, "escalations", made.escalation(0, "folded", into=b), made.escalation(1, "folded", into=a))
    assert {row["id"] for row in questions.queue(db, status="open", page=1).listed.rows} == {a, b}


def test_an_incident_is_all_of_its_alerts(db: sqlite3.Connection) -> None:
    put(db, "alerts", *itertools.chain(*((made.alert(n), made.alert(n, "resolved")) for n in (0, 1))), made.alert(2))
    (row,) = history.incidents(db, state="", page=1).rows
    assert (row["state"], row["alerts"], row["ended_ms"]) == ("firing", 3, None)
    put(db, "alerts", made.alert(2, "resolved"))
    (row,) = history.incidents(db, state="resolved", page=1).rows
    assert (row["started_ms"], row["ended_ms"]) == (made.START_MS, made.START_MS + 2 * made.MINUTE_MS + 600_000)


def test_the_effect_of_an_answer_is_found_by_its_order_its_label_and_its_question(db: sqlite3.Connection) -> None:
    said = made.label(1)
    put(db, "feedback", said)
    put(db, "experiments", made.effect(said))
    put(db, "experiments", {
        "schema": "graft.experiment/1", "id": "u1", "kind": "unlearn", "finding": "exact",
        "at_ms": said["at_ms"] + 9000,
        "order": {"params": {"label": said["id"]}}, "window": {"from_ms": 1, "until_ms": 2},
    })  # fmt: skip
    found = questions.effects(db, questions.labels_of(db, said["escalation"]), said["escalation"])
    assert [one["kind"] for one in found] == ["label", "unlearn"]


def test_similar_cases_are_those_that_were_answered_the_most_alike_first(db: sqlite3.Connection) -> None:
    same_series, same_metric, other = 1, 1 + 6 * 5, 2 + 6 * 5
    for n in (same_series, same_metric, other):
        more = {"opened_ms": made.START_MS - n * 1000} if n == same_series else {}
        put(db, "escalations", made.escalation(n, **more), made.escalation(n, "answered", **more))
    put(db, "escalations", made.escalation(same_series))
    of = questions.question(db, made.escalation(same_series)["escalation"])
    assert of is not None
    found = questions.similar(db, of)
    assert [row["series"] for row, _ in found.rows] == [made.series_of(same_series), made.series_of(same_metric)]
    assert found.rows[0][1] == "same series, same entity, same kind of evidence"


@pytest.mark.parametrize("topic", sorted(filing.FILERS))
@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"nonsense", b"\xff\xfe", b"x" * 300_000, b'{"schema":"graft.x/1"}']
)
def test_what_is_no_record_is_refused(db: sqlite3.Connection, topic: str, data: bytes) -> None:
    with pytest.raises(BadSample):
        put(db, topic, data)


@pytest.mark.parametrize(
    "fields",
    [
        {"escalation": ""}, {"escalation": 5}, {"escalation": "x" * 300}, {"escalation": "a\nb"}, {"state": "odd"},
        {"at_ms": None}, {"at_ms": "1"}, {"at_ms": -1}, {"at_ms": 1 << 60}, {"at_ms": True}, {"at_ms": 1.5},
    ],
)  # fmt: skip
def test_fields_that_become_identities_and_times_are_checked(db: sqlite3.Connection, fields: dict[str, Any]) -> None:
    with pytest.raises(BadSample):
        put(db, "escalations", made.escalation(1, **fields))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
MAKERS = {
    "escalations": lambda: made.escalation(1), "alerts": lambda: made.alert(1), "feedback": lambda: made.label(1),
    "drift": lambda: made.drift(1), "experiments": lambda: made.effect(made.label(1)),
    "control": lambda: made.effect(made.label(1))["order"],
}  # fmt: skip


@given(topic=st.sampled_from(sorted(MAKERS)), data=st.data())
def test_any_field_of_any_type_is_filed_or_refused(topic: str, data: Any) -> None:
    """And then every question of the pages has an answer."""
    record = MAKERS[topic]()
    for name in data.draw(st.lists(st.sampled_from(sorted(set(record) - {"schema"})), max_size=3)):
        record[name] = data.draw(JSON)
    db = in_memory()
    try:
        put(db, topic, record)
    except BadSample:
        assert all(not rows for rows in history.totals(db).values()), "a refused record leaves nothing"
        return
    assert sum(history.totals(db).values()) > 0
    found = questions.queue(db, status="open", page=1)
    for row in found.listed.rows:
        of = questions.question(db, row["id"])
        assert of is not None
        questions.similar(db, of)
    db.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    connect(tmp_path / "review.db").close()
    db = connect_reader(tmp_path / "review.db")
    with pytest.raises(sqlite3.OperationalError):
        db.execute("DELETE FROM questions")
    db.close()
