"""Marking: orders that say of a window that it is not to be learned, and that what was learned of it be taken back.

Owns what such orders and labels must say, when they are refused, and the records that answer them. What a window does
is `engine/windows.py`; how a state is rebuilt without one is the shell's (`agents/recovery/unlearn.py`), for it needs
older snapshots and the log. A window that has begun already is history when it is marked: what still comes is not
learned, what has come stays learned until it is un-learned.

    mark      params from_ms, until_ms      remember the window
    unlearn   the same                      remember it, and ask that what it has taught be taken back
    label     answer incident or expected, with from_ms and until_ms: as unlearn

Not obvious: a re-tune that answers a drift within a window is refused, whenever it comes. Had the window been known in
time, nobody would have seen that drift; and a state that is rebuilt meets the order again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from engine import records
from engine.errors import BadSample
from engine.records import Record
from engine.retaking import retake
from engine.series import stable_id
from engine.windows import ASKED, IN_TIME, LATE, SETTLED, STATES, Window, has_begun, span_of

if TYPE_CHECKING:
    from engine.shard import Shard

MARK, UNLEARN = "mark", "unlearn"
KINDS: Final = (MARK, UNLEARN)
#: Answers that say: what was seen there is not what is normal.
ANSWERS: Final = ("incident", "expected")
EXACT, APPROXIMATE, REFUSED = "exact", "approximate", "refused"


def obey(shard: Shard, order: Mapping[str, Any], row: int, entity: int) -> list[Record]:
    """Carry out an order of kind mark or unlearn; its record. BadSample (`order`) if it makes no window."""
    window = _window(shard, order, row, entity, ASKED if order["kind"] == UNLEARN else LATE)
    was = shard.windows.get(window)
    now = mark(shard, window)
    told = {
        "kind": MARK,
        "finding": "unchanged" if was is not None and STATES[was.state] == now["state"] else "marked",
        "because": _SENTENCES[now["state"]],
        "window": now,
        "order": dict(order),
        "before": {"window": None if was is None else as_data(was)},
        "after": {"window": now},
        "applied_at": place_of(shard),
    }
    return [records.experiment(shard, str(order["id"]), window.entity, window.series, told, shard.next_offset - 1)]


def mark(shard: Shard, window: Window) -> dict[str, Any]:
    """Remember a window; as it stands now. BadSample (`order`) when there are too many.

    state of the window: LATE, or ASKED if it is to be un-learned; before its first sample it is IN_TIME instead.
    """
    known = shard.windows.get(window)
    if known is not None and (known.state == IN_TIME or known.state == window.state or window.state == LATE):
        return as_data(known)
    if not has_begun(shard.roster, window):
        window = window._replace(state=IN_TIME)
    shard.windows.add(window, now_ms=shard.clock_ms)
    return as_data(window)


def window_of_label(shard: Shard, order: Mapping[str, Any], row: int, entity: int) -> Window | None:
    """The window that a person's answer takes out of what is normal, if it does; BadSample if it makes none."""
    params = order["params"]
    if params.get("answer") not in ANSWERS or params.get("from_ms") is None or params.get("until_ms") is None:
        return None
    return _window(shard, order, row, entity, ASKED)


def is_about_a_window(shard: Shard, entity: int, row: int, at_ms: Any) -> bool:
    """Does this moment lie in a window of the series?"""
    if not len(shard.windows) or type(at_ms) is not int or row < 0:
        return False
    return shard.windows.holds(shard.roster.entities[entity], shard.roster.names[row], at_ms)


def refusal(shard: Shard, order: Mapping[str, Any]) -> Record:
    """The answer to a re-tune that is about a window."""
    target = order.get("target") or {}
    told = {
        "kind": "retune",
        "finding": REFUSED,
        "because": "it answers a drift in a window that is not learned.",
        "order": dict(order),
        "before": {},
        "after": {},
        "applied_at": place_of(shard),
    }
    return records.experiment(
        shard, str(order["id"]), target.get("entity"), target.get("series"), told, shard.next_offset - 1
    )


def settle(shard: Shard, window: Window, finding: str, because: str, older: Shard | None) -> list[Record]:
    """Where a state cannot be rebuilt: take back what an older one allows, if there is one, and say which it was."""
    known = shard.windows.get(window)
    if known is None or known.state != ASKED:
        return []
    if older is not None:
        try:
            told = retake(shard.roster, older.roster, window)
            because = f"{because}; {', '.join(told)} are as they were at offset {older.next_offset}"
        except BadSample as error:
            finding, because = REFUSED, f"{because}; {error.detail}"
    shard.windows.add(known._replace(state=SETTLED), now_ms=shard.clock_ms)
    snapshot = older.next_offset if older is not None else None
    return [answer(shard, known, finding, because, from_offset=snapshot, snapshot=None)]


def answer(
    shard: Shard, window: Window, finding: str, because: str, *, from_offset: int | None, snapshot: str | None
) -> Record:
    """The record that says what has become of a window that was to be un-learned."""
    told = {
        "kind": UNLEARN,
        "finding": finding,
        "because": because,
        "window": as_data(shard.windows.get(window) or window),
        "order": {"id": window.order, "kind": UNLEARN, "because": f"a window of {window.series or window.entity}"},
        "from_offset": from_offset,
        "until_offset": shard.next_offset,
        "snapshot": snapshot,
        "before": {},
        "after": {},
        "applied_at": place_of(shard),
    }
    name = stable_id("unlearn", shard.config.environment, shard.topic, shard.partition, *window.key, shard.next_offset)
    return records.experiment(shard, name, window.entity, window.series, told, shard.next_offset - 1)


def place_of(shard: Shard) -> dict[str, Any]:
    """Where in its log the shard stands."""
    return {"topic": shard.topic, "partition": shard.partition, "offset": shard.next_offset}


def as_data(window: Window) -> dict[str, Any]:
    """A window for a record."""
    return window._asdict() | {"state": STATES[window.state]}


_SENTENCES: Final = {
    STATES[IN_TIME]: "known before its first sample: it is scored and told of, and nothing is learned of it.",
    STATES[LATE]: "it has begun: what still comes of it is not learned, what has come stays learned.",
    STATES[ASKED]: "it has begun: what still comes of it is not learned, what has come is taken back.",
    STATES[SETTLED]: "it was un-learned as far as could be.",
}


def _window(shard: Shard, order: Mapping[str, Any], row: int, entity: int, state: int) -> Window:
    """What an order or label names: one series, by an order that names it; else all of its entity."""
    begin, end = span_of(order.get("params") or {})
    names = shard.roster.names
    wanted = (order.get("target") or {}).get("series")
    if order["kind"] != "label" and wanted is not None and row < 0:
        raise BadSample("order", f"series {str(wanted)[:200]!r} is not known here.")
    is_of_series = row >= 0 and order["kind"] != "label"
    return Window(
        shard.roster.entities[entity], names[row] if is_of_series else None, begin, end, str(order["id"]), state
    )
