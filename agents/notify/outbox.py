"""Outbox: what has to be told to which incident tool, on disk, with the Kafka position in the same transaction.

Owns one SQLite file. Whatever dies at whatever moment: a record is in the file exactly when the position is past it,
and a delivery is marked sent only after the tool said yes, so every alert is delivered at least once, always under the
same id. Knows no HTTP and no Kafka client; the clock is an argument.

Rules: a record (id and state) is taken once, for as long as its row is kept. The deliveries of one incident leave in
order per destination, so an end never overtakes its beginning. What an incident has left behind (incident_turns.py) is
kept and counted, never sent.

Not obvious: only partitions that this notifier owns are sent from. A partition that moved to another worker is that
worker's to tell; when it comes back, what the other has settled by then counts as told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from agents.notify import outbox_file
from agents.notify.incident_turns import UNKNOWN, Turn, turn
from agents.sinks.delivery import NEXT, Event, State
from agents.sinks.notice import FIRING, RESOLVED, Notice

#: Ids are remembered this long, and must be longer than the input is kept: a replay must not page twice.
KEEP_S = 30 * 86_400.0
#: Above this many waiting deliveries nothing more is taken in; Kafka keeps the rest.
QUEUED_CAP = 100_000
#: An ended incident is said to be over for five minutes more, to tools that forget.
RESEND_RESOLVED_S = 300.0

Positions = Mapping[tuple[str, int], int]
_OWNED = "(topic, partition) IN (SELECT topic, partition FROM positions WHERE owned = 1)"
_BEHIND = "its beginning was parked"


class Incoming(NamedTuple):
    """A checked alert record (alert_record.py) and where it stood."""

    topic: str
    partition: int
    offset: int
    record: Mapping[str, Any]


class Delivery(NamedTuple):
    """One alert record that is due at one destination. attempts: so far."""

    seq: int
    notice: Notice
    attempts: int
    accepted_s: float


class Mark(NamedTuple):
    """What happened to a delivery, and when it is due again if it still waits."""

    seq: int
    event: Event
    due_s: float
    detail: str = ""


class Taken(NamedTuple):
    """What became of a batch of records: new ones, known ones, and new ones that their incident had left behind."""

    new: int = 0
    known: int = 0
    stale: int = 0


def _nothing(_name: str) -> None:
    """The crash points of production."""


class Outbox:
    """The file. Use one object per thread; several may have the same file open."""

    def __init__(
        self, path: Path | str, *, destinations: Sequence[str], point: Callable[[str], None] = _nothing
    ) -> None:
        """destinations: who is to hear of new records. point: called at the places where a crash is to be survived."""
        self._destinations = tuple(destinations)
        self._point = point
        self._db = outbox_file.connect(path)

    def close(self) -> None:
        """Close the file; nothing is pending in memory."""
        self._db.close()

    # Positions.

    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of each partition that was ever read."""
        rows = self._db.execute("SELECT topic, partition, next_offset FROM positions WHERE next_offset >= 0")
        return {(topic, partition): offset for topic, partition, offset in rows}

    def own(self, partitions: Iterable[tuple[str, int]], *, settled: Positions, now_s: float) -> None:
        """From now on these partitions, and no others, are this notifier's to tell.

        settled: the offset of each below which some notifier has told everything; what waits here below it was told.
        """
        with outbox_file.transaction(self._db):
            self._db.execute("UPDATE positions SET owned = 0")
            for topic, partition in partitions:
                self._db.execute(
                    "INSERT INTO positions VALUES (?, ?, -1, 1) ON CONFLICT DO UPDATE SET owned = 1", (topic, partition)
                )
                self._db.execute(
                    "UPDATE deliveries SET state = 'sent', changed_s = ?, detail = 'told by another notifier' "
                    "WHERE state = 'queued' AND topic = ? AND partition = ? AND offset < ?",
                    (now_s, topic, partition, settled.get((topic, partition), -1)),
                )

    def settled_below(self) -> dict[tuple[str, int], int]:
        """Per partition the offset below which nothing waits: what may be committed for others to go on from."""
        waiting = self._db.execute(
            "SELECT topic, partition, MIN(offset) FROM deliveries WHERE state = 'queued' GROUP BY topic, partition"
        )
        return {**self.positions(), **{(topic, partition): offset for topic, partition, offset in waiting}}

    # Taking in.

    def accept(self, batch: Sequence[Incoming], positions: Positions, *, now_s: float, heard: bool = False) -> Taken:
        """Take records in and move the positions past them, in one transaction; both or neither.

        heard: another notifier has already told them: learn what is open and what is over, and send nothing.
        """
        with outbox_file.transaction(self._db):
            counts = [0, 0, 0]
            for incoming in batch:
                counts[self._take(incoming, now_s=now_s, heard=heard)] += 1
            self._point("rows-written")
            self._store_positions(positions)
            self._point("position-written")
        self._point("accepted")
        return Taken(*counts)

    def _store_positions(self, positions: Positions) -> None:
        self._db.executemany(
            "INSERT INTO positions VALUES (?, ?, ?, 0) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            [(topic, partition, offset) for (topic, partition), offset in positions.items()],
        )

    def _take(self, incoming: Incoming, *, now_s: float, heard: bool) -> int:
        """0 new, 1 known, 2 stale: the index of the counter in Taken."""
        record = incoming.record
        place = (incoming.topic, incoming.partition, incoming.offset)
        added = self._db.execute(
            "INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (record["id"], record["state"], record["incident"], *place, now_s, orjson.dumps(dict(record))),
        )
        if added.rowcount == 0:
            return 1
        first = self._let_turn(incoming, now_s)
        if first is None:
            return 2
        for destination in self._destinations:
            state = State.SENT if heard else self._first_state(record, first, destination)
            self._insert(incoming, first, destination, state, now_s)
        return 0

    def _let_turn(self, incoming: Incoming, now_s: float) -> bytes | None:
        """Let the incident take its turn; the record that opened its episode, or None if the record is stale."""
        record = incoming.record
        found = self._db.execute(
            "SELECT state, started_ms, first FROM incidents WHERE incident = ?", (record["incident"],)
        ).fetchone()
        known, known_ms, first = found or (UNKNOWN, -1, b"")
        move = turn(known, record["state"], started_ms=record["started_ms"], known_ms=known_ms)
        if move is Turn.STALE:
            return None
        if move is Turn.OPENS or known != FIRING:
            first = orjson.dumps(dict(record))
        self._db.execute(
            "INSERT OR REPLACE INTO incidents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record["incident"], record["state"], record["started_ms"], first, record["id"],
                incoming.topic, incoming.partition, now_s,
            ),
        )  # fmt: skip
        return bytes(first)

    def _first_state(self, record: Mapping[str, Any], first: bytes, destination: str) -> State:
        """The end of a beginning that the tool refused tells it nothing; it waits beside it."""
        if record["state"] != RESOLVED:
            return State.QUEUED
        parked = self._db.execute(
            "SELECT 1 FROM deliveries WHERE destination = ? AND incident = ? AND first = ? AND alert_state = ? "
            "AND state = 'parked'",
            (destination, record["incident"], first, FIRING),
        ).fetchone()
        return State.FOLDED if parked else State.QUEUED

    def _insert(self, incoming: Incoming, first: bytes, destination: str, state: State, now_s: float) -> None:
        record = incoming.record
        self._db.execute(
            "INSERT OR IGNORE INTO deliveries (id, alert_state, incident, first, topic, partition, offset, "
            "destination, state, due_s, accepted_s, changed_s, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record["id"], record["state"], record["incident"], first,
                incoming.topic, incoming.partition, incoming.offset,
                destination, state, now_s, now_s, now_s, _BEHIND if state is State.FOLDED else "",
            ),
        )  # fmt: skip

    # Sending.

    def due(self, destination: str, *, now_s: float, limit: int) -> list[Delivery]:
        """What may be sent now, oldest first: of each incident only the earliest that still waits.

        `+due_s` keeps SQLite from the index of due times, with which it would sort all that waits for each request.
        """
        rows = self._db.execute(
            f"SELECT seq, id, alert_state, incident, first, attempts, accepted_s FROM deliveries AS one "  # noqa: S608
            f"WHERE state = 'queued' AND destination = ? AND +due_s <= ? AND {_OWNED} AND NOT EXISTS ("
            "SELECT 1 FROM deliveries AS before WHERE before.destination = one.destination AND before.incident = "
            "one.incident AND before.seq < one.seq AND before.state = 'queued') ORDER BY seq LIMIT ?",
            (destination, now_s, limit),
        ).fetchall()
        return [
            Delivery(seq, self._notice(id_, state, incident, first), attempts, accepted_s)
            for seq, id_, state, incident, first, attempts, accepted_s in rows
        ]

    def _notice(self, id_: str, state: str, incident: str, first: bytes) -> Notice:
        row = self._db.execute("SELECT body FROM alerts WHERE id = ? AND state = ?", (id_, state)).fetchone()
        return Notice(id_, incident, state, orjson.loads(first), orjson.loads(row[0]))

    def next_due_s(self, destination: str) -> float | None:
        """When the next waiting delivery is due; None if nothing waits."""
        row = self._db.execute(
            f"SELECT MIN(due_s) FROM deliveries WHERE state = 'queued' AND destination = ? AND {_OWNED}",  # noqa: S608
            (destination,),
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def mark(self, seq: int, event: Event, *, due_s: float, now_s: float, detail: str = "") -> State:
        """Write down what happened to a delivery; its new state."""
        return self.mark_all([Mark(seq, event, due_s, detail)], now_s=now_s)[0]

    def mark_all(self, marks: Sequence[Mark], *, now_s: float) -> list[State]:
        """The same for those that one answer was about, in one transaction: a batch costs one fsync, not sixty."""
        with outbox_file.transaction(self._db):
            return [self._mark(mark, now_s) for mark in marks]

    def _mark(self, mark: Mark, now_s: float) -> State:
        row = self._db.execute("SELECT state FROM deliveries WHERE seq = ?", (mark.seq,)).fetchone()
        state = NEXT[State(row[0]), mark.event]
        self._db.execute(
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, due_s = ?, changed_s = ?, detail = ? "
            "WHERE seq = ?",
            (state, mark.due_s, now_s, mark.detail, mark.seq),
        )
        if state is State.PARKED:
            self._fold_behind(mark.seq, now_s)
        return state

    def _fold_behind(self, seq: int, now_s: float) -> None:
        self._db.execute(
            "UPDATE deliveries SET state = 'folded', changed_s = ?, detail = ? "
            "WHERE state = 'queued' AND alert_state = ? AND EXISTS (SELECT 1 FROM deliveries AS parked "
            "WHERE parked.seq = ? AND parked.alert_state = ? AND parked.destination = deliveries.destination "
            "AND parked.incident = deliveries.incident AND parked.first = deliveries.first)",
            (now_s, _BEHIND, RESOLVED, seq, FIRING),
        )

    def requeue(self, destination: str, *, now_s: float) -> int:
        """Put what was parked, and the ends behind it, back in the queue, by hand after a repair; how many."""
        changed = self._db.execute(
            "UPDATE deliveries SET state = 'queued', due_s = ?, accepted_s = ?, changed_s = ?, detail = '' "
            "WHERE destination = ? AND (state = 'parked' OR (state = 'folded' AND detail = ?))",
            (now_s, now_s, now_s, destination, _BEHIND),
        )
        return changed.rowcount

    def to_repeat(self, destination: str, *, now_s: float, limit: int) -> list[Notice]:
        """What a forgetful tool has to hear again: all it was told that burns, and what ended in the last minutes."""
        rows = self._db.execute(
            f"SELECT last_id, state, incident, first FROM incidents WHERE (state = ? OR changed_s >= ?) AND {_OWNED} "  # noqa: S608
            "AND EXISTS (SELECT 1 FROM deliveries AS told WHERE told.destination = ? AND told.incident = "
            "incidents.incident AND told.state = 'sent' AND told.first = incidents.first) ORDER BY changed_s LIMIT ?",
            (FIRING, now_s - RESEND_RESOLVED_S, destination, limit),
        ).fetchall()
        return [self._notice(*row) for row in rows]

    # Keeping house.

    def queued(self) -> int:
        """Deliveries that wait."""
        return int(self._db.execute("SELECT COUNT(*) FROM deliveries WHERE state = 'queued'").fetchone()[0])

    def counts(self) -> dict[tuple[str, str], int]:
        """Deliveries by destination and state; only of destinations that are configured now."""
        rows = self._db.execute("SELECT destination, state, COUNT(*) FROM deliveries GROUP BY destination, state")
        return {(name, state): count for name, state, count in rows if name in self._destinations}

    def oldest_queued_s(self) -> float | None:
        """When the delivery that has waited longest was taken in."""
        row = self._db.execute("SELECT MIN(accepted_s) FROM deliveries WHERE state = 'queued'").fetchone()
        return None if row[0] is None else float(row[0])

    def drop_unknown_destinations(self, *, now_s: float) -> int:
        """Fold what waits for sinks that are no longer configured; how many."""
        marks = ",".join("?" * len(self._destinations))
        changed = self._db.execute(
            "UPDATE deliveries SET state = 'folded', changed_s = ?, detail = 'its sink is gone' "  # noqa: S608
            f"WHERE state = 'queued' AND destination NOT IN ({marks})",
            (now_s, *self._destinations),
        )
        return changed.rowcount

    def prune(self, *, now_s: float, keep_s: float = KEEP_S) -> int:
        """Forget records older than keep_s whose incident is over and of which nothing waits; how many."""
        before_s = now_s - keep_s
        with outbox_file.transaction(self._db):
            gone = self._db.execute(
                "DELETE FROM alerts WHERE accepted_s < ? AND NOT EXISTS (SELECT 1 FROM incidents WHERE "
                "incidents.incident = alerts.incident AND incidents.state = ?) AND NOT EXISTS (SELECT 1 FROM "
                "deliveries WHERE deliveries.id = alerts.id AND deliveries.alert_state = alerts.state AND "
                "deliveries.state = 'queued')",
                (before_s, FIRING),
            ).rowcount
            self._db.execute(
                "DELETE FROM deliveries WHERE accepted_s < ? AND NOT EXISTS (SELECT 1 FROM alerts WHERE "
                "alerts.id = deliveries.id AND alerts.state = deliveries.alert_state)",
                (before_s,),
            )
            self._db.execute("DELETE FROM incidents WHERE state = ? AND changed_s < ?", (RESOLVED, before_s))
        return gone
