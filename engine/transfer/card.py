"""Card: what people and programs must know of a source before they borrow from it, as plain data in its manifest.

Owns the fields: origin, schema of the metrics, conventions of labels, lineage, recipe with golden vectors, edge cases
and the validation table. It says how labels are called and how many values they have, never a value; of numbers only
what has no level. What each part means is in the file that makes it: `golden`, `edges`, `left_out`, `unit`.

Not obvious: the head of a snapshot has room for a megabyte, so the tables by class stop at MOST_CLASSES; what lies
beyond is counted, and all its numbers are in the arrays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from engine import recipe
from engine.columns import Array
from engine.components import level, season, tail
from engine.config import ENGINE_VERSION
from engine.errors import ConfigError
from engine.series import Kind
from engine.snapshot import State, read_json_column
from engine.transfer import edges, form, golden
from engine.transfer.fingerprint import FEATURES, largest
from engine.transfer.unit import unit_of

if TYPE_CHECKING:
    from engine.roster import Roster

SCHEMA = "graft.card/1"
MOST_CLASSES, MOST_LABELS, MOST_TEXT = 500, 200, 200
#: What becomes of the number on the wire, for people; the golden vectors say the same to programs.
RULES = {
    "counter": "rate per second since the value before; none at a reset",
    "gauge": "as it is",
    "unknown": f"watched for {recipe.WATCH} values: whole, never falling and often rising is a counter, else a gauge",
    "level": "distance from the running mean in standard deviations, clipped",
    "season": f"the day in {season.SLOTS} slots, in standard deviations",
}
#: Any of these changed would make other numbers of the same log.
CONSTANTS = {
    "watch": recipe.WATCH, "rises": recipe.RISES, "falls": recipe.FALLS, "clip": level.CLIP, "rate": level.RATE,
    "prior_rows": level.PRIOR_ROWS, "prior_ratio": level.PRIOR_RATIO, "slot_ms": season.SLOT_MS,
    "profile_rate": season.PROFILE_RATE, "bins": tail.BINS, "tail_share": tail.TAIL_SHARE,
}  # fmt: skip
_LABEL = re.compile(r'[{,](.+?)="((?:\\.|[^"\\])*)"', re.DOTALL)

Card = dict[str, Any]


def card(arrays: Mapping[str, Array], *, origin: Card, labels: Card, lineage: list[Card], validation: Card) -> Card:
    """The whole card. arrays: those of the source; the rest: from `origin`, `labels_of` and what made the source."""
    names = read_json_column(arrays["classes"])
    return {
        "schema": SCHEMA,
        "origin": origin,
        "metrics": metrics(names, arrays),
        "metrics_left_out": max(len(names) - MOST_CLASSES, 0),
        "labels": labels,
        "lineage": lineage,
        "recipe": {"rules": RULES, "constants": CONSTANTS, "hash": recipe_hash(), "golden": golden.vectors()},
        "edges": edges.edges(names, arrays),
        "validation": validation,
    }


def origin(environment: object, owner: str | None, licence: str | None) -> Card:
    """Where it comes from and whose it is; ConfigError for a text that nobody would read."""
    for name, text in (("owner", owner), ("licence", licence)):
        if text is not None and (not text.strip() or len(text) > MOST_TEXT or not text.isprintable()):
            raise ConfigError(f"the {name} {text[:40]!r} was given; wanted one line of 1 to {MOST_TEXT} characters.")
    return {"environment": environment, "owner": owner, "licence": licence}


def metrics(names: list[str], arrays: Mapping[str, Array]) -> list[Card]:
    """name, unit (null: the name does not say), kind, step_ms, direction (null: not known), range of each feature.

    direction: up, down or both, the side on which a value is bad; a log of numbers does not say it. The range is the
    10-90 % of the series behind a class; none of it has a unit or a level.
    """
    return [
        {
            "name": names[k],
            "unit": unit_of(names[k]),
            "kind": "counter" if int(arrays["kind"][k]) == Kind.COUNTER else "gauge",
            "step_ms": round(float(arrays["step_ms"][k])),
            "direction": None,
            "series": int(arrays["series"][k]),
            "range": {
                feature: [round(float(arrays[end][k, at]), 4) for end in ("low", "high")]
                for at, feature in enumerate(FEATURES)
            },
        }
        for k in largest(names, arrays["series"], MOST_CLASSES)
    ]


def labels_of(roster: Roster) -> Card:
    """keys: each label's name and how many values it has; entity: those that make an entity."""
    values: dict[str, set[str]] = {}
    makers: set[str] = set()
    for row, (text, name) in enumerate(zip(roster.names, roster.classes, strict=True)):
        entity = roster.entities[int(roster.rows.link.entity[row])]
        for key, value in _LABEL.findall(text[len(name) :]):
            values.setdefault(key, set()).add(value)
            if entity != text and f"{key}=" in entity:
                makers.add(key)
    keys = [{"name": key, "distinct": len(values[key])} for key in sorted(values)[:MOST_LABELS]]
    return {"keys": keys, "entity": sorted(makers)[:MOST_LABELS]}


def recipe_hash() -> str:
    """16 hex digits of the rules, their constants and the version of the engine."""
    return sha256(repr((sorted(RULES.items()), sorted(CONSTANTS.items()), ENGINE_VERSION)).encode()).hexdigest()[:16]


def check_golden(manifest: Mapping[str, Any]) -> None:
    """Nothing, or ConfigError naming the golden vector of a source that comes out otherwise here."""
    told = manifest.get("card")
    golden.check(
        told["recipe"].get("golden") if isinstance(told, dict) and isinstance(told.get("recipe"), dict) else None
    )


def check(source: State) -> None:
    """All that can be checked of a source besides its bytes: layout, card, golden vectors, edge cases."""
    form.check(source)
    told = source.manifest["card"]
    if told["schema"] != SCHEMA:
        raise ConfigError(f"the card of the source has schema {told['schema']!r}, wanted {SCHEMA!r}; cut it again.")
    origin(*(told["origin"][key] for key in ("environment", "owner", "licence")))
    check_golden(source.manifest)
    names = read_json_column(source.arrays["classes"])
    if not _are_same(told["metrics"], metrics(names, source.arrays)):
        raise ConfigError("the schema of metrics in the card is not that of the source's classes; cut it again.")
    edges.check(told["edges"], names, source.arrays)


def _are_same(told: list[Card], wanted: list[Card]) -> bool:
    """As far as it is in the arrays: what a metric is measured in and which way is bad, another version may know."""
    in_arrays = ("name", "kind", "step_ms", "series", "range")
    directions = {one["direction"] for one in told}
    return directions <= {None, "up", "down", "both"} and [{key: one[key] for key in in_arrays} for one in told] == [
        {key: one[key] for key in in_arrays} for one in wanted
    ]
