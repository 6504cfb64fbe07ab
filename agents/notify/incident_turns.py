"""What an alert record does to its incident, as a table.

Owns the order of things: a beginning told again after the end does not reopen, the end of an earlier episode does not
close the present one. Knows no file and no tool.

Not obvious: a later episode of the same entity has the same incident key (engine/alerts.py) and must reopen it; what
tells it from a replayed beginning is its later start.
"""

from __future__ import annotations

from enum import StrEnum

from agents.sinks.notice import FIRING, RESOLVED


class Turn(StrEnum):
    """opens: an episode begins; goes on: news of the present one; ends: it is over; stale: left behind, never sent."""

    OPENS = "opens"
    GOES_ON = "goes on"
    ENDS = "ends"
    STALE = "stale"


class Start(StrEnum):
    """The record's start against that of the episode that is known."""

    EARLIER = "earlier"
    SAME = "same"
    LATER = "later"


#: State of an incident that nothing is known of.
UNKNOWN = ""

#: (known state, state of the record, its start): what follows. An end of which no beginning is known is told: the
#: beginning may have been told by a notifier whose disk is lost, and an end too many costs a tool nothing.
TURN: dict[tuple[str, str, Start], Turn] = {
    **{(UNKNOWN, FIRING, start): Turn.OPENS for start in Start},
    **{(UNKNOWN, RESOLVED, start): Turn.ENDS for start in Start},
    (FIRING, FIRING, Start.EARLIER): Turn.STALE,
    (FIRING, FIRING, Start.SAME): Turn.GOES_ON,
    (FIRING, FIRING, Start.LATER): Turn.OPENS,
    (FIRING, RESOLVED, Start.EARLIER): Turn.STALE,
    (FIRING, RESOLVED, Start.SAME): Turn.ENDS,
    (FIRING, RESOLVED, Start.LATER): Turn.ENDS,
    (RESOLVED, FIRING, Start.EARLIER): Turn.STALE,
    (RESOLVED, FIRING, Start.SAME): Turn.STALE,
    (RESOLVED, FIRING, Start.LATER): Turn.OPENS,
    (RESOLVED, RESOLVED, Start.EARLIER): Turn.STALE,
    (RESOLVED, RESOLVED, Start.SAME): Turn.STALE,
    (RESOLVED, RESOLVED, Start.LATER): Turn.ENDS,
}


def turn(known: str, state: str, *, started_ms: int, known_ms: int) -> Turn:
    """What a record does to an incident that is `known` and whose present episode started at known_ms.

    >>> turn(RESOLVED, FIRING, started_ms=5, known_ms=5).value, turn(RESOLVED, FIRING, started_ms=9, known_ms=5).value
    ('stale', 'opens')
    """
    start = Start.SAME if started_ms == known_ms else Start.LATER if started_ms > known_ms else Start.EARLIER
    return TURN[known, state, start]
