"""The store when the process dies or the disk fails: always the old snapshot or the new one, nothing between."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from agents.failpoint import arm
from agents.recovery.store import DiskFull, StateStore
from engine.errors import OutsideError
from engine.snapshot import pack

#: Saves one offset after the other from where it finds itself, and tells each that is durable, until it is killed.
WORKER = """
import sys
import numpy as np
from agents.recovery.store import StateStore
from engine.snapshot import pack

with StateStore(sys.argv[1]) as store:
    state = store.load_newest("metrics", 0).state
    start = 0 if state is None else state.manifest["next_offset"]
    for offset in range(start + 1, start + 9):
        arrays = {"x": np.full(40_000, offset, np.int64)}
        store.save("metrics", 0, offset, pack({"kind": "checkpoint", "next_offset": offset}, arrays))
        print(offset, flush=True)
"""
#: Where a worker may die, and how many of the save that it died in are found afterwards.
POINTS = {"snapshot-half": 0, "snapshot-written": 0, "snapshot-synced": 0, "snapshot-renamed": 1}


def data_at(offset: int, size: int = 100) -> bytes:
    return pack({"kind": "checkpoint", "next_offset": offset}, {"x": np.full(size, offset, np.int64)})


def newest(store: StateStore) -> int:
    """The offset of the newest snapshot, all of which must be of that offset; nothing may have been skipped."""
    loaded = store.load_newest("metrics", 0)
    assert loaded.skipped == []
    assert loaded.state is not None
    offset = int(loaded.state.manifest["next_offset"])
    assert (loaded.state.arrays["x"] == offset).all()
    return offset


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(tmp_path: Path, point: str) -> None:
    durable = 0
    for nth in (2, 5, 1, 3, 4, 8):
        environment = {**os.environ, "GRAFT_FAILPOINT": f"{point}:{nth}"}
        command = [sys.executable, "-c", WORKER, str(tmp_path)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == -signal.SIGKILL, ran.stderr
        told = [durable, *map(int, ran.stdout.split())]
        assert len(told) == nth
        with StateStore(tmp_path) as store:
            durable = newest(store)
        assert durable == told[-1] + POINTS[point]
        assert list(tmp_path.rglob("*.tmp")) == []
        # Who dies between the rename and tidying leaves one too many; two in a row did.
        assert len(list(tmp_path.rglob("*.snap"))) <= 3 + 2


def test_a_writer_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    with StateStore(tmp_path) as store:
        store.save("metrics", 0, 1, data_at(1))
        for point in ("snapshot-half", "snapshot-written", "snapshot-synced"):
            with arm(point, fail), pytest.raises(KeyboardInterrupt):
                store.save("metrics", 0, 2, data_at(2))
            assert newest(store) == 1
        assert list(tmp_path.rglob("*.tmp")) == []


# Full disks heal.
@contextmanager
def tiny_disk(path: Path) -> Iterator[None]:
    """A file system of 1 MB at path; needs the right to mount."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    try:
        made = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no program to mount with")
    if made.returncode:
        pytest.skip(f"may not mount a small file system here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_keeps_the_old_ones_and_heals(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk"), StateStore(tmp_path / "disk") as store:
        store.save("metrics", 0, 1, data_at(1))
        ballast = tmp_path / "disk" / "ballast"
        ballast.write_bytes(bytes(700 << 10))
        for _ in range(3):
            with pytest.raises(
                DiskFull, match=r"No space left on device; it needs \d+ bytes and \d+ are free. Make room"
            ):
                store.save("metrics", 0, 2, data_at(2, size=60_000))
            assert newest(store) == 1
        assert list(tmp_path.rglob("*.tmp")) == []
        ballast.unlink()
        store.save("metrics", 0, 2, data_at(2, size=60_000))
        assert newest(store) == 2


def test_a_file_that_may_not_grow_that_far_is_a_full_disk_too(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with StateStore(tmp_path) as store:
        store.save("metrics", 0, 1, data_at(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(DiskFull, match="File too large"):
                store.save("metrics", 0, 2, data_at(2, size=60_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert newest(store) == 1
        store.save("metrics", 0, 2, data_at(2, size=60_000))
        assert newest(store) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_room_that_is_missed_only_at_fsync_heals_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with StateStore(tmp_path) as store:
        store.save("metrics", 0, 1, data_at(1))
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing(number))
            with pytest.raises(DiskFull):
                store.save("metrics", 0, 2, data_at(2))
        assert newest(store) == 1
        store.save("metrics", 0, 2, data_at(2))
        assert newest(store) == 2


# A disk that fails does not.
def failing(number: int, calls: list[int] | None = None) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        if calls is not None:
            calls.append(descriptor)
        raise OSError(number, os.strerror(number))

    return fsync


def test_a_failed_fsync_is_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    with StateStore(tmp_path) as store:
        store.save("metrics", 0, 1, data_at(1))
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing(errno.EIO, calls))
            with pytest.raises(OutsideError, match=r"Input/output error; check the disk, then start again"):
                store.save("metrics", 0, 2, data_at(2))
        assert len(calls) == 1
        with pytest.raises(OutsideError, match="this worker must stop"):
            store.save("metrics", 0, 3, data_at(3))
        assert newest(store) == 1
    with StateStore(tmp_path) as store:
        store.save("metrics", 0, 3, data_at(3))
        assert newest(store) == 3


def test_a_folder_that_cannot_be_made_durable_stops_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    with StateStore(tmp_path) as store:
        path = store.save("metrics", 0, 1, data_at(1))

        def fsync(descriptor: int) -> None:
            if os.path.samestat(os.fstat(descriptor), path.parent.stat()):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        with pytest.raises(OutsideError):
            store.save("metrics", 0, 2, data_at(2))
        monkeypatch.undo()
        with pytest.raises(OutsideError, match="this worker must stop"):
            store.save("metrics", 0, 3, data_at(3))
        assert newest(store) in {1, 2}


def test_a_folder_without_fsync_is_as_good_as_it_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync
    with StateStore(tmp_path) as store:
        path = store.save("metrics", 0, 1, data_at(1))

        def fsync(descriptor: int) -> None:
            if os.path.samestat(os.fstat(descriptor), path.parent.stat()):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)
        store.save("metrics", 0, 2, data_at(2))
        assert newest(store) == 2


def test_what_cannot_be_tidied_is_said_and_costs_only_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".snap":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with StateStore(tmp_path, keep=1, warn=warned.append) as store:
        store.save("metrics", 0, 1, data_at(1))
        monkeypatch.setattr(Path, "unlink", unlink)
        store.save("metrics", 0, 2, data_at(2))
        assert newest(store) == 2
    assert ["no longer wanted stay there" in one for one in warned] == [True]
