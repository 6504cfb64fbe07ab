"""Named places where a worker may be made to die, so that tests can prove what survives. Unarmed they do nothing.

`GRAFT_FAILPOINT=name[:nth]` kills the process with SIGKILL at the nth pass (default: the first). Random kills are a
weak test: they hardly ever hit the few microseconds that matter between two steps of durability.

Not obvious: the variable is read at the first pass, not at import, and only once; a name that is not in NAMES is an
error even while nothing is armed, or a mistyped one would never fire and its test would always pass.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from engine.errors import ConfigError

VARIABLE: Final = "GRAFT_FAILPOINT"

#: In the order of a batch's way to durability (outputs -> flush -> snapshot -> advisory commit).
NAMES: Final = frozenset(
    {
        "mid-batch",
        "produced",  # after produce, before flush
        "flushed",
        "snapshot-half",  # half of the bytes are in the temporary file
        "snapshot-written",  # all of them, before fsync
        "snapshot-synced",  # before the rename
        "snapshot-renamed",  # before fsync of the folder
        "saved",  # after the save, before the commit
        "control-applied",  # an order is in memory, its snapshot is not yet durable
        "unlearn-half",  # of a rebuild: the log is folded, the rebuilt state is not written
        "unlearn-written",  # it is; nobody has taken it over
        "unlearn-taken",  # taken over in memory; what is on disk is the former past
        "unlearn-saved",  # durable as well; its record has not left
        "uploaded-half",  # half of a state's pieces are on the state topic, its manifest is not
        "uploaded",  # the manifest is acknowledged
        "restored-half",  # half of the pieces are back
        "restored",  # all of them, before they are saved here
    }
)

Action = Callable[[], object]


class _Armed:
    """One armed point: acts at the nth pass, and only then."""

    def __init__(self, action: Action, nth: int) -> None:
        self._action = action
        self._left = nth

    def passed(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._action()


#: None until the environment was looked at.
_armed: dict[str, _Armed] | None = None


def failpoint(name: str) -> None:
    """Pass the place called name; does not return if it is armed by the environment and this is the pass."""
    point = _points().get(_known(name))
    if point is not None:
        point.passed()


@contextmanager
def arm(name: str, action: Action, *, nth: int = 1) -> Iterator[None]:
    """Within the block the nth pass of name calls action (which may raise); for tests inside one process."""
    points = _points()
    before = points.get(_known(name))
    points[name] = _Armed(action, _counted(nth, f"nth={nth}"))
    try:
        yield
    finally:
        del points[name]
        if before is not None:
            points[name] = before


def parse(text: str) -> tuple[str, int]:
    """Name and pass out of `name[:nth]`.

    >>> parse("flushed:3"), parse("saved")
    (('flushed', 3), ('saved', 1))
    """
    name, colon, nth = text.partition(":")
    if not colon:
        return _known(name), 1
    return _known(name), _counted(int(nth) if nth.isascii() and nth.isdigit() else 0, f"{VARIABLE}={text}")


def _points() -> dict[str, _Armed]:
    global _armed  # noqa: PLW0603  read once for the process, as its environment is
    if _armed is None:
        text = os.environ.get(VARIABLE, "")
        _armed = {name: _Armed(_die, nth) for name, nth in ([parse(text)] if text else [])}
    return _armed


def _known(name: str) -> str:
    if name not in NAMES:
        raise ConfigError(f"there is no failpoint {name!r}; there are {', '.join(sorted(NAMES))}")
    return name


def _counted(nth: int, came: str) -> int:
    if nth < 1:
        raise ConfigError(f"{came} names no pass of a failpoint; wanted a whole number from 1, as in flushed:3")
    return nth


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
