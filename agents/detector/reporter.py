"""Reporter: four times a second, how the detector does, into the file that everyone else reads (agents/progress.py)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agents import progress
from agents.detector.loop import Loop
from agents.recovery.held import Held

REPORT_EVERY_S = 0.25
#: A disk that does not take the file is told of this often.
WARN_EVERY_S = 60.0


class Reporter:
    """Writes the progress file, four times a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started_ms = int(time.time() * 1000)
        self._due_s = 0.0
        self._warn_s = float("-inf")

    def when_due(self, loop: Loop) -> None:
        """Write, if the last time is long enough ago."""
        now_s = loop.clock()
        if now_s >= self._due_s:
            self._due_s = now_s + REPORT_EVERY_S
            self.now(loop)

    def now(self, loop: Loop, *, ended: bool = False) -> None:
        """Write. A full disk keeps nobody from scoring; readers see the file grow old."""
        try:
            progress.write(self._path, self.standing(loop, ended=ended))
        except OSError as error:
            loop.counters["reports_failed"] += 1
            if loop.clock() - self._warn_s >= WARN_EVERY_S:
                self._warn_s = loop.clock()
                loop.warn(f"{self._path} cannot be written: {error.strerror}. It goes on; the probes will miss it.")

    def standing(self, loop: Loop, *, ended: bool = False) -> progress.Progress:
        """Everything that others may want to know of this process."""
        return progress.Progress(
            pid=os.getpid(),
            started_ms=self._started_ms,
            at_ms=int(time.time() * 1000),
            ready=loop.assignment.changes > 0 and not any(held.replaying for held in loop.holdings),
            counters=dict(loop.counters),
            sent=dict(loop.outputs.sent),
            dead=dict(loop.outputs.dead_reasons),
            waiting=loop.outputs.waiting,
            shards=tuple(self._shard(loop, held) for held in loop.holdings),
            ended=ended,
        )

    @staticmethod
    def _shard(loop: Loop, held: Held) -> progress.ShardProgress:
        return progress.ShardProgress(
            topic=held.place.topic,
            partition=held.place.partition,
            next_offset=held.shard.next_offset,
            end_offset=max(loop.assignment.known_end(held.place), held.replay_until),
            saved_offset=held.saved_offset,
            replaying=held.replaying,
            state_bytes=held.state_bytes,
            ledger=held.shard.ledger.counts(),
            counters={name: float(value) for name, value in held.shard.counters().items()},
        )
