"""Notice: one alert record on its way to one destination, and the words in which incident tools speak.

Owns the reading of an alert record for all sinks: level, summary, labels, times. Knows no HTTP and no tool.

Not obvious: an incident keeps the identity of the record that opened it (`first`). Severity and contributors change
while it burns; a label or level that followed them would make a new alert of every change.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from agents.secret import Secret
from agents.sinks.config import Posts
from agents.sinks.delivery import Answer

FIRING, RESOLVED = "firing", "resolved"

#: Severity is -log10(p): a page begins near 5 at one sample every ten seconds, and 8 is one in a hundred million.
LEVELS = ((8.0, "critical"), (5.0, "error"))
LOWEST_LEVEL = "warning"


class Notice(NamedTuple):
    """id: of the record, the same on every try. first: the record that opened the incident. late: older than wanted."""

    id: str
    incident: str
    state: str
    first: Mapping[str, Any]
    record: Mapping[str, Any]
    late: bool = False

    @property
    def level(self) -> str:
        """critical, error or warning, as the incident began."""
        severity = number(self.first.get("severity"))
        return next((word for least, word in LEVELS if severity is not None and severity >= least), LOWEST_LEVEL)

    @property
    def summary(self) -> str:
        """One sentence for people."""
        because = self.record.get("because") or self.first.get("because")
        text = str(because) if because else f"{self.subject} is not as expected"
        return f"[late] {text}" if self.late else text

    @property
    def subject(self) -> str:
        """What it is about: the series where there is one, else the entity."""
        return str(self.first.get("series") or self.first.get("entity") or self.incident)

    @property
    def source(self) -> str:
        """The thing that is ill."""
        return str(self.first.get("entity") or self.subject)

    @property
    def metric(self) -> str:
        """Name of the first series without its labels; empty where the incident has none."""
        return str(self.first.get("series") or "").partition("{")[0]


class Request(NamedTuple):
    """One HTTP POST, ready to go. secrets: what must be masked in whatever the other side answers."""

    url: str
    headers: dict[str, str]
    body: bytes
    allow_private: bool
    connect_timeout_s: float
    total_timeout_s: float
    secrets: tuple[Secret, ...] = ()


def request(
    config: Posts, url: str, body: bytes, *, secrets: tuple[Secret, ...], headers: Mapping[str, str] | None = None
) -> Request:
    """The POST of a body in JSON to one URL of a sink."""
    return Request(
        url=url,
        headers={"Content-Type": "application/json", "User-Agent": "graft", **(headers or {})},
        body=body,
        allow_private=config.allow_private,
        connect_timeout_s=config.connect_timeout_s,
        total_timeout_s=config.total_timeout_s,
        secrets=secrets,
    )


Post = Callable[[Request], Awaitable[Answer]]
Write = Callable[[str], None]


class Sink(Protocol):
    """One destination. batch: how many notices one request may carry; resend_s: how often what burns is said again."""

    @property
    def destination(self) -> str: ...
    @property
    def batch(self) -> int: ...
    @property
    def resend_s(self) -> float | None: ...

    async def send(self, notices: Sequence[Notice], *, now_s: float) -> Answer:
        """Send them in one request; one answer for all."""
        ...


def age_s(record: Mapping[str, Any], now_s: float) -> float:
    """How long ago it was true what the record says."""
    return float(now_s - (record.get("at_ms") or record.get("started_ms") or 0) / 1000)


def number(value: object) -> float | None:
    """A finite number, or None: records are JSON from a topic, so anything may stand in a field."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None


def shown(value: object) -> str:
    """A number as people like it; empty for none.

    >>> shown(0.1 + 0.2), shown(None), shown(1234567.0)
    ('0.3', '', '1.23457e+06')
    """
    finite = number(value)
    return "" if finite is None else f"{finite:.6g}"


#: Years 1970 to 9999: beyond, datetime has no text.
_LAST_MS = 253_402_300_799_999


def rfc3339(moment_ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC.

    >>> rfc3339(1767225600123)
    '2026-01-01T00:00:00.123Z'
    """
    kept = min(max(moment_ms, 0), _LAST_MS)
    seconds, milliseconds = divmod(kept, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


_PAIR = re.compile(r"([^=,{}\"]+)=([^,=]*)")


def entity_labels(entity: str) -> dict[str, str]:
    """Labels out of an entity's text `host=web-1,rack=3`; empty where it does not read as such.

    >>> entity_labels("host=web-1,rack=3"), entity_labels("up"), entity_labels('up{host="a,b"}')
    ({'host': 'web-1', 'rack': '3'}, {}, {})
    """
    pairs = [_PAIR.fullmatch(part) for part in entity.split(",")]
    if not entity or not all(pairs):
        return {}
    return {pair[1]: pair[2] for pair in pairs if pair}


def clipped(text: str, most: int) -> str:
    """At most `most` characters, with an ellipsis where something was cut.

    >>> clipped("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def shares(found: object) -> list[str]:
    """`level 40%` for each component that came from a seed."""
    if not isinstance(found, Mapping):
        return []
    return [f"{name} {share:.0%}" for name, value in found.items() if (share := number(value))]


def first_link(record: Mapping[str, Any]) -> str | None:
    """The first link that is one; anything but http(s) would be refused, and could be worse."""
    found = record.get("links")
    for link in found if isinstance(found, list) else []:
        href = link.get("href") if isinstance(link, Mapping) else link
        if isinstance(href, str) and len(href) <= 2048 and urlsplit(href).scheme in ("http", "https"):
            return href
    return None
