"""One real Apache Kafka for tests: KRaft, one node, loopback, from its artifacts on Maven Central.

Owns: fetching the jars (once, into a cache outside the tree), formatting, starting, stopping, killing and restarting
the node. Knows nothing of Graft.

Needs Java 17 or newer; Maven the first time only. GRAFT_KAFKA_JARS names another folder for the jars.

Not obvious: that the port answers says nothing. A node that is starting accepts connections long before it knows its
own metadata, so ready means that a metadata request of a real client lists the broker.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

#: Pinned: 4.4.0 and 4.2.2 have no kafka-tools artifact, which formats the data folder.
VERSION = "4.3.1"
OLDEST_JAVA = 17
_CLUSTER_ID = "R3JhZnQtdGVzdC1rYWZrYQ"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_START_LIMIT_S = 90.0
_STOP_LIMIT_S = 20.0

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>graft.test</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
"""


def absent_program() -> str:
    """What keeps this machine from running a Kafka, as a sentence; empty if nothing does."""
    java = shutil.which("java")
    if java is None:
        return f"no java; Kafka {VERSION} needs Java {OLDEST_JAVA} or newer"
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', answer)
    if found is None or int(found[1]) < OLDEST_JAVA:
        return f"java is {answer.splitlines()[0] if answer else 'broken'}; Kafka {VERSION} needs {OLDEST_JAVA} or newer"
    if shutil.which("mvn") is None and not jars_folder().is_dir():
        return f"no mvn to fetch Kafka {VERSION}, and no jars at {jars_folder()}"
    return ""


def jars_folder() -> Path:
    """Where the jars of this version are, or will be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("GRAFT_KAFKA_JARS") or cache / "graft" / "kafka-jars") / VERSION


def fetch_jars() -> Path:
    """The folder of the jars, filled by Maven if it is not there. Whole or not at all, whoever else tries."""
    folder = jars_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch_into(folder)
    return folder


def _fetch_into(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        work = Path(name)
        (work / "pom.xml").write_text(_POM)
        jars = work / "jars"
        command = ["mvn", "-q", "-B", "-f", str(work / "pom.xml"), _COPY, "-DincludeScope=runtime"]
        subprocess.run([*command, f"-DoutputDirectory={jars}"], check=True, timeout=600, stdin=subprocess.DEVNULL)
        jars.rename(folder)


class RealKafka:
    """A node with its data under `folder`. start, kill and restart keep the data; only the folder's end ends it.

    extra: lines of server.properties, on top of those below.
    """

    def __init__(
        self, folder: Path, *, port: int, controller_port: int, extra: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.bootstrap = f"127.0.0.1:{port}"
        self._properties = {**_properties(folder, port, controller_port), **(extra or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start, and return when a client can use it."""
        assert self._process is None, "this Kafka runs already"
        jars = fetch_jars()
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in self._properties.items()))
        if not (self.folder / "data" / "meta.properties").exists():
            self._format(jars, config)
        with (self.folder / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *dies_with_us(),
                    *_java(jars, "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC"),
                    "kafka.Kafka",
                    str(config),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()
        return self

    def stop(self) -> None:
        """An orderly end; after 20 s, none."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9: nothing is flushed, no client is told."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start again after `stop` or `kill`, with the same data and port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def create_topic(self, name: str, *, partitions: int = 1, config: Mapping[str, str] | None = None) -> None:
        """Make a topic, and return when it is there."""
        admin = self.admin()
        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        admin.create_topics([topic])[name].result(timeout=30)

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """What retention does: records below an offset, by partition, are gone when this returns."""
        admin = self.admin()
        asked = admin.delete_records([TopicPartition(topic, partition, at) for partition, at in before.items()])
        for future in asked.values():
            future.result(timeout=30)

    def admin(self, **settings: Any) -> AdminClient:
        """A client for administration."""
        return AdminClient({"bootstrap.servers": self.bootstrap, **settings})

    def _format(self, jars: Path, config: Path) -> None:
        tool = ["kafka.tools.StorageTool", "format", "--standalone", "-t", _CLUSTER_ID, "-c", str(config)]
        command = [*_java(jars, "-Xmx128m", "-XX:TieredStopAtLevel=1"), *tool, "--ignore-formatted"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"Kafka's data folder could not be formatted:\n{done.stdout}{done.stderr}"

    def _wait_until_ready(self) -> None:
        quick = {"reconnect.backoff.ms": 100, "reconnect.backoff.max.ms": 200, "log_level": 0}
        admin = self.admin(**quick)
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, f"Kafka ended while starting:\n{self.log_tail()}"
            with suppress(KafkaException):
                if admin.list_topics(timeout=1.0).brokers:
                    return
        self.kill()
        raise AssertionError(f"Kafka did not answer within {_START_LIMIT_S:g} s:\n{self.log_tail()}")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_LIMIT_S)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that Kafka wrote."""
        return "\n".join((self.folder / "kafka.log").read_text(errors="replace").splitlines()[-lines:])


def _java(jars: Path, *options: str) -> list[str]:
    logging = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
    return ["java", *options, "-Djava.awt.headless=true", *logging, "-cp", f"{jars}/*"]


def dies_with_us() -> list[str]:
    """Before a command: a test run that is killed must leave no process behind; where the tool is absent it may."""
    return ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []


def _properties(folder: Path, port: int, controller_port: int) -> dict[str, str]:
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
        "log.dirs": str(folder / "data"),
        # A topic that nobody made is an error in a test, not four empty partitions.
        "auto.create.topics.enable": "false",
        "num.network.threads": "2",
        "num.io.threads": "4",
        # One node: every internal topic with one replica, and few partitions to start quickly.
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "default.replication.factor": "1",
        "group.initial.rebalance.delay.ms": "0",
        # After kill -9 the controller refuses the node until the session of its former life ends; the default is 9 s.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # Lets a test use a session shorter than the 6 s that a broker allows by default.
        "group.min.session.timeout.ms": "1000",
        "log.cleaner.dedupe.buffer.size": "8388608",
        "log.cleaner.threads": "1",
    }
