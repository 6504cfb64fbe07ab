"""Alertmanager v2: alerts as sets of labels, said again and again while they burn.

Owns the mapping of a notice to a postable alert. Labels are identity only - what the incident was when it opened -
because to an Alertmanager other labels are another alert; values, scores and the like are annotations.

Not obvious: an Alertmanager keeps no promise about senders. A firing alert ends by itself at `endsAt`, so it is sent
each interval with an end four intervals ahead (a dead Graft ends its alerts, as a dead Prometheus does), and an ended
one is sent for five minutes more, in case the Alertmanager was restarted between. The incident key is a label, so
that saying the end of one incident again cannot end the next one of the same entity.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from agents.sinks.config import AlertmanagerSink
from agents.sinks.delivery import Answer
from agents.sinks.notice import (
    FIRING,
    Notice,
    Post,
    Request,
    clipped,
    entity_labels,
    first_link,
    number,
    request,
    rfc3339,
    shares,
    shown,
)

PATH = "/api/v2/alerts"
ALERTNAME = "GraftAnomaly"
#: `endsAt` lies this many intervals ahead: three may be lost before the alert ends by itself.
INTERVALS_AHEAD = 4
#: One POST of 5,000 alerts took a real Alertmanager 0.7 s; 64 keep a bad one cheap to find.
BATCH = 64
LABEL_CAP, ANNOTATION_CAP, CONTRIBUTORS_SHOWN = 512, 4096, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Alertmanager:
    """One replica of an Alertmanager."""

    destination: str
    url: str
    config: AlertmanagerSink
    post: Post
    batch: int = BATCH

    @property
    def resend_s(self) -> float | None:
        """How often the firing are said again."""
        return self.config.resend_interval_s

    async def send(self, notices: Sequence[Notice], *, now_s: float) -> Answer:
        """One POST of an array; a 400 means that some are bad, and the good ones are stored all the same."""
        return await self.post(self.request(notices, now_s=now_s))

    def request(self, notices: Sequence[Notice], *, now_s: float) -> Request:
        """The POST of these notices."""
        ahead_s = INTERVALS_AHEAD * self.config.resend_interval_s
        alerts = [postable(notice, now_ms=int(now_s * 1000), ahead_ms=int(ahead_s * 1000)) for notice in notices]
        url, headers = self.url.rstrip("/") + PATH, self._authorization()
        return request(self.config, url, orjson.dumps(alerts), secrets=(self.config.password,), headers=headers)

    def _authorization(self) -> dict[str, str]:
        if not self.config.user:
            return {}
        pair = f"{self.config.user}:{self.config.password.reveal()}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def postable(notice: Notice, *, now_ms: int, ahead_ms: int) -> dict[str, Any]:
    """One alert as Alertmanager takes it; never with an end before its start, which would be refused."""
    starts_ms = min(_ms(notice.first, "started_ms", now_ms), now_ms)
    if notice.state == FIRING:
        ends_ms = now_ms + ahead_ms
    else:
        ends_ms = max(min(_ms(notice.record, "ended_ms", now_ms), now_ms), starts_ms)
    alert: dict[str, Any] = {
        "labels": labels(notice),
        "annotations": notes(notice),
        "startsAt": rfc3339(starts_ms),
        "endsAt": rfc3339(ends_ms),
    }
    link = first_link(notice.record)
    return {**alert, "generatorURL": link} if link else alert


def labels(notice: Notice) -> dict[str, str]:
    """Identity: what the incident was when it opened. The entity's own labels stand beside ours, for routing."""
    ours = {
        "alertname": ALERTNAME,
        "environment": str(notice.first.get("environment") or "default"),
        "entity": str(notice.first.get("entity") or ""),
        "metric": notice.metric,
        "severity": notice.level,
        "incident": notice.incident,
    }
    theirs = {label_name(name): value for name, value in entity_labels(ours["entity"]).items()}
    # An empty label is no label to an Alertmanager, and ours win over a host that is called "severity".
    return {name: clipped(value, LABEL_CAP) for name, value in {**theirs, **ours}.items() if value}


_BAD = re.compile(r"[^a-zA-Z0-9_]")


def label_name(name: str) -> str:
    """A name that every version takes: newer ones allow UTF-8, 0.25 answers 400.

    >>> label_name("k8s.pod-name"), label_name("1st"), label_name("")
    ('k8s_pod_name', '_1st', '_')
    """
    kept = _BAD.sub("_", name)
    return kept if kept and not kept[0].isdigit() else "_" + kept


def notes(notice: Notice) -> dict[str, str]:
    """Everything that may change while it burns, as text."""
    record = notice.record
    texts = {
        "summary": notice.summary,
        "series": str(record.get("series") or notice.first.get("series") or ""),
        **{name: shown(record.get(name)) for name in ("value", "expected", "lower", "upper", "confidence")},
        "severity_score": shown(record.get("severity")),
        "contributors": "\n".join(contributors(record)),
        "borrowed": ", ".join(shares(record.get("borrowed"))),
        "alert_id": notice.id,
        "late": "true" if notice.late else "",
    }
    return {name: clipped(text, ANNOTATION_CAP) for name, text in texts.items() if text}


def contributors(record: Mapping[str, Any]) -> list[str]:
    """The leading series as lines; how many more there are."""
    found = record.get("contributors")
    rows = [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []
    lines = [_contributor(row) for row in rows[:CONTRIBUTORS_SHOWN]]
    return [*lines, f"and {len(rows) - CONTRIBUTORS_SHOWN} more"] if len(rows) > CONTRIBUTORS_SHOWN else lines


def _contributor(row: Mapping[str, Any]) -> str:
    value, lower, upper = (shown(row.get(name)) for name in ("value", "lower", "upper"))
    band = f", expected {lower} to {upper}" if lower and upper else ""
    return f"{row.get('series', '')} is {value or 'absent'}{band}"


def _ms(record: Mapping[str, Any], name: str, default_ms: int) -> int:
    value = number(record.get(name))
    return default_ms if value is None else int(value)
