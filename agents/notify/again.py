"""What is put in the queue once more: by hand after a repair, or for a sink that is new or here again.

Owns the few acts on the outbox's file that are no part of its daily life; each is one transaction, and another process
may have the file open. Such rows are `requeued`: the group's offset may be past them, so neither judges the other.

Not obvious: of an incident only the present episode may be told again. Episodes share their key, so an earlier one that
was told after a later one would end that at the tool.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from agents.notify.outbox import BEHIND, GONE, LEFT
from agents.sinks.notice import FIRING
from agents.transaction import transaction

_PRESENT = (
    "EXISTS (SELECT 1 FROM incidents WHERE incidents.incident = deliveries.incident "
    "AND incidents.first = deliveries.first)"
)


class Parked(NamedTuple):
    """A delivery that was given up. since_s: when; detail: what the tool said last."""

    destination: str
    incident: str
    id: str
    state: str
    since_s: float
    detail: str


def parked(db: sqlite3.Connection, destination: str) -> list[Parked]:
    """What this destination was not told and will not be, oldest first."""
    rows = db.execute(
        "SELECT destination, incident, id, alert_state, changed_s, detail FROM deliveries "
        "WHERE destination = ? AND state = 'parked' ORDER BY seq",
        (destination,),
    )
    return [Parked(*row) for row in rows]


def requeue(db: sqlite3.Connection, destination: str, *, now_s: float) -> int:
    """Put what was parked, and the ends behind it, back in the queue; how many."""
    with transaction(db):
        db.execute(
            "UPDATE deliveries SET state = 'folded', changed_s = ?, detail = ? "  # noqa: S608
            f"WHERE destination = ? AND state = 'parked' AND NOT {_PRESENT}",
            (now_s, LEFT, destination),
        )
        changed = db.execute(
            "UPDATE deliveries SET state = 'queued', requeued = 1, due_s = ?, accepted_s = ?, changed_s = ?, "  # noqa: S608
            "detail = '' WHERE destination = ? AND (state = 'parked' OR (state = 'folded' AND detail = ?)) "
            f"AND {_PRESENT}",
            (now_s, now_s, now_s, destination, BEHIND),
        )
    return changed.rowcount


def dismiss(db: sqlite3.Connection, destinations: Sequence[str], *, now_s: float) -> int:
    """Fold what waits for sinks other than these, which are all that are configured; how many."""
    marks = ",".join("?" * len(destinations))
    changed = db.execute(
        "UPDATE deliveries SET state = 'folded', changed_s = ?, detail = ? "  # noqa: S608
        f"WHERE state = 'queued' AND destination NOT IN ({marks})",
        (now_s, GONE, *destinations),
    )
    return changed.rowcount


def adopt(db: sqlite3.Connection, destination: str, *, now_s: float) -> int:
    """Queue what a destination that is new, or here again, has to know; how many.

    That is what burns and was never in its queue, and the end of what it was told to burn.
    """
    episode = "destination = :name AND deliveries.incident = incidents.incident AND first = incidents.first"
    with transaction(db):
        changed = db.execute(
            "INSERT INTO deliveries (id, alert_state, incident, first, topic, partition, offset, destination, state, "  # noqa: S608
            "requeued, due_s, accepted_s, changed_s) SELECT alerts.id, alerts.state, incidents.incident, "
            "incidents.first, alerts.topic, alerts.partition, alerts.offset, :name, 'queued', 1, :now, :now, :now "
            "FROM incidents JOIN alerts ON alerts.id = last_id AND alerts.state = incidents.state WHERE "
            f"NOT EXISTS (SELECT 1 FROM deliveries WHERE {episode} AND alert_state = incidents.state "
            f"AND detail != '{GONE}') AND (incidents.state = '{FIRING}' OR EXISTS (SELECT 1 FROM deliveries WHERE "
            f"{episode} AND alert_state = '{FIRING}' AND deliveries.state = 'sent')) "
            "ON CONFLICT (id, alert_state, destination) DO UPDATE SET state = 'queued', requeued = 1, due_s = :now, "
            "accepted_s = :now, changed_s = :now, detail = ''",
            {"name": destination, "now": now_s},
        )
    return changed.rowcount
