"""Orders: what may be done to a shard from outside, one component at a time, between two batches.

Owns the table of order kinds and their effects; each answers with an experiment record that holds the parameters and
the state before and after. Everything is keyed by the order's id, so an order that comes twice is applied once. What
is done to a shard as a whole, kind `seed`, is `engine/seeding.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import answers
from engine.batch import LARGEST
from engine.components import level
from engine.errors import BadSample
from engine.fold import restart
from engine.records import Record, experiment
from engine.series import Kind

if TYPE_CHECKING:
    from engine.roster import Roster
    from engine.shard import Shard

#: A re-tune is about the models as they were when the shift was seen; half a day later they are others.
STALE_MS = 43_200_000
#: Longest id of an order.
ID_CHARACTERS = 200
#: A shift of which less than this share is left when the order comes is over.
GONE = 0.5
#: A level that moves farther than this many sd is no deploy.
FARTHEST = 1e6


def apply_order(shard: Shard, order: Mapping[str, Any]) -> list[Record]:
    """Carry out one order; BadSample (`order`) if it names something that this shard does not have."""
    if len(str(order["id"])) > ID_CHARACTERS:
        raise BadSample("order", f"the id of an order has {len(str(order['id']))} characters; at most {ID_CHARACTERS}.")
    kind = order.get("kind")
    if str(kind) not in (*KINDS, LABEL):
        raise BadSample("order", f"order kind is {kind!r}; this version knows {', '.join((*KINDS, LABEL, 'seed'))}.")
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
    at_ms = order.get("at_ms")
    if kind == "retune" and isinstance(at_ms, int) and shard.clock_ms - at_ms > STALE_MS:
        late_h = (shard.clock_ms - at_ms) / 3_600_000
        raise BadSample("order", f"re-tune {order.get('id')} is about {late_h:.0f} h ago; after 12 h it is too old.")
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
    return [_experiment(shard, order, before, after, effects)]


def _twins_of(shard: Shard, row: int, entity: int) -> list[Roster]:
    """What people and the tuner know is true of the other version as well, which may be believed in the end."""
    found = []
    for twin in shard.twins.rosters:
        other = twin.entity_of(shard.roster.entities[entity])
        other_row = twin.row_of(shard.roster.names[row]) if row >= 0 else -1
        if other >= 0 and (row < 0 or (other_row >= 0 and _agree_on_kind(shard.roster, row, twin, other_row))):
            found.append(twin)
    return found


def _agree_on_kind(roster: Roster, row: int, other: Roster, other_row: int) -> bool:
    """Numbers of a rate say nothing of a value."""
    return bool((roster.rows.recipe.kind[row] == Kind.COUNTER) == (other.rows.recipe.kind[other_row] == Kind.COUNTER))


def _retune(roster: Roster, row: int, _entity: int, params: dict[str, Any]) -> None:
    """Re-level: the models from before the shift, moved by it if it still stands (`engine.retune`; recipe's unit)."""
    try:
        shift, mean, sd, season_level = (float(params[name]) for name in ("shift", "mean", "sd", "season_level"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadSample("order", f"a retune needs numbers shift, mean, sd and season_level ({error!r}).") from error
    is_sane = (
        abs(mean) <= LARGEST and 0 < sd <= LARGEST and abs(season_level) <= LARGEST and abs(shift) <= FARTHEST * sd
    )
    if row < 0 or not is_sane:
        raise BadSample(
            "order",
            f"a retune needs a known series, sd > 0 and a shift of at most {FARTHEST:g} sd; it came with {params}.",
        )
    rows = roster.rows
    unmoved = mean + sd * (season_level + float(rows.change.entry[row]))
    if abs(float(rows.change.after[row]) - unmoved) < GONE * abs(shift):
        # An order takes its time, and an outage ends: the models from before it, not those that it would have made.
        shift = 0.0
    answers.relevel(roster, row, shift, mean, sd, season_level)


def _reset(roster: Roster, row: int, _entity: int, _params: dict[str, Any]) -> None:
    """Start the models of one series afresh."""
    if row < 0:
        raise BadSample("order", "a reset needs a known series.")
    restart(roster.rows, roster.block, roster.pool, row)


#: A person's answer; what it does is `engine.answers`.
LABEL = "label"
KINDS: dict[str, Callable[[Any, int, int, dict[str, Any]], None]] = {
    "retune": _retune,
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
