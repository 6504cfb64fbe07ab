"""The page's file: its tables, its settings of durability, and the one kind of transaction.

Owns the schema and its version. Knows nothing of what the rows mean; that is filing.py's and the readers'.

Not obvious: whole records lie in the rows as compressed JSON, for the pages of one item, and everything that a list
sorts or filters by has a column and an index of its own. `seen_s` is when a row last came (wall clock): what is bounded
by age is bounded by that, for `at_ms` is written by whoever wrote the record, and one far in the future must not make
everything else look old.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from engine.errors import OutsideError

FORMAT = 1
#: A reader waits so long for a writer that has the whole file, as at a checkpoint of the log.
BUSY_S = 5.0

#: questions.rank: 0 asked, 1 opened, 2 folded, 3 closed. worth: the desk's score, else -1. answers: what was said on
#: this page, before and after it left. refused: records that could not be used, so that somebody sees them.
TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (
    topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS questions (
    id TEXT PRIMARY KEY, environment TEXT, entity TEXT, series TEXT, metric TEXT, component TEXT,
    rank INTEGER NOT NULL, status TEXT NOT NULL, worth REAL NOT NULL, score REAL, into_id TEXT, due_ms INTEGER,
    rule TEXT, opened_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL, severity REAL, confidence REAL, page REAL,
    because TEXT, answer TEXT, person TEXT, label TEXT, opened BLOB, closed BLOB, seen_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS question_queue ON questions (rank, worth DESC, severity DESC, opened_ms DESC);
CREATE INDEX IF NOT EXISTS question_status ON questions (status, at_ms DESC);
CREATE INDEX IF NOT EXISTS question_into ON questions (into_id) WHERE into_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS question_entity ON questions (entity, opened_ms DESC);
CREATE INDEX IF NOT EXISTS question_series ON questions (series, opened_ms DESC);
CREATE INDEX IF NOT EXISTS question_metric ON questions (metric, at_ms DESC) WHERE answer IS NOT NULL;
CREATE TABLE IF NOT EXISTS labels (
    id TEXT PRIMARY KEY, escalation TEXT, entity TEXT, series TEXT, answer TEXT NOT NULL, person TEXT, reason TEXT,
    at_ms INTEGER NOT NULL, from_ms INTEGER, until_ms INTEGER, overrides TEXT, is_signed INTEGER NOT NULL,
    order_id TEXT NOT NULL, seen_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS label_escalation ON labels (escalation) WHERE escalation IS NOT NULL;
CREATE INDEX IF NOT EXISTS label_series ON labels (series, at_ms DESC);
CREATE TABLE IF NOT EXISTS alerts (
    id TEXT PRIMARY KEY, incident TEXT NOT NULL, environment TEXT, entity TEXT, series TEXT, state TEXT NOT NULL,
    started_ms INTEGER NOT NULL, ended_ms INTEGER, severity REAL, confidence REAL, because TEXT,
    firing BLOB, resolved BLOB, seen_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS alert_incident ON alerts (incident, started_ms);
CREATE INDEX IF NOT EXISTS alert_entity ON alerts (entity, started_ms DESC);
CREATE INDEX IF NOT EXISTS alert_series ON alerts (series, started_ms DESC);
CREATE INDEX IF NOT EXISTS alert_seen ON alerts (seen_s);
CREATE TABLE IF NOT EXISTS incidents (
    id TEXT PRIMARY KEY, environment TEXT, entity TEXT, series TEXT, state TEXT NOT NULL, started_ms INTEGER NOT NULL,
    ended_ms INTEGER, alerts INTEGER NOT NULL, severity REAL, because TEXT);
CREATE INDEX IF NOT EXISTS incident_time ON incidents (started_ms DESC);
CREATE INDEX IF NOT EXISTS incident_state ON incidents (state, started_ms DESC);
CREATE TABLE IF NOT EXISTS drifts (
    id TEXT PRIMARY KEY, kind TEXT, entity TEXT, series TEXT, at_ms INTEGER NOT NULL, because TEXT, record BLOB,
    seen_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS drift_time ON drifts (at_ms DESC);
CREATE INDEX IF NOT EXISTS drift_series ON drifts (series, at_ms DESC);
CREATE INDEX IF NOT EXISTS drift_entity ON drifts (entity, at_ms DESC);
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, kind TEXT, component TEXT, entity TEXT, series TEXT, at_ms INTEGER NOT NULL, because TEXT,
    record BLOB, seen_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS order_time ON orders (at_ms DESC);
CREATE TABLE IF NOT EXISTS experiments (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, component TEXT, action TEXT, finding TEXT, entity TEXT, series TEXT,
    at_ms INTEGER NOT NULL, escalation TEXT, label TEXT, because TEXT, record BLOB, seen_s REAL NOT NULL);
CREATE INDEX IF NOT EXISTS experiment_time ON experiments (at_ms DESC);
CREATE INDEX IF NOT EXISTS experiment_kind ON experiments (kind, at_ms DESC);
CREATE INDEX IF NOT EXISTS experiment_series ON experiments (series, at_ms DESC);
CREATE INDEX IF NOT EXISTS experiment_entity ON experiments (entity, at_ms DESC);
CREATE INDEX IF NOT EXISTS experiment_escalation ON experiments (escalation) WHERE escalation IS NOT NULL;
CREATE INDEX IF NOT EXISTS experiment_label ON experiments (label) WHERE label IS NOT NULL;
CREATE TABLE IF NOT EXISTS names (
    kind TEXT, name TEXT, entity TEXT, at_ms INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shards (topic TEXT, partition INTEGER, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS answers (
    label TEXT PRIMARY KEY, about TEXT NOT NULL, answer TEXT NOT NULL, person TEXT NOT NULL, state TEXT NOT NULL,
    made_s REAL NOT NULL, due_s REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, detail TEXT NOT NULL DEFAULT '',
    record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS answer_due ON answers (due_s) WHERE state = 'held';
CREATE INDEX IF NOT EXISTS answer_about ON answers (about, made_s DESC);
CREATE TABLE IF NOT EXISTS refused (
    topic TEXT, partition INTEGER, offset INTEGER, reason TEXT NOT NULL, detail TEXT NOT NULL, seen_s REAL NOT NULL,
    PRIMARY KEY (topic, partition, offset)) WITHOUT ROWID;
"""


def connect(path: Path) -> sqlite3.Connection:
    """The writer's connection; makes the file, readable by its owner alone. OutsideError says what is wrong with it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        found = db.execute("PRAGMA user_version").fetchone()[0]
    except (OSError, sqlite3.Error) as error:
        raise OutsideError(f"The page's file {path} cannot be opened: {_why(error)}. Name another with --db.") from None
    if found not in (0, FORMAT):
        db.close()
        raise OutsideError(
            f"The page's file {path} has format {found}, this Graft reads {FORMAT}; name another with --db: all that "
            "it holds but answers not yet sent is read from the topics again."
        )
    try:
        db.executescript(TABLES)
        db.execute(f"PRAGMA user_version = {FORMAT}")
    except sqlite3.Error as error:
        db.close()
        raise OutsideError(f"The page's file {path} cannot be used: {_why(error)}. Name another with --db.") from None
    return db


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA query_only = 1")
    db.execute("PRAGMA cache_size = -16384")
    return db


def packed(record: Mapping[str, Any]) -> bytes:
    """A record as it lies in a row."""
    return zlib.compress(orjson.dumps(record), 1)


def unpacked(data: bytes | None) -> dict[str, Any]:
    """The record of a row; {} where there is none.

    >>> unpacked(packed({"a": 1}))
    {'a': 1}
    """
    return orjson.loads(zlib.decompress(data)) if data else {}


def _why(error: Exception) -> str:
    return str(error.strerror if isinstance(error, OSError) and error.strerror else error)
