"""One file, either the old one or the new one, whatever dies in between. Knows bytes and paths, nothing of snapshots.

The order is tmp, write, fsync, rename, fsync of the folder: a file system may reorder whatever was not ordered (Pillai
et al., OSDI 2014). Not obvious: after a failed fsync the kernel has dropped the dirty pages and the next fsync of the
same file answers "fine" (PostgreSQL, 2018). So it is never called again, and the caller has to stop.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from agents.failpoint import failpoint
from engine.errors import ConfigError, OutsideError, SnapshotError

#: No room, quota used up, or larger than this process may write: heals by itself when somebody makes room.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: Some network file systems cannot fsync a folder at all; their rename is as durable as it gets.
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.EBADF, errno.ENOTSUP})


class DiskFull(OutsideError):  # noqa: N818  named for the state of the disk, as operators say it
    """There is no room. Nothing has changed: older files are whole, go on and try again later."""


def write_durably(path: Path, data: bytes | memoryview, *, mode: int = 0o600) -> None:
    """Put data at path, so that after this returns a power cut leaves it there.

    DiskFull: path is as it was. Any other OutsideError: nothing is known of the disk any more; stop the process.
    """
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_synced(tmp, memoryview(data).cast("B"), mode)
        failpoint("snapshot-synced")
        tmp.replace(path)
        failpoint("snapshot-renamed")
        sync_folder(path.parent)
    except OSError as error:
        raise _said(path, len(data), error) from error
    finally:
        with suppress(OSError):
            tmp.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in folder durable; OSError if the disk does not do it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """folder and those above it, durably; only the owner may look inside what is made."""
    try:
        if folder.is_dir():
            return
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise OutsideError(f"cannot make the folder {folder}: a file has that name; choose another path") from error
        raise _said(folder, 0, error) from error


def read_bounded(path: Path, *, max_bytes: int) -> bytes:
    """All bytes of a regular file. ConfigError: not there, or no file. OutsideError: there, but cannot be read."""
    try:
        found = path.stat()
        # Before it is opened: opening a pipe that nobody writes to would wait for ever.
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path} is not a regular file; give the path of a snapshot")
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"there is no file {path}; `graft snapshot create` writes a snapshot") from error
    except OSError as error:
        raise OutsideError(f"cannot read {path}: {reason(error)}; {_advice(error)}") from error
    if len(data) > max_bytes:
        raise SnapshotError(f"{path} has {found.st_size} bytes; at most {max_bytes} are read")
    return data


def reason(error: OSError) -> str:
    """What the system says, in its words: `No space left on device`."""
    return error.strerror or type(error).__name__


def _write_synced(tmp: Path, view: memoryview, mode: int) -> None:
    """A new file with the bytes of view, on the disk. Its descriptor is not used again, whatever happens."""
    tmp.unlink(missing_ok=True)
    descriptor = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        half = len(view) // 2
        _write_all(descriptor, view[:half])
        failpoint("snapshot-half")
        _write_all(descriptor, view[half:])
        failpoint("snapshot-written")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, view: memoryview) -> None:
    while view:
        view = view[os.write(descriptor, view) :]


def _said(path: Path, need_bytes: int, error: OSError) -> OutsideError:
    if error.errno in _FULL:
        free = _free_bytes(path.parent)
        return DiskFull(
            f"cannot write {path}: {reason(error)}; it needs {need_bytes} bytes and {free} are free. "
            "Make room there; what was saved before is whole"
        )
    return OutsideError(f"cannot write {path}: {reason(error)}; {_advice(error)}")


def _advice(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"let user {os.geteuid()} read and write there, or choose another folder"
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
        return "choose another path"
    return "check the disk, then start again: what it has kept is not known"


def _free_bytes(folder: Path) -> int | str:
    try:
        found = os.statvfs(folder)
    except OSError:
        return "an unknown number"
    return found.f_bavail * found.f_frsize
