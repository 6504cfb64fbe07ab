"""The Faust app: which agent reads which topic, and every setting of Faust that must not be left to its default.

Owns all contact with Faust; the handlers know none of it. One stream, one record at a time, acknowledged by hand after
what follows from it is kept (thin.py).

Not obvious, each of them met with faust-streaming 0.15:
- its web server listens on 0.0.0.0:6066 with tables for everybody, and is on by default;
- SIGTERM waits for ever for a record that is not acknowledged, unless stream_wait_empty is off;
- it declares topics by default, which some brokers refuse and the embedded one cannot;
- its codecs include pickle, which runs what it reads: taken out here, and all our topics are raw bytes;
- it makes a folder in the working directory unless told where.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.flows.kafka_auth import Auth, translate
from agents.flows.thin import Flow
from engine.errors import OutsideError

log = logging.getLogger(__name__)

WATCH_S = 0.5
STOP_S = 4.0
#: As the detector's (agents/clients.py), unless the user's properties say otherwise.
SESSION_MS = 30_000


class Reads(NamedTuple):
    """One agent: its name in the group's logs, the full name of its topic, its loop."""

    name: str
    topic: str
    flow: Flow


class Flows:
    """`await start()`, `await failed()`, `await stop()`. assigned: the group has answered at least once."""

    def __init__(
        self,
        reads: Sequence[Reads],
        *,
        bootstrap: str,
        group: str,
        instance: str,
        properties: Mapping[str, Any],
        folder: Path,
    ) -> None:
        self.assigned = False
        self._reads = reads
        self._bootstrap = bootstrap
        self._group = group
        self._instance = instance
        self._session_s = float(properties.get("session.timeout.ms", SESSION_MS)) / 1000
        self._auth = translate(properties)
        self._folder = folder
        self._app: Any = None

    async def start(self) -> None:
        """Join the group and begin to read. OutsideError when that fails."""
        self._app = self._made()
        for read in self._reads:
            _add_agent(self._app, read)
        self._app.on_partitions_assigned.connect(self._on_assigned, weak=False)
        try:
            await self._app.start()
        except Exception as error:
            raise OutsideError(
                f"The Faust worker could not start on {self._bootstrap}: {type(error).__name__}: {error}. "
                "Check kafka.bootstrap and kafka.properties."
            ) from error

    async def failed(self) -> None:
        """Returns never; OutsideError when Faust has stopped by itself."""
        while not (self._app.crashed or self._app.should_stop):  # noqa: ASYNC110 - Faust gives no event for it
            await asyncio.sleep(WATCH_S)
        raise OutsideError(f"The Faust worker has stopped: {self._app.crash_reason!r}.")

    async def stop(self) -> None:
        """Leave the group. What was not acknowledged is read again at the next start."""
        if self._app is not None:
            try:
                await asyncio.wait_for(self._app.stop(), STOP_S)
            except TimeoutError:
                log.warning("Faust did not leave its group in time; the broker finds out by itself")

    async def _on_assigned(self, *_: Any, **__: Any) -> None:
        self.assigned = True

    def _made(self) -> Any:
        import faust
        from faust.serializers import codecs

        codecs.codecs.pop("pickle", None)
        self._folder.mkdir(parents=True, exist_ok=True)
        return faust.App(
            self._group,
            broker=[f"kafka://{one.strip()}" for one in self._bootstrap.split(",") if one.strip()],
            broker_credentials=credentials(self._auth),
            datadir=str(self._folder),
            loop=asyncio.get_running_loop(),
            autodiscover=False,
            web_enabled=False,
            web_in_thread=False,
            stream_wait_empty=False,
            stream_buffer_maxsize=256,
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=1,
            table_standby_replicas=0,
            key_serializer="raw",
            value_serializer="raw",
            store="memory://",
            processing_guarantee="at_least_once",
            consumer_auto_offset_reset="earliest",
            # A group that was shared out while metadata were missing is empty until they are read again; the default
            # is five minutes.
            consumer_metadata_max_age_ms=10_000,
            consumer_group_instance_id=self._instance,
            # Above the heartbeat by the usual ten, below the request timeout, which Faust insists on.
            broker_session_timeout=self._session_s,
            broker_heartbeat_interval=self._session_s / 10,
            broker_request_timeout=self._session_s + 60.0,
            broker_rebalance_timeout=60.0,
            broker_max_poll_interval=300.0,
            broker_max_poll_records=500,
            broker_commit_interval=1.0,
            broker_check_crcs=True,
            broker_client_id="graft",
            worker_redirect_stdouts=False,
        )


def _add_agent(app: Any, read: Reads) -> None:
    topic = app.topic(read.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def agent(stream: Any) -> None:
        await read.flow.run(stream.noack().events())

    app.agent(topic, name=f"graft.{read.name}", concurrency=1)(agent)


def credentials(auth: Auth | None) -> Any:
    """In Faust's classes."""
    if auth is None:
        return None
    import faust

    if not auth.mechanism:
        return faust.SSLCredentials(context=auth.context)
    return faust.SASLCredentials(
        username=auth.username, password=auth.password, mechanism=auth.mechanism, ssl_context=auth.context
    )
