"""The hot path's loop: consume, decode, fold, send, and now and then make it durable. One thread, no clock in results.

Owns the order of things within one turn. What a barrier or a checkpoint is stands in agents/recovery/durability.py,
what a rebalance does in holdings.py.

Not obvious: a turn never waits for anything but `consume`. When the broker is behind with acknowledgements, reading is
paused but consuming goes on, because a worker that does not poll is put out of its group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from confluent_kafka import KafkaError, Message

from agents.detector import controls as orders
from agents.detector import intake
from agents.detector.assignment import Assignment
from agents.detector.controls import Controls
from agents.detector.holdings import Holdings
from agents.failpoint import failpoint
from agents.recovery import dead_letter
from agents.recovery.durability import Durability
from agents.recovery.held import DeadLetterLike, Held, Place, RecordLike, VerdictsLike
from agents.recovery.outputs import BACKED_UP_RECORDS, Outputs
from agents.recovery.positions import unsaved
from agents.recovery.seed_topic import Seeds, parcel_of
from agents.recovery.state_upload import Uploader
from engine.config import ENGINE_VERSION
from engine.errors import BadSample, GraftError, OutsideError

#: Errors of a fetch after which going on would skip records; the worker stops and says so.
STOPPING = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "the broker does not allow this user to read it",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "the broker does not allow this user to join the group",
    KafkaError._BAD_MSG: "a record there is damaged (checksum)",
    KafkaError._FATAL: "the client cannot go on",
    KafkaError.FENCED_INSTANCE_ID: "another process runs under the same group.instance.id",
}


#: So long orders may hold up samples in one turn; each is a barrier or two with their fsyncs for each shard.
OBEY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much at once, and how often.

    consume_records, consume_wait_s: one consume call returns at so many records *or* after the whole wait, so the wait
    is what a quiet topic pays in latency. snapshot_interval_s, snapshot_records: whichever comes first for a shard.
    """

    consume_records: int = 5_000
    consume_wait_s: float = 0.05
    snapshot_interval_s: float = 30.0
    snapshot_records: int = 5_000_000


class Report(Protocol):
    """Who is told how it goes: each turn, and once more before the clients are closed."""

    def when_due(self, loop: Loop, /) -> None: ...
    def now(self, loop: Loop, /, *, ended: bool) -> None: ...


class Turner(Protocol):
    """Something that does a little in each turn, and may make orders wait."""

    @property
    def holds_orders(self) -> bool: ...
    def turn(self, loop: Loop, /) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class Loop:
    """One worker at work. counters: what has happened in this life. for_good: it will not be started again soon."""

    assignment: Assignment
    holdings: Holdings
    controls: Controls
    durability: Durability
    outputs: Outputs
    partitions: Mapping[str, int]
    pace: Pace
    warn: Callable[[str], None]
    report: Report
    clock: Callable[[], float]
    uploads: Uploader | None = None
    seeds: Seeds | None = None
    unlearner: Turner | None = None
    counters: Counter[str] = field(default_factory=Counter)
    gaps: set[Place] = field(default_factory=set)
    for_good: bool = False

    def start(self, fixed: Sequence[Place] | None) -> None:
        """Join the group, or take exactly these partitions."""
        if fixed is None:
            self.assignment.join(tuple(self.partitions), self.holdings)
        else:
            self.assignment.fix(fixed, self.holdings)

    def run(self, stop: Callable[[Loop], bool]) -> None:
        """Turn until told to stop, then make everything durable and leave."""
        while not stop(self):
            self.turn()
        self.durability.checkpoint_each(unsaved(list(self.holdings)))
        if self.uploads is not None:
            self.uploads.finish(list(self.holdings))
        if self.unlearner is not None:
            self.unlearner.close()
        self.report.now(self, ended=True)
        self.assignment.close(for_good=self.for_good)
        self.controls.close()
        if self.seeds is not None:
            self.seeds.close()

    @property
    def at_end(self) -> bool:
        """Whether the logs of all shards held here, and the orders, have been read to their end at least once."""
        read = len(self.holdings) > 0 and all(held.caught_up for held in self.holdings)
        return read and self.controls.at_end and not self.gaps

    def turn(self) -> None:
        """Everything once."""
        changes = self.assignment.changes
        messages = self.assignment.consume(self.pace.consume_records, self.pace.consume_wait_s)
        found = intake.sort(messages, tuple(self.partitions))
        for place, run in found.runs.items():
            if not self.may_be_ahead(place, changes) or not self.step_back(place, run):
                self.fold(place, run)
        for message in found.errors:
            self.meet(message)
        self.cross_gaps()
        if self.unlearner is not None:
            self.unlearner.turn(self)
        self.obey()
        self.save_due()
        if self.uploads is not None:
            self.uploads.turn(self.holdings)
        self.throttle()
        self.report.when_due(self)

    def may_be_ahead(self, place: Place, changes: int) -> bool:
        """Whether what was consumed may be from before a partition was taken up elsewhere in its log."""
        held = self.holdings.by_place.get(place)
        if held is not None and held.rewound:
            held.rewound -= 1
            return True
        return self.assignment.changes != changes

    def step_back(self, place: Place, run: list[Message]) -> bool:
        """After a rebalance: whether a run is of a former stay and ahead of its shard, which is read again then."""
        held = self.holdings.by_place.get(place)
        if held is None or int(run[0].offset() or 0) <= held.shard.next_offset:
            return False
        self.assignment.read_from(place, held.shard.next_offset)
        return True

    def fold(self, place: Place, run: list[Message]) -> None:
        """One partition's new records into its shard, and out with what that causes."""
        held = self.holdings.by_place.get(place)
        if held is None:  # consume() may still hand over a partition that it has just taken away (#1013)
            return
        new = intake.fresh(run, held.shard.next_offset)
        if new is None:
            return
        try:
            verdicts, dead = self.learn(held, new)
        except (GraftError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a panic of compiled code is no Exception
            self.warn(
                f"The engine failed on {place}, offsets {new.offsets[0]} to {new.offsets[-1]}. Nothing of them is "
                "sent, saved or committed, and nothing is skipped: the worker stops."
            )
            raise
        self.counters["records"] += len(new.messages)
        for one in dead:
            self.bury(new.messages[one.index], one.reason, one.detail, stage="decode")
        failpoint("mid-batch")
        self.outputs.send(verdicts.records)
        failpoint("produced")

    @staticmethod
    def learn(held: Held, new: intake.Fresh) -> tuple[VerdictsLike, Sequence[DeadLetterLike]]:
        """Bytes to columns to verdicts; the shard has moved on when this returns."""
        values = list(map(Message.value, new.messages))
        batch, dead = held.decoder.decode(values, new.offsets, intake.times_ms(new.messages), new.next_offset)
        return held.shard.process(batch), dead

    def bury(self, message: Message, reason: str, detail: str, *, stage: str) -> None:
        """One record to the dead-letter topic."""
        place, offset = intake.place_of(message), int(message.offset() or 0)
        source = dead_letter.Source(place, offset, int(intake.times_ms([message])[0]), stage, ENGINE_VERSION)
        self.outputs.send_dead(
            dead_letter.letter(message.key(), message.value(), reason=reason, detail=detail, source=source)
        )

    def meet(self, message: Message) -> None:
        """An event of the client: an end reached, a position that is gone, or trouble."""
        error: Any = message.error()
        place = intake.place_of(message)
        held = self.holdings.by_place.get(place)
        if intake.is_end(message):
            if held is not None and int(message.offset() or 0) >= held.replay_until:
                held.caught_up = True
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            if held is not None:
                self.gaps.add(place)
        elif error.code() in STOPPING or error.fatal():
            raise OutsideError(f"{place} cannot be read: {STOPPING.get(error.code(), '')} ({error.str()}). Stopping.")
        else:
            self.counters["client_errors"] += 1
            self.warn(f"The Kafka client reports {error.name()}: {error.str()}")

    def cross_gaps(self) -> None:
        """Positions that retention has overtaken: said aloud, counted, and only then read on."""
        for place in tuple(self.gaps):
            held = self.holdings.by_place.get(place)
            if held is None or self.cross_gap(held):
                self.gaps.discard(place)

    def cross_gap(self, held: Held) -> bool:
        """False: the broker is behind with acknowledgements, try again in the next turn."""
        ends, wanted = self.assignment.ends(held.place), held.shard.next_offset
        if wanted > ends.high:
            raise OutsideError(
                f"{held.place} ends at offset {ends.high}, but the state here is at {wanted}: the log was cut or made "
                "anew. Stopping; the next start looks for a snapshot that fits."
            )
        if wanted < ends.low:
            lost = ends.low - wanted
            if not self.durability.barrier(held, lambda: held.shard.mark_gap(wanted, ends.low)):
                return False
            self.counters["gaps"] += 1
            self.counters["gap_records"] += lost
            self.warn(
                f"{held.place}: {lost} records from offset {wanted} on are gone from the log before they were read."
            )
        self.assignment.read_from(held.place, held.shard.next_offset)
        return True

    def obey(self) -> None:
        """Orders, between two batches; none while any shard repeats what a former life may have said already."""
        if self.gaps or any(held.replaying or held.arrival is not None for held in self.holdings):
            return
        if self.unlearner is not None and self.unlearner.holds_orders:
            return
        pending, until_s = self.controls.pending, self.clock() + OBEY_S
        if not pending:
            self.controls.poll()
        for held in self.holdings:
            for partition in self.controls.anew:
                held.shard.control_offsets.pop(partition, None)
        self.controls.anew.clear()
        while pending and self.clock() < until_s and self.order(pending[0]):
            pending.popleft()

    def order(self, message: Message) -> bool:
        """One order, for each shard here that does not know it yet. False: the broker is behind, try again."""
        partition, next_offset = int(message.partition() or 0), int(message.offset() or 0) + 1
        for held in self.holdings:
            if next_offset <= held.shard.control_offsets.get(partition, 0):
                continue
            try:
                order = orders.order_of(message.value())
                address = orders.address_of(order)
                orders.check_exists(address, self.partitions)
            except BadSample as error:
                if held.place == orders.home(self.partitions):
                    self.bury(message, error.reason, error.detail, stage="control")
            else:
                if orders.is_for(address, held) and not self.apply(held, order, message):
                    return False
            held.shard.control_offsets[partition] = next_offset
        return True

    def apply(self, held: Held, order: Mapping[str, Any], message: Message) -> bool:
        """One order to one shard, as a barrier; what the shard refuses is a dead letter. False: try again."""
        partition, next_offset = int(message.partition() or 0), int(message.offset() or 0) + 1
        lent: dict[str, Any] = {}

        def change() -> Sequence[RecordLike]:
            records = held.shard.apply(order, control_partition=partition, next_offset=next_offset, **lent)
            held.shard.control_offsets[partition] = next_offset
            return records

        try:
            if self.seeds is not None and (parcel := parcel_of(order)) is not None:
                lent["lent"] = self.seeds.get(parcel)
                if lent["lent"] is None:
                    return False
            applied = self.durability.barrier(held, change)
        except BadSample as error:
            self.bury(message, error.reason, error.detail, stage="control")
            return True
        self.counters["orders"] += applied
        return applied

    def save_due(self) -> None:
        """One shard a turn, so that a worker with many does not stand still for all of them at once."""
        now_s = self.clock()
        for held in unsaved(list(self.holdings)):
            late = now_s - held.saved_at_s >= self.pace.snapshot_interval_s
            far = held.shard.next_offset - held.saved_offset >= self.pace.snapshot_records
            if late or far:
                saved = self.durability.checkpoint(held)
                self.counters["snapshots" if saved else "snapshots_put_off"] += 1
                held.saved_at_s = now_s
                return

    def throttle(self) -> None:
        """Read no faster than the broker takes what we send."""
        self.outputs.poll()
        if self.outputs.waiting > BACKED_UP_RECORDS:
            self.assignment.hold_back(tuple(self.holdings.by_place))
        elif self.outputs.waiting < BACKED_UP_RECORDS // 2:
            self.assignment.let_go()
