"""The parts of the worker, made from the settings and tied together.

Owns which part gets what: clients, topics, paths, groups. Starts them in the order in which they need each other and
stops them the other way round. The decisions are all elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import instance, progress
from agents.came import Came
from agents.clients import CLIENT_LOG, consumer_config, producer_config
from agents.flows.faust_app import Flows, Reads
from agents.flows.flow_watch import watch
from agents.flows.review_desk import Desk
from agents.flows.review_labels import LabelGate
from agents.flows.reviewer import Reviewer, TopicHistory
from agents.flows.thin import Flow, Out
from agents.flows.tuner import Tuner
from agents.notify import outbox_file
from agents.notify.notifier import Notifier, Plan
from agents.recovery.outputs import Outputs
from agents.secret import mask
from agents.settings import address, kafka_properties
from agents.sinks.config import masked_url
from agents.sinks.delivery import Answer, Outcome
from agents.sinks.notice import Request
from agents.topics import Topics
from agents.web.server import Server
from agents.web.standing import FlowStanding, SinkStanding, Standing
from engine.errors import BadSample

if TYPE_CHECKING:
    from agents.settings import Settings

log = logging.getLogger(__name__)


class Parts:
    """`await run()`, `await stop()`."""

    def __init__(self, settings: Settings, *, dry_run: bool = False) -> None:
        from confluent_kafka import Producer

        self.settings = settings
        self._began_s = time.time()
        self._topics = Topics.of(settings.topics.prefix)
        self._folder = Path(settings.state.dir)
        self._properties = kafka_properties(settings)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._version = _version()
        # One name per worker that survives a restart: after a kill the group takes it back at once, not after the
        # session timeout. Two workers on one state directory have two.
        self._instance = instance.claim(self._folder / "notifier")
        producer: Any = Producer(producer_config(self._properties, insecure=settings.kafka.insecure), logger=CLIENT_LOG)
        source = f"/graft/{settings.environment}/worker"
        self._out = Out(Outputs(producer, prefix=settings.topics.prefix, source=source), engine=self._version)
        self.tuner, self.reviewer, self.flows = self._thin_flows()
        self.notifier = Notifier(self._plan(dry_run=dry_run))
        host, port = address(settings.web.listen)
        self.web = Server(self.standing, host=host, port=port, token=settings.web.token)

    async def run(self) -> None:
        """Returns never; raises what ended one of the parts. What had been started is stopped by `stop`."""
        await self.web.start()
        await self.notifier.start()
        await self.reviewer.catch_up()
        await self.flows.start()
        log.info("The worker runs: %d sinks", len(self.notifier.couriers))
        still = watch(lambda: self._consumer("flows"), [read.topic for read in self._reads], clock=time.monotonic)
        time_goes = self.reviewer.keep_time(self._clock_ms)
        await first_of(self.notifier.failed(), self.flows.failed(), still, self._broken(), time_goes)

    async def stop(self) -> None:
        """In turn; one that fails to stop does not keep the others from it."""
        for part in (self.flows, self.notifier, self.web):
            try:
                await part.stop()
            except Exception:
                log.exception("A part did not stop in order; nothing is lost by it")
        os.close(self._instance.lock)
        if self._failure.done():
            self._failure.exception()

    def _clock_ms(self) -> int:
        """Event time of the shards at hand; 0 where there is none."""
        shards = [shard for one in progress.read_all(self._folder) for shard in one.shards]
        return max((int(shard.counters.get("clock_ms", 0)) for shard in shards), default=0)

    async def _broken(self) -> None:
        await asyncio.shield(self._failure)

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    # Making the parts.

    def _thin_flows(self) -> tuple[Tuner, Reviewer, Flows]:
        from engine.feedback import order_for
        from engine.retune import Tuner as Decider

        tuner = Tuner(Decider(), self._out)
        review = self.settings.review
        desk = Desk(questions_per_hour=review.questions_per_hour, team_label=review.team_label)
        gate = LabelGate(environment=self.settings.environment, keys=review.keys)
        history = TopicHistory(lambda: self._consumer("history"), self._topics.escalations)
        reviewer = Reviewer(desk, order_for, self._out, history=history, gate=gate)
        pages = (Reads("pages", self._topics.alerts, self._flow("pages", reviewer.on_alert)),)
        self._reads = (
            Reads("tuner", self._topics.drift, self._flow("tuner", tuner.on_drift)),
            Reads("desk", self._topics.escalations, self._flow("desk", reviewer.on_escalation)),
            Reads("reviewer", self._topics.feedback, self._flow("reviewer", reviewer.on_label)),
            *(pages if review.ask_about_pages else ()),
        )
        flows = Flows(
            self._reads,
            bootstrap=self.settings.kafka.bootstrap,
            group=f"{self.settings.kafka.group}-flows",
            instance=self._instance.name,
            properties=self.settings.kafka.properties,
            folder=self._folder / "faust",
        )
        return tuner, reviewer, flows

    def _flow(self, name: str, handler: Any) -> Flow:
        return Flow(name, handler, self._out, fail=self._fail)

    def _plan(self, *, dry_run: bool) -> Plan:
        purpose = f"notify-dry-run-{os.getpid()}" if dry_run else "notify"
        return Plan(
            path=self._outbox_path(dry_run=dry_run),
            topic=self._topics.alerts,
            sinks=self.settings.sinks,
            consumer=lambda: self._consumer(purpose, static=not dry_run),
            refuse=self._refuse,
            post=_print if dry_run else None,
        )

    def _outbox_path(self, *, dry_run: bool) -> Path:
        if dry_run:
            return Path(tempfile.mkdtemp(prefix="graft-dry-run-")) / "outbox.db"
        return outbox_file.path_of(self._folder, self._instance.slot)

    def _consumer(self, purpose: str, *, static: bool = False) -> Any:
        from confluent_kafka import Consumer

        properties = {key: value for key, value in self._properties.items() if key != "group.protocol"}
        config = consumer_config(
            properties,
            group=f"{self.settings.kafka.group}-{purpose}",
            instance_id=self._instance.name if static else "",
            insecure=self.settings.kafka.insecure,
        )
        # The reader takes whole assignments: at a few alerts a minute nothing is gained by keeping some.
        return Consumer({**config, "partition.assignment.strategy": "range"}, logger=CLIENT_LOG)

    def _refuse(self, came: Came, error: BadSample) -> None:
        self._out.refuse(came, stage="notifier", reason=error.reason, detail=error.detail)

    # What the HTTP side shows.

    def standing(self) -> Standing:
        """Of this moment."""
        now_s, notifier = time.time(), self.notifier
        counts = notifier.standing.counts
        reader = notifier.reader
        sent, dead = self._out.counts()
        return Standing(
            version=self._version,
            now_s=now_s,
            up_s=now_s - self._began_s,
            progress=tuple(progress.read_all(self._folder)),
            sinks=tuple(
                SinkStanding(
                    one.sink.destination,
                    one.gate.circuit,
                    one.tally,
                    one.seconds,
                    {state: count for (name, state), count in counts.items() if name == one.sink.destination},
                    held_s=max(0.0, one.gate.held_until_s - now_s),
                )
                for one in notifier.couriers
            ),
            flows=tuple(
                FlowStanding(read.name, read.flow.counters["records"], read.flow.counters["refused"])
                for read in self._reads
            )
            + ((FlowStanding("notifier", reader.counters["records"], reader.counters["refused"]),) if reader else ()),
            reader_turned_s=reader.turned_s if reader else 0.0,
            reader_assigned=bool(reader and reader.assigned),
            flows_assigned=self.flows.assigned,
            oldest_queued_s=notifier.standing.oldest_queued_s,
            taken=notifier.taken._asdict(),
            drift=self.tuner.counters,
            labels=self.reviewer.answers,
            questions=self.reviewer.desk.counters,
            open_questions=self.reviewer.desk.open_count(),
            reader=reader.counters if reader else {},
            sent=sent,
            dead=dead,
        )


async def first_of(*parts: Any) -> None:
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


async def _print(request: Request) -> Answer:
    """The way out of a dry run."""
    body = mask(request.body.decode(), request.secrets)
    print(f"POST {masked_url(request.url)}\n{body}", flush=True)  # noqa: T201 - this is what was asked for
    return Answer(Outcome.DELIVERED, 0, "not sent")


def _version() -> str:
    try:
        return metadata.version("graft")
    except metadata.PackageNotFoundError:
        return "0"
