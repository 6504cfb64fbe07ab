"""The thin flows' common part: one record at a time, no exception out of an agent, nothing done before it is kept.

Owns the loop around a handler and the durable way out of the Faust worker. Knows no Faust type: a stream here is
anything that yields events with `message` and `ack()`.

Rules: a record is acknowledged only after what follows from it has been acknowledged by the broker; a record that
cannot be used goes to the dead-letter topic with its bytes; a defect of ours stops the process, unacknowledged.

Not obvious: Faust marks a record done when an agent raises on it, restarts the agent behind it and commits. So nothing
may escape, and after a defect the loop does not return either (that, too, would go on with the next record): it waits
until the process has ended.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from agents.came import Came
from agents.recovery import dead_letter
from agents.recovery.held import Place
from agents.recovery.outputs import Outputs
from engine.errors import BadSample

log = logging.getLogger(__name__)

FLUSH_S = 1.0


class Told(NamedTuple):
    """A record to send: topic without prefix."""

    topic: str
    key: str
    value: dict[str, Any]


class Event(Protocol):
    """What is used of a Faust event."""

    @property
    def message(self) -> Any: ...
    def ack(self) -> Any: ...


Handler = Callable[[Came], Awaitable[None]]


class Out:
    """Sends and waits until the broker has it. Thread-safe; blocks, so call it through `asyncio.to_thread`."""

    def __init__(self, outputs: Outputs, *, engine: str) -> None:
        self._outputs = outputs
        self._engine = engine
        self._lock = threading.Lock()

    def send(self, records: Sequence[Told]) -> None:
        """OutsideError when the broker refuses; returns when all are acknowledged."""
        with self._lock:
            self._outputs.send(records)
            self._settle()

    def refuse(self, came: Came, *, stage: str, reason: str, detail: str) -> None:
        """A dead letter; if even that cannot be written, OutsideError stops the worker."""
        place = Place(came.topic, came.partition)
        source = dead_letter.Source(place, came.offset, came.timestamp_ms, stage, self._engine)
        letter = dead_letter.letter(came.key, came.value, reason=reason, detail=detail, source=source)
        with self._lock:
            self._outputs.send_dead(letter)
            self._settle()

    def counts(self) -> tuple[Counter[str], Counter[str]]:
        """Records by topic and dead letters by reason, for /metrics."""
        return self._outputs.sent, self._outputs.dead_reasons

    def _settle(self) -> None:
        while not self._outputs.flushed(FLUSH_S):
            # librdkafka's own limit turns this into an OutsideError; the loop only waits for it.
            log.warning("The broker has not acknowledged %d records yet", self._outputs.waiting)


class Flow:
    """One agent's loop. counters: records, refused. `fail` is told what ended it."""

    def __init__(self, stage: str, handler: Handler, out: Out, *, fail: Callable[[BaseException], None]) -> None:
        self.counters: Counter[str] = Counter()
        self._stage = stage
        self._handler = handler
        self._out = out
        self._fail = fail

    async def run(self, events: AsyncIterator[Event]) -> None:
        """Handle events until cancelled."""
        async for event in events:
            try:
                await self._handle(Came.of_faust(event.message))
            except Exception as error:
                log.exception("The %s cannot go on", self._stage)
                self._fail(error)
                await asyncio.Event().wait()
            event.ack()

    async def _handle(self, came: Came) -> None:
        self.counters["records"] += 1
        try:
            await self._handler(came)
        except BadSample as error:
            self.counters["refused"] += 1
            log.warning(
                "The %s refused %s[%d]@%d: %s", self._stage, came.topic, came.partition, came.offset, error.detail
            )
            await asyncio.to_thread(self._out.refuse, came, stage=self._stage, reason=error.reason, detail=error.detail)


def key_of(order: Mapping[str, Any]) -> str:
    """Key of an order on the control topic: its target, as interface.md says."""
    target = order.get("target") or {}
    return str(target.get("series") or target.get("entity") or f"{target.get('topic')}-{target.get('partition')}")
