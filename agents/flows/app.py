"""The worker: `python -m agents.flows.app -c graft.toml [--dry-run]`, the second process of `graft run`.

Owns the start of its parts and their end. What the parts are is parts.py; everything that does the work is elsewhere:
agents/notify/, tuner.py, reviewer.py, faust_app.py (all of Faust), agents/web/.

Not obvious: whichever part fails ends the process, loudly and with a status that the supervisor reads
(agents/child.py). Nothing is restarted in here; a fresh process is the only state that is known. A stop that hangs is
cut short by a watchdog, and one that comes before the broker has answered waits for nothing: nothing is held yet, and
a thread that asks an absent broker cannot be told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agents import child
from agents.supervisor import DEFECT
from engine.errors import OutsideError

if TYPE_CHECKING:
    from agents.settings import Settings

log = logging.getLogger("agents.flows")

#: A stop takes about a second; the supervisor kills after 20.
STOP_S = 12.0
#: The same before the broker has answered.
EARLY_STOP_S = 0.5
#: How long a broker that does not answer is waited for before the supervisor takes over with its own, longer, waits.
BROKER_S = 60.0


async def until_signal(settings: Settings, *, dry_run: bool) -> None:
    """Run until SIGTERM or Ctrl-C."""
    stop, answered = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        if not stop.is_set():
            # Not cancelled: with a broker away, threads of the clients can outlive the loop and hold up the end.
            (_deadline(STOP_S, _cut_short, 0) if answered.is_set() else _deadline(EARLY_STOP_S, os._exit, 0)).start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    await asyncio.to_thread(wait_for_broker, settings)
    answered.set()
    if not stop.is_set():
        await serve(settings, stop, dry_run=dry_run)


async def serve(settings: Settings, stop: asyncio.Event, *, dry_run: bool = False) -> None:
    """Run all parts until `stop` is set, which they do not have to be at work for."""
    from agents.flows.parts import Parts, first_of

    parts = Parts(settings, dry_run=dry_run)
    try:
        await first_of(stop.wait(), parts.run())
    finally:
        with _watchdog():
            await parts.stop()


@contextlib.contextmanager
def _watchdog() -> Any:
    """Whatever hangs while stopping, the process ends; nothing is lost by it."""
    timer = _deadline(STOP_S, _cut_short, DEFECT)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _deadline(after_s: float, act: Callable[[int], None], status: int) -> threading.Timer:
    timer = threading.Timer(after_s, act, (status,))
    timer.daemon = True
    return timer


def _cut_short(status: int) -> None:
    sys.stderr.write(f"The worker did not stop within {STOP_S:g} s and is cut short; nothing is lost.\n")
    os._exit(status)


def wait_for_broker(
    settings: Settings, *, most_s: float = BROKER_S, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return when the broker answers and our topics are there; OutsideError after most_s."""
    from agents.settings import kafka_properties
    from agents.topics import ensure_topics, topic_plans

    properties = kafka_properties(settings)
    waited_s = 0.0
    while True:
        began_s = time.monotonic()
        try:
            ensure_topics(
                properties,
                topic_plans(settings.topics.prefix),
                timeout_s=min(5.0, most_s),
                insecure=settings.kafka.insecure,
            )
            return
        except OutsideError as error:
            waited_s += time.monotonic() - began_s
            if waited_s >= most_s:
                raise
            log.warning("Waiting for the broker: %s", error)
            sleep(1.0)
            waited_s += 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of the child process."""
    parser = child.parser("python -m agents.flows.app", "The worker of `graft run`.")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent to incident tools")
    options = parser.parse_args(arguments)
    for chatty in ("faust", "mode", "aiokafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return child.run(options, lambda settings: asyncio.run(until_signal(settings, dry_run=options.dry_run)))


if __name__ == "__main__":
    child.program(main)
