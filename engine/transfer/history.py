"""History: everything that was lent to a series or an entity, decided about it and done to it, in order. Pure.

Owns `graft.transfer_history/1`, whose sentences come from the records of the control and experiments topics and from
nothing else, and the way from a name to what it means: an entity, a series, or a metric class.

Not obvious: decisions are about entities, and no record lists an entity's series. A series belongs to an entity if its
labels do, or else if the entity's account has its metric class; so a bare metric name may mean several entities.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from engine.errors import ConfigError
from engine.transfer.received import is_number, received
from engine.transfer.report import reason

SCHEMA = "graft.transfer_history/1"
#: Events of one history, the newest; and names that an error offers.
MOST_EVENTS, MOST_MATCHES = 10_000, 5
_DECIDED = {
    "adopted": "adopted", "refused": "refused", "returned": "taken back", "passed": "passed",
    "settled": "trial over", "standing": "on trial",
}  # fmt: skip


def history(records: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The events of a name, oldest first. ConfigError for a name that no record knows, with those that are near."""
    known = _unique(records)
    entities, series = _meaning(known, name)
    shards = {_shard(one) for one in known if _target(one, "entity") in entities}
    events = [
        event
        for record in _told(known, shards)
        if _is_about(record, name, entities, series, shards)
        for event in [_event(record, _class_of(name) if name not in entities else None)]
        if event is not None
    ]
    return {
        "schema": SCHEMA,
        "name": name,
        "entities": sorted(entities),
        "left_out": max(0, len(events) - MOST_EVENTS),
        "events": events[-MOST_EVENTS:],
    }


def _unique(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """In order of time; an order and the experiment of the same name are one."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in received(records):
        is_ours = one.get("schema") in ("graft.experiment/1", "graft.order/1") and isinstance(one.get("at_ms"), int)
        name = str(one.get("id"))
        if is_ours and (name not in found or one["schema"] == "graft.experiment/1"):
            found[name] = one
    return sorted(found.values(), key=lambda one: int(one["at_ms"]))


def _told(records: list[Mapping[str, Any]], shards: set[tuple[Any, Any]]) -> list[Mapping[str, Any]]:
    """Without the orders that one of these shards has answered: the answer tells of them. Others say nothing of it."""
    answered = {str((one.get("order") or {}).get("id")) for one in records if _is_of(_shard(one), shards)}
    return [one for one in records if one["schema"] == "graft.experiment/1" or str(one.get("id")) not in answered]


def _meaning(records: list[Mapping[str, Any]], name: str) -> tuple[set[str], set[str]]:
    """(entities, series) that a name stands for."""
    entities = {str(entity) for one in records if (entity := _target(one, "entity"))}
    series = {str(text) for one in records if (text := _target(one, "series"))}
    if name in entities:
        return {name}, {text for text in series if _belongs(text, name)}
    owners = {str(_target(one, "entity")) for one in records if _target(one, "series") == name} - {"None"}
    owners |= {entity for entity in entities if _belongs(name, entity)}
    if not owners and "{" not in name:
        owners = {str(entity) for one in records if name in _classes(one) and (entity := _target(one, "entity"))}
    if owners or name in series:
        return owners, {name}
    raise ConfigError(_unknown(name, entities | series | {text for one in records for text in _classes(one)}))


def _unknown(name: str, known: set[str]) -> str:
    if not known:
        return f"Nothing was ever lent, ordered or decided here, so there is no history of {name!r}."
    near = get_close_matches(name, sorted(known), n=MOST_MATCHES, cutoff=0.4) or sorted(known)[:MOST_MATCHES]
    return (
        f"No record is about {name!r}; near it are {', '.join(near)}. Write a series or an entity as an alert shows it."
    )


def _target(record: Mapping[str, Any], what: str) -> Any:
    return record.get(what) or (record.get("target") or {}).get(what)


def _classes(record: Mapping[str, Any]) -> list[str]:
    return [str(one["class"]) for one in (record.get("worth") or {}).get("classes") or ()]


def _class_of(series: str) -> str:
    return series.partition("{")[0]


def _belongs(series: str, entity: str) -> bool:
    """Has a series the labels of an entity? Both as records write them.

    >>> _belongs('cpu{dc="1",host="web-1"}', "host=web-1"), _belongs('cpu{host="web-10"}', "host=web-1")
    (True, False)
    """
    _, brace, labels = series.partition("{")
    if not brace:
        return False
    wanted = [pair.partition("=") for pair in entity.split(",")]
    return all(equals and f',{key}="{value}",' in f",{labels.removesuffix('}')}," for key, equals, value in wanted)


def _shard(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """Topic and partition of the shard that a record is of, or is for; None where it does not say."""
    follows = next(iter(record.get("follows") or ()), None)
    place: Mapping[str, Any] = record.get("target") or follows or record.get("applied_at") or {}
    return place.get("topic"), place.get("partition")


def _is_of(place: tuple[Any, Any], shards: set[tuple[Any, Any]]) -> bool:
    topic, partition = place
    return any(topic in (None, known[0]) and partition in (None, known[1]) for known in shards)


def _is_about(
    record: Mapping[str, Any], name: str, entities: set[str], series: set[str], shards: set[tuple[Any, Any]]
) -> bool:
    entity, about = _target(record, "entity"), _target(record, "series")
    if about is not None:
        return about in series or (name in entities and entity in entities)
    if entity is not None:
        return entity in entities
    # An order for a whole shard, or for all of them, as of a seed.
    return _order(record) is not None and _is_of(_shard(record), shards)


def _order(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    order = record if record.get("schema") == "graft.order/1" else record.get("order")
    return order if isinstance(order, Mapping) else None


def _event(record: Mapping[str, Any], metric: str | None) -> dict[str, Any] | None:
    head = {"at_ms": record["at_ms"], "entity": _target(record, "entity"), "series": _target(record, "series")}
    if record.get("kind") in ("guard", "worth") and record.get("finding") in _DECIDED:
        worth = record.get("worth") or {}
        mine = [one for one in worth.get("classes") or () if one["class"] == metric]
        return {
            **head, "what": _DECIDED[record["finding"]], "text": _decision(record), "worth": worth_text(worth),
            "class_worth": [f"{metric}: {_series_text(one)}" for one in mine], "record": record.get("id"),
        }  # fmt: skip
    order = _order(record)
    if order is None:
        return None
    is_done = record.get("schema") == "graft.experiment/1"
    text = str(order.get("because") or f"an order of kind {order.get('kind')}")
    if is_done and record.get("finding"):
        text = f"{text}: {record['finding']}; {_source_of(record, order)}{record.get('because') or ''}"
    elif is_done:
        text += _moved(record.get("before") or {}, record.get("after") or {})
    else:
        text += " (ordered; no record says that it was carried out)"
    return {**head, "what": str(order.get("kind")), "text": text, "record": record.get("id")}


def _source_of(record: Mapping[str, Any], order: Mapping[str, Any]) -> str:
    """The environment whose seed an order names, if the shard knows it."""
    digest = (order.get("params") or {}).get("digest")
    known = [*((record.get(when) or {}).get("sources") or () for when in ("after", "before"))]
    names = [str(one.get("environment")) for sources in known for one in sources if one.get("digest") == digest]
    return f"{(order.get('params') or {}).get('action')} {names[0]} ({digest}): " if digest and names else ""


def _decision(record: Mapping[str, Any]) -> str:
    because = str(record.get("because") or record["finding"])
    return because if not record.get("evidence") else f"{because} Evidence: {reason(record)}."


def worth_text(worth: Mapping[str, Any]) -> str:
    """An account in one sentence; empty if nothing was measured."""
    if not worth.get("series"):
        return ""
    pages = worth.get("pages") or {}
    return (
        f"After {worth['hours']:.1f} h, {worth['series']} series measured: {_series_text(worth)}. "
        f"Alone, the seeded version would have sent {pages.get('seeded_alone', 0)} pages, the cold one "
        f"{pages.get('cold_alone', 0)}."
    )


def _series_text(one: Mapping[str, Any]) -> str:
    if not one["series"]:
        return "too little was seen of it"
    said = f"the seeded version forecast {one['helped']} better, {one['equal']} as well, {one['hurt']} worse"
    if one.get("gain") is not None:
        said += f" ({one['gain']:+.2f} nats a sample"
        said += f", errors x {one['error_ratio']:.2f})" if one.get("error_ratio") is not None else ")"
    if one.get("parity_h") == 0.0:
        return said + "; the cold one was no worse from the beginning"
    if one.get("parity_h") is not None:
        return said + f"; the cold one had caught up after {one['parity_h']:g} h"
    return said + "; the cold one has not caught up"


def _moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What an order has changed."""
    said = [
        f"{name.replace('_', ' ')} {float(before[name]):.4g} -> {float(after[name]):.4g}"
        for name in after
        if is_number(before.get(name)) and is_number(after[name]) and before[name] != after[name]
    ]  # fmt: skip
    return f" [{', '.join(said)}]" if said else ""
