"""Words: what the demo says about a record, in one line for people. Pure.

Owns the wording of the event log, shared by the live screen and the plain lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from agents.demo.incidents import Incident
from agents.demo.scoreboard import Heard
from agents.demo.world import MINUTES_A_DAY, STEP_MS


class Event(NamedTuple):
    """mark: a word of at most eight letters; style: of rich."""

    mark: str
    at: str
    text: str
    style: str


def clock(minute: float) -> str:
    """Event time for people.

    >>> clock(1440 + 61)
    'day 2 01:01'
    """
    whole = int(minute)
    return f"day {whole // MINUTES_A_DAY + 1} {whole % MINUTES_A_DAY // 60:02d}:{whole % 60:02d}"


def duration(seconds: float | None) -> str:
    """A stretch of event time.

    >>> duration(5400.0), duration(120.0), duration(None)
    ('1.5 h', '2 min', 'never')
    """
    if seconds is None:
        return "never"
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.0f} min"


def injected(incident: Incident) -> Event:
    """The script has begun to do something."""
    where = incident.entity + (f" {incident.metric}" if incident.metric else "")
    return Event("inject", clock(incident.start_min), f"{incident.kind} on {where}: {incident.story}", "cyan")


def of_record(heard: Heard, begin_ms: int) -> Event | None:
    """The line about a record; None for what would only be noise."""
    record = heard.value
    at = clock((int(record.get("at_ms") or begin_ms) - begin_ms) / STEP_MS)
    make = _MAKERS.get(heard.topic)
    found = make(record) if make else None
    return Event(found[0], at, found[1], found[2]) if found else None


def _alert(record: Mapping[str, Any]) -> tuple[str, str, str]:
    if record.get("state") == "firing":
        return "PAGE", str(record.get("because")), "bold red"
    return "resolved", str(record.get("because")), "green"


def _escalation(record: Mapping[str, Any]) -> tuple[str, str, str] | None:
    if record.get("state") == "folded" and record.get("into"):
        return "folded", f"{record.get('series')}: the same question again; nobody is asked twice.", "yellow"
    if record.get("state") != "opened":
        return None
    sure = f"severity {record.get('severity') or 0:.1f}, confidence {record.get('confidence') or 0:.2f}"
    return "ask", f"{record.get('because')} Unusual but unsure ({sure}): a question, nobody is paged.", "yellow"


def _drift(record: Mapping[str, Any]) -> tuple[str, str, str] | None:
    is_change = record.get("kind") in ("level", "gain", "scale", "phase")
    return ("drift", str(record.get("because")), "magenta") if is_change else None


def _experiment(record: Mapping[str, Any]) -> tuple[str, str, str] | None:
    if record.get("kind") in ("guard", "worth"):
        is_eviction = record.get("finding") in ("refused", "returned")
        return ("guard", str(record.get("because")), "magenta") if is_eviction else None
    if record.get("kind") == "label":
        return "differ", str(record.get("because")), "yellow"
    order, before, after = record.get("order") or {}, record.get("before") or {}, record.get("after") or {}
    if order.get("kind") == "label":
        params = order.get("params") or {}
        effects = record.get("effects") or []
        moved = effects[0].get("what") if effects else "nothing is changed by it"
        said = f"{params.get('by')} says {params.get('answer')!r} about {record.get('series')}: {moved}"
        return "answer", said, "yellow"
    if record.get("finding") not in ("kept", "rolled_back"):
        return None
    levels = f"level {before.get('mean') or 0:.4g} -> {after.get('mean') or 0:.4g}"
    what = f"{record.get('action')} of {record.get('series')}: {record.get('finding')}"
    return "re-tune", f"{what}, {levels}" if record.get("finding") == "kept" else what, "magenta"


_MAKERS = {"alerts": _alert, "escalations": _escalation, "drift": _drift, "experiments": _experiment}
