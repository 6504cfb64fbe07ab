"""Serve: the whole of `graft review` in one process: the file, the reader, the sender, and the server, until it is told
to stop.

Owns their order at start and end, signals, and the limits of connections. Knows no page.

Not obvious: the page begins to listen whether or not a broker answers, for what it has is worth showing then most of
all. And uvicorn waits without limit for the first head of a connection, so our connections have a moment for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from agents.clients import CLIENT_LOG, consumer_config, producer_config
from agents.recovery.held import Place
from agents.recovery.state_topic import StateTopic
from agents.review import history
from agents.review.app import app_of
from agents.review.gate import Hosts
from agents.review.outbox import Outbox, waiting
from agents.review.reader import Reader
from agents.review.session import Sessions
from agents.review.site import Site
from agents.review.states import States
from agents.review.store import Kept, Store
from agents.settings import Settings, address, kafka_properties
from agents.topics import Topics, partitions_of
from engine.errors import OutsideError

log = logging.getLogger(__name__)

#: A connection has so long for its first head; a head is at most so long.
HEAD_S, HEAD_BYTES = 10.0, 16_384
KEEP_ALIVE_S = 30
MOST_CONNECTIONS = 500
#: After Ctrl-C: what is under way may end, then threads.
GRACE_S, JOIN_S = 1, 1.5


class Impatient(H11Protocol):
    """A connection that is closed if no request has come within HEAD_S."""

    head_s = HEAD_S

    def connection_made(self, transport: Any) -> None:
        """As uvicorn has it, and a moment for the first head."""
        super().connection_made(transport)
        self._wait = self.loop.call_later(self.head_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The moment is over."""
        self._wait.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's, with signals as ours have them: stop, and the exit status is the command's."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell when it listens."""
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: they are set on the loop."""
        yield


def serve(settings: Settings, *, listen: str, db: Path, ready: Callable[[str], None], kept: Kept | None = None) -> str:
    """Serve until SIGINT or SIGTERM; a sentence of what is left. ready: told the address once it listens."""
    bound = _bound(listen)
    try:
        store = Store(db, kept=kept)
    except OutsideError:
        bound.close()
        raise
    try:
        return asyncio.run(_serve(settings, bound, store, ready))
    finally:
        bound.close()
        store.close()


async def _serve(settings: Settings, bound: socket.socket, store: Store, ready: Callable[[str], None]) -> str:
    topics, stopping = Topics.of(settings.topics.prefix), asyncio.Event()
    reader = Reader(_consumers(settings), store, prefix=settings.topics.prefix)
    outbox = Outbox(store, lambda: _producer(settings), topic=topics.feedback, undo_s=settings.review.undo_s)
    token = settings.review.token.reveal() if settings.review.token else ""
    site = Site(
        store=store, reader=reader, outbox=outbox, states=states_of(settings, store, topics.state),
        sessions=Sessions(store.secret(), token), settings=settings,
    )  # fmt: skip
    host, port = bound.getsockname()[:2]
    hosts = Hosts(host, settings.review.hosts, machine=(socket.gethostname(), socket.getfqdn()))
    config = uvicorn.Config(
        app_of(site, stopping=stopping, hosts=hosts, person=_person()), http=Impatient, ws="none", lifespan="off",
        access_log=False, log_config=None, log_level="warning", server_header=False, proxy_headers=False,
        date_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES, timeout_keep_alive=KEEP_ALIVE_S, limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    server = Server(config, lambda: ready(f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))

    def stop() -> None:
        server.should_exit = True
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    threads = [
        threading.Thread(target=part.run, name=f"review-{name}", daemon=True)
        for name, part in (("reader", reader), ("outbox", outbox))
    ]
    for thread in threads:
        thread.start()
    try:
        await server.serve([bound])
    finally:
        reader.stop.set()
        outbox.stop.set()
        for thread in threads:
            await asyncio.to_thread(thread.join, JOIN_S)
    with store.reading() as db:
        late, _ = waiting(db)
        held = db.execute("SELECT count(*) FROM answers WHERE state = 'held'").fetchone()[0]
    left = f"; {held} answers are kept in {store.path} and leave when the page runs again" if held or late else ""
    return f"stopped: {reader.counters['records']:,} records read{left}"


def states_of(settings: Settings, store: Store, topic: str) -> States:
    """What reads the state topic when somebody looks."""
    properties, insecure = kafka_properties(settings), settings.kafka.insecure

    def consumer() -> Any:
        from confluent_kafka import Consumer

        config = consumer_config(properties, group=f"{settings.kafka.group}-review", insecure=insecure)
        return Consumer({**config, "enable.partition.eof": True}, logger=CLIENT_LOG)

    def found() -> StateTopic:
        there = partitions_of(properties, [topic], timeout_s=5.0, insecure=insecure)
        if topic not in there:
            raise OutsideError(f"There is no topic {topic}: no worker has uploaded a state (state.upload_interval_s).")
        return StateTopic(consumer, topic, there[topic])

    def places() -> list[Place]:
        names = [one.topic for one in settings.inputs]
        wide = partitions_of(properties, names, timeout_s=5.0, insecure=insecure) if names else {}
        with store.reading() as db:
            told = [Place(*place) for place in history.shards(db)]
        return [*told, *(Place(name, number) for name, count in wide.items() for number in range(count))]

    return States(found, places, settings, changed=store.changed)


def _consumers(settings: Settings) -> Callable[[Callable[[Any], None]], Any]:
    def opened(on_error: Callable[[Any], None]) -> Any:
        from confluent_kafka import Consumer

        config = consumer_config(
            kafka_properties(settings), group=f"{settings.kafka.group}-review", insecure=settings.kafka.insecure
        )
        return Consumer({**config, "error_cb": on_error}, logger=CLIENT_LOG)

    return opened


def _producer(settings: Settings) -> Any:
    from confluent_kafka import Producer

    config = producer_config(kafka_properties(settings), insecure=settings.kafka.insecure)
    # Shorter than the outbox waits: what fails is tried again by the outbox, under the same id.
    return Producer({**config, "delivery.timeout.ms": "4000", "request.timeout.ms": "3000"}, logger=CLIENT_LOG)


def _bound(listen: str) -> socket.socket:
    host, port = address(listen)
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )[0]
        # With its protocol: only then asyncio switches Nagle off, which costs each answer 40 ms.
        bound = socket.socket(found[0], found[1], found[2])
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(found[4])
    except OSError as error:
        raise OutsideError(
            f"The page cannot listen on {listen}: {error.strerror or error}. Set review.listen, or name "
            "another address with --listen."
        ) from None
    bound.set_inheritable(True)
    return bound


def _person() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"
