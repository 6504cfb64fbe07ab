"""Notifier: from the alerts topic to the incident tools, by way of the outbox.

Owns the life of its parts: one thread that reads the topic into the outbox (alert_reader.py), one task per
destination that empties it (courier.py), one that keeps house. Lives in the Faust worker's process and loop.

Not obvious: there are two objects on the outbox's file, one for the reading thread, one for the sending side, whose
calls run in an executor of one thread: an fsync on a busy disk takes seconds, and the probes must answer meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random as dice
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from agents.came import Came
from agents.notify import again, outbox_file
from agents.notify.alert_reader import Reader
from agents.notify.courier import Courier, InThread, Terms
from agents.notify.gate import Gate
from agents.notify.outbox import Outbox, Taken
from agents.sinks.config import SinkConfig
from agents.sinks.http import Client
from agents.sinks.notice import Post, Write
from agents.sinks.table import build
from engine.errors import BadSample

log = logging.getLogger(__name__)

HOUSE_S, PRUNE_S = 2.0, 600.0
#: A disk that refuses is asked again after this.
DISK_WAIT_S = 5.0
STOP_S = 3.0


class Plan(NamedTuple):
    """What a notifier needs. consumer: makes the Kafka consumer. refuse: makes a dead letter durable, or raises.

    post: None for the real HTTP client; anything else for a dry run.
    """

    path: Path
    topic: str
    sinks: Sequence[SinkConfig]
    consumer: Callable[[], Any]
    refuse: Callable[[Came, BadSample], None]
    post: Post | None = None
    write: Write | None = None


class Standing(NamedTuple):
    """How the outbox stands, for /metrics and the probes."""

    counts: dict[tuple[str, str], int]
    oldest_queued_s: float | None


class Notifier:
    """`await start()`, then `await failed()` for as long as it should run, then `await stop()`."""

    def __init__(
        self, plan: Plan, *, clock: Callable[[], float] = time.time, random: Callable[[], float] = dice.random
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._random = random
        self._client = Client(clock=clock)
        self._pool = ThreadPoolExecutor(1, "outbox")
        self._tasks: list[asyncio.Task[None]] = []
        self._wakes: list[asyncio.Event] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None
        self._boxes: list[Outbox] = []
        self.couriers: list[Courier] = []
        self.reader: Reader | None = None
        self.taken = Taken()
        self.standing = Standing({}, None)

    async def start(self) -> None:
        """Open the outbox, start reading and sending. ConfigError, OutsideError."""
        self._loop = asyncio.get_running_loop()
        self._failure = self._loop.create_future()
        options = {"write": self._plan.write} if self._plan.write else {}
        sinks = build(self._plan.sinks, post=self._plan.post or self._client.post, **options)
        names = [sink.destination for _, sink in sinks]
        late_s = {sink.destination: config.max_alert_age_s for config, sink in sinks}
        sending, reading = (Outbox(self._plan.path, destinations=names, late_s=late_s) for _ in range(2))
        self._boxes = [sending, reading]
        sending.own([], settled={}, now_s=self._clock())
        self._follow_configuration(names)
        for config, sink in sinks:
            self._add(Courier(
                sink, sending, Gate(per_minute=config.per_minute), Terms(config.max_alert_age_s, config.give_up_s),
                run=InThread(self._in_pool), clock=self._clock, random=self._random,
            ))  # fmt: skip
        self._tasks.append(self._loop.create_task(self._guarded(self._keep_house(sending))))
        self.reader = Reader(self._plan.consumer(), reading, topic=self._plan.topic, hooks=self, clock=self._clock)
        self._thread = threading.Thread(target=self._read, args=(self.reader,), name="alert-reader", daemon=True)
        self._thread.start()

    def _follow_configuration(self, names: Sequence[str]) -> None:
        """Sinks may have come and gone since the file was written."""
        with closing(outbox_file.connect(self._plan.path)) as db:
            if gone := again.dismiss(db, names, now_s=self._clock()):
                log.warning("%d alerts waited for sinks that are no longer configured; they are kept, not sent", gone)
            for name in names:
                if told := again.adopt(db, name, now_s=self._clock()):
                    log.warning("Sink %s is new, or here again: it will hear of %d open incidents", name, told)

    def _add(self, courier: Courier) -> None:
        assert self._loop is not None
        wake = asyncio.Event()
        self.couriers.append(courier)
        self._wakes.append(wake)
        self._tasks.append(self._loop.create_task(self._guarded(self._carry(courier, wake))))

    async def failed(self) -> None:
        """Returns never; raises what ended one of the parts."""
        assert self._failure is not None
        await asyncio.shield(self._failure)

    async def stop(self) -> None:
        """Stop reading, stop sending, close. What is under way is sent again at the next start, under the same id."""
        if self.reader is not None:
            self.reader.stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, STOP_S)
        await self._client.close()
        await asyncio.to_thread(self._pool.shutdown)
        sending, reading = self._boxes or (None, None)
        if sending is not None:
            sending.close()
        # A reader that still waits for an absent broker keeps its own; the end of the process closes it.
        if reading is not None and not (self._thread is not None and self._thread.is_alive()):
            reading.close()
        if self._failure is not None and self._failure.done():
            self._failure.exception()

    # Hooks of the reader; called in its thread.

    def owned(self) -> None:
        """What waited for the partitions may go out."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._wake)

    def taken_in(self, taken: Taken) -> None:
        self.taken = Taken(*(a + b for a, b in zip(self.taken, taken, strict=True)))
        if taken.over:
            log.warning("%d incidents were over before they could be told (max_alert_age_s); not sent", taken.over)
        if self._loop is not None and taken.new:
            self._loop.call_soon_threadsafe(self._wake)

    def refused(self, came: Came, error: BadSample) -> None:
        self._plan.refuse(came, error)

    # Parts.

    def _read(self, reader: Reader) -> None:
        try:
            reader.run()
        except BaseException as error:  # noqa: BLE001 - the loop ends by it
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._fail, error)

    async def _carry(self, courier: Courier, wake: asyncio.Event) -> None:
        while True:
            wake.clear()
            try:
                wait_s = await courier.step()
            except sqlite3.Error as error:
                log.error("The outbox does not answer: %s. Sending goes on when it does.", error)  # noqa: TRY400
                wait_s = DISK_WAIT_S
            if wait_s > 0:
                try:
                    await asyncio.wait_for(wake.wait(), wait_s)
                except TimeoutError:
                    continue

    async def _keep_house(self, outbox: Outbox) -> None:
        pruned_s = self._clock()
        while True:
            try:
                counts = await self._in_pool(outbox.counts)
                self.standing = Standing(counts, await self._in_pool(outbox.oldest_queued_s))
                if self._clock() - pruned_s >= PRUNE_S:
                    pruned_s = self._clock()
                    await self._in_pool(lambda: outbox.prune(now_s=self._clock()))
            except sqlite3.Error as error:
                log.error("The outbox does not answer: %s", error)  # noqa: TRY400
            await asyncio.sleep(HOUSE_S)

    async def _guarded(self, part: Any) -> None:
        try:
            await part
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - told to whoever awaits failed()
            self._fail(error)

    async def _in_pool(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _wake(self) -> None:
        for wake in self._wakes:
            wake.set()

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)
