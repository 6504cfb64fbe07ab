"""Child: `graft run` as the user would start it, with its log in a file.

Owns the process's start, its readiness and its end. Knows nothing of what it detects.

Not obvious: it has a session of its own, so that Ctrl-C reaches the demo alone, which then ends it; and the kernel
ends it if the demo is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

from agents import progress
from engine.errors import OutsideError

_PR_SET_PDEATHSIG = 1
LOG_TAIL_BYTES = 2000


class GraftRun:
    """One `graft run`. Start it before any thread."""

    def __init__(self, config: Path, *, state_dir: Path, listen: str, log: Path) -> None:
        self._config, self._state_dir, self._log = config, state_dir, log
        self._ready_url = f"http://{listen}/readyz"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "agents.cli", "run", "-c", str(self._config), "--log", "text"]
        root = str(Path(__file__).resolve().parent.parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
                preexec_fn=partial(_as_child, os.getpid()),  # noqa: PLW1509 - no threads yet
            )  # fmt: skip

    def is_ready(self) -> bool:
        """Both processes are at work. OutsideError when it has ended."""
        self.check()
        found = progress.read_all(self._state_dir)
        return bool(found) and all(one.ready for one in found) and self._answers()

    def check(self) -> None:
        """OutsideError with the end of its log when it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise OutsideError(
                f"`graft run` ended by itself with status {self._process.returncode}. Its log ends:\n{self.log_tail()}"
            )

    def log_tail(self) -> str:
        """The last lines of its log."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if self._log.exists() else ""

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready_url, timeout=1.0) as answer:  # noqa: S310 - our own, on loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, patience_s: float) -> None:
        """SIGTERM, then at the end of the patience a Ctrl-C, which does not wait, then the axe."""
        process = self._process
        if process is None:
            return
        for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGINT, 1.0), (signal.SIGKILL, 5.0)):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(wait_s)
                except subprocess.TimeoutExpired:
                    continue
        self._process = None


def _as_child(parent: int) -> None:
    """Between fork and exec: be ended with the demo."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died between the fork and the line above
            os.kill(os.getpid(), signal.SIGTERM)
