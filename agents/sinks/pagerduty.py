"""PagerDuty Events API v2: one trigger and one resolve per incident, tied by the incident key.

Owns the mapping of a notice to an event, and PagerDuty's limits. A second trigger of an open incident is folded by
PagerDuty into the first; a trigger after a resolve would open a new one, which the outbox prevents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agents.sinks.config import PagerDutySink
from agents.sinks.delivery import Answer
from agents.sinks.notice import FIRING, Notice, Post, Request, clipped, first_link, number, request, rfc3339, shares

SUMMARY_CAP, KEY_CAP, FIELD_CAP, EVENT_CAP_BYTES = 1024, 255, 1024, 512 * 1024
CONTRIBUTORS_SHOWN = 20
NUMBERS = ("value", "expected", "lower", "upper", "severity", "confidence")
#: Beyond this an event is cut down to its sentence; half of what PagerDuty takes leaves room for their accounting.
DETAILS_CAP_BYTES = EVENT_CAP_BYTES // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PagerDuty:
    """One integration key of one service."""

    destination: str
    config: PagerDutySink
    post: Post
    batch: int = 1
    resend_s: float | None = None

    async def send(self, notices: Sequence[Notice], *, now_s: float) -> Answer:  # noqa: ARG002 - no clock needed here
        """One event; 202 is the yes."""
        return await self.post(self.request(notices[0]))

    def request(self, notice: Notice) -> Request:
        """The POST of this event."""
        body = orjson.dumps(event(notice, self.config))
        return request(self.config, self.config.url, body, secrets=(self.config.routing_key,))


def event(notice: Notice, config: PagerDutySink) -> dict[str, Any]:
    """The event as PagerDuty takes it."""
    body: dict[str, Any] = {
        "routing_key": config.routing_key.reveal(),
        "event_action": "trigger" if notice.state == FIRING else "resolve",
        "dedup_key": notice.incident[:KEY_CAP],
        "payload": payload(notice),
        "client": "Graft",
    }
    if config.client_url:
        body["client_url"] = config.client_url
    if link := first_link(notice.record):
        body["links"] = [{"href": link, "text": "Open"}]
    return body


def payload(notice: Notice) -> dict[str, Any]:
    """Summary, source and severity are required; the rest helps whoever is woken."""
    started_ms = number(notice.first.get("started_ms"))
    components = [row for row in _rows(notice.first, "components") if row.get("name")]
    optional = {
        "timestamp": rfc3339(int(started_ms)) if started_ms is not None else "",
        "component": clipped(notice.metric, FIELD_CAP),
        "group": clipped(str(notice.first.get("environment") or ""), FIELD_CAP),
        "class": clipped(str(components[0]["name"]), FIELD_CAP) if components else "",
    }
    return {
        "summary": clipped(notice.summary, SUMMARY_CAP),
        "source": clipped(notice.source, FIELD_CAP),
        "severity": notice.level,
        **{name: text for name, text in optional.items() if text},
        "custom_details": details(notice),
    }


def details(notice: Notice) -> dict[str, Any]:
    """Value, band, contributors and what was borrowed from a seed; cut to the sentence if it would not fit."""
    record = notice.record
    found: dict[str, Any] = {
        "series": str(record.get("series") or ""),
        **{name: number(record.get(name)) for name in NUMBERS},
        "contributors": [_plain(row) for row in _rows(record, "contributors")[:CONTRIBUTORS_SHOWN]],
        "contributors_total": len(_rows(record, "contributors")),
        "components": [_plain(row) for row in _rows(record, "components")],
        "borrowed": shares(record.get("borrowed")),
        "alert_id": notice.id,
        "late": notice.late,
    }
    if len(orjson.dumps(found)) <= DETAILS_CAP_BYTES:
        return found
    return {"alert_id": notice.id, "late": notice.late, "cut": "the details were larger than PagerDuty takes"}


def _rows(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = record.get(name)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Names and numbers of a row, without what is nested in it."""
    return {name: value for name, value in row.items() if isinstance(value, str | int | float | None)}
