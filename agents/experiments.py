"""Experiments: records of the experiments topic as a list for people, and two of them compared.

Owns order, words and differences. Knows no topic and no file; what a finding means is the engine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from engine.errors import ConfigError

SCHEMA = "graft.experiment/1"
Experiment = Mapping[str, Any]


def listed(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The experiments among records, each once, oldest first; each says of which kind it is."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        if record.get("schema") != SCHEMA or not isinstance(record.get("id"), str):
            continue
        order = record.get("order")
        kind = record.get("kind") or (order.get("kind") if isinstance(order, Mapping) else None) or "other"
        found[record["id"]] = {**record, "kind": str(kind)}
    return sorted(found.values(), key=lambda one: (_at_ms(one), one["id"]))


def whole(found: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """The experiment whose id begins with `name`; ConfigError if there is none, or more than one."""
    fitting = [one for one in found if one["id"].startswith(name)]
    if len(fitting) != 1:
        raise ConfigError(
            f"{len(fitting)} experiments have an id that begins with {name!r}; `graft experiments --json` tells all."
        )
    return fitting[0]


def line(one: Experiment) -> str:
    """One experiment in a line."""
    about = one.get("series") or one.get("entity") or ""
    what = " ".join(str(one[name]) for name in ("kind", "action", "finding") if one.get(name))
    evidence = one.get("evidence")
    proof = ""
    if isinstance(evidence, Mapping) and evidence.get("samples"):
        proof = f"  ({evidence['samples']} samples, proof {evidence.get('proof_new')} to {evidence.get('proof_old')})"
    because = f"  {one['because']}" if one.get("because") else ""
    return f"{moment(_at_ms(one))}  {one['id'][:8]}  {what:<26}  {about}{proof}{because}"


def compared(one: Experiment, other: Experiment) -> list[tuple[str, str, str]]:
    """(name, value in one, value in the other) of all that differs; names of nested values with dots."""
    a, b = _flat(one), _flat(other)
    names = sorted(a.keys() | b.keys())
    return [(name, a.get(name, "-"), b.get(name, "-")) for name in names if a.get(name) != b.get(name)]


def moment(at_ms: int) -> str:
    """Event time, UTC.

    >>> moment(1_767_225_600_000), moment(-1)
    ('2026-01-01 00:00:00', '1969-12-31 23:59:59')
    """
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def _at_ms(one: Experiment) -> int:
    at_ms = one.get("at_ms")
    return at_ms if type(at_ms) is int else -1


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        return {
            inner: text
            for key, one in value.items()
            for inner, text in _flat(one, f"{name}.{key}" if name else key).items()
        }
    return {name: f"{value:.6g}" if isinstance(value, float) else str(value)}
