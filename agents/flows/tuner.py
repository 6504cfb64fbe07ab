"""Tuner: drift records in, re-tune orders out. The science is engine.retune; here are only records and counts.

Idempotent: the id of an order follows from the drift that it answers, and a shard applies an id once, so a drift
record that is read again after a crash does nothing new.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from agents.came import Came, parsed
from agents.flows.thin import Out, Told, key_of
from engine.errors import BadSample

SCHEMA = "graft.drift/1"
T = TypeVar("T")


class Decider(Protocol):
    """What is used of engine.retune.Tuner: an order, or None where the drift calls for none."""

    def order_for(self, drift: Mapping[str, Any], /) -> dict[str, Any] | None: ...


class Tuner:
    """counters: drift records by kind and outcome (ordered, left)."""

    def __init__(self, decider: Decider, out: Out) -> None:
        self.counters: Counter[tuple[str, str]] = Counter()
        self._decider = decider
        self._out = out

    async def on_drift(self, came: Came) -> None:
        """One drift record; BadSample when it is none."""
        drift = parsed(came, schema=SCHEMA)
        order = decided(lambda: self._decider.order_for(drift))
        self.counters[_kind(drift), "ordered" if order else "left"] += 1
        if order is not None:
            told = with_cause(order, came)
            await asyncio.to_thread(self._out.send, [Told("control", key_of(told), told)])


def decided(decide: Callable[[], T]) -> T:
    """What a decider of the engine says. Its records come off a topic: a field that is missing or of another type is
    the wire's fault, not ours."""
    try:
        return decide()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise BadSample("field", f"a field is missing or of another type: {type(error).__name__}: {error}") from None


def with_cause(order: Mapping[str, Any], came: Came) -> dict[str, Any]:
    """The order with the place of the record that it answers among what it follows from."""
    follows = [one for one in order.get("follows") or [] if one != came.follows]
    return {**order, "follows": [*follows, came.follows]}


#: Kinds that may become a label of /metrics; anybody can write to a topic.
KINDS = frozenset({
    "level", "scale", "season", "shape", "tail", "change", "presence", "entity", "gap", "absent", "returned", "flat",
})  # fmt: skip


def _kind(drift: Mapping[str, Any]) -> str:
    kind = drift.get("kind")
    return kind if isinstance(kind, str) and kind in KINDS else "other"
