"""Telegraf's default, the line protocol: `measurement[,tag=value...] field=value[,field=value...] [timestamp]`.

Rules where the folklore differs, all held by tests:
- A backslash escapes a comma, a space or an equals sign after it and is itself otherwise: what every serializer
  writes comes back, including a backslash before an escaped comma.
- Quotes are special only where a field's value begins. Inside, `\\"` and `\\\\` are escapes, and a newline is text.
- `1.5` float, `3i` integer, `3u` unsigned; t/T/true/True/TRUE and the like and "strings" are no samples.
- A missing time is the record's own. The unit is told by the magnitude (rules.py).
- A line whose shape is broken gives nothing; a field whose value is broken takes only itself down.

Not obvious: the raw bytes of `measurement,tags` are the key of a cache, and two orders of the same tags are two keys
to one series.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from math import isnan
from typing import NamedTuple

from agents.codecs.plain import field_name
from agents.codecs.rules import Out, check_time, check_value, short
from engine.errors import BadSample
from engine.series import Kind

# Possessive (++, *+, ?+), so that a hostile line costs linear time.
_TEXT = rb"(?:[^,= \n\\]++|\\[,= ]?+)"
_HEAD = re.compile(rb"((?:[^, \n\\]++|\\[, ]?+)++)((?:," + _TEXT + rb"++=" + _TEXT + rb"*+)*+) ")
_TAG = re.compile(rb",(" + _TEXT + rb"++)=(" + _TEXT + rb"*+)")
_FIELD = re.compile(rb"(" + _TEXT + rb'++)=("(?:[^"\\]++|\\.)*+"|[^,\s"]++)', re.DOTALL)
_TIME = re.compile(rb" (-?[0-9]{1,20})[ \r]*+(?=\n|$)")
_END = re.compile(rb"[ \r]*+(?=\n|$)")
#: A line without escapes, quotes and odd blanks, in its parts: what nearly all are.
_SIMPLE = re.compile(rb'([^\\"\s]++ )([^\\"\s]++)(?: ([0-9]{1,19}))?+(?=\n|$)')
_FLOAT = re.compile(rb"[-+]?(?:[0-9]++\.?+[0-9]*+|\.[0-9]++)(?:[eE][-+]?[0-9]++)?+")
_INT = re.compile(rb"[-+]?[0-9]{1,20}i|\+?[0-9]{1,20}u")
_BOOL = frozenset((b"t", b"T", b"true", b"True", b"TRUE", b"f", b"F", b"false", b"False", b"FALSE"))
_INT64 = 1 << 63


class Head:
    """A `measurement,tags` seen before: its name, its labels, and the rows of its fields by their raw bytes."""

    __slots__ = ("labels", "name", "rows")

    def __init__(self, name: str, labels: tuple[tuple[str, str], ...]) -> None:
        self.name = name
        self.labels = labels
        self.rows: dict[bytes, int] = {}


Heads = dict[bytes, Head]


def decode(value: bytes, append_ms: int, out: Out, heads: Heads) -> None:
    """All samples of all lines of one record into out."""
    at, end = 0, len(value)
    if value.startswith(b"\xef\xbb\xbf"):
        at = 3
    while at < end:
        first = value[at]
        if first in b" \t\r\n":
            at += 1
        elif first == 35:  # '#', a comment
            at = _next_line(value, at)
        else:
            begin = at
            try:
                line = scan_line(value, at, heads)
                at = line.end
                ts_ms = check_time(line.time, append_ms, out.limits)
                _add_fields(line.head, line.fields, ts_ms, out, heads)
            except BadSample as error:
                out.note(error)
                at = max(at, _next_line(value, begin))


def starts(value: bytes) -> Iterator[int]:
    """Where each line of a record begins that has nothing wrong with it."""
    at = 0
    while at < len(value):
        if value[at] in b" \t\r\n":
            at += 1
        elif value[at] == 35:
            at = _next_line(value, at)
        else:
            yield at
            at = scan_line(value, at).end


def _next_line(value: bytes, at: int) -> int:
    found = value.find(b"\n", at)
    return len(value) if found < 0 else found + 1


class Line(NamedTuple):
    """One line in its parts, none of them judged yet; time is None where there is none, end the position after it."""

    head: bytes
    fields: list[tuple[bytes, bytes]]
    time: int | None
    end: int


def scan_line(value: bytes, at: int, known: Container[bytes] = ()) -> Line:
    """The line that begins at `at`, read to its end before any of it is used. known: heads that need no check."""
    simple = _SIMPLE.match(value, at)
    if simple is not None and simple[1] in known:
        head, inside, stamp = simple.groups()
        fields = [part.partition(b"=")[::2] for part in inside.split(b",")]
        if all(map(all, fields)):
            return Line(head, fields, int(stamp) if stamp else None, simple.end())
    return _scan_any_line(value, at)


def _scan_any_line(value: bytes, at: int) -> Line:
    match = _HEAD.match(value, at)
    if match is None:
        raise _broken(value, at, "no `measurement[,tag=value] ` at its start")
    head = match[0]
    at = match.end()
    fields: list[tuple[bytes, bytes]] = []
    while True:
        field = _FIELD.match(value, at)
        if field is None:
            raise _broken(value, at, "no `field=value`")
        fields.append((field[1], field[2]))
        at = field.end()
        if value[at : at + 1] != b",":
            break
        at += 1
    time = _TIME.match(value, at)
    stop = time or _END.match(value, at)
    if stop is None:
        raise _broken(value, at, "neither a timestamp nor the line's end")
    return Line(head, fields, int(time[1]) if time else None, stop.end())


def _add_fields(raw_head: bytes, fields: list[tuple[bytes, bytes]], ts_ms: int, out: Out, heads: Heads) -> None:
    head = heads.get(raw_head) or read_head(raw_head)
    bound = out.limits.max_abs_value
    for key, raw in fields:
        try:
            number = _number(raw)
            if number is None:
                continue
            value = number + 0.0 if -bound <= number <= bound else check_value(number, out.limits)
            if isnan(value):  # a limit that is not set is no sample
                continue
            row = head.rows.get(key, -1)
            if row < 0:
                row = out.row_of(field_name(head.name, _unescape(key)), head.labels, Kind.UNKNOWN)
                head.rows[key] = row
                heads[raw_head] = head
            out.add(row, ts_ms, value)
        except BadSample as error:
            out.note(error)


def read_head(raw_head: bytes) -> Head:
    """Name and labels of `measurement,tags `; BadSample where they are not UTF-8 or a key stands twice."""
    match = _HEAD.match(raw_head)
    if match is None:
        raise _broken(raw_head, 0, "no `measurement[,tag=value] ` at its start")
    labels = tuple([(_unescape(key), _unescape(value)) for key, value in _TAG.findall(match[2])])
    if len(dict(labels)) < len(labels):
        raise BadSample("labels", f"a tag key stands twice in {short(raw_head)}")
    return Head(_text(match[1]).replace("\\,", ",").replace("\\ ", " "), labels)


def _unescape(raw: bytes) -> str:
    text = _text(raw)
    return text.replace("\\,", ",").replace("\\=", "=").replace("\\ ", " ") if "\\" in text else text


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadSample("utf8", f"{short(raw)}: {error.reason}") from None


def _number(raw: bytes) -> float | int | None:
    """A field's number; None for a string or a boolean."""
    if _FLOAT.fullmatch(raw):
        return float(raw)
    if raw[0] == 34 or raw in _BOOL:
        return None
    if _INT.fullmatch(raw):
        number = int(raw[:-1])
        if -_INT64 <= number < (_INT64 if raw.endswith(b"i") else 2 * _INT64):
            return number
        raise BadSample("value_range", f"{short(raw)} does not fit 64 bits")
    raise BadSample("value_type", f"field value {short(raw)} is no float, integer, boolean or quoted string")


def _broken(value: bytes, at: int, what: str) -> BadSample:
    return BadSample("line", f"{what} at byte {at}: {short(value[at : at + 40])}")
