"""Outbox: what has to be told to which incident tool, on disk, with the Kafka position in the same transaction.

Owns one SQLite file. Whatever dies at whatever moment: a record is in the file exactly when the position is past it,
and a delivery is marked sent only after the tool said yes, so every alert is delivered at least once, always under the
same id. Knows no HTTP and no Kafka client; the clock is an argument.

Rules: a record (id and state) is taken once, for as long as its row is kept. The deliveries of one incident leave in
order per destination, so an end never overtakes its beginning. What an incident has left behind (incident_turns.py) is
kept and counted, never sent.

A beginning that is late when it comes (a first start reads the topic's whole history) is held for a minute: if its end
is close behind, neither is told. What still burns then is told, marked late.

Not obvious: only partitions that this notifier owns are sent from. A partition that moved to another worker is that
worker's to tell; when it comes back, what the other has settled by then counts as told.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from agents.notify import outbox_file
from agents.notify.incident_turns import UNKNOWN, Turn, turn
from agents.sinks.delivery import NEXT, Event, State
from agents.sinks.notice import FIRING, RESOLVED, Notice, age_s
from agents.transaction import transaction

#: Ids are remembered this long, and must be longer than the input is kept: a replay must not page twice.
KEEP_S = 30 * 86_400.0
#: Above this many waiting deliveries nothing more is taken in; Kafka keeps the rest.
QUEUED_CAP = 100_000
#: An ended incident is said to be over for five minutes more, to tools that forget.
RESEND_RESOLVED_S = 300.0

#: How long a late beginning waits for its end, which comes as fast as the detector reads its backlog.
LATE_HOLD_S = 60.0

Positions = Mapping[tuple[str, int], int]
_OWNED = "(topic, partition) IN (SELECT topic, partition FROM positions WHERE owned = 1)"
#: Of one delivery: it waits, it is ours to tell, and of its incident none that came before it waits.
_MAY_GO = (
    f"state = 'queued' AND {_OWNED} AND NOT EXISTS (SELECT 1 FROM deliveries AS before WHERE before.destination = "  # noqa: S608
    "one.destination AND before.incident = one.incident AND before.seq < one.seq AND before.state = 'queued')"
)
_EPISODE = "destination = ? AND incident = ? AND first = ?"
#: What `detail` says of a delivery that is not sent, or not yet.
BEHIND, GONE, LEFT = "its beginning was parked", "its sink is gone", "a later episode was told"
OVER, HELD = "over before it could be told", "late: held for its end"


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
    """What became of a batch of records. stale: new, but its incident had left it behind. over: new, the end of an
    incident that was over before it could be told."""

    new: int = 0
    known: int = 0
    stale: int = 0
    over: int = 0


def _nothing(_name: str) -> None:
    """The crash points of production."""


class Outbox:
    """The file. Use one object per thread; several may have the same file open."""

    def __init__(
        self,
        path: Path | str,
        *,
        destinations: Sequence[str],
        late_s: Mapping[str, float] | None = None,
        point: Callable[[str], None] = _nothing,
    ) -> None:
        """destinations: who is to hear of new records. late_s: the age of a late alert, by destination.

        point: called at the places where a crash is to be survived.
        """
        self._destinations = tuple(destinations)
        self._late_s = late_s or {}
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
        with transaction(self._db):
            self._db.execute("UPDATE positions SET owned = 0")
            for topic, partition in partitions:
                self._db.execute(
                    "INSERT INTO positions VALUES (?, ?, -1, 1) ON CONFLICT DO UPDATE SET owned = 1", (topic, partition)
                )
                self._db.execute(
                    "UPDATE deliveries SET state = 'sent', changed_s = ?, detail = 'told by another notifier' "
                    "WHERE state = 'queued' AND requeued = 0 AND topic = ? AND partition = ? AND offset < ?",
                    (now_s, topic, partition, settled.get((topic, partition), -1)),
                )

    def settled_below(self) -> dict[tuple[str, int], int]:
        """Per partition the offset below which nothing waits: what may be committed for others to go on from."""
        waiting = self._db.execute(
            "SELECT topic, partition, MIN(offset) FROM deliveries WHERE state = 'queued' AND requeued = 0 "
            "GROUP BY topic, partition"
        )
        return {**self.positions(), **{(topic, partition): offset for topic, partition, offset in waiting}}

    # Taking in.

    def accept(self, batch: Sequence[Incoming], positions: Positions, *, now_s: float, heard: bool = False) -> Taken:
        """Take records in and move the positions past them, in one transaction; both or neither.

        heard: another notifier has already told them: learn what is open and what is over, and send nothing.
        """
        with transaction(self._db):
            taken = Counter(self._take(incoming, now_s=now_s, heard=heard) for incoming in batch)
            self._point("rows-written")
            self._store_positions(positions)
            self._point("position-written")
        self._point("accepted")
        return Taken(**taken)

    def _store_positions(self, positions: Positions) -> None:
        self._db.executemany(
            "INSERT INTO positions VALUES (?, ?, ?, 0) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
            [(topic, partition, offset) for (topic, partition), offset in positions.items()],
        )

    def _take(self, incoming: Incoming, *, now_s: float, heard: bool) -> str:
        """What became of it: a field of Taken."""
        record = incoming.record
        place = (incoming.topic, incoming.partition, incoming.offset)
        added = self._db.execute(
            "INSERT OR IGNORE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (record["id"], record["state"], record["incident"], *place, now_s, orjson.dumps(dict(record))),
        )
        if added.rowcount == 0:
            return "known"
        first = self._let_turn(incoming, now_s)
        if first is None:
            return "stale"
        over = 0
        for destination in self._destinations:
            late = record["state"] == FIRING and age_s(record, now_s) > self._late_s.get(destination, math.inf)
            self._insert(incoming, first, destination, State.SENT if heard else State.QUEUED, now_s, hold=late)
            if record["state"] == RESOLVED and not heard:
                over += self._fold_late(destination, record["incident"], first, now_s)
                self._fold_ends(destination, record["incident"], first, now_s)
        return "over" if 0 < over == len(self._destinations) else "new"

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

    def _insert(
        self, incoming: Incoming, first: bytes, destination: str, state: State, now_s: float, *, hold: bool
    ) -> None:
        record = incoming.record
        self._db.execute(
            "INSERT OR IGNORE INTO deliveries (id, alert_state, incident, first, topic, partition, offset, "
            "destination, state, due_s, accepted_s, changed_s, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record["id"], record["state"], record["incident"], first,
                incoming.topic, incoming.partition, incoming.offset,
                destination, state, now_s + LATE_HOLD_S * hold, now_s, now_s, HELD if hold else "",
            ),
        )  # fmt: skip

    def _fold_late(self, destination: str, incident: str, first: bytes, now_s: float) -> bool:
        """The end has come before its late beginning was tried: the beginning is not told. Whether it was so."""
        changed = self._db.execute(
            f"UPDATE deliveries SET state = 'folded', changed_s = ?, detail = ? WHERE {_EPISODE} AND state = 'queued' "  # noqa: S608
            "AND detail = ?",
            (now_s, OVER, destination, incident, first, HELD),
        )
        return changed.rowcount > 0

    def _fold_ends(self, destination: str, incident: str, first: bytes, now_s: float) -> None:
        """An end of which the tool has heard no beginning, and will hear none, waits beside it."""
        episode = (destination, incident, first)
        begun = f"FROM deliveries WHERE {_EPISODE} AND alert_state = '{FIRING}'"
        self._db.execute(
            "UPDATE deliveries SET state = 'folded', changed_s = ?, detail = "  # noqa: S608
            f"(SELECT CASE WHEN MAX(state = 'parked') THEN ? ELSE MAX(detail) END {begun}) "
            f"WHERE {_EPISODE} AND alert_state = '{RESOLVED}' AND state = 'queued' "
            f"AND (SELECT MAX(state IN ('queued', 'sent')) {begun}) = 0",
            (now_s, BEHIND, *episode, *episode, *episode),
        )

    # Sending.

    def due(self, destination: str, *, now_s: float, limit: int) -> list[Delivery]:
        """What may be sent now, oldest first: of each incident only the earliest that still waits.

        `+due_s` keeps SQLite from the index of due times, with which it would sort all that waits for each request.
        """
        rows = self._db.execute(
            f"SELECT seq, id, alert_state, incident, first, attempts, accepted_s FROM deliveries AS one "  # noqa: S608
            f"WHERE destination = ? AND +due_s <= ? AND {_MAY_GO} ORDER BY seq LIMIT ?",
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
        """When the next delivery that may go is due; None if there is none."""
        row = self._db.execute(
            f"SELECT due_s FROM deliveries AS one WHERE destination = ? AND {_MAY_GO} ORDER BY due_s LIMIT 1",  # noqa: S608
            (destination,),
        ).fetchone()
        return None if row is None else float(row[0])

    def mark(self, seq: int, event: Event, *, due_s: float, now_s: float, detail: str = "") -> State:
        """Write down what happened to a delivery; its new state."""
        return self.mark_all([Mark(seq, event, due_s, detail)], now_s=now_s)[0]

    def mark_all(self, marks: Sequence[Mark], *, now_s: float) -> list[State]:
        """The same for those that one answer was about, in one transaction: a batch costs one fsync, not sixty."""
        with transaction(self._db):
            return [self._mark(mark, now_s) for mark in marks]

    def _mark(self, mark: Mark, now_s: float) -> State:
        was, destination, incident, first = self._db.execute(
            "SELECT state, destination, incident, first FROM deliveries WHERE seq = ?", (mark.seq,)
        ).fetchone()
        state = NEXT[State(was), mark.event]
        self._db.execute(
            "UPDATE deliveries SET state = ?, attempts = attempts + 1, due_s = ?, changed_s = ?, detail = ? "
            "WHERE seq = ?",
            (state, mark.due_s, now_s, mark.detail, mark.seq),
        )
        if state is State.PARKED:
            self._fold_ends(destination, incident, first, now_s)
        elif was == State.FOLDED:
            # Folded while it was on its way: the tool may have it, so it must hear the end.
            self._db.execute(
                f"UPDATE deliveries SET state = 'queued', requeued = 1, due_s = ? WHERE {_EPISODE} "  # noqa: S608
                f"AND alert_state = '{RESOLVED}' AND state = 'folded'",
                (now_s, destination, incident, first),
            )
        return state

    def to_repeat(self, destination: str, *, now_s: float, after: str = "", limit: int) -> list[Notice]:
        """What a forgetful tool has to hear again: all it was told that burns, and what ended in the last minutes.

        In order of incident, from the one behind `after`, so that a caller can go through all of it in parts.
        """
        rows = self._db.execute(
            f"SELECT last_id, state, incident, first FROM incidents WHERE (state = ? OR changed_s >= ?) AND {_OWNED} "  # noqa: S608
            "AND incident > ? AND EXISTS (SELECT 1 FROM deliveries AS told WHERE told.destination = ? AND "
            "told.incident = incidents.incident AND told.state = 'sent' AND told.first = incidents.first) "
            "ORDER BY incident LIMIT ?",
            (FIRING, now_s - RESEND_RESOLVED_S, after, destination, limit),
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

    def prune(self, *, now_s: float, keep_s: float = KEEP_S) -> int:
        """Forget records older than keep_s whose incident is over and of which nothing waits; how many."""
        before_s = now_s - keep_s
        with transaction(self._db):
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
