"""Orders: what may be done to a shard from outside, one component at a time, between two batches.

Owns the table of order kinds and their effects; each answers with an experiment record that holds the parameters and
the state before and after. Everything is keyed by the order's id, so an order that comes twice is applied once. What
is done to a shard as a whole, kind `seed`, is `engine/seeding.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import alerts, diagnosis, marking, retunes, retuning
from engine.components import level
from engine.errors import BadSample
from engine.fold import restart
from engine.records import Record, experiment

if TYPE_CHECKING:
    from engine.roster import Roster
    from engine.shard import Shard

#: ln of the page threshold per answer: a false alarm makes its entity half as loud again, an incident a little louder.
LOUDER, QUIETER, MOST = -0.15, 0.4, 2.0
RETUNE = "retune"
#: Longest id of an order.
ID_CHARACTERS = 200


def apply_order(shard: Shard, order: Mapping[str, Any]) -> list[Record]:
    """Carry out one order; BadSample (`order`) if it names something that this shard does not have."""
    if len(str(order["id"])) > ID_CHARACTERS:
        raise BadSample("order", f"the id of an order has {len(str(order['id']))} characters; at most {ID_CHARACTERS}.")
    kind = order.get("kind")
    act = KINDS.get(str(kind))
    if act is None and kind != RETUNE and kind not in marking.KINDS:
        known = ", ".join((*KINDS, RETUNE, *marking.KINDS, "seed"))
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
    if act is None:
        if kind != RETUNE:
            return marking.obey(shard, order, row, entity)
        if marking.is_about_a_window(shard, entity, row, order.get("at_ms")):
            return [marking.refusal(shard, order)]
        return retuning.obey(shard, order, row)
    window = marking.window_of_label(shard, order, row, entity) if kind == "label" else None
    before = _look(shard.roster, row, entity)
    act(shard.roster, row, entity, dict(params))
    _do_to_twins(shard, act, row, entity, dict(params))
    after = _look(shard.roster, row, entity)
    if window is not None:
        after["window"] = marking.mark(shard, window)
    return [_experiment(shard, order, before, after)]


def _do_to_twins(
    shard: Shard, act: Callable[[Any, int, int, dict[str, Any]], None], row: int, entity: int, params: dict[str, Any]
) -> None:  # fmt: skip
    """What people know is true of the other version as well, which may be believed in the end."""
    if row >= 0:
        for twin, other in retuning.versions(shard, row):
            act(twin, other, int(twin.rows.link.entity[other]), params)
        return
    for twin in shard.twins.rosters:
        other = twin.entity_of(shard.roster.entities[entity])
        if other >= 0:
            act(twin, -1, other, params)


def _label(roster: Roster, row: int, entity: int, params: dict[str, Any]) -> None:
    """A person's answer moves the page threshold of the entity, and of the series where one is named."""
    answer = params.get("answer")
    step = {"false_alarm": QUIETER, "expected": QUIETER / 2, "incident": LOUDER}.get(str(answer), 0.0)
    gate = roster.ents.entity.gate
    gate[entity] = np.float32(min(max(float(gate[entity]) + step, -MOST), MOST))
    if row >= 0:
        own = roster.rows.shown.gate
        own[row] = np.float32(min(max(float(own[row]) + step / 2, -MOST), MOST))
        is_grown = roster.rows.level.count[row] >= 2 and roster.rows.season.count[row] > 0
        if answer == "new_normal" and is_grown:
            now = roster.rows.change
            before = float(now.mean[row] + now.sd[row] * (now.level[row] + now.entry[row]))
            shift = float(now.after[row]) - before
            known = diagnosis.setting_of(roster, row, is_before=True)
            retunes.do(roster, row, "relevel", shift, known)
    life = roster.ents.life
    if life.state[entity] == alerts.PENDING:
        life.state[entity] = alerts.IDLE


def _reset(roster: Roster, row: int, _entity: int, _params: dict[str, Any]) -> None:
    """Start the models of one series afresh."""
    if row < 0:
        raise BadSample("order", "a reset needs a known series.")
    restart(roster.rows, roster.block, roster.pool, row)


KINDS: dict[str, Callable[[Any, int, int, dict[str, Any]], None]] = {
    "label": _label,
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


def _experiment(shard: Shard, order: Mapping[str, Any], before: dict[str, Any], after: dict[str, Any]) -> Record:
    target = order.get("target") or {}
    told = {
        "order": dict(order),
        "before": {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in before.items()},
        "after": {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in after.items()},
        "applied_at": {"topic": shard.topic, "partition": shard.partition, "offset": shard.next_offset},
    }
    return experiment(
        shard, str(order["id"]), target.get("entity"), target.get("series"), told, shard.next_offset - 1
    )  # fmt: skip
