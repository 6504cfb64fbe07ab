"""`graft run`: starts the detector and the Faust worker, each a process of its own, watches them, stops them.

Owns when a dead child is started again and when to give up. Knows nothing of what the children do; they are told to
stop by SIGTERM, or by SIGINT if a person did it, and read the same configuration file.

A child that says that the world outside does not answer (status 3) is started again for as long as it takes: a broker
may be away for an hour, and nobody should have to come and start Graft again. Any other death is a crash; so many of
them within ten minutes end it all, for a defect does not mend itself.

Not obvious: the children have sessions of their own, so that Ctrl-C reaches only this process, which then stops them in
order; and the kernel sends them SIGTERM if this process dies first, so nothing is left behind.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from engine.errors import ConfigError

log = logging.getLogger(__name__)

#: Process -> module. The worker starts last and is stopped first: it only reads what the detector writes.
PARTS = {"detector": "agents.detector", "worker": "agents.flows.app"}
#: A child that is told to stop has this long; the detector needs a flush and a checkpoint, a second or two.
STOP_S = 20.0
FINDINGS, USAGE, OUTSIDE, DEFECT = 1, 2, 3, 70
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1


class Budget(NamedTuple):
    """first_s, most_s: wait before a restart, doubled at each death in window_s. More crashes in it: the end."""

    first_s: float = 1.0
    most_s: float = 30.0
    crashes: int = 8
    window_s: float = 600.0


@dataclass
class Restarts:
    """When a child that died is started again: waits that double, and a number of crashes that ends it.

    >>> restarts = Restarts(Budget(first_s=1, crashes=2))
    >>> [restarts.after(status, now_s) for status, now_s in ((3, 0.0), (70, 1.0), (-9, 3.0), (3, 7.0), (70, 15.0))]
    [1.0, 2.0, 4.0, 8.0, None]
    """

    budget: Budget = field(default_factory=Budget)
    #: When it died, and of what; no longer ago than the window.
    deaths: list[tuple[float, int]] = field(default_factory=list)

    def after(self, status: int, now_s: float) -> float | None:
        """Seconds to wait, or None: it is a crash, and the budget is spent."""
        self.deaths = [one for one in self.deaths if now_s - one[0] < self.budget.window_s] + [(now_s, status)]
        if status != OUTSIDE and self.crashes > self.budget.crashes:
            return None
        return float(min(self.budget.first_s * 2 ** (len(self.deaths) - 1), self.budget.most_s))

    @property
    def crashes(self) -> int:
        """Deaths of the window that are not the world's fault."""
        return sum(status != OUTSIDE for _, status in self.deaths)


class Part:
    """One child process and its restarts."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], budget: Budget) -> None:
        self.name = name
        self._command = list(command)
        self._env = dict(env)
        self.restarts = Restarts(budget)
        self.process: subprocess.Popen[bytes] | None = None
        self.due_s: float | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it now."""
        self.due_s = None
        self.starts += 1
        self.process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            self._command,
            env=self._env,
            start_new_session=True,
            preexec_fn=partial(_as_child, os.getpid()),  # noqa: PLW1509 - no threads here
        )
        log.info("%s started", self.name, extra={"pid": self.process.pid, "start": self.starts})

    def ended(self) -> int | None:
        """Its exit status once, when it has ended; None otherwise."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.process = None
        return status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Supervisor:
    """Runs parts until it is told to stop, or one of them cannot go on. The exit status is that of `graft run`."""

    def __init__(self, parts: Sequence[Part], *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._parts = list(parts)
        self._clock_s = clock_s
        self._status: int | None = None
        self._told = signal.SIGTERM

    def run(self) -> int:
        """Start all parts, watch them, stop them; the exit status."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for part in self._parts:
                part.start()
            while self._status is None:
                self._wait()
                self._look_after()
            self._stop()
            return self._status
        finally:
            for part in self._parts:
                part.signal(signal.SIGKILL)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _wait(self) -> None:
        """Sleep until a signal comes or a restart is due."""
        due = [part.due_s for part in self._parts if part.due_s is not None]
        wait_s = max(0.0, min(due) - self._clock_s()) if due else 60.0
        caught = signal.sigtimedwait(_SIGNALS, wait_s)
        if caught is not None and caught.si_signo != signal.SIGCHLD:
            self._told = signal.Signals(caught.si_signo)
            log.info("stopping, on %s", self._told.name)
            self._status = 0

    def _look_after(self) -> None:
        now_s = self._clock_s()
        for part in self._parts:
            status = part.ended()
            if status is not None and self._status is None:
                self._on_end(part, status, now_s)
            if part.due_s is not None and now_s >= part.due_s and self._status is None:
                part.start()

    def _on_end(self, part: Part, status: int, now_s: float) -> None:
        if status == 0:
            log.info("%s ended by itself", part.name)
            self._status = 0
        elif status == USAGE:
            log.error("%s cannot use this configuration; not started again", part.name)
            self._status = USAGE
        elif (wait_s := part.restarts.after(status, now_s)) is None:
            log.error("%s died %d times; giving up", part.name, part.restarts.crashes, extra={"status": status})
            self._status = DEFECT
        else:
            log.warning("%s died, starts again in %.0f s", part.name, wait_s, extra={"status": status})
            part.due_s = now_s + wait_s

    def _stop(self) -> None:
        """The signal that came, to all, the last first; SIGKILL to what runs after STOP_S, or at a second Ctrl-C."""
        for part in reversed(self._parts):
            part.signal(self._told)
        deadline_s = self._clock_s() + STOP_S
        while any(part.process is not None and part.process.poll() is None for part in self._parts):
            left_s = deadline_s - self._clock_s()
            caught = signal.sigtimedwait(_SIGNALS, max(0.0, min(left_s, 1.0)))
            if left_s <= 0 or (caught is not None and caught.si_signo == signal.SIGINT):
                log.error("not stopped in time; killed. The next start reads the log again from the last checkpoint.")
                self._status = self._status or FINDINGS
                break


def parts(
    *,
    config: Path | None,
    only: str | None,
    extra: Mapping[str, Sequence[str]],
    env: Mapping[str, str],
    budget: Budget | None = None,
) -> list[Part]:
    """The processes of one `graft run`. extra: arguments by part."""
    if only is not None and only not in PARTS:
        raise ConfigError(f"--only is {only!r}; it must be one of {', '.join(PARTS)}.")
    common = ["-c", str(config)] if config else []
    return [
        Part(name, [sys.executable, "-m", module, *common, *extra.get(name, [])], env, budget or Budget())
        for name, module in PARTS.items()
        if only in (None, name)
    ]


def _as_child(parent: int) -> None:
    """Between fork and exec: signals as a fresh process has them, and SIGTERM when the supervisor dies."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died between the fork and the line above
            os.kill(os.getpid(), signal.SIGTERM)
