"""Outbox: what people have answered on this page, until the broker has it.

Owns the table `answers`, the moment of grace in which an answer can be taken back, and the thread that sends. What a
label is stands in agents/label.py, what becomes of it is the review desk's.

    held -> sent      acknowledged by the broker
    held -> undone    taken back before it left
    held -> failed    not to be sent for a day: given up, and said so

Not obvious: an answer that is taken back in time never existed for anybody else, which no later record could bring
about. So it waits for `undo_s` in the file, where it also outlives the page and a broker that is away. A label's id
follows from what it says, so one that is sent twice counts once. After that moment taking back is another label:
`unsure`, which names the one that it overrides.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from agents.review.store import BusyError, Store
from engine.errors import OutsideError

log = logging.getLogger(__name__)

#: Answers that wait for a broker; people answer a few an hour.
HELD_CAP = 1000
TURN_S, FLUSH_S = 0.1, 5.0
#: The wait after a failure doubles up to this; after GIVE_UP_S it is no longer tried.
MOST_WAIT_S, GIVE_UP_S = 30.0, 86_400.0
AT_ONCE = 50


class FullError(OutsideError):
    """No more answers are taken; says why, in one sentence."""


class Held(NamedTuple):
    """An answer as it was put in. is_new: else it had been given before, by the same person, with the same words."""

    label: str
    due_s: float
    is_new: bool


class Outbox:
    """Runs until `stop`, in one thread. producer: opens one. undo_s: how long an answer can be taken back."""

    def __init__(
        self,
        store: Store,
        producer: Callable[[], Any],
        *,
        topic: str,
        undo_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stop = threading.Event()
        self.undo_s = undo_s
        self._store = store
        self._open = producer
        self._topic = topic
        self._clock = clock
        self._producer: Any = None
        self._soon = threading.Event()

    def put(self, record: Mapping[str, Any], *, about: str, undo_s: float | None = None) -> Held:
        """Keep a label until it leaves. about: the question or the alert. Raises where it cannot be kept."""
        now_s, wait_s = self._clock(), self.undo_s if undo_s is None else undo_s

        def insert(db: sqlite3.Connection) -> Held:
            held = db.execute("SELECT count(*) FROM answers WHERE state = 'held'").fetchone()[0]
            if held >= HELD_CAP:
                raise FullError(f"{held} answers wait for the broker already; none is taken until some have left.")
            known = db.execute("SELECT state, due_s FROM answers WHERE label = ?", (record["id"],)).fetchone()
            if known is not None and known[0] in ("held", "sent"):
                return Held(record["id"], known[1], is_new=False)
            db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, 'held', ?, ?, 0, '', ?)",
                (record["id"], about, record["answer"], record["by"], now_s, now_s + wait_s, orjson.dumps(record)),
            )
            return Held(record["id"], now_s + wait_s, is_new=True)

        held = self._store.write(insert)
        self._soon.set()
        return held

    def undo(self, label: str, person: str) -> bool:
        """Take an answer back, if it has not left and is this person's; whether that was so."""

        def take_back(db: sqlite3.Connection) -> bool:
            changed = db.execute(
                "UPDATE answers SET state = 'undone' WHERE label = ? AND person = ? AND state = 'held' "
                "AND attempts >= 0 AND (due_s > ? OR attempts > 0)",
                (label, person, self._clock()),
            )
            return changed.rowcount == 1

        return self._store.write(take_back)

    def run(self) -> None:
        """Send until stopped."""
        while not self.stop.is_set():
            self._soon.wait(TURN_S)
            self._soon.clear()
            try:
                self.turn()
            except (BusyError, sqlite3.Error) as error:
                log.warning("Answers could not be sent now: %s", error)
                self.stop.wait(1.0)

    def turn(self) -> None:
        """Send what is due."""
        with self._store.reading() as db:
            is_due = db.execute(
                "SELECT 1 FROM answers WHERE state = 'held' AND due_s <= ? LIMIT 1", (self._clock(),)
            ).fetchone()
        if is_due is None:
            return
        rows = self._store.write(self._leaving)
        if not rows:
            return
        failures = self._send(rows)
        self._store.write(lambda db: self._settle(db, rows, failures))

    def _leaving(self, db: sqlite3.Connection) -> list[tuple[str, bytes]]:
        """The answers that are due; from now on they can no longer be taken back. A negative number of attempts says
        so; what a crash leaves that way is due again at the next start."""
        now_s = self._clock()
        rows = db.execute(
            "SELECT label, record FROM answers WHERE state = 'held' AND due_s <= ? ORDER BY made_s LIMIT ?",
            (now_s, AT_ONCE),
        ).fetchall()
        db.executemany(
            "UPDATE answers SET attempts = -abs(attempts) - 1 WHERE label = ?", [(label,) for label, _ in rows]
        )
        return [(label, bytes(record)) for label, record in rows]

    def _send(self, rows: list[tuple[str, bytes]]) -> dict[str, str]:
        """Give them to the broker; why those failed that it does not have."""
        from confluent_kafka import KafkaException

        failures = {label: f"no answer within {FLUSH_S:g} s" for label, _ in rows}

        def told(label: str) -> Callable[[Any, Any], None]:
            def delivered(error: Any, _message: Any) -> None:
                if error is None:
                    failures.pop(label, None)
                else:
                    failures[label] = error.str()

            return delivered

        try:
            if self._producer is None:
                self._producer = self._open()
            for label, record in rows:
                said = orjson.loads(record)
                key = str(said.get("series") or said.get("escalation") or label)
                self._producer.produce(self._topic, record, key.encode(), on_delivery=told(label))
            self._producer.flush(FLUSH_S)
        except (KafkaException, BufferError) as error:
            failures |= dict.fromkeys(failures, str(error))
        return failures

    def _settle(self, db: sqlite3.Connection, rows: list[tuple[str, bytes]], failures: Mapping[str, str]) -> None:
        now_s = self._clock()
        for label, _ in rows:
            if label not in failures:
                db.execute("UPDATE answers SET state = 'sent', attempts = abs(attempts), due_s = ?, detail = '' "
                           "WHERE label = ?", (now_s, label))  # fmt: skip
                continue
            tries, made_s = db.execute("SELECT abs(attempts), made_s FROM answers WHERE label = ?", (label,)).fetchone()
            is_over = now_s - made_s > GIVE_UP_S
            db.execute(
                "UPDATE answers SET state = ?, attempts = ?, due_s = ?, detail = ? WHERE label = ?",
                (
                    "failed" if is_over else "held", tries, now_s + min(2.0 ** min(tries, 10), MOST_WAIT_S),
                    failures[label][:300], label,
                ),
            )  # fmt: skip
            log.warning("An answer was not written to %s: %s", self._topic, failures[label])


def waiting(db: sqlite3.Connection) -> tuple[int, int]:
    """Answers that could not be sent so far, and those that were given up."""
    late, failed = db.execute(
        "SELECT coalesce(sum(state = 'held' AND attempts <> 0), 0), coalesce(sum(state = 'failed'), 0) FROM answers"
    ).fetchone()
    return int(late), int(failed)
