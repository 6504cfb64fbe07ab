"""Store: the page's file with its one writer and its many readers.

Owns the thread that writes, the connections of those who read, what is kept and for how long, and the version by which
others know that something has changed. Knows neither Kafka nor HTTP; what is written is a function of the connection.

Not obvious: whoever writes hands over a function and waits for it, so two writers never wait for each other inside
SQLite, and a batch of records with its positions is one transaction. One page a file: the lock beside it is the
kernel's, which lets it go whatever kills the page.
"""

from __future__ import annotations

import fcntl
import os
import queue
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from agents.review.schema import connect, connect_reader
from agents.transaction import transaction
from engine.errors import OutsideError

T = TypeVar("T")

#: Functions that wait for the writer; beyond it the caller is told that the disk is too slow.
WAITING = 64
#: A request waits so long for the writer.
WRITE_S = 10.0
TRIM_S = 30.0
#: Rows that one trimming takes from a table, so that no transaction is long.
TRIM_ROWS = 5000
DAY_S = 86_400.0


class Kept(NamedTuple):
    """How much is kept: rows of each kind, and days since a row last came."""

    questions: int = 50_000
    alerts: int = 200_000
    others: int = 100_000
    days: float = 90.0


class _Table(NamedTuple):
    """How a table is trimmed. first: what goes first; age: when a row came, "" for none; key: what names a row."""

    first: str
    age: str = "seen_s"
    key: str = "rowid"
    may_go: str = "1"


_TABLES: Final[Mapping[str, _Table]] = {
    # Closed before open, the oldest first; among the open ones those that are worth least.
    "questions": _Table("rank DESC, CASE WHEN rank = 3 THEN at_ms ELSE worth END"),
    "alerts": _Table("started_ms"),
    "labels": _Table("at_ms"),
    "drifts": _Table("at_ms"),
    "orders": _Table("at_ms"),
    "experiments": _Table("at_ms"),
    "names": _Table("at_ms", age="", key="kind, name"),
    "refused": _Table("seen_s", key="topic, partition, offset"),
    # What has not left is nobody's to throw away.
    "answers": _Table("made_s", age="made_s", may_go="state <> 'held'"),
}
REFUSED_KEPT = 1000
SHARDS_KEPT = 4096


class BusyError(OutsideError):
    """The file cannot be written now; says why, in one sentence."""


class Store:
    """Open until `close`. version: grows with each change that a page could show."""

    def __init__(self, path: Path, *, kept: Kept | None = None, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.version = 0
        self._kept = kept or Kept()
        self._clock = clock
        self._lock = _claim(path)
        self._db = connect(path)
        self._local = threading.local()
        self._free: deque[sqlite3.Connection] = deque()
        self._jobs: queue.Queue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None] = queue.Queue(WAITING)
        self._trimmed_s = 0.0
        self._thread = threading.Thread(target=self._run, name="review-writer", daemon=True)
        self._thread.start()

    def write(self, job: Callable[[sqlite3.Connection], T], *, timeout_s: float = WRITE_S) -> T:
        """Carry out `job` in a transaction, and wait until it is on disk. BusyError where that does not come about."""
        done: Future[T] = Future()
        late = f"The page's file {self.path} was not written within {timeout_s:g} s; try again."
        try:
            self._jobs.put((job, done), timeout=timeout_s)
        except queue.Full:
            raise BusyError(late) from None
        wait([done], timeout_s)
        # What has begun is waited for: whoever is told that nothing was written must be able to rely on it.
        if done.cancel():
            raise BusyError(late)
        try:
            return done.result()
        except sqlite3.Error as error:
            raise BusyError(f"The page's file {self.path} cannot be written: {error}.") from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection, within one transaction: all that is read inside is of one moment. Inside another, the same."""
        held: sqlite3.Connection | None = getattr(self._local, "db", None)
        if held is not None:
            yield held
            return
        # Threads of the server come and go; connections stay, as many as were ever needed at once.
        try:
            db = self._free.pop()
        except IndexError:
            db = connect_reader(self.path)
        db.execute("BEGIN")
        self._local.db = db
        try:
            yield db
        finally:
            self._local.db = None
            db.execute("COMMIT")
            self._free.append(db)

    def changed(self) -> None:
        """Something that is not in the file has changed, and pages show it."""
        self.version += 1

    def secret(self) -> bytes:
        """32 random bytes that belong to this file: what cookies are signed with survives a restart."""

        def find(db: sqlite3.Connection) -> bytes:
            db.execute("INSERT INTO meta VALUES ('secret', ?) ON CONFLICT DO NOTHING", (secrets.token_bytes(32),))
            return bytes(db.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()[0])

        return self.write(find)

    def close(self) -> None:
        """Finish what waits, and let the file go. Twice is as good as once."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(WRITE_S)
        while self._free:
            self._free.pop().close()
        self._db.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _run(self) -> None:
        while (found := self._jobs.get()) is not None:
            job, done = found
            if not done.set_running_or_notify_cancel():
                continue
            try:
                with transaction(self._db):
                    result = job(self._db)
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                done.set_exception(error)
            else:
                self.version += 1
                done.set_result(result)
            if self._clock() - self._trimmed_s >= TRIM_S:
                self._trimmed_s = self._clock()
                self._trim()

    def _trim(self) -> None:
        try:
            with transaction(self._db):
                trim(self._db, self._kept, self._clock())
        except sqlite3.Error:
            return  # a full disk: the next write says so to somebody


def trim(db: sqlite3.Connection, kept: Kept, now_s: float) -> None:
    """Take away what is too much or too old, at most TRIM_ROWS of each table."""
    before_s = now_s - kept.days * DAY_S
    limits = {"questions": kept.questions, "alerts": kept.alerts, "refused": REFUSED_KEPT}
    for name, of in _TABLES.items():
        delete = f"DELETE FROM {name} WHERE ({of.key}) IN (SELECT {of.key} FROM {name} WHERE {of.may_go}"
        surplus = db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] - limits.get(name, kept.others)
        if surplus > 0:
            db.execute(f"{delete} ORDER BY {of.first} LIMIT ?)", (min(surplus, TRIM_ROWS),))
        if of.age:
            db.execute(f"{delete} AND {of.age} < ? LIMIT ?)", (before_s, TRIM_ROWS))
    db.execute("DELETE FROM incidents WHERE NOT EXISTS (SELECT 1 FROM alerts WHERE alerts.incident = incidents.id)")
    db.execute(
        "DELETE FROM shards WHERE (topic, partition) NOT IN (SELECT topic, partition FROM shards LIMIT ?)",
        (SHARDS_KEPT,),
    )


def _claim(path: Path) -> int:
    """The lock of the file; OutsideError where another page has it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutsideError(f"{path} cannot be used: {error.strerror}. Name another file with --db.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise OutsideError(f"Another review page holds {path}; stop it, or name another file with --db.") from None
    return lock
