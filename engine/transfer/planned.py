"""Planned: a plan that was written down, read back. Nothing of it is believed before it is checked.

Owns what plain data must look like to be a plan, and the sentence if they do not: ConfigError for what is no plan,
RefusedPlan for one of another version, or one that was changed since it was made. Whether it fits a source snapshot is
`plan.check`.

Not obvious: a plan's id is made from all that it decides, so it is its checksum as well. And strengths are told in a
plan, but they are this version's; a plan that tells of others was made by a version that would lend otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from engine.config import ENGINE_VERSION
from engine.errors import ConfigError, RefusedPlan
from engine.snapshot import DIGEST
from engine.transfer.align import AS_IT_IS, MOST_GAIN, MOST_RATIO, SLOT_S, Aligned
from engine.transfer.match import ADAPT, COLD, NAMED, REUSE
from engine.transfer.plan import SCHEMA, Entry, Plan
from engine.transfer.strength import components

#: Classes of a plan, and characters of a text in it: far more than any environment has.
MOST_ENTRIES, MOST_CHARACTERS = 100_000, 2_000
HALF_DAY_S = 43_200
ZONES = (REUSE, NAMED, ADAPT, COLD)
_PLACE = ("topic", "partition", "next_offset")


def read_plan(told: object) -> Plan:
    """The plan that `Plan.to_dict` told. told: plain data."""
    if not isinstance(told, Mapping) or told.get("schema") != SCHEMA:
        came = told.get("schema") if isinstance(told, Mapping) else type(told).__name__
        raise ConfigError(
            f"it is no plan: its schema is {came!r}, wanted {SCHEMA!r}. `graft plan --out FILE` makes one."
        )
    if told.get("engine") != ENGINE_VERSION:
        raise RefusedPlan(
            f"the plan was made by engine {told.get('engine')}, this is engine {ENGINE_VERSION}; plan again."
        )
    entries = told.get("entries")
    if not isinstance(entries, list) or len(entries) > MOST_ENTRIES:
        raise ConfigError(f"the plan has no list of at most {MOST_ENTRIES:,} entries; plan again.")
    source, target = (_object(told.get(name), name) for name in ("source", "target"))
    made = Plan(
        source={"environment": _maybe(source.get("environment"), "source.environment"), "digest": _digest(source)},
        target={**{name: _plain(target.get(name), f"target.{name}") for name in _PLACE}, "digest": _digest(target)},
        entries=tuple(_entry(one, k) for k, one in enumerate(entries)),
        refused=_maybe(told.get("refused"), "refused"),
    )
    if len({entry.target for entry in made.entries}) < len(made.entries):
        raise ConfigError("the plan names a class of the target twice; plan again.")
    if told.get("id") != made.id:
        raise RefusedPlan(f"the plan was changed since it was made (its id is {told.get('id')!r}); plan again.")
    return made


def _entry(told: object, k: int) -> Entry:
    one, where = _object(told, f"entries[{k}]"), f"entries[{k}]"
    zone, source = one.get("zone"), _maybe(one.get("source"), f"{where}.source")
    if zone not in ZONES:
        raise ConfigError(f"{where}.zone of the plan is {zone!r}; it must be one of {', '.join(ZONES)}.")
    if (source is None) != (zone == COLD):
        raise ConfigError(f"{where} of the plan is in zone {zone!r} and borrows from {source!r}; plan again.")
    if one.get("components") != components(zone):
        raise RefusedPlan(f"{where} of the plan lends with other strengths than this version does; plan again.")
    distance = one.get("distance")
    return Entry(
        target=_text(one.get("target"), f"{where}.target"),
        series=_whole(one.get("series"), f"{where}.series"),
        source=source,
        distance=None if distance is None else _number(distance, f"{where}.distance"),
        evidence=_number(one.get("evidence"), f"{where}.evidence"),
        zone=str(zone),
        by=_text(one.get("by"), f"{where}.by"),
        because=_text(one.get("because"), f"{where}.because"),
        **_aligned(one, where)._asdict(),
    )


def _aligned(one: Mapping[str, Any], where: str) -> Aligned:
    """How an entry is moved; not at all in a plan that was made before that was known."""
    phase_s = one.get("phase_s", AS_IT_IS.phase_s)
    if type(phase_s) is not int or phase_s % SLOT_S or not -HALF_DAY_S < phase_s <= HALF_DAY_S:
        raise ConfigError(
            f"{where}.phase_s of the plan is {_short(phase_s)}; it must be whole quarters of an hour within half a day."
        )
    gain = _number(one.get("gain", AS_IT_IS.gain), f"{where}.gain")
    if gain > MOST_GAIN:
        raise ConfigError(f"{where}.gain of the plan is {_short(gain)}; it must be a number from 0 to {MOST_GAIN:g}.")
    step_ratio = _number(one.get("step_ratio", AS_IT_IS.step_ratio), f"{where}.step_ratio")
    if not 1.0 / MOST_RATIO <= step_ratio <= MOST_RATIO:
        raise ConfigError(f"{where}.step_ratio of the plan is {_short(step_ratio)}; it must be a ratio of two steps.")
    return Aligned(phase_s, gain, step_ratio)


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} of the plan is {_short(value)}; it must be an object.")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS:
        raise ConfigError(f"{where} of the plan is {_short(value)}; it must be a text of at most {MOST_CHARACTERS}.")
    return value


def _maybe(value: object, where: str) -> str | None:
    return None if value is None else _text(value, where)


def _whole(value: object, where: str) -> int:
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise ConfigError(f"{where} of the plan is {_short(value)}; it must be a whole number >= 0.")
    return value


def _number(value: object, where: str) -> float:
    number = value if type(value) is float else float(_whole(value, where))
    if not isfinite(number) or number < 0:
        raise ConfigError(f"{where} of the plan is {_short(value)}; it must be a number >= 0.")
    return number


def _plain(value: object, where: str) -> str | int | None:
    return _maybe(value, where) if value is None or isinstance(value, str) else _whole(value, where)


def _digest(part: Mapping[str, Any]) -> str:
    value = part.get("digest")
    if not isinstance(value, str) or not DIGEST.fullmatch(value):
        raise ConfigError(f"a digest of the plan is {_short(value)}; it must be 16 hex digits.")
    return value


def _short(value: object) -> str:
    return repr(value)[:80]
