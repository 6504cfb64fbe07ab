"""Re-tuning a shard: an order begins a trial, a trial ends in a change or without one, and each of these is a record.

Owns the way between orders, trials (`engine/shadows.py`) and experiment records, and that both versions of an entity
that may borrow are moved alike. Knows no formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import retunes
from engine.batch import Batch
from engine.components import level
from engine.components.bets import NEW, OLD
from engine.diagnosis import Setting
from engine.errors import BadSample
from engine.records import Record, experiment
from engine.series import Kind, stable_id
from engine.shadows import Finding, Refused
from engine.state import Marks

if TYPE_CHECKING:
    from engine.roster import Roster
    from engine.shard import Shard

#: A re-tune is about the models as they were when the change was seen; half a day later they are others.
STALE_MS = 43_200_000


def obey(shard: Shard, order: Mapping[str, Any], row: int) -> list[Record]:
    """Begin the trial of a re-tune; or carry it out at once, where there is nothing to be tried or a person says so.

    BadSample (`order`) for one that is malformed or too old. One that has to wait is refused, in a record.
    """
    if row < 0:
        raise BadSample("order", "a retune needs a known series.")
    params = order.get("params") or {}
    action, number, known = retunes.read(params)
    at_ms = order.get("at_ms")
    if isinstance(at_ms, int) and shard.clock_ms - at_ms > STALE_MS:
        late_h = (shard.clock_ms - at_ms) / 3_600_000
        raise BadSample("order", f"re-tune {order.get('id')} is about {late_h:.0f} h ago; after 12 h it is too old.")
    if retunes.ACTIONS[action].kind is None or params.get("trial") is False:
        before = look(shard.roster, row)
        retunes.do(shard.roster, row, action, number, known)
        _move_twins(shard, row, action, number, known)
        told = {"finding": "applied", "before": before, "after": look(shard.roster, row)}
        return [_record(shard, str(order["id"]), order, action, told, shard.next_offset - 1)]
    offset = shard.next_offset - 1
    back = shard.shadows.before_another(shard.roster, row, action, shard.clock_ms)
    if back is not None:
        told = {"finding": "refused", "because": "what was before the last re-tune is right again, and was put back"}
        return [_found(shard, back, offset), _record(shard, str(order["id"]), order, action, told, offset)]
    try:
        made_room = shard.shadows.room()
        shadow = shard.shadows.begin(shard.roster, row, order, (action, number, known), now_ms=shard.clock_ms)
    except Refused as why:
        told = {"finding": "refused", "because": f"{why}."}
        return [_record(shard, str(order["id"]), order, action, told, offset)]
    told = {
        "finding": "started",
        "before": _numbers(shadow.settings[OLD]),
        "after": _numbers(shadow.settings[NEW]),
        "evidence": {},
        "because": f"on trial beside what there is: {order.get('because')}",
    }
    return [
        *(_found(shard, one, offset) for one in made_room),
        _record(shard, str(order["id"]), order, action, told, offset),
    ]


def follow(shard: Shard, batch: Batch, begin: int, end: int, marks: Marks) -> list[Record]:
    """What has become of trials by the samples [begin, end), which have been folded."""
    offset_ms = shard.config.utc_offset_ms
    told = []
    for finding in shard.shadows.follow(shard.roster, batch, begin, end, marks, offset_ms):
        if finding.what == "kept":
            shadow = finding.shadow
            row = shard.row_of(shadow.series)
            _move_twins(shard, row, shadow.action, shadow.number, shadow.setting(OLD))
        told.append(_found(shard, finding, int(batch.offset[end - 1])))
    return told


def versions(shard: Shard, row: int) -> Iterator[tuple[Roster, int]]:
    """(roster, row) of each twin of a series that takes its numbers for the same: those of a rate say nothing of a
    value."""
    for twin in shard.twins.rosters:
        other = twin.row_of(shard.roster.names[row])
        if other >= 0:
            kinds = (roster.rows.recipe.kind[at] for roster, at in ((shard.roster, row), (twin, other)))
            if len({kind == Kind.COUNTER for kind in kinds}) == 1:
                yield twin, other


def look(roster: Roster, row: int) -> dict[str, float | None]:
    """The numbers that re-tunes move."""
    rows = roster.rows
    found = {
        "mean": float(rows.level.mean[row]),
        "sd": float(level.scale(rows.level, row)),
        "season_level": float(rows.season.level[row]),
        "sigma": float(rows.season.sigma[row]),
    }
    return {name: number if np.isfinite(number) else None for name, number in found.items()}


def _move_twins(shard: Shard, row: int, action: str, number: float, known: Setting) -> None:
    """Do to the other versions of a series what was done to it."""
    for roster, other in versions(shard, row):
        retunes.do(roster, other, action, number, known)


def _found(shard: Shard, finding: Finding, offset: int) -> Record:
    shadow = finding.shadow
    order = shadow.order
    told = {
        "finding": finding.what,
        "before": _numbers(shadow.settings[OLD]),
        "after": look(shard.roster, shard.row_of(shadow.series)),
        "evidence": shadow.evidence(),
        "because": f"{shadow.action} of {shadow.series} was {finding.what.replace('_', ' ')}: {finding.because}.",
    }
    name = stable_id("retune", str(order["id"]), finding.what)
    return _record(shard, name, order, shadow.action, told, offset)


def _record(
    shard: Shard, name: str, order: Mapping[str, Any], action: str, told: Mapping[str, Any], offset: int
) -> Record:  # fmt: skip
    target = order.get("target") or {}
    place = {"topic": shard.topic, "partition": shard.partition, "offset": offset + 1}
    head = {
        "kind": "retune",
        "component": retunes.ACTIONS[action].component,
        "action": action,
        "order": dict(order),
        "lineage": [str(order["id"]), *(str(one) for one in (order.get("params") or {}).get("lineage", []))],
        # An order is applied once; what becomes of its trial is decided later.
        "applied_at" if name == str(order["id"]) else "decided_at": place,
    }
    return experiment(shard, name, target.get("entity"), target.get("series"), {**head, **told}, offset)


def _numbers(setting: np.ndarray[Any, Any]) -> dict[str, float]:
    names = ("mean", "sd", "season_level", "sigma", "persistence")
    return {name: round(float(number), 9) for name, number in zip(names, setting, strict=True)}
