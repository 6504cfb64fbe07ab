"""Job: a piece of work in a thread, whose failure is kept for whoever waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from engine.errors import OutsideError


class Job:
    """`start()`; `check()` raises what ended it badly."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name, self._work = name, work
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Still at it."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for its end, so long at most."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def check(self) -> None:
        """OutsideError when it has failed."""
        if self._failure is not None:
            raise OutsideError(f"The demo's {self._name} failed: {self._failure!r}.") from self._failure

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - told by check()
            self._failure = error
