"""Instance: the name by which the group knows this worker again after a restart.

Owns the slots of a folder. A worker takes the first slot that no living process holds (a file lock, which the kernel
lets go whatever kills the process) and is named after it.

Not obvious: the name is not the host's. Static membership (`group.instance.id`) makes a restart free of a rebalance,
but two workers under one name throw each other out; a random word that lives in the folder is as unique as the folder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from engine.errors import OutsideError

FOLDER = "instances"
MAX_SLOTS = 256


class Instance(NamedTuple):
    """slot: number below the folder. name: for `group.instance.id`. lock: keep it open as long as you live."""

    slot: int
    name: str
    lock: int


def claim(folder: Path) -> Instance:
    """The first free slot of a folder; OutsideError when it cannot be used."""
    own = folder / FOLDER
    try:
        own.mkdir(parents=True, exist_ok=True)
        for slot in range(MAX_SLOTS):
            lock = os.open(own / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _locked(lock):
                return Instance(slot, f"graft-{_word(own)}-{slot}", lock)
            os.close(lock)
    except OSError as error:
        raise OutsideError(f"The folder {folder} cannot be used: {error.strerror}. Set another state.dir.") from error
    raise OutsideError(f"{MAX_SLOTS} workers hold {folder} already; give this one a state.dir of its own.")


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _word(own: Path) -> str:
    """A random word per folder. A crash before it was written leaves an empty file, which the next one fills."""
    with (own / "id").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if not (word := file.read().strip()):
            word = secrets.token_hex(4)
            file.write(word)
        return word
