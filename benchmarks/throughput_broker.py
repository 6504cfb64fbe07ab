"""The broker of the throughput benchmark, in a process of its own, and its topics.

Owns where records are kept while they are measured. Knows no load.

Not obvious: the embedded broker shares the interpreter of whoever starts it only by name, but its threads would share
the cores' caches and the process's memory figures; so it lives in another process, as a real one does.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping

#: Seconds that an administrator's request may take.
ADMIN_WAIT_S = 20


@contextlib.contextmanager
def embedded(topics: Mapping[str, int]) -> Iterator[str]:
    """An embedded broker with these topics (name -> partitions); its bootstrap address."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.throughput_broker",
        *(f"{name}={count}" for name, count in topics.items()),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise SystemExit("The embedded broker did not start; see above.")
            yield address
        finally:
            process.stdin.close()
            process.wait(20)


@contextlib.contextmanager
def real(bootstrap: str, topics: Mapping[str, int]) -> Iterator[str]:
    """These topics on a real broker, made now and deleted afterwards."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [NewTopic(name, num_partitions=count, replication_factor=1) for name, count in topics.items()]
    for future in admin.create_topics(wanted, operation_timeout=ADMIN_WAIT_S).values():
        future.result(ADMIN_WAIT_S)
    try:
        yield bootstrap
    finally:
        for future in admin.delete_topics(list(topics), operation_timeout=ADMIN_WAIT_S).values():
            with contextlib.suppress(Exception):
                future.result(ADMIN_WAIT_S)


def main() -> None:
    """Serve until standard input ends."""
    from agents.embedded import EmbeddedBroker

    topics = {name: int(count) for name, count in (one.rsplit("=", 1) for one in sys.argv[1:])}
    with EmbeddedBroker(topics) as broker:
        print(broker.bootstrap, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
