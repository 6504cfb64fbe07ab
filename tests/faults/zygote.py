"""A warm process that gives birth to workers: everything is imported once, then each life is one fork (10 ms).

    python -m tests.faults.zygote        a job a line on stdin, its wait status a line on stdout

Rule: no librdkafka client is ever made here, since a fork does not copy its threads. A job is one life of a worker:
it runs until its log has ended or until it is killed, by itself at a failpoint or from outside.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

from agents import failpoint
from agents import settings as config
from agents.detector import assembly, unlearner
from agents.detector.loop import Loop, Pace
from agents.detector.process import Stop, run_detector
from agents.recovery import state_topic
from agents.recovery.held import Place
from engine.batch import Batch
from tests.faults import mutants
from tests.faults.plain_shard import PlainParts, PlainShard


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One life. failpoint: name:nth or empty. mutant: a name of mutants.MUTANTS or empty. plain: the plain shard.

    upload_interval_s, chunk_bytes, upload_most_bytes: of the state topic; a small state has several small pieces.
    fails_at: offset at which the fold panics, -1 never. seems: partitions of the topic as told.
    jitter: scores of another engine version. until: "end", "unlearned" (and nothing is left to be) or "signal".
    grouped: join the group instead of assigning. look_s: between two looks at what is to be un-learned.
    """

    bootstrap: str
    state_dir: str
    topic: str = "metrics"
    partitions: int = 2
    failpoint: str = ""
    mutant: str = ""
    plain: bool = True
    jitter: float = 0.0
    until: str = "end"
    grouped: bool = False
    consume_records: int = 25
    snapshot_records: int = 10
    upload_interval_s: float = 0
    chunk_bytes: int = 400
    upload_most_bytes: int = 1 << 20
    fails_at: int = -1
    seems: int = 0
    look_s: float = 0.05
    properties: dict[str, Any] = {}


def settings_of(job: Job) -> config.Settings:
    return msgspec.convert(
        {
            "kafka": {"bootstrap": job.bootstrap, "properties": job.properties},
            "inputs": [{"topic": job.topic}],
            "state": {"dir": job.state_dir, "upload_interval_s": job.upload_interval_s},
        },
        config.Settings,
    )


def live(job: Job) -> None:
    """One life, in the child."""
    if job.failpoint:
        os.environ[failpoint.VARIABLE] = job.failpoint
    state_topic.CHUNK_BYTES, assembly.KEPT_BY_EMBEDDED_BYTES = job.chunk_bytes, job.upload_most_bytes
    parts = PlainParts(jitter=job.jitter) if job.plain else None
    if job.fails_at >= 0:
        panic_at(job.fails_at)
    if job.seems:
        seem(job.topic, job.seems)
    if job.mutant:
        mutants.MUTANTS[job.mutant].infect()
    unlearner.LOOK_S, unlearner.AGAIN_S = job.look_s, job.look_s
    run_detector(
        settings_of(job),
        stop={"end": lambda loop: loop.at_end, "unlearned": is_unlearned}.get(job.until) or Stop(),
        partitions=None if job.grouped else [Place(job.topic, one) for one in range(job.partitions)],
        pace=Pace(
            consume_records=job.consume_records, consume_wait_s=0.02, snapshot_interval_s=3600,
            snapshot_records=job.snapshot_records,
        ),
        parts=parts,  # type: ignore[arg-type]
        again=["-c", str(config_of(job))],
    )  # fmt: skip


def is_unlearned(loop: Loop) -> bool:
    """Everything is read, and nobody waits for a rebuild."""
    waits = (held.arrival is not None or held.shard.wants_unlearning() for held in loop.holdings)
    return loop.at_end and not any(waits)


def config_of(job: Job) -> Path:
    """The configuration as a file, for a child of the worker."""
    path = Path(job.state_dir).with_name("child.toml")
    path.write_text(
        f'[kafka]\nbootstrap = "{job.bootstrap}"\n[[inputs]]\ntopic = "{job.topic}"\n'
        f'[state]\ndir = "{job.state_dir}"\nupload_interval_s = {job.upload_interval_s}\n'
    )
    return path


class Panic(BaseException):
    """As compiled code raises one: no Exception."""


def panic_at(offset: int) -> None:
    """The fold half-way changes the shard, and then fails."""
    honest = PlainShard.process

    def process(self: PlainShard, batch: Batch) -> Any:
        found = honest(self, batch)
        if len(batch.offset) and batch.offset[-1] >= offset:
            raise Panic("index out of bounds")
        return found

    PlainShard.process = process  # type: ignore[method-assign]


def seem(topic: str, partitions: int) -> None:
    """The broker tells of fewer partitions than it has, as before somebody raised their number."""
    honest = assembly.partitions_of

    def partitions_of(*arguments: Any, **options: Any) -> dict[str, int]:
        return {**honest(*arguments, **options), topic: partitions}

    assembly.partitions_of = partitions_of


def born(job: Job) -> int:
    """Process id of a new life."""
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        os.dup2(2, 1)  # stdout is the protocol's
        live(job)
        status = 0
    except BaseException:  # noqa: BLE001 - nothing may get out of the child
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """`{"job"}` a line: answers "pid N" at once and "status N" at its end."""
    if "--real" in sys.argv:
        from agents.detector.assembly import Parts

        Parts(config.Settings()).warm_up()
    for line in sys.stdin:
        child = born(msgspec.json.decode(line, type=Job))
        say(f"pid {child}")
        _, status = os.waitpid(child, 0)
        say(f"status {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
