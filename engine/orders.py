"""Orders: what may be done to a shard from outside, one component at a time, between two batches.

Owns the table of order kinds and their effects; each answers with an experiment record that holds the parameters and
the state before and after. Everything is keyed by the order's id, so an order that comes twice is applied once. What
is done to a shard as a whole, kind `seed`, is `engine/seeding.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import answers, marking, retuning
from engine.components import level
from engine.errors import BadSample
from engine.fold import restart
from engine.records import Record, experiment

if TYPE_CHECKING:
    from engine.roster import Roster
    from engine.shard import Shard

RETUNE = "retune"
#: Longest id of an order.
ID_CHARACTERS = 200


def apply_order(shard: Shard, order: Mapping[str, Any]) -> list[Record]:
    """Carry out one order; BadSample (`order`) if it names something that this shard does not have."""
    if len(str(order["id"])) > ID_CHARACTERS:
        raise BadSample("order", f"the id of an order has {len(str(order['id']))} characters; at most {ID_CHARACTERS}.")
    kind = order.get("kind")
    if str(kind) not in (*KINDS, LABEL, RETUNE, *marking.KINDS):
        known = ", ".join((*KINDS, LABEL, RETUNE, *marking.KINDS, "seed"))
        raise BadSample("order", f"order kind is {kind!r}; this version knows {known}.")
    target, params = order.get("target") or {}, order.get("params") or {}
    if not isinstance(target, Mapping) or not isinstance(params, Mapping):
        raise BadSample("order", f"target and params of order {order.get('id')} must be objects.")
    row = shard.row_of(str(target.get("series")))
    entity = shard.roster.entity_of(str(target.get("entity")))
    if row >= 0:
        entity = int(shard.roster.rows.link.entity[row])
    if entity < 0:
        raise BadSample(
            "order", f"order {order.get('id')} is for {target.get('series') or target.get('entity')!r}, unknown here."
        )
    if kind in marking.KINDS:
        return marking.obey(shard, order, row, entity)
    if kind == RETUNE:
        if marking.is_about_a_window(shard, entity, row, order.get("at_ms")):
            return [marking.refusal(shard, order)]
        return retuning.obey(shard, order, row)
    window = marking.window_of_label(shard, order, row, entity) if kind == "label" else None
    before = _look(shard.roster, row, entity)
    rosters = [shard.roster, *_twins_of(shard, row, entity)]
    effects = None
    if kind == LABEL:
        effects = answers.obey(shard, row, entity, params, rosters)
    else:
        for roster in rosters:
            own_row = roster.row_of(shard.roster.names[row]) if row >= 0 else -1
            KINDS[str(kind)](roster, own_row, roster.entity_of(shard.roster.entities[entity]), dict(params))
    after = _look(shard.roster, row, entity)
    if window is not None:
        after["window"] = marking.mark(shard, window)
    return [_experiment(shard, order, before, after, effects)]


def _twins_of(shard: Shard, row: int, entity: int) -> list[Roster]:
    """What people know is true of the other version as well, which may be believed in the end."""
    if row >= 0:
        return [twin for twin, _ in retuning.versions(shard, row)]
    name = shard.roster.entities[entity]
    return [twin for twin in shard.twins.rosters if twin.entity_of(name) >= 0]


def _reset(roster: Roster, row: int, _entity: int, _params: dict[str, Any]) -> None:
    """Start the models of one series afresh."""
    if row < 0:
        raise BadSample("order", "a reset needs a known series.")
    restart(roster.rows, roster.block, roster.pool, row)


#: A person's answer; what it does is `engine.answers`.
LABEL = "label"
KINDS: dict[str, Callable[[Any, int, int, dict[str, Any]], None]] = {
    "reset": _reset,
}


def _look(roster: Roster, row: int, entity: int) -> dict[str, Any]:
    """The numbers that orders move, for before and after."""
    gate = float(roster.ents.entity.gate[entity])
    if row < 0:
        return {"page_gate": round(gate, 4)}
    rows = roster.rows
    return {
        "level": float(rows.level.mean[row]),
        "sd": float(level.scale(rows.level, row)),
        "samples": float(rows.level.count[row]),
        "page_gate": round(gate, 4),
        "series_gate": round(float(rows.shown.gate[row]), 4),
    }


def _experiment(
    shard: Shard, order: Mapping[str, Any], before: dict[str, Any], after: dict[str, Any], effects: Any
) -> Record:
    target = order.get("target") or {}
    told = {
        "order": dict(order),
        "before": {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in before.items()},
        "after": {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in after.items()},
        "applied_at": {"topic": shard.topic, "partition": shard.partition, "offset": shard.next_offset},
    }
    if effects is not None:
        told["effects"] = effects
    return experiment(
        shard, str(order["id"]), target.get("entity"), target.get("series"), told, shard.next_offset - 1
    )  # fmt: skip
