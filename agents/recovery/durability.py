"""Durability: the order in which things become true. This file is the guarantee; read it beside the two lists.

A checkpoint (`checkpoint`), after any crash of which the same records with the same ids leave again:
    1  every record that the shard has caused is acknowledged by the broker
    2  the state with its offset is on disk (tmp, fsync, rename, fsync of the folder: store.py)
    3  the offset is committed, for lag tools only

A barrier (`barrier`), for what does not follow from the data log alone - an order, a gap in the log:
    1  everything from before it is acknowledged, and the state as it is on disk: there is room
    2  the change is applied
    3  the state with both positions, and with the records that the change caused (`owed`), is on disk, and where there
       is a state topic, there as well
    4  only now may these records, and whatever is computed from here on, leave

A rebuilt past (`arrive`; agents/detector/unlearner.py) becomes the newest on disk where the former one stood, or later,
together with what tells of it. Until then the former one is the newest, and holds the question.

Not obvious: without step 3 before step 4 a crash could apply the change at another offset in the next life - on
another machine, if only the disk here has it - and the two lives would contradict each other. Without `owed` a crash
between 3 and 4 would lose the records for good.

An exception that nobody foresaw, in decoding or in the fold, ends the process with status 70 before anything of its
batch is sent, saved or committed: nothing is skipped, the next life meets the same records, and when they fail again
and again the supervisor's budget of crashes ends it aloud.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.failpoint import failpoint
from agents.recovery.held import Held, Owed, Place, RecordLike
from agents.recovery.outputs import Outputs
from agents.recovery.positions import LogName, Positions
from agents.recovery.state_upload import Uploader
from agents.recovery.store import DiskFull

#: One wait for acknowledgements; well below max.poll.interval.ms, as nothing is polled meanwhile.
FLUSH_WAIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """Checkpoints and barriers of the shards of one worker.

    commit: tells the group a position. log_name: which log a place is. uploads: to the state topic, where it is in use.
    """

    outputs: Outputs
    positions: Positions
    commit: Callable[[Place, int], None]
    log_name: Callable[[Place], LogName]
    warn: Callable[[str], None]
    flush_wait_s: float = FLUSH_WAIT_S
    uploads: Uploader | None = None

    def checkpoint_each(self, helds: Sequence[Held]) -> list[Held]:
        """Checkpoints of shards that leave; those that were put off. A broker that is behind is waited for once."""
        put_off: list[Held] = []
        for held in helds:
            if not self.checkpoint(held, 0.0 if put_off else self.flush_wait_s):
                put_off.append(held)
        return put_off

    def arrive(self, held: Held, wait_s: float | None = None) -> bool:
        """Make the first state durable that takes the place of a former past, with what tells of it; see `Arrival`.

        The state before the change, which a barrier saves, is the other past here, and on disk. False: try later.
        """
        arrival = held.arrival
        if arrival is None or held.shard.next_offset < arrival.until:
            return True
        if not self.acknowledged(held, wait_s):
            return False
        held.owed.extend(Owed(record.topic, record.key, record.value) for record in arrival.records())
        try:
            self.save(held)
        except DiskFull as error:
            held.owed.clear()
            self.warn(f"{held.place} is not saved: {error} It goes on; a restart would rebuild it once more.")
            return False
        held.arrival = None
        held.barriers += 1
        failpoint("unlearn-saved")
        if self.uploads is not None:
            self.uploads.finish([held])
        self.outputs.send(held.owed)
        self.commit(held.place, held.shard.next_offset)
        return True

    def checkpoint(self, held: Held, wait_s: float | None = None) -> bool:
        """Make all that the shard has done durable. False: broker or disk cannot now; nothing has changed."""
        if not self.arrive(held, wait_s):
            return False
        if not self.acknowledged(held, wait_s):
            return False
        failpoint("flushed")
        try:
            self.save(held)
        except DiskFull as error:
            self.warn(f"{held.place} is not saved: {error} It goes on; a restart would read from {held.saved_offset}.")
            return False
        failpoint("saved")
        self.commit(held.place, held.shard.next_offset)
        return True

    def barrier(self, held: Held, change: Callable[[], Sequence[RecordLike]]) -> bool:
        """Apply a change between two batches so that no replay can contradict it. False: not applied, try later."""
        if not self.arrive(held) or not self.acknowledged(held):
            return False
        try:
            self.save(held)
        except DiskFull as error:
            self.warn(f"{held.place} cannot be changed now: {error} It goes on as it is; the change is tried again.")
            return False
        held.owed.extend(Owed(record.topic, record.key, record.value) for record in change())
        held.barriers += 1
        failpoint("control-applied")
        self.save(held)
        if self.uploads is not None:
            self.uploads.finish([held])
        self.outputs.send(held.owed)
        self.commit(held.place, held.shard.next_offset)
        return True

    def acknowledged(self, held: Held, wait_s: float | None = None) -> bool:
        """Whether the broker has everything; then the shard owes nothing any more."""
        if not self.outputs.flushed(self.flush_wait_s if wait_s is None else wait_s):
            return False
        held.owed.clear()
        return True

    def save(self, held: Held) -> None:
        """State, position and what is owed, in one file that is either the old one or the new one."""
        self.positions.save(held, self.log_name(held.place))
