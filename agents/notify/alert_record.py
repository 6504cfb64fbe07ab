"""The check of an alert record as it comes off the topic: bytes in, a record that the outbox can hold out.

Owns what the notifier needs of `graft.alert/1`; further fields pass through. Anybody may write to a topic, so every
field that is used as an identity or a time is checked here, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.came import Came, parsed
from agents.sinks.notice import FIRING, RESOLVED
from engine.errors import BadSample

SCHEMA = "graft.alert/1"
#: PagerDuty's limit for the key of an incident; ours are 32 long.
KEY_CAP = 255


def parse(came: Came) -> Mapping[str, Any]:
    """The record. BadSample names what is wrong with it.

    >>> data = b'{"schema":"graft.alert/1","id":"a","incident":"i","state":"firing","started_ms":1}'
    >>> parse(Came("t", 0, 0, 0, None, data))["id"]
    'a'
    """
    record = parsed(came, schema=SCHEMA)
    for name in ("id", "incident"):
        text = record.get(name)
        if not isinstance(text, str) or not 0 < len(text) <= KEY_CAP or not text.isprintable():
            raise BadSample("field", f"{name} is {_short(text)}; wanted 1 to {KEY_CAP} printable characters")
    if record.get("state") not in (FIRING, RESOLVED):
        raise BadSample("field", f"state is {_short(record.get('state'))}; wanted {FIRING} or {RESOLVED}")
    _check_time(record, "started_ms", wanted=True)
    _check_time(record, "ended_ms", wanted=False)
    _check_time(record, "at_ms", wanted=False)
    return record


def _check_time(record: Mapping[str, Any], name: str, *, wanted: bool) -> None:
    value = record.get(name)
    if value is None and not wanted:
        return
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise BadSample("field", f"{name} is {_short(value)}; wanted epoch milliseconds, a whole number")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
