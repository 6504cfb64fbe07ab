"""The outbox's file: its tables, its settings of durability, and the one kind of transaction.

Owns the schema and its version. Knows nothing of what the rows mean; that is outbox.py.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from engine.errors import OutsideError

#: 2: deliveries.requeued.
FORMAT = 2

#: alerts: every record that was taken in. incidents: the present episode of each, with the record that opened it.
#: deliveries: one per record and destination. positions.owned: whether this notifier reads that partition now.
#: deliveries.requeued: put in the queue once more (again.py), when the group's offset may be past it.
_TABLES = """
CREATE TABLE IF NOT EXISTS positions (
    topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, owned INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (
    id TEXT, state TEXT, incident TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    offset INTEGER NOT NULL, accepted_s REAL NOT NULL, body BLOB NOT NULL, PRIMARY KEY (id, state));
CREATE TABLE IF NOT EXISTS incidents (
    incident TEXT PRIMARY KEY, state TEXT NOT NULL, started_ms INTEGER NOT NULL, first BLOB NOT NULL,
    last_id TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, changed_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS deliveries (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, alert_state TEXT NOT NULL, incident TEXT NOT NULL,
    first BLOB NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
    destination TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due_s REAL NOT NULL,
    accepted_s REAL NOT NULL, changed_s REAL NOT NULL, detail TEXT NOT NULL DEFAULT '',
    requeued INTEGER NOT NULL DEFAULT 0,
    UNIQUE (id, alert_state, destination));
CREATE INDEX IF NOT EXISTS waiting ON deliveries (destination, seq) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS waiting_until ON deliveries (destination, due_s) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS order_of_incident ON deliveries (destination, incident, seq);
CREATE INDEX IF NOT EXISTS age_of_alert ON alerts (accepted_s);
CREATE INDEX IF NOT EXISTS burning ON incidents (state, changed_s);
"""


def path_of(state_dir: Path, slot: int) -> Path:
    """Where the outbox of the worker in this slot lies (agents/instance.py)."""
    return state_dir / "notifier" / f"outbox-{slot}.db"


def all_in(state_dir: Path) -> list[Path]:
    """Every outbox below a state directory; OutsideError where there is none."""
    found = sorted((state_dir / "notifier").glob("outbox-*.db"))
    if not found:
        raise OutsideError(f"{state_dir} holds no outbox; name the configuration of a Graft that has run here.")
    return found


def connect(path: Path | str) -> sqlite3.Connection:
    """Open or make the file. OutsideError says what is wrong with it."""
    try:
        # The notifier's executor has one thread, but not always the one that opened the file.
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        found = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise OutsideError(f"The outbox {path} cannot be opened: {error}. Check state.dir and its disk.") from error
    if not 0 <= found <= FORMAT:
        raise OutsideError(f"The outbox {path} has format {found}, this Graft reads {FORMAT}; run the newer Graft.")
    if found == 1:
        db.execute("ALTER TABLE deliveries ADD COLUMN requeued INTEGER NOT NULL DEFAULT 0")
    db.executescript(_TABLES)
    db.execute(f"PRAGMA user_version = {FORMAT}")
    return db
