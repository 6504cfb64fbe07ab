"""Re-tunes: what may be done to one component of one series, as a table of actions.

Owns the actions, their numbers, and how each is done and undone. Whether one is right is proven elsewhere
(`engine/shadows.py`); which one answers a drift is `engine/retune.py`.

Not obvious: an action moves the models as they were *before* the change, for what they have learned since is half of
each. And everything but the series' own models lives on standardised values; an action that puts those right again
need not touch the joint model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from engine.batch import LARGEST
from engine.columns import Array, put, take
from engine.components import change, hinkley, level, recent, season, wander
from engine.diagnosis import GAIN, LEVEL, MOST_FACTOR, PHASE, SCALE, SEASON, Setting, slots_of, widened
from engine.errors import BadSample
from engine.fold import restart
from engine.roster import Roster
from engine.state import SERIES

#: A level that moves farther than this many sd is no deploy.
FARTHEST = 1e6
#: What an action may touch, and so what is put back when it is undone.
TOUCHED = ("level", "season", "carry", "shown", "wander")
#: What is left of a tail that is learned anew.
TAIL_KEPT = 0.1


class Action(NamedTuple):
    """kind: the diagnosis that it answers, None: it answers none; component: what it changes; number: the name of its
    parameter, None: it has none; act: does it, in place."""

    kind: str | None
    component: str
    number: str | None
    act: Callable[[Roster, int, float, Setting], None]


def _relevel(roster: Roster, row: int, shift: float, known: Setting) -> None:
    rows = roster.rows
    level.relevel(rows.level, row, known.mean + shift, known.sd)
    slot, entry = int(rows.change.slot[row]), float(rows.change.entry[row])
    _forget_today(roster, row)
    season.relevel(rows.season, row, known.mean + shift, known.sd, known.level, slot, entry)


def _forget_today(roster: Roster, row: int) -> None:
    """Slots that the last values fell into have what they steadily had again: what they learned is half of each."""
    times, _ = recent.window(roster.rows.recent, row, int(roster.rows.presence.last_ms[row]))
    slots = np.unique(slots_of(times, roster.config.utc_offset_ms))
    steady = roster.rows.season.steady[slots, row]
    is_known = steady != season.NO_STEADY
    roster.rows.season.profile[slots[is_known], row] = steady[is_known] / season.STEADY_STEPS


def _regain(roster: Roster, row: int, factor: float, known: Setting) -> None:
    _relevel(roster, row, 0.0, known)
    level.rescale(roster.rows.level, row, factor)
    season.relevel(
        roster.rows.season, row, known.mean * factor, known.sd * factor, known.level, season.SLOTS, 0.0
    )  # fmt: skip


def _rescale(roster: Roster, row: int, factor: float, known: Setting) -> None:
    wider = widened(known.sigma, factor)
    rows = roster.rows
    rows.level.step[row] *= factor * factor
    level.widen(rows.level, row, known.sd * wider)
    wander.rescale(rows.wander, row, factor / wider)
    season.rescale(rows.season, row, wider, float(rows.season.sigma[row]) * factor / wider)


def _rephase(roster: Roster, row: int, slots: float, _known: Setting) -> None:
    season.turn(roster.rows.season, row, int(slots))


def _relearn(roster: Roster, row: int, _number: float, _known: Setting) -> None:
    season.relearn(roster.rows.season, row)


def _refit(roster: Roster, row: int, _number: float, _known: Setting) -> None:
    """What the distribution of the series' own evidence has seen so far weighs a tenth."""
    shown = roster.rows.shown
    shown.counts[row] *= np.float32(TAIL_KEPT)
    shown.mass[row] *= np.float32(TAIL_KEPT)


def _restart(roster: Roster, row: int, _number: float, _known: Setting) -> None:
    restart(roster.rows, roster.block, roster.pool, row)


ACTIONS: dict[str, Action] = {
    "relevel": Action(LEVEL, "level", "shift", _relevel),
    "regain": Action(GAIN, "level", "factor", _regain),
    "rescale": Action(SCALE, "scale", "factor", _rescale),
    "rephase": Action(PHASE, "season", "slots", _rephase),
    "relearn": Action(SEASON, "season", None, _relearn),
    "refit": Action(None, "tail", None, _refit),
    "reinitialise": Action(None, "all", None, _restart),
}
#: The action that answers a kind of change.
ANSWER = {action.kind: name for name, action in ACTIONS.items() if action.kind is not None}


def read(params: Mapping[str, Any]) -> tuple[str, float, Setting]:
    """(action, its number, the models before the change) of an order; BadSample (`order`) says what is wrong.

    An order without an action re-levels, as those of version 0.1 do.
    """
    name = params.get("action", "relevel")
    action = ACTIONS.get(name) if isinstance(name, str) else None
    if action is None:
        raise BadSample("order", f"action is {name!r}; a retune knows {', '.join(ACTIONS)}.")
    known = _known(params, is_needed=action.component in ("level", "scale"))
    number = _number(params, action.number) if action.number else 0.0
    is_sane = {
        "shift": abs(number) <= FARTHEST * known.sd,
        "factor": 1.0 / MOST_FACTOR <= abs(number) <= MOST_FACTOR,
        "slots": number == int(number) and 0 < abs(number) < season.SLOTS,
    }.get(action.number or "", True)
    if not is_sane:
        raise BadSample(
            "order",
            f"{action.number} is {number:g}; a shift may be {FARTHEST:g} sd, a factor {MOST_FACTOR:g} or one over it, "
            f"slots -{season.SLOTS - 1} to {season.SLOTS - 1} but 0.",
        )
    return name, number, known


def _known(params: Mapping[str, Any], *, is_needed: bool) -> Setting:
    if not is_needed and "mean" not in params:
        return Setting(0.0, 1.0, 0.0, 1.0, np.zeros(season.SLOTS), 0.0)
    mean, sd, middle = (_number(params, name) for name in ("mean", "sd", "season_level"))
    sigma = _number(params, "sigma") if "sigma" in params else 1.0
    if not (abs(mean) <= LARGEST and 0 < sd <= LARGEST and abs(middle) <= LARGEST and 0 < sigma <= LARGEST):
        raise BadSample("order", f"a retune needs sd > 0 and numbers up to {LARGEST:g}; it came with {dict(params)}.")
    return Setting(mean, sd, middle, sigma, np.zeros(season.SLOTS), 0.0)


def _number(params: Mapping[str, Any], name: str) -> float:
    try:
        number = float(params[name])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadSample("order", f"a retune needs a number {name} ({error!r}).") from error
    if not math.isfinite(number):
        raise BadSample("order", f"a retune needs a number {name}; it came with {number}.")
    return number


def do(roster: Roster, row: int, name: str, number: float, known: Setting) -> None:
    """Carry out an action on one series, in place. known: its models before the change, for those that need them."""
    ACTIONS[name].act(roster, row, number, known)
    _watch_anew(roster, row)


def undo(roster: Roster, row: int, saved: Mapping[str, Mapping[str, Array]]) -> None:
    """Put back what `save` gave, bit for bit."""
    for name, arrays in saved.items():
        put(getattr(roster.rows, name), SERIES[name][1], np.array([row]), arrays)
    _watch_anew(roster, row)


def _watch_anew(roster: Roster, row: int) -> None:
    """What changes are found by begins again; how far the series wanders stays known."""
    change.clear(roster.rows.change, row)
    hinkley.clear(roster.rows.spread, row)


def save(roster: Roster, row: int) -> dict[str, dict[str, Array]]:
    """What an action may touch of a series, as it is now."""
    return {name: take(getattr(roster.rows, name), SERIES[name][1], np.array([row])) for name in TOUCHED}
