"""Which format a record is in, from its first bytes: one decision a record, so that a topic may hold several.

Only the family is told here (`json` or `telegraf-influx`). Whether JSON is plain or Telegraf's is decided object by
object in plain.py, since an array may mix them.
"""

from __future__ import annotations

from typing import Final

from agents.codecs.rules import short
from engine.errors import BadSample

JSON: Final = "json"
INFLUX: Final = "telegraf-influx"
TELEGRAF_JSON: Final = "telegraf-json"
AUTO: Final = "auto"
FORMATS: Final = (AUTO, JSON, TELEGRAF_JSON, INFLUX)

_BLANK = b" \t\r\n"


def family(value: bytes) -> str:
    """`json` or `telegraf-influx`, or BadSample("format") where it can be neither.

    >>> family(b'{"name": "up", "value": 1}'), family(b"cpu,host=a usage=1 1767225600000000000")
    ('json', 'telegraf-influx')
    """
    if value[:1] in (b"{", b"["):
        return JSON
    start = 3 if value.startswith(b"\xef\xbb\xbf") else 0
    while start < len(value) and value[start] in _BLANK:
        start += 1
    if start == len(value):
        raise BadSample("empty", "the record has no bytes but blanks; a tombstone would have none at all")
    first = value[start]
    if first in b"{[":
        return JSON
    if first >= 32 and (first == 35 or (b"=" in value and b" " in value)):
        return INFLUX
    raise BadSample("format", f"neither JSON nor line protocol: starts with {short(value[start : start + 32])}")
