"""Where states live on disk: the checkpoints of a worker's shards, and single snapshot files named by people.

    DIR/lock                                          held while a worker uses DIR
    DIR/shards/TOPIC-PARTITION/NEXT_OFFSET.snap       20 digits, so that names sort as offsets do
    DIR/shards/TOPIC-PARTITION/NEXT_OFFSET.snap.bad   refused at a start, and set aside when a good one followed

Any valid snapshot is right, a newer one only saves reading the log again. So nothing is removed before what replaces it
is durable, and a refused one is not touched until then: with the wrong key all are refused, and all must survive that.
No path is ever made from what a file says. Knows no Kafka and no clock: "one a day" goes by the files' own times.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self
from urllib.parse import quote, unquote

from agents.recovery.durable import DiskFull, make_folder, read_bounded, reason, write_durably
from engine.errors import ConfigError, GraftError, OutsideError, SnapshotError
from engine.snapshot import MAX_BYTES, Keys, State, pack, unpack

__all__ = ["DiskFull", "Loaded", "StateStore", "Stored", "read_state", "stored", "write_state"]

_FOLDER: Final = re.compile(r"(?P<topic>.+)-(?P<partition>0|[1-9][0-9]{0,9})\Z")
_FILE: Final = re.compile(r"(?P<next_offset>[0-9]{20})\.snap\Z")
_DAY_S: Final = 86_400
_HOUR_S: Final = 3_600
#: In state.dir, beside the outbox and whatever else a worker keeps.
_SHARDS: Final = "shards"


class Stored(NamedTuple):
    """One snapshot on disk, as its name and the file system tell; not opened, so perhaps damaged."""

    topic: str
    partition: int
    next_offset: int
    path: Path
    size: int
    saved_s: float


class Loaded(NamedTuple):
    """The newest state that may be used, None if there is none; and what was refused on the way, newest first."""

    state: State | None
    path: Path | None
    skipped: list[tuple[Path, str]]


class StateStore:
    """The checkpoints of one worker. Holds a lock on its folder until it is closed or the process ends.

    keep: newest ones a shard; days: one more for each of so many earlier days; history: one more for each of so many
    earlier hours, from which something can be un-learned. So at most keep + days + history x state.
    warn: takes one sentence on a file that could not be read and was passed over.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        key: Keys = None,
        keep: int = 3,
        days: int = 1,
        history: int = 0,
        max_bytes: int = MAX_BYTES,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        if keep < 1 or days < 0 or history < 0:
            raise ConfigError(
                f"a store that keeps {keep} snapshots, {days} days and {history} hours cannot work; keep at least 1, 0 "
                "and 0"
            )
        self.directory = Path(directory)
        self._key = key
        self._keep = keep
        self._days = days
        self._history = history
        self._max_bytes = max_bytes
        self._warn = warn or (lambda _: None)
        self._refused: set[Path] = set()
        self._broken: str | None = None
        make_folder(self.directory / _SHARDS)
        self._lock = _locked(self.directory)
        self._sweep()

    def save(self, topic: str, partition: int, next_offset: int, data: bytes) -> Path:
        """Make data the newest snapshot of the shard, durably; then remove those that are no longer wanted.

        DiskFull: nothing has changed, try later. Any other OutsideError: stop the process; this store saves no more.
        """
        if self._broken is not None:
            raise OutsideError(f"{self._broken} (this worker must stop; it saves nothing any more)")
        path = self._folder(topic, partition) / _name(next_offset)
        try:
            make_folder(path.parent)
            write_durably(path, data)
        except DiskFull:
            raise
        except OutsideError as error:
            self._broken = str(error)
            raise
        self._tidy(path)
        return path

    def load_newest(self, topic: str, partition: int, *, verify: Callable[[State], str | None] | None = None) -> Loaded:
        """The newest snapshot of the shard that is whole and that verify does not refuse with a reason."""
        skipped: list[tuple[Path, str]] = []
        for one in self._of(topic, partition):
            try:
                state = unpack(read_bounded(one.path, max_bytes=self._max_bytes), key=self._key)
                refusal = verify(state) if verify is not None else None
            except GraftError as error:
                refusal = str(error)
            else:
                if refusal is None:
                    return Loaded(state, one.path, skipped)
            self._refused.add(one.path)
            skipped.append((one.path, refusal))
        return Loaded(None, None, skipped)

    def newest_first(self, topic: str, partition: int) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of each snapshot of the shard, for callers that open them themselves; nothing is checked."""
        for one in self._of(topic, partition):
            try:
                data = read_bounded(one.path, max_bytes=self._max_bytes)
            except GraftError as error:
                self._refused.add(one.path)
                self._warn(f"{error}; passing over it to the next older snapshot")
                continue
            yield str(one.path.relative_to(self.directory)), data

    def set_aside(self, name: str) -> None:
        """Remember that the snapshot called name (from newest_first) was refused; renamed once a good one is saved."""
        found = next((one.path for one in self.list() if str(one.path.relative_to(self.directory)) == name), None)
        if found is None:
            raise ConfigError(f"there is no snapshot {name!r} in {self.directory} to set aside")
        self._refused.add(found)

    def list(self) -> Sequence[Stored]:
        """All snapshots: by topic, partition, newest first."""
        return stored(self.directory)

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _folder(self, topic: str, partition: int) -> Path:
        return self.directory / _SHARDS / folder_name(topic, partition)

    def _of(self, topic: str, partition: int) -> Sequence[Stored]:
        return _in_folder(self._folder(topic, partition), topic, partition)

    def _sweep(self) -> None:
        """Remove what a killed writer left: with the lock held nobody writes now."""
        for tmp in (self.directory / _SHARDS).glob("*/.*.tmp"):
            tmp.unlink(missing_ok=True)

    def _tidy(self, saved: Path) -> None:
        """After saved is durable. A file that cannot be removed costs room, never truth, so it is only said."""
        self._refused.discard(saved)
        refused = {path for path in self._refused if path.parent == saved.parent}
        try:
            for path in refused:
                if path.exists():
                    path.replace(path.with_name(f"{path.name}.bad"))
            for path in _surplus(saved, keep=self._keep, days=self._days, hours=self._history):
                path.unlink(missing_ok=True)
        except OSError as error:
            self._warn(f"cannot tidy {saved.parent}: {reason(error)}; snapshots that are no longer wanted stay there")
        self._refused -= refused


def stored(directory: Path | str) -> list[Stored]:
    """All snapshots in a worker's folder, without its lock: for looking while it runs."""
    result: list[Stored] = []
    shards = Path(directory) / _SHARDS
    for name in _names(shards):
        match = _FOLDER.match(name)
        if match is not None:
            result += _in_folder(shards / name, unquote(match["topic"]), int(match["partition"]))
    return sorted(result, key=lambda one: (one.topic, one.partition, -one.next_offset))


def read_state(path: Path | str, key: Keys = None, *, allow_unsigned: bool | None = None) -> State:
    """The state in one file; every error names the file, what is wrong with it, and what to do."""
    data = read_bounded(Path(path), max_bytes=MAX_BYTES)
    try:
        return unpack(data, key=key, allow_unsigned=allow_unsigned)
    except SnapshotError as error:
        raise SnapshotError(f"{path} cannot be used: {error}") from None


def write_state(path: Path | str, state: State, key: Keys = None, *, creator: str = "graft") -> int:
    """Write state to one file, in place of what is there; its size in bytes. The folder must exist."""
    target = Path(path)
    if os.path.isdir(target):  # noqa: PTH112  pathlib's raises where the folder may not be entered
        raise ConfigError(f"{target} is a folder; give the name of a file, such as {target / 'eu.snap'}")
    if not target.parent.exists():
        raise ConfigError(f"there is no folder {target.parent}; make it first, or choose another path")
    data = pack(state.manifest, state.arrays, key=key, creator=creator)
    write_durably(target, data, mode=0o644)
    return len(data)


def folder_name(topic: str, partition: int) -> str:
    """Never "." or "..", never with a slash: the dash and the number always follow.

    >>> folder_name("../a b", 3)
    '..%2Fa%20b-3'
    """
    if not topic or partition < 0:
        raise ConfigError(f"there is no shard {topic!r}[{partition}]; wanted a topic and a partition from 0")
    return f"{quote(topic, safe='')}-{partition}"


def _name(next_offset: int) -> str:
    if not 0 <= next_offset < 10**20:
        raise ConfigError(f"a snapshot at offset {next_offset} cannot be saved; an offset is a whole number from 0")
    return f"{next_offset:020d}.snap"


def _in_folder(folder: Path, topic: str, partition: int) -> list[Stored]:
    """The snapshots in one folder, newest first; names that are not ours are passed over."""
    result: list[Stored] = []
    for name in sorted(_names(folder), reverse=True):
        match = _FILE.match(name)
        if match is None:
            continue
        path = folder / name
        try:
            found = path.stat()
        except FileNotFoundError:  # pruned by the worker meanwhile
            continue
        except OSError as error:
            raise _unreadable(folder, error) from error
        result.append(Stored(topic, partition, int(match["next_offset"]), path, found.st_size, found.st_mtime))
    return result


def _names(folder: Path) -> Sequence[str]:
    """What is in folder. A folder that is not there is empty; one that cannot be read is not: that would start cold."""
    try:
        return [path.name for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: OSError) -> OutsideError:
    return OutsideError(
        f"cannot look into {folder}: {reason(error)}; let user {os.geteuid()} read there, or set another state.dir"
    )


def _surplus(saved: Path, *, keep: int, days: int, hours: int = 0) -> list[Path]:
    """What may go once saved is durable: beyond the newest `keep` up to saved, and the last of earlier days and hours.

    Those with a higher offset than saved are not counted: whoever saves below them has not used them.
    """
    upto = [one for one in _in_folder(saved.parent, "", 0) if one.path.name <= saved.name]
    kept = {one.path for one in upto[:keep]}
    for length_s, most in ((_DAY_S, days), (_HOUR_S, hours)):
        now = int(upto[0].saved_s // length_s) if upto else 0
        last_of: dict[int, Path] = {}
        for one in upto:
            when = int(one.saved_s // length_s)
            if when < now:
                last_of.setdefault(when, one.path)
        kept.update(last_of[when] for when in sorted(last_of, reverse=True)[:most])
    bad = sorted(saved.parent.glob("*.snap.bad"), reverse=True)
    # As many as can lie here at one start: with the wrong key all of them are refused.
    return [*(one.path for one in upto if one.path not in kept), *bad[keep + days :]]


def _locked(directory: Path) -> int:
    """A descriptor with an exclusive lock, which ends with the process however it ends."""
    path = directory / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutsideError(
            f"cannot write in {directory}: {reason(error)}; let user {os.geteuid()} write there, or set state.dir"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise OutsideError(
            f"{directory} is in use by process {holder}; a folder serves one worker: stop that one, or set another "
            "state.dir for this one"
        ) from error
    with suppress(OSError):  # a full disk keeps nobody from the lock; the number is for people
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
