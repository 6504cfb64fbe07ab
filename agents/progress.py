"""Progress: a small file that the hot path writes four times a second, and that everyone else reads.

Owns the format. It is how /metrics, the probes and the supervisor know how the detector does, without a thread or a
socket in the hot process (a busy Python thread beside it costs four fifths of its speed).

Not obvious: it is written with a rename and no fsync: readers see the old file or the new one, never half of one, and
after a power cut nobody needs it. A process that hangs stops writing, so the age of `at_ms` is the sign of life.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

#: Below the state directory; one file a worker, named by its slot (agents/instance.py).
FOLDER = "progress"


class ShardProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One shard. Offsets are next offsets; -1 unknown. lag_records: end - next. counters: of the engine."""

    topic: str
    partition: int
    next_offset: int
    end_offset: int
    saved_offset: int
    replaying: bool
    state_bytes: int
    ledger: dict[str, int]
    counters: dict[str, float]

    @property
    def lag_records(self) -> int:
        return max(0, self.end_offset - self.next_offset) if self.end_offset >= 0 else 0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process. at_ms, started_ms: wall clock. ready: has its part of the group, which may be nothing where
    there are more workers than partitions, and repeats nothing of a former life.

    counters: records, snapshots, gaps, gap_records, orders, client_errors, uploads, uploads_failed, restores,
    snapshots_refused, partitions_raised, reports_failed of this life. sent: records by topic without
    prefix. dead: dead letters by reason. waiting: records not acknowledged yet. ended: it has left in order.
    """

    pid: int
    started_ms: int
    at_ms: int
    ready: bool
    counters: dict[str, int]
    sent: dict[str, int]
    dead: dict[str, int]
    waiting: int
    shards: tuple[ShardProgress, ...]
    ended: bool = False


def write(path: Path, progress: Progress) -> None:
    """Replace the file; OSError, and the old one is there still, where the disk does not take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    try:
        temporary.write_bytes(msgspec.json.encode(progress))
        temporary.replace(path)
    except OSError:
        with suppress(OSError):  # half of it would keep room on a disk that is full
            temporary.unlink(missing_ok=True)
        raise


def read(path: Path) -> Progress | None:
    """What the file says; None when there is none or it is not ours."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    except (OSError, msgspec.DecodeError):
        return None


def path_of(state_dir: Path, slot: int) -> Path:
    """Where the worker of a slot writes."""
    return state_dir / FOLDER / f"{slot}.json"


def read_all(state_dir: Path) -> list[Progress]:
    """Progress of every worker that keeps its state here, in the order of their slots."""
    found = [read(path) for path in sorted((state_dir / FOLDER).glob("*.json"))]
    return [one for one in found if one is not None]
