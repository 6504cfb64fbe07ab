"""Unlearner: has states rebuilt without what windows have taught them, and takes them over while the log goes on.

Owns the one child process (unlearning.py) and what follows from its answer. Where the state was rebuilt:

    1  everything from before is acknowledged, and the former past is on disk as far as it has come
    2  the shard is replaced by the rebuilt one, in memory, and its log is read again from where that stands
    3  it has come to where the former one stood: at a barrier it is saved, from now on the newest, with the record that
       tells of it; and it is told that alerts have ended which this past knows nothing of, and which drifts it has seen

A crash before 3 leaves the former past as it was, and in it the question; so the rebuild is done once more. A crash
after 3 finds the answer.

Not obvious: while the log is read again no order is taken (`Held.replaying`), and the rebuilt state is taken over only
if no barrier lies between it and the shard; else an order would hold from another offset than it has told. Then the
child is started again, and goes on from its own result. After some rounds orders wait for it; else one that comes every
second would keep it out for ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agents.detector.loop import Loop
from agents.failpoint import failpoint
from agents.recovery.durable import read_bounded
from agents.recovery.held import Arrival, DecoderLike, Held, Place, RecordLike, ShardLike
from agents.recovery.store import folder_name
from engine import marking, snapshot
from engine.errors import GraftError, SnapshotError
from engine.snapshot import MAX_BYTES, State
from engine.windows import Window

FOLDER: Final = "unlearn"
#: Between two looks; after a child that has failed, and how often it is tried before the answer is no.
LOOK_S, AGAIN_S, TRIES = 1.0, 30.0, 3
#: Rounds of a rebuild after which orders wait for it.
MOST_ROUNDS: Final = 3
#: Consume calls whose records may still be from further on, after the log was taken up again from before.
STALE_CALLS: Final = 3


@dataclass(slots=True)
class Job:
    """A child at work. barriers: of the shard when it began."""

    held: Held
    process: Any
    barriers: int


@dataclass(slots=True, kw_only=True)
class Unlearner:
    """command: starts a child, which gets topic, partition and parent. restore, new_decoder: parts of a shard."""

    folder: Path
    command: Sequence[str]
    restore: Callable[[State, str], Any]
    new_decoder: Callable[[Place, ShardLike], DecoderLike]
    warn: Callable[[str], None]
    clock: Callable[[], float]
    config_hash: str
    key: bytes | None = None
    counters: Counter[str] = field(default_factory=Counter)
    job: Job | None = None
    rewinds: list[Held] = field(default_factory=list)
    failed: Counter[Place] = field(default_factory=Counter)
    rounds: int = 0
    look_at_s: float = 0.0

    def turn(self, loop: Loop) -> None:
        """A little of it; never waits."""
        if self.rewinds:
            self.rewinds = [held for held in self.rewinds if not self._arrived(loop, held)]
        if self.clock() < self.look_at_s:
            return
        self.look_at_s = self.clock() + LOOK_S
        if self.job is None:
            self._begin(loop)
        elif loop.holdings.by_place.get(self.job.held.place) is not self.job.held:
            # Another worker's by now.
            self.close()
        elif self.job.process.poll() is not None:
            self._answered(loop, self.job)

    @property
    def holds_orders(self) -> bool:
        """Whether orders have to wait until a rebuilt state is taken over."""
        return self.job is not None and self.rounds >= MOST_ROUNDS

    def close(self) -> None:
        """The child ends; what it has done is lost, or lies there whole."""
        if self.job is not None and self.job.process.poll() is None:
            self.job.process.kill()
            self.job.process.wait()
        self.job = None

    def _begin(self, loop: Loop) -> None:
        due = [
            held
            for held in loop.holdings
            if not held.replaying and held.arrival is None and held.shard.wants_unlearning()
        ]
        if not due:
            return
        held = min(due, key=lambda one: self.failed[one.place])
        if self.failed[held.place] >= TRIES:
            if self._settle(loop, held, marking.REFUSED, f"the rebuild has failed {TRIES} times", None):
                self._done(held.place)
            return
        # What is asked for is on disk: it has come by a barrier.
        where = ["--topic", held.place.topic, "--partition", str(held.place.partition), "--parent", str(os.getpid())]
        process = subprocess.Popen([*self.command, *where], stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
        self.job = Job(held, process, held.barriers)
        self.counters["unlearn_begun"] += 1

    def _answered(self, loop: Loop, job: Job) -> None:
        """The child has ended."""
        held, status = job.held, job.process.returncode
        if status == 0:
            try:
                state, told, shell = self._read(held.place)
            except GraftError as error:
                self.warn(f"The rebuilt state of {held.place} is not used: {error}")
                status = -1
            else:
                self._use(loop, job, state, told, shell)
                return
        self._fail(held, f"ended with status {status}")

    def _fail(self, held: Held, why: str) -> None:
        self.job, self.rounds = None, 0
        self.failed[held.place] += 1
        self.counters["unlearn_failed"] += 1
        self.look_at_s = self.clock() + AGAIN_S
        self.warn(f"The rebuild of {held.place} {why}; it is tried again in {AGAIN_S:g} s.")

    def _read(self, place: Place) -> tuple[State, dict[str, Any], dict[str, Any]]:
        manifest, arrays = snapshot.unpack(
            read_bounded(result_file(self.folder, place), max_bytes=MAX_BYTES), key=self.key
        )
        told, shell = manifest.pop("unlearn", None), manifest.pop("shell", {})
        if not isinstance(told, dict) or told.get("finding") not in _FINDINGS:
            raise SnapshotError("it does not say what it is.")
        return State(manifest, arrays), told, shell

    def _use(self, loop: Loop, job: Job, state: State, told: dict[str, Any], shell: dict[str, Any]) -> None:
        held = job.held
        if told["finding"] != marking.EXACT:
            older = self.restore(state, held.place.topic) if state.arrays else None
            if self._settle(loop, held, told["finding"], told["because"], older, told["windows"]):
                self._done(held.place)
            return
        if held.barriers != job.barriers:
            # An order lies between: the child goes on from its own result.
            self.rounds += 1
            self.job = None
            self._begin(loop)
            return
        if shell.get("config_hash") != self.config_hash or state.manifest["next_offset"] > held.shard.next_offset:
            self._fail(held, "belongs to another configuration or log, and is not used")
            return
        # The former past on disk as far as it has come: nothing that the rebuilt shard saves on its way is newer.
        if not loop.gaps and not held.replaying and loop.durability.checkpoint(held):
            self._take_over(loop, held, self.restore(state, held.place.topic), told)

    def _take_over(self, loop: Loop, held: Held, shard: Any, told: dict[str, Any]) -> None:
        former: Any = held.shard
        active, windows = former.active(), [Window(*one) for one in told["windows"]]
        held.arrival = Arrival(
            former.next_offset,
            lambda: shard.unlearned(
                windows, told["because"], told["from_offset"], told["snapshot"], active, told["drifts"]
            ),
        )
        held.shard, held.decoder = shard, self.new_decoder(held.place, shard)
        held.replay_until, held.caught_up, held.rewound = former.next_offset, False, STALE_CALLS
        loop.assignment.read_from(held.place, shard.next_offset)
        loop.holdings.taken(tuple(loop.holdings))
        self.job, self.rounds = None, 0
        self.rewinds.append(held)
        failpoint("unlearn-taken")

    def _arrived(self, loop: Loop, held: Held) -> bool:
        """Whether a rebuilt shard needs no more looking after."""
        if loop.holdings.by_place.get(held.place) is not held:
            return True
        loop.durability.arrive(held)
        if held.arrival is not None:
            return False
        self.counters["unlearned"] += 1
        self._done(held.place)
        return True

    def _settle(
        self, loop: Loop, held: Held, finding: str, because: str, older: Any, windows: Sequence[Any] | None = None
    ) -> bool:
        """Answer those who asked, without a rebuilt state. False: not now."""
        shard: Any = held.shard
        asked = [Window(*one) for one in windows] if windows is not None else shard.windows.asked()

        def change() -> Sequence[RecordLike]:
            return [record for one in asked for record in shard.settle(one, finding, because, older)]

        self.counters["unlearn_settled"] += (done := loop.durability.barrier(held, change))
        return done

    def _done(self, place: Place) -> None:
        self.job, self.rounds = None, 0
        self.failed.pop(place, None)
        with suppress(OSError):
            result_file(self.folder, place).unlink(missing_ok=True)


_FINDINGS = (marking.EXACT, marking.APPROXIMATE, marking.REFUSED)


def result_file(folder: Path, place: Place) -> Path:
    """Where the rebuilt state of a shard is put."""
    return folder / FOLDER / f"{folder_name(*place)}.snap"


def command_of(arguments: Sequence[str]) -> list[str]:
    """How a child is started. arguments: those that name the configuration."""
    return [sys.executable, "-m", "agents.detector.unlearning", *arguments]
