"""Windows: stretches of event time in which the samples of an entity, or of one series, are scored but not learned.

Owns the table of them, which samples of a batch they hold, and whether a window was known before its first sample.
Knows no order and no record. They are kept by name, for a window may be told of before its host was ever heard of, and
they travel with their entity when a state is split.

Not obvious: a window that is told of late holds what still comes, and what has come is in the models. So a state says
by itself which windows were known in time (IN_TIME), and of which somebody asks that they be un-learned (ASKED); a
state that was rebuilt with the window known in time is the answer to that question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from engine.columns import Array
from engine.errors import BadSample, SnapshotError
from engine.snapshot import json_column, read_json_column

if TYPE_CHECKING:
    from engine.roster import Roster

#: Known before its first sample; told of later; told of later, and to be un-learned; what could be done was done.
IN_TIME, LATE, ASKED, SETTLED = range(4)
STATES = ("in_time", "late", "asked", "settled")
#: Windows of a shard, and of one entity or series; the longest; and how long one is remembered after its end, which is
#: longer than any older snapshot is kept that it could be un-learned from.
MOST, MOST_OF_ONE = 512, 16
LONGEST_MS, REMEMBERED_MS = 31 * 86_400_000, 8 * 86_400_000
#: The year 2100: later is a mistake in the unit.
LATEST_MS = 4_102_444_800_000
COLUMN: Final = "text.windows"


class Window(NamedTuple):
    """[from_ms, until_ms) of an entity, or of one series of it. order: id of what it was told by."""

    entity: str
    series: str | None
    from_ms: int
    until_ms: int
    order: str
    state: int = IN_TIME

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What it is about; a state has each once."""
        return self.entity, self.series or "", self.from_ms, self.until_ms


class Windows:
    """The windows of one shard."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, str, int, int], Window] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Any:
        return iter([self._of[key] for key in sorted(self._of)])

    def get(self, window: Window) -> Window | None:
        """The window about the same, as it stands here."""
        return self._of.get(window.key)

    def add(self, window: Window, *, now_ms: int) -> None:
        """Remember a window, in place of one about the same. BadSample (`order`) when there are too many."""
        if window.key not in self._of:
            self._make_room(window, now_ms)
        self.put(window)

    def put(self, window: Window) -> None:
        """The same without asking for room: of windows that a later state has."""
        self._of[window.key] = window

    def _make_room(self, window: Window, now_ms: int) -> None:
        if len(self._of) >= MOST:
            for one in list(self):
                if one.until_ms + REMEMBERED_MS < now_ms and one.state != ASKED:
                    del self._of[one.key]
        if len(self._of) >= MOST:
            raise BadSample("order", f"this shard has {MOST} windows, the most there may be; one more has to wait.")
        of_one = sum(one.key[:2] == window.key[:2] and one.until_ms > now_ms for one in self)
        if of_one >= MOST_OF_ONE:
            about = window.series or window.entity
            raise BadSample("order", f"{about} has {MOST_OF_ONE} windows that are not over, the most there may be.")

    def holds(self, entity: str, series: str | None, at_ms: int) -> bool:
        """Does a window hold this moment of a series (None: of its entity)?"""
        return any(
            one.from_ms <= at_ms < one.until_ms and one.entity == entity and one.series in (None, series)
            for one in self._of.values()
        )

    def is_asked(self) -> bool:
        """Is there one that is to be un-learned?"""
        return any(one.state == ASKED for one in self._of.values())

    def asked(self) -> list[Window]:
        """Those that are to be un-learned."""
        return [one for one in self if one.state == ASKED]

    def mask(self, roster: Roster, row: Array, ts_ms: Array) -> Array | None:
        """Which of n samples, by rows of a roster, are in a window: bool (n,); None where none is."""
        if not self._of or not len(ts_ms):
            return None
        first, last = int(ts_ms.min()), int(ts_ms.max())
        near = [one for one in self._of.values() if one.from_ms <= last and one.until_ms > first]
        if not near:
            return None
        marked, entity_of = np.zeros(len(row), bool), roster.rows.link.entity[row]
        for one in near:
            who, of = (
                (roster.entity_of(one.entity), entity_of) if one.series is None else (roster.row_of(one.series), row)
            )
            if who >= 0:
                marked |= (of == who) & (ts_ms >= one.from_ms) & (ts_ms < one.until_ms)
        return marked if marked.any() else None

    def export(self) -> dict[str, Array]:
        """As one column of JSON; nothing where there is none."""
        return {COLUMN: json_column([list(one) for one in self])} if self._of else {}

    @staticmethod
    def restore(arrays: Mapping[str, Array]) -> Windows:
        """What `export` gave; SnapshotError where it is not that."""
        windows = Windows()
        if COLUMN in arrays:
            try:
                found = [Window(*one) for one in read_json_column(arrays[COLUMN])]
            except TypeError as error:
                raise SnapshotError(f"its windows cannot be read ({error!r}); use an older snapshot") from error
            if len(found) > MOST or not all(map(_is_sound, found)):
                raise SnapshotError("one of its windows is none; use an older snapshot")
            windows._of = {one.key: one for one in found}
        return windows


def has_begun(roster: Roster, window: Window) -> bool:
    """Has a sample come that may lie in the window?"""
    if window.series is not None:
        row = roster.row_of(window.series)
        return row >= 0 and int(roster.rows.presence.last_ms[row]) >= window.from_ms
    e, n = roster.entity_of(window.entity), len(roster.names)
    mine = roster.rows.link.entity[:n] == e
    return e >= 0 and bool((roster.rows.presence.last_ms[:n][mine] >= window.from_ms).any())


def span_of(params: Mapping[str, Any]) -> tuple[int, int]:
    """(from_ms, until_ms) of an order or a label; BadSample (`order`) where they make no window."""
    begin, end = params.get("from_ms"), params.get("until_ms")
    if type(begin) is not int or type(end) is not int:
        raise BadSample("order", f"a window needs whole numbers from_ms and until_ms; it came with {begin!r}, {end!r}.")
    if not 0 <= begin < end <= LATEST_MS:
        raise BadSample("order", f"a window begins before it ends, in ms since 1970; it came with {begin} and {end}.")
    if end - begin > LONGEST_MS:
        days = (end - begin) / 86_400_000
        raise BadSample("order", f"the window has {days:.0f} days; more than 31 are no window but a reset.")
    return begin, end


def _is_sound(one: Window) -> bool:
    types = tuple(map(type, one))
    return (
        types in ((str, str, int, int, str, int), (str, type(None), int, int, str, int))
        and 0 <= one.from_ms < one.until_ms <= LATEST_MS
        and one.state in range(len(STATES))
    )
