"""Questions: what a page asks of the file about escalations. Reads only; the connection is given.

Owns the order of the queue and what counts as a similar case.

Not obvious: a folded question stands under the one that stands for it only while that one is open and not folded
itself; else it would be in no list. So does one whose `into` names nothing.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agents.review.schema import unpacked

PAGE = 50
#: Folded questions that are shown under one; more are counted.
UNDER = 5
#: Answered cases that are compared, and those that are shown.
COMPARED, SIMILAR = 400, 8
STATUSES = ("open", "asked", "folded", "answered", "expired")
#: A list that goes on for so many pages is searched, not read; and OFFSET costs what it skips.
MOST_PAGES = 2000

Row = sqlite3.Row

_OPEN = """
FROM questions q WHERE rank < 3 AND (rank < 2 OR into_id IS NULL
    OR NOT EXISTS (SELECT 1 FROM questions p WHERE p.id = q.into_id AND p.rank < 2))
"""
_ORDER = "ORDER BY rank, worth DESC, severity DESC, opened_ms DESC"
_LIST = """
q.id, q.entity, q.series, q.status, q.rank, q.score, q.into_id, q.due_ms, q.opened_ms, q.at_ms, q.severity,
q.confidence, q.because, q.answer, q.person, q.component
"""


class Listed(NamedTuple):
    """A page of a list. more: whether there is a next one."""

    rows: list[Row]
    page: int
    more: bool


class Queue(NamedTuple):
    """The queue as it is shown. under: folded ones by the id that stands for them, and how many.

    said: what was answered here and has not come back, by question.
    """

    listed: Listed
    under: Mapping[str, list[Row]]
    under_count: Mapping[str, int]
    said: Mapping[str, Row]


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Open questions by status."""
    found = dict.fromkeys(("asked", "opened", "folded"), 0)
    found |= {row[0]: row[1] for row in db.execute(_COUNTS)}
    return {**found, "open": sum(found.values())}


_COUNTS = """
SELECT CASE rank WHEN 0 THEN 'asked' WHEN 1 THEN 'opened' ELSE 'folded' END, count(*) FROM questions
WHERE rank < 3 GROUP BY rank
"""


def queue(db: sqlite3.Connection, *, status: str, page: int) -> Queue:
    """One page of questions: all that are open, or those of one status."""
    values: tuple[Any, ...]
    if status == "open":
        sql, values = f"SELECT {_LIST} {_OPEN} {_ORDER}", ()
    elif status in ("asked", "folded"):
        sql, values = f"SELECT {_LIST} FROM questions q WHERE rank = ? {_ORDER}", ({"asked": 0, "folded": 2}[status],)
    else:
        sql, values = f"SELECT {_LIST} FROM questions q WHERE status = ? ORDER BY at_ms DESC", (status,)
    listed = pages(db, sql, values, page)
    ids = [row["id"] for row in listed.rows]
    under: dict[str, list[Row]] = {}
    under_count: Counter[str] = Counter()
    if status == "open" and ids:
        # Named, or SQLite goes through all that are folded.
        sql = f"SELECT {_LIST} FROM questions q INDEXED BY question_into WHERE into_id IN ({_marks(ids)}) AND rank = 2"
        for row in db.execute(f"{sql} ORDER BY severity DESC LIMIT 2000", ids):
            under_count[row["into_id"]] += 1
            if under_count[row["into_id"]] <= UNDER:
                under.setdefault(row["into_id"], []).append(row)
    return Queue(listed, under, under_count, said_here(db, ids))


def said_here(db: sqlite3.Connection, abouts: Sequence[str]) -> dict[str, Row]:
    """The last answer given on this page about each, undone ones left out."""
    rows = db.execute(
        f"SELECT about, label, answer, person, state, made_s, due_s, attempts, detail FROM answers "
        f"WHERE about IN ({_marks(abouts)}) AND state <> 'undone' ORDER BY made_s",
        list(abouts),
    )
    return {row["about"]: row for row in rows}


def question(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """A question with its records."""
    row = db.execute("SELECT * FROM questions WHERE id = ?", (name,)).fetchone()
    if row is None:
        return None
    found = dict(row)
    return {**found, "opened": unpacked(found["opened"]), "closed": unpacked(found["closed"])}


def folded_into(db: sqlite3.Connection, name: str) -> list[Row]:
    """Questions that this one stands for."""
    sql = f"SELECT {_LIST} FROM questions q WHERE into_id = ? ORDER BY severity DESC LIMIT 50"
    return db.execute(sql, (name,)).fetchall()


def of_name(db: sqlite3.Connection, column: str, name: str, most: int = 20) -> list[Row]:
    """The newest questions about a series or an entity."""
    assert column in ("series", "entity")
    sql = f"SELECT {_LIST} FROM questions q WHERE {column} = ? ORDER BY opened_ms DESC LIMIT ?"
    return db.execute(sql, (name, most)).fetchall()


def labels_of(db: sqlite3.Connection, name: str) -> list[Row]:
    """All answers to a question, first to last."""
    return db.execute("SELECT * FROM labels WHERE escalation = ? ORDER BY at_ms, seen_s LIMIT 50", (name,)).fetchall()


def labels_about(db: sqlite3.Connection, series: str, from_ms: int) -> list[Row]:
    """Answers about a series that name no question, since then."""
    return db.execute(
        "SELECT * FROM labels WHERE series = ? AND escalation IS NULL AND coalesce(until_ms, at_ms) >= ? "
        "ORDER BY at_ms LIMIT 50", (series, from_ms),
    ).fetchall()  # fmt: skip


def effects(db: sqlite3.Connection, labels: Sequence[Row], escalation: str | None) -> list[dict[str, Any]]:
    """Experiment records that tell what became of these answers, first to last."""
    orders, names = [row["order_id"] for row in labels], [row["id"] for row in labels]
    rows = db.execute(
        f"SELECT * FROM experiments WHERE id IN ({_marks(orders)}) OR label IN ({_marks(names)}) OR escalation = ? "
        "ORDER BY at_ms, seen_s LIMIT 50",
        [*orders, *names, escalation],
    )
    return [{**dict(row), "record": unpacked(row["record"])} for row in rows]


class Similar(NamedTuple):
    """Answered cases like this one. tally: answers of all that were compared; rows: the most alike, with why."""

    tally: list[tuple[str, int]]
    rows: list[tuple[Row, str]]


def similar(db: sqlite3.Connection, of: Mapping[str, Any]) -> Similar:
    """Cases of the same series, entity or metric that people have answered; most alike first, then newest."""
    sql = (
        f"SELECT {_LIST} FROM questions q WHERE answer IS NOT NULL AND id <> :id AND metric = :metric "
        f"UNION SELECT {_LIST} FROM questions q WHERE answer IS NOT NULL AND id <> :id AND entity = :entity "
        "ORDER BY 10 DESC LIMIT :most"
    )
    about = {"id": of["id"], "metric": of["metric"], "entity": of["entity"], "most": COMPARED}
    weighed = []
    for row in db.execute(sql, about):
        reasons = [
            name
            for name, is_so in (
                ("same series", row["series"] is not None and row["series"] == of["series"]),
                ("same entity", row["entity"] is not None and row["entity"] == of["entity"]),
                ("same kind of evidence", row["component"] is not None and row["component"] == of["component"]),
            )
            if is_so
        ]
        score = 4 * ("same series" in reasons) + 2 * ("same entity" in reasons) + len(reasons)
        weighed.append((score, row["at_ms"], row, ", ".join(reasons) or "same metric"))
    weighed.sort(key=lambda one: (-one[0], -one[1]))
    tally = Counter(row["answer"] for _, _, row, _ in weighed)
    return Similar(tally.most_common(), [(row, why) for _, _, row, why in weighed[:SIMILAR]])


def pages(db: sqlite3.Connection, sql: str, values: Sequence[Any], page: int) -> Listed:
    """One page of a list."""
    page = min(max(page, 1), MOST_PAGES)
    rows = db.execute(f"{sql} LIMIT ? OFFSET ?", (*values, PAGE + 1, (page - 1) * PAGE)).fetchall()
    return Listed(rows[:PAGE], page, len(rows) > PAGE)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
