"""History: what a page asks of the file about alerts, incidents, drift, orders, experiments and names. Reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from agents.review.questions import Listed, pages
from agents.review.schema import unpacked

Row = sqlite3.Row
#: Names that a search shows of each kind.
FOUND = 50

_ALERTS = "id, incident, entity, series, state, started_ms, ended_ms, severity, confidence, because"
_EXPERIMENTS = "id, kind, component, action, finding, entity, series, at_ms, because"


def firing(db: sqlite3.Connection) -> int:
    """Incidents that go on."""
    return int(db.execute("SELECT count(*) FROM incidents WHERE state = 'firing'").fetchone()[0])


def incidents(db: sqlite3.Connection, *, state: str, page: int) -> Listed:
    """Incidents, newest first; state: firing, resolved or "" for all."""
    where, values = ("WHERE state = ?", (state,)) if state else ("", ())
    return pages(db, f"SELECT * FROM incidents {where} ORDER BY started_ms DESC", values, page)


def incident(db: sqlite3.Connection, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """An incident and its alerts, first to last, with their records."""
    row = db.execute("SELECT * FROM incidents WHERE id = ?", (name,)).fetchone()
    if row is None:
        return None
    rows = db.execute("SELECT * FROM alerts WHERE incident = ? ORDER BY started_ms LIMIT 200", (name,)).fetchall()
    return dict(row), [
        {**dict(one), "firing": unpacked(one["firing"]), "resolved": unpacked(one["resolved"])} for one in rows
    ]


def incident_of(db: sqlite3.Connection, alert: str) -> str | None:
    """The incident of an alert."""
    row = db.execute("SELECT incident FROM alerts WHERE id = ?", (alert,)).fetchone()
    return str(row[0]) if row else None


def alert(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """An alert with its records."""
    row = db.execute("SELECT * FROM alerts WHERE id = ?", (name,)).fetchone()
    return {**dict(row), "firing": unpacked(row["firing"]), "resolved": unpacked(row["resolved"])} if row else None


def alerts_of(db: sqlite3.Connection, column: str, name: str, most: int = 20) -> list[Row]:
    """The newest alerts of a series or an entity."""
    assert column in ("series", "entity")
    sql = f"SELECT {_ALERTS} FROM alerts WHERE {column} = ? ORDER BY started_ms DESC LIMIT ?"
    return db.execute(sql, (name, most)).fetchall()


def contexts_of(db: sqlite3.Connection, series: str, most: int = 4) -> list[tuple[Mapping[str, Any], Row]]:
    """The newest stretches of a series that alerts and questions have brought with them."""
    rows = db.execute(
        "SELECT started_ms AS at_ms, firing AS record, 'alert' AS what, incident AS id FROM alerts WHERE series = ? "
        "UNION ALL SELECT opened_ms, opened, 'question', id FROM questions WHERE series = ? "
        "ORDER BY 1 DESC LIMIT ?", (series, series, 4 * most),
    )  # fmt: skip
    found = []
    for row in rows:
        context = unpacked(row["record"]).get("context")
        if isinstance(context, Mapping) and context.get("series") == series:
            found.append((context, row))
    return found[:most]


def drifts(db: sqlite3.Connection, *, kind: str, page: int) -> Listed:
    """Drift, newest first."""
    where, values = ("WHERE kind = ?", (kind,)) if kind else ("", ())
    sql = f"SELECT id, kind, entity, series, at_ms, because FROM drifts {where} ORDER BY at_ms DESC"
    return pages(db, sql, values, page)


def drifts_of(db: sqlite3.Connection, column: str, name: str, most: int = 20) -> list[Row]:
    """The newest drift of a series or an entity."""
    assert column in ("series", "entity")
    sql = f"SELECT id, kind, entity, series, at_ms, because FROM drifts WHERE {column} = ? ORDER BY at_ms DESC LIMIT ?"
    return db.execute(sql, (name, most)).fetchall()


def experiments(db: sqlite3.Connection, wanted: Mapping[str, str], page: int) -> Listed:
    """Experiments, newest first. wanted: kind, finding, component, action, series or entity; "" is any."""
    given = {name: value for name, value in wanted.items() if value}
    assert set(given) <= {"kind", "finding", "component", "action", "series", "entity"}
    where = " AND ".join(f"{name} = ?" for name in given)
    sql = f"SELECT {_EXPERIMENTS} FROM experiments {f'WHERE {where}' if where else ''} ORDER BY at_ms DESC"
    return pages(db, sql, tuple(given.values()), page)


def choices(db: sqlite3.Connection) -> dict[str, list[str]]:
    """What experiments can be filtered by; a few of each, for a list to choose from."""
    found = {}
    for column in ("kind", "finding", "component"):
        rows = db.execute(
            f"SELECT DISTINCT {column} FROM (SELECT {column} FROM experiments ORDER BY at_ms DESC LIMIT 5000) "
            f"WHERE {column} IS NOT NULL ORDER BY 1 LIMIT 30"
        )
        found[column] = [row[0] for row in rows]
    return found


def experiment(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """An experiment with its record."""
    row = db.execute("SELECT * FROM experiments WHERE id = ?", (name,)).fetchone()
    return {**dict(row), "record": unpacked(row["record"])} if row else None


def experiments_of(db: sqlite3.Connection, column: str, name: str, most: int = 20) -> list[dict[str, Any]]:
    """The newest experiments with a series or an entity."""
    assert column in ("series", "entity")
    sql = f"SELECT * FROM experiments WHERE {column} = ? ORDER BY at_ms DESC LIMIT ?"
    return [{**dict(row), "record": unpacked(row["record"])} for row in db.execute(sql, (name, most))]


def decisions(db: sqlite3.Connection, entities: Sequence[str]) -> dict[str, Row]:
    """The newest record of kind guard or worth of each entity."""
    marks = ", ".join("?" * len(entities))
    rows = db.execute(
        f"SELECT {_EXPERIMENTS}, max(at_ms) FROM experiments WHERE entity IN ({marks}) AND kind IN ('guard', 'worth') "
        "GROUP BY entity",
        list(entities),
    )
    return {row["entity"]: row for row in rows}


def order(db: sqlite3.Connection, name: str) -> dict[str, Any] | None:
    """An order with its record."""
    row = db.execute("SELECT * FROM orders WHERE id = ?", (name,)).fetchone()
    return {**dict(row), "record": unpacked(row["record"])} if row else None


def names(db: sqlite3.Connection, part: str) -> dict[str, list[Row]]:
    """Series and entities whose name holds `part`, those heard of last first."""
    pattern = "%" + part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    sql = "SELECT name, entity, at_ms FROM names WHERE kind = ? AND name LIKE ? ESCAPE '\\' ORDER BY at_ms DESC LIMIT ?"
    return {kind: db.execute(sql, (kind, pattern, FOUND)).fetchall() for kind in ("series", "entity")}


def totals(db: sqlite3.Connection) -> dict[str, int]:
    """Rows of each kind that the page holds."""
    tables = ("questions", "labels", "alerts", "incidents", "drifts", "orders", "experiments", "names", "refused")
    return {name: int(db.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in tables}


def refused(db: sqlite3.Connection, most: int = 20) -> list[Row]:
    """The newest records that could not be used."""
    return db.execute("SELECT * FROM refused ORDER BY seen_s DESC LIMIT ?", (most,)).fetchall()


def shards(db: sqlite3.Connection) -> list[tuple[str, int]]:
    """Shards that records have named."""
    return [(row[0], row[1]) for row in db.execute("SELECT topic, partition FROM shards ORDER BY 1, 2")]
