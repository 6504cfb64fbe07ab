"""Where the hot path's time goes: a stopwatch around each stage of the real loop.

Owns the stages and their nesting. Changes nothing but the time: two clock readings a stage and batch, some microseconds
for thousands of records.

Not obvious: the series and the entity part of the fold are one compiled call, where no stopwatch reaches. They are told
apart afterwards (`entity_share`): the worker's own shards get one more interval, complete but for its last metric, and
a kernel then closes all their ticks.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


class Stopwatch:
    """Time in stages, each without what the stages inside it took."""

    def __init__(self) -> None:
        self.ns: defaultdict[str, int] = defaultdict(int)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self._inner = [0]

    def around(self, stage: str, function: Function) -> Function:
        """The function, timed."""

        def timed(*given: Any, **named: Any) -> Any:
            self._inner.append(0)
            begin = time.thread_time_ns()
            try:
                return function(*given, **named)
            finally:
                whole = time.thread_time_ns() - begin
                self.ns[stage] += whole - self._inner.pop()
                self.calls[stage] += 1
                self._inner[-1] += whole

        return timed

    def clear(self) -> None:
        """Begin again; called when the measured part begins."""
        self.ns.clear()
        self.calls.clear()


def stages() -> list[tuple[Any, str, str]]:
    """(owner, name, stage) of everything that is timed."""
    from agents.codecs import decoder
    from agents.detector import intake
    from agents.detector.assignment import Assignment
    from agents.detector.loop import Loop
    from agents.recovery.outputs import Outputs
    from engine.shard import Shard

    return [
        (Assignment, "consume", "consume"),
        (intake, "sort", "sort by partition"),
        (intake, "fresh", "offsets"),
        (Loop, "fold", "values out of messages"),
        (decoder.Decoder, "decode", "decode: kernel and rest"),
        (decoder, "_joined", "decode: join to one array"),
        (decoder, "_times", "decode: append times"),
        (decoder, "_batch", "decode: batch"),
        (decoder.Decoder, "_slow", "decode: slow path"),
        (Shard, "process", "shard: around the kernel"),
        (Shard, "_fold", "shard: fold kernel"),
        (Shard, "_tell", "shard: records of events"),
        (Outputs, "send", "outputs"),
        (Outputs, "poll", "outputs: delivery reports"),
        (Loop, "obey", "orders"),
        (Loop, "save_due", "checkpoints"),
        (Loop, "turn", "loop itself, progress file"),
    ]


def attach(watch: Stopwatch) -> None:
    """Time every stage from now on, in this process."""
    for owner, name, stage in stages():
        found = getattr(owner, name, None)
        if found is not None:
            setattr(owner, name, watch.around(stage, found))


def entity_ns_per_tick(shards: list[Any], step_ms: int) -> float:
    """Nanoseconds to score, judge and learn one tick of an entity. The shards are of no use afterwards."""
    ticks, total_ns, close = 0, 0, _closer()
    for at, shard in enumerate([shards[0], *shards]):  # the first once more before: its call compiles
        _open_all(shard, step_ms)
        reg = shard.roster
        context = shard._context._replace(series_count=shard.series_count)  # noqa: SLF001 - no one else asks
        from engine.state import fresh_ticks

        buffer = fresh_ticks(shard.entity_count + 4)
        begin = time.thread_time_ns()
        closed = close(shard.entity_count, reg.rows, reg.ents, reg.block, reg.pool, buffer, shard._events, context)  # noqa: SLF001
        if at:
            total_ns += time.thread_time_ns() - begin
            ticks += closed
    return total_ns / max(ticks, 1)


_made: list[Function] = []


def _closer() -> Function:
    """A kernel that closes every open tick; compiled on first use."""
    if not _made:
        from engine import fold
        from engine.kernel import kernel

        close_tick = fold.close_tick

        @kernel
        def close_all(count, rows, ents, block, pool, ticks, events, context):
            context.cursor[:] = 0
            closed = 0
            for e in range(count):
                if ents.open.here[e] > 0:
                    close_tick(e, 0, rows, ents, block, pool, ticks, events, context)
                    closed += 1
                    context.cursor[2] = 0
            return closed

        _made.append(close_all)
    return _made[0]


def _open_all(shard: Any, step_ms: int) -> None:
    """One more sample of each series but the last of each entity, so that every entity's tick is open."""
    import numpy as np

    from engine.batch import Batch

    count = shard.series_count
    entity = shard.roster.rows.link.entity[:count]
    last = np.zeros(shard.entity_count, np.int64)
    last[entity] = np.arange(count)
    rows = np.setdiff1d(np.arange(count), last)
    before = shard.roster.rows
    values = before.recipe.last[rows].astype(np.float64)
    times = before.presence.last_ms[rows] + step_ms
    first = shard.next_offset
    shard.process(Batch.of(rows, times, values, np.arange(first, first + len(rows)), first + len(rows)))


def report(watch: Stopwatch, records: int) -> list[tuple[str, float, float]]:
    """(stage, ns a record, share of all), dearest first."""
    whole = sum(watch.ns.values()) or 1
    lines = [(stage, ns / records, ns / whole) for stage, ns in watch.ns.items()]
    return sorted(lines, key=lambda line: -line[1])
