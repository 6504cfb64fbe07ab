"""Manifests that somebody has changed: every place in one, and what may stand there instead."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from engine.snapshot import State

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1e17, 10**400, "text", "\x1b[2J", "x" * 5000, [], {}, [None], ["text"], {"a": 1},
)  # fmt: skip
GONE = object()
Place = tuple[Any, ...]


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """The way to each field, from the top; of a list to its first entry only."""
    keys = list(value) if isinstance(value, dict) else [0] if isinstance(value, list) and value else []
    for key in keys:
        yield (*above, key)
        yield from places(value[key], (*above, key))


def forged(source: State, place: Place, value: Any) -> State:
    """The source with something else at a place of its manifest; GONE: with nothing there."""
    return State(changed(source.manifest, place, value), source.arrays)


def changed(told: Any, place: Place, value: Any) -> Any:
    """A copy of plain data with something else at a place."""
    told = copy.deepcopy(told)
    inner: Any = told
    for key in place[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return told
