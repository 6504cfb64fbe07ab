"""Recovery code as it must not be: each mutant is one plausible mistake, and the suite has to notice it.

A mutant changes the running process before a worker's life (`infect`). tests/faults/test_mutants.py runs each through
the same harness as the real code and demands that the oracle objects.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """mistake: in one sentence. infect: changes the running code."""

    mistake: str
    infect: Callable[[], None]


def _commit_before_save() -> None:
    from confluent_kafka import TopicPartition

    from agents.detector.assignment import Assignment
    from agents.failpoint import failpoint
    from agents.recovery.durability import Durability
    from agents.recovery.held import Held

    def checkpoint(self: Durability, held: Held, wait_s: float | None = None) -> bool:
        self.acknowledged(held)
        self.commit(held.place, held.shard.next_offset)
        failpoint("flushed")
        self.save(held)
        return True

    def commit(self: Any, place: Any, next_offset: int) -> None:
        self._consumer.commit(offsets=[TopicPartition(*place, next_offset)], asynchronous=False)

    honest = Assignment._take

    def take(self: Any, places: Any) -> None:
        # Where this mistake is made, the group's offset is what a start goes by.
        honest(self, places)
        known = self._consumer.committed([TopicPartition(*place) for place in places], timeout=10)
        for place, one in zip(places, known, strict=True):
            held = self._keeper.by_place[place]
            if one.offset > held.shard.next_offset:
                held.shard.next_offset = one.offset
                self.read_from(place, one.offset)

    Durability.checkpoint = checkpoint  # type: ignore[method-assign]
    Assignment.commit = commit  # type: ignore[method-assign]
    Assignment._take = take  # type: ignore[method-assign]


def _no_flush() -> None:
    from agents.recovery.outputs import Outputs

    def flushed(self: Any, timeout_s: float) -> bool:
        return True

    Outputs.flushed = flushed  # type: ignore[method-assign]


def _score_in_id() -> None:
    from engine.series import stable_id
    from tests.faults.plain_shard import PlainShard

    def alert_id(self: PlainShard, text: str, ts_ms: int, score: float) -> str:
        return stable_id("alert", text, ts_ms, score)

    PlainShard.alert_id = alert_id  # type: ignore[method-assign]


def _learn_before_validate() -> None:
    from tests.faults.plain_shard import PlainDecoder

    honest = PlainDecoder.decode

    def decode(self: PlainDecoder, values: Any, *rest: Any) -> Any:
        import orjson

        for value in values:
            try:
                found = orjson.loads(value or b"")
                row = self.shard.row_of(str(found["series"]))
                if row >= 0:
                    self.shard.columns["mean"][row] += 1e-6 * float(found["value"])
            except (ValueError, KeyError, TypeError):
                continue
        return honest(self, values, *rest)

    PlainDecoder.decode = decode  # type: ignore[method-assign]


def _largest_instead_of_error() -> None:
    from agents.detector import assembly

    honest = assembly.consumer_config

    def consumer_config(*arguments: Any, **options: Any) -> Any:
        return {**honest(*arguments, **options), "auto.offset.reset": "largest"}

    assembly.consumer_config = consumer_config


def _apply_without_snapshot() -> None:
    from agents.recovery.durability import Durability
    from agents.recovery.held import Owed

    def barrier(self: Any, held: Any, change: Any) -> bool:
        records = [Owed(*one) for one in change()]
        from agents.failpoint import failpoint

        self.outputs.send(records)
        self.outputs.flushed(5)
        failpoint("control-applied")
        return True

    Durability.barrier = barrier  # type: ignore[method-assign]


def _tell_before_upload() -> None:
    from agents.recovery.durability import Durability

    honest = Durability.barrier

    def barrier(self: Any, held: Any, change: Any) -> bool:
        import dataclasses

        return honest(dataclasses.replace(self, uploads=None), held, change)

    Durability.barrier = barrier  # type: ignore[method-assign]


MUTANTS = {
    "commit-before-save": Mutant("The offset is committed before the save, and trusted.", _commit_before_save),
    "no-flush": Mutant("The state is saved while records that it has caused are still on their way.", _no_flush),
    "score-in-id": Mutant("An alert is named by its score as well.", _score_in_id),
    "learn-before-validate": Mutant("A record moves the model before it is checked.", _learn_before_validate),
    "largest-instead-of-error": Mutant("A lost position jumps to the end of the log.", _largest_instead_of_error),
    "apply-without-snapshot": Mutant("What an order has caused leaves before its snapshot.", _apply_without_snapshot),
    "tell-before-upload": Mutant("What an order has caused leaves while only this disk knows it.", _tell_before_upload),
}
