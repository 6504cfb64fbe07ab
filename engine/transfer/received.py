"""Received: records as they come from a topic, on which anybody may have written, made safe to read. Pure.

Owns what of a record `trial`, `report` and `history` may take for granted. A record with a field of another type is
passed over, whole; an account that is not as `engine.account` writes it counts as none, and the record stays.

Not obvious: what is not named here is only ever compared or printed. Whatever is computed with, looked into or put
into a set has to be named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

#: A number that arithmetic survives, and a text that fits a screen.
MOST_NUMBER, MOST_TEXT = 1e18, 65_536
_MAPPINGS = ("order", "target", "source", "worth", "evidence", "limits", "before", "after", "applied_at")
_TEXTS = ("entity", "series", "kind", "finding")
_COUNTS = ("series", "young", "helped", "equal", "hurt", "not_caught_up")
_MAY_BE_UNKNOWN = ("gain", "error_ratio", "parity_h")
_PAGES = ("seeded", "cold", "seeded_alone", "cold_alone")
_AGES = ("from_h", "to_h", "seeded", "cold", "gain")


def received(records: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """The records that can be read, each with its account or None as `worth`; in the order in which they came."""
    for one in records:
        if _is_record(one):
            yield one if not one.get("worth") or _is_account(one["worth"]) else {**one, "worth": None}


def is_number(value: object) -> bool:
    """A number that can be computed with: no bool, NaN or infinity, nor beyond MOST_NUMBER."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST_NUMBER


def _is_record(one: object) -> bool:
    if not isinstance(one, Mapping) or not all(_is_mapping(one.get(name)) for name in _MAPPINGS):
        return False
    order, target = one.get("order") or {}, one.get("target") or {}
    places = [one, target, order, _of(order, "target"), one.get("applied_at") or {}]
    return (
        _are_mappings(one.get("follows"))
        and all(_is_mapping(place.get(name)) for place in (one, order) for name in ("params", "target"))
        and all(_is_place(place) for place in [*places, *(one.get("follows") or ())])
        and all(_are_mappings(_of(one, when).get("sources")) for when in ("before", "after"))
    )


def _is_place(place: Mapping[str, Any]) -> bool:
    """Of the names in it, none is anything but a text; a partition is a number."""
    is_text = all(place.get(name) is None or isinstance(place[name], str) for name in (*_TEXTS, "topic"))
    return is_text and (place.get("partition") is None or is_number(place["partition"]))


def _is_account(worth: Mapping[str, Any]) -> bool:
    ages, classes, pages = worth.get("by_age"), worth.get("classes"), worth.get("pages")
    return (
        is_number(worth.get("hours"))
        and _is_summary(worth)
        and isinstance(ages, list)
        and all(_is_age(row) for row in ages)
        and isinstance(classes, list)
        and all(_is_class(row) for row in classes)
        and _is_count(worth.get("classes_left_out"))
        and isinstance(pages, Mapping)
        and all(_is_count(pages.get(name)) for name in _PAGES)
    )


def _is_summary(one: Mapping[str, Any]) -> bool:
    """series = helped + equal + hurt, and a gain where there is a series."""
    return (
        all(_is_count(one.get(name)) for name in _COUNTS)
        and one["series"] == one["helped"] + one["equal"] + one["hurt"]
        and all(name in one and (one[name] is None or is_number(one[name])) for name in _MAY_BE_UNKNOWN)
        and (one["series"] == 0 or one["gain"] is not None)
    )


def _is_age(row: object) -> bool:
    return (
        isinstance(row, Mapping)
        and all(_is_count(row.get(name)) for name in ("series", "samples"))
        and all(is_number(row.get(name)) for name in _AGES)
    )


def _is_class(row: object) -> bool:
    return (
        isinstance(row, Mapping)
        and isinstance(row.get("class"), str)
        and len(row["class"]) <= MOST_TEXT
        and _is_summary(row)
        and isinstance(row.get("borrowed"), Mapping)
        and all(is_number(share) for share in row["borrowed"].values())
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and is_number(value) and value >= 0


def _is_mapping(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def _are_mappings(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(one, Mapping) for one in value))


def _of(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = record.get(name)
    return inner if isinstance(inner, Mapping) else {}
