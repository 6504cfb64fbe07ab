"""JSON records: plain objects and Telegraf's, one by one, as orjson reads them.

A *plain* object is one sample:
    name    the first of "name", "metric", "series" that is there; a string
    value   "value": a number, or null where there is none (a gap; so is a limit that is not set, see rules.py). A
            boolean or a string is refused.
    time    the first of "timestamp", "ts", "time" that is there and not null; else the record's own time
    labels  "labels" or "tags", an object; where neither is there, all other members that are strings
    kind    "counter" or "gauge" in "kind", where the sender knows it
Label values may be strings, whole numbers and booleans; null and "" are no label. All other members are ignored.
A *Telegraf* object has "name" and an object "fields"; each numeric field is a series named `name.field`, or `name`
alone for a field called "value". Strings, booleans and nulls in fields are no samples, and no errors.
A record is one object, an array of objects, or {"metrics": [...]}.

Not obvious: orjson keeps the last of duplicate keys, reads integers beyond 64 bits as floats, and refuses NaN,
Infinity, 1e999, bad UTF-8 and deep nesting; all of that is relied on and tested.
"""

from __future__ import annotations

from math import isnan
from typing import Any

import orjson

from agents.codecs.rules import Out, check_time, check_value, short
from engine.errors import BadSample
from engine.series import Kind, Labels

_NAMES = ("name", "metric", "series")
_TIMES = ("timestamp", "ts", "time")
_KINDS = {"counter": Kind.COUNTER, "gauge": Kind.GAUGE}
#: Members with a meaning of their own are never labels.
_RESERVED = frozenset((*_NAMES, *_TIMES, "value", "labels", "tags", "kind", "fields"))


def parse(value: bytes) -> Any:
    """A JSON document, or BadSample saying what is wrong with it."""
    if value.startswith(b"\xef\xbb\xbf"):  # a byte order mark; RFC 8259 lets a reader ignore it
        value = value[3:]
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        text = str(error)
        if "depth" in text or "ecursion" in text:
            raise BadSample(
                "depth", "JSON nested deeper than 1,024; wanted a flat object or an array of them"
            ) from None
        if "UTF-8" in text or "utf-8" in text or "surrogate" in text:
            raise BadSample("utf8", text) from None
        raise BadSample("json", text) from None


def decode(value: bytes, append_ms: int, out: Out, *, plain: bool = True, telegraf: bool = True) -> None:
    """All samples of one record into out; plain and telegraf say which of the two shapes are allowed."""
    document = parse(value)
    if type(document) is dict and type(document.get("metrics")) is list and telegraf:
        document = document["metrics"]
    for item in document if type(document) is list else (document,):
        decode_item(item, append_ms, out, plain=plain, telegraf=telegraf)


def decode_item(item: Any, append_ms: int, out: Out, *, plain: bool = True, telegraf: bool = True) -> None:
    """One object: its samples, or a note in out of what is wrong with it."""
    try:
        if type(item) is not dict:
            raise BadSample("json", f"{short(item)} where an object was wanted")
        if telegraf and is_telegraf(item):
            _decode_telegraf(item, append_ms, out)
        elif plain:
            _decode_plain(item, append_ms, out)
        else:
            raise BadSample("format", 'no object "fields": not Telegraf JSON; set format = "json" or "auto"')
    except BadSample as error:
        out.note(error)


def is_telegraf(item: dict[str, Any]) -> bool:
    """Whether an object holds fields, each a series of its own."""
    return type(item.get("fields")) is dict


def _decode_plain(item: dict[str, Any], append_ms: int, out: Out) -> None:
    name = item.get("name") or _first(item, _NAMES)
    if type(name) is not str:
        raise BadSample("no_name", 'none of "name", "metric", "series" is a string')
    if "value" not in item:
        raise BadSample("no_value", f'no "value" in the object; its members are {short(", ".join(item))}')
    value = check_value(item["value"], out.limits)
    ts_ms = check_time(_first(item, _TIMES), append_ms, out.limits)
    kind = _KINDS.get(item["kind"], Kind.UNKNOWN) if type(item.get("kind")) is str else Kind.UNKNOWN
    out.add(out.row_of(name, _labels(item), kind), ts_ms, value)


def _decode_telegraf(item: dict[str, Any], append_ms: int, out: Out) -> None:
    name = item.get("name")
    if type(name) is not str:
        raise BadSample("no_name", 'Telegraf JSON without a string "name"')
    ts_ms = check_time(item.get("timestamp"), append_ms, out.limits)
    labels = _checked(item["tags"]) if item.get("tags") is not None else ()
    rows = out.families.get((name, labels)) or {}
    bound = out.limits.max_abs_value
    for field, raw in item["fields"].items():
        if type(raw) is not float and type(raw) is not int:
            continue
        try:
            value = raw + 0.0 if -bound <= raw <= bound else check_value(raw, out.limits)
            if isnan(value):  # a limit that is not set is no sample
                continue
            row = rows.get(field, -1)
            if row < 0:
                row = out.row_of(field_name(name, field), labels, Kind.UNKNOWN)
                rows[field] = row
                out.families[name, labels] = rows
            out.add(row, ts_ms, value)
        except BadSample as error:
            out.note(error)


def field_name(measurement: str, field: str) -> str:
    """The series' name of a Telegraf field.

    >>> field_name("cpu", "usage_idle"), field_name("queue_depth", "value")
    ('cpu.usage_idle', 'queue_depth')
    """
    return measurement if field == "value" else f"{measurement}.{field}"


def _first(item: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:  # the first that is there wins
        if (found := item.get(key)) is not None:
            return found
    return None


def _labels(item: dict[str, Any]) -> Labels:
    for key in ("labels", "tags"):
        if item.get(key) is not None:
            return _checked(item[key])
    return tuple([(k, v) for k, v in item.items() if type(v) is str and k not in _RESERVED])


def _checked(labels: Any) -> Labels:
    if type(labels) is not dict:
        raise BadSample("labels", f"labels are {short(labels)}; wanted an object of strings")
    for value in labels.values():
        if type(value) is not str:
            return tuple([(k, _label_text(k, v)) for k, v in labels.items()])
    return tuple(labels.items())


def _label_text(key: str, value: Any) -> str:
    if type(value) is bool:
        return "true" if value else "false"
    if value is None:
        return ""
    if type(value) is str or type(value) is int:
        return str(value)
    raise BadSample("labels", f"label {short(key)} is {short(value)}; wanted a string")
