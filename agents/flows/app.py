"""The worker: `python -m agents.flows.app -c graft.toml [--dry-run]`, the second process of `graft run`.

Owns the putting together of notifier, tuner, reviewer and HTTP side, their start, and their end. Everything that does
the work is elsewhere: agents/notify/, tuner.py, reviewer.py, faust_app.py (all of Faust), agents/web/.

Not obvious: whichever part fails ends the process, loudly and with a status that the supervisor reads: 2 means that
the configuration cannot work, 3 that the world outside does not answer, 70 a defect. Nothing is restarted in here;
a fresh process is the only state that is known. A stop that hangs is cut short by a watchdog.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, GraftError, OutsideError

if TYPE_CHECKING:
    from agents.settings import Settings

log = logging.getLogger(__name__)

DONE, USAGE, OUTSIDE, DEFECT = 0, 2, 3, 70
#: A stop takes about a second; the supervisor kills after 20.
STOP_S = 12.0
#: How long a broker that does not answer is waited for before the supervisor takes over with its own, longer, waits.
BROKER_S = 60.0


def run_app(settings: Settings, *, dry_run: bool = False) -> int:
    """Run until SIGTERM or Ctrl-C; the exit status. Errors are told in one sentence."""
    try:
        asyncio.run(_until_signal(settings, dry_run=dry_run))
        return DONE
    except ConfigError as error:
        log.error("%s", error)  # noqa: TRY400 - one sentence, no traceback
        return USAGE
    except OutsideError as error:
        log.error("%s", error)  # noqa: TRY400
        return OUTSIDE
    except GraftError as error:
        log.error("%s", error)  # noqa: TRY400
        return DEFECT
    except Exception:
        log.exception("The worker cannot go on; this is a defect of Graft")
        return DEFECT


async def _until_signal(settings: Settings, *, dry_run: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        # Not cancelled: with a broker away, threads of the clients can outlive the loop and hold up the end.
        if not stop.is_set():
            _deadline(DONE).start()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    await serve(settings, stop, dry_run=dry_run)


async def serve(
    settings: Settings, stop: asyncio.Event, *, dry_run: bool = False, on_ready: Callable[[Any], None] | None = None
) -> None:
    """Run all parts until `stop` is set. on_ready: told the worker's parts once they run (worker.py)."""
    from agents.flows.worker import Worker

    await asyncio.to_thread(wait_for_broker, settings)
    worker = Worker(settings, dry_run=dry_run)
    try:
        await worker.start()
        if on_ready is not None:
            on_ready(worker)
        await _first(stop.wait(), worker.failed())
    finally:
        with _watchdog():
            await worker.stop()


async def _first(*parts: Any) -> None:
    """Until one of them returns or raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def _watchdog() -> Any:
    """Whatever hangs while stopping, the process ends; nothing is lost by it."""
    timer = _deadline(DEFECT)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _deadline(status: int) -> threading.Timer:
    timer = threading.Timer(STOP_S, _cut_short, (status,))
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


def main(arguments: Sequence[str] | None = None, *, env: Mapping[str, str] = os.environ) -> int:
    """The command line of the child process."""
    parser = argparse.ArgumentParser(prog="python -m agents.flows.app", description="The worker of `graft run`.")
    parser.add_argument("-c", "--config", type=Path, help="the TOML file; default: the environment alone")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent to incident tools")
    parser.add_argument("--log", choices=("auto", "text", "json"), default="auto", help="format of the logs")
    chosen = parser.parse_args(arguments)

    from agents.log import setup
    from agents.settings import load, secrets_of

    try:
        settings = load(chosen.config, env=env)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    setup(json={"text": False, "json": True}.get(chosen.log), secrets=secrets_of(settings))
    for chatty in ("faust", "mode", "aiokafka"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return run_app(settings, dry_run=chosen.dry_run)


def _end(status: int) -> None:
    """End the process without waiting for threads of Kafka clients that wait for a broker; all is closed or durable."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _end(main())
