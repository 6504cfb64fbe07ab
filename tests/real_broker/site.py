"""Site: one user's Graft on a real Kafka - topics, files of configuration, processes - and the oracle of its log.

Rule, as in tests/faults: nothing is compared with what the feeder thinks it has sent. The oracle folds what *is* in
the topic with fresh shards, in one go, through the same codec, and compares states bit for bit, records by id and
payload, and the ledger with the offsets.

Not obvious: an order of the tuner is a barrier, and at which offset it was applied depends on when it came. Most tests
therefore run the detector alone (`graft run --only detector`), whose state follows from the data. Where the tuner runs
too, the oracle takes each order's offset from its experiment record (`applied`), and two such records must agree.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from confluent_kafka import Consumer, Message, TopicPartition

from agents import progress
from agents import settings as config
from agents.detector.assembly import Parts
from agents.recovery.held import Place
from agents.recovery.store import read_state, stored
from agents.topics import ensure_topics, topic_plans
from engine.snapshot import State
from tests.faults.harness import Findings, compare, same
from tests.real_broker import feeder
from tests.real_broker.kafka import RealKafka, dies_with_us

ROOT = Path(__file__).resolve().parents[2]
#: Every wait asks again and again and ends early; only a first start, which compiles the models, takes long.
LIMIT_S = 240.0
#: SIGTERM under load, as promised (the supervisor's own limit).
STOP_S = 20.0
#: A worker of its own state directory, `two`, is known by that name here.
FIRST = "one"


def until(condition: Callable[[], Any], what: str, *, limit_s: float = LIMIT_S, pause_s: float = 0.1) -> Any:
    """What the condition answers, once that is true; AssertionError with `what` after the limit."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(pause_s)
    return found


class Process:
    """A process that a user would start, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.popen = subprocess.Popen(
                [*dies_with_us(), *command], stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=ROOT
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def kill(self) -> None:
        """kill -9."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status, within the promised time."""
        self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there {STOP_S:g} s after SIGTERM:\n{self.said[-3000:]}") from None

    def end(self, limit_s: float = LIMIT_S) -> int:
        """Exit status of a process that ends by itself."""
        return self.popen.wait(limit_s)


class Site:
    """Topic `topic` on a Kafka, and a Graft of the prefix `topic.`. Each worker has a state directory by its name."""

    def __init__(self, kafka: RealKafka, folder: Path, *, topic: str, partitions: int) -> None:
        self.kafka, self.folder, self.topic, self.partitions = kafka, folder, topic, partitions
        kafka.create_topic(topic, partitions=partitions)
        ensure_topics({"bootstrap.servers": kafka.bootstrap}, topic_plans(f"{topic}."))
        self.processes: list[Process] = []

    # What a user does.

    def toml(self, name: str = FIRST, *, more: str = "") -> Path:
        """The configuration of one worker. more: further tables."""
        path = self.folder / f"{name}.toml"
        path.write_text(
            f'environment = "eu"\n[kafka]\nbootstrap = "{self.kafka.bootstrap}"\ngroup = "{self.topic}"\n'
            '[kafka.properties]\n"session.timeout.ms" = 6000\n"heartbeat.interval.ms" = 500\n'
            f'[[inputs]]\ntopic = "{self.topic}"\n[topics]\nprefix = "{self.topic}."\n'
            f'[state]\ndir = "{self.state(name)}"\nsnapshot_interval_s = 0.5\nupload_interval_s = 1\n{more}'
        )
        return path

    def state(self, name: str = FIRST) -> Path:
        return self.folder / f"state-{name}"

    def detector(self, name: str = FIRST) -> Process:
        """The detector alone, without anyone who starts it again."""
        return self.start([sys.executable, "-m", "agents.detector", "-c", str(self.toml(name))], name)

    def graft_run(self, *arguments: str, name: str = FIRST, more: str = "") -> Process:
        """`graft run`, as a user starts it."""
        command = [sys.executable, "-m", "agents.cli", "run", "-c", str(self.toml(name, more=more)), *arguments]
        return self.start(command, name)

    def label(self, series: str, answer: str) -> Process:
        """A person's answer, from the shell. The configuration must be there, and the worker must know the series."""
        config, about = str(self.folder / f"{FIRST}.toml"), ["--series", series, "--answer", answer, "--by", "test"]
        return self.start([sys.executable, "-m", "agents.cli", "label", "-c", config, *about], "label")

    def feed(self, *, until_minute: int, **job: Any) -> Process:
        """The feeder as a process of its own; see feeder.Job."""
        whole = {"bootstrap": self.kafka.bootstrap, "topic": self.topic, "until_minute": until_minute, **job}
        return self.start([sys.executable, feeder.__file__, json.dumps(whole)], "feeder")

    def start(self, command: Sequence[str], name: str) -> Process:
        self.processes.append(Process(command, self.folder / f"{name}.log"))
        return self.processes[-1]

    def close(self) -> None:
        """Whatever still runs after a test that has failed. SIGTERM first: a supervisor takes its children along."""
        for one in self.processes:
            if one.running:
                one.popen.terminate()
        for one in self.processes:
            try:
                one.popen.wait(5)
            except subprocess.TimeoutExpired:
                one.kill()

    # What can be seen of it.

    def lives(self, name: str = FIRST) -> progress.Progress | None:
        """What the detector of a state directory says of itself, if its last word is from a living process."""
        found = progress.read_all(self.state(name))
        return found[0] if found and Path(f"/proc/{found[0].pid}").exists() else None

    def held(self, name: str = FIRST) -> dict[int, int]:
        """Next offset by partition, of a living detector."""
        life = self.lives(name)
        return {shard.partition: shard.next_offset for shard in life.shards} if life else {}

    def is_read(self, *names: str) -> bool:
        """Whether these workers together have read everything that is in the topic now."""
        held = {partition: at for name in names or (FIRST,) for partition, at in self.held(name).items()}
        return held == {partition: end for partition, (_, end) in self.ends().items()}

    def is_stored(self, *names: str) -> bool:
        """Whether a state on disk has everything that is in the topic now; that comes after it is read."""
        kept: dict[int, int] = {}
        for one in (one for name in names or (FIRST,) for one in stored(self.state(name))):
            kept[one.partition] = max(one.next_offset, kept.get(one.partition, 0))
        return all(kept.get(partition, 0) >= end for partition, (_, end) in self.ends().items())

    def ends(self) -> dict[int, tuple[int, int]]:
        """Lowest and next offset by partition."""
        with self._reader() as reader:
            places = [TopicPartition(self.topic, partition) for partition in range(self.partitions)]
            return {one.partition: reader.get_watermark_offsets(one, timeout=10) for one in places}

    def log(self, topic: str, partition: int = 0) -> list[Message]:
        """All that a topic keeps now."""
        with self._reader() as reader:
            low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            reader.assign([TopicPartition(topic, partition, low)])
            found: list[Message] = []
            deadline = time.monotonic() + 60
            while low < high and (not found or (found[-1].offset() or 0) < high - 1):
                found += [one for one in reader.consume(10_000, 0.1) if one.error() is None]
                assert time.monotonic() < deadline, f"{topic}[{partition}] has {high}, but {len(found)} could be read"
            return found

    @contextmanager
    def _reader(self) -> Iterator[Consumer]:
        reader = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": "oracle", "enable.auto.commit": False,
             "auto.offset.reset": "earliest", "log_level": 0, "fetch.queue.backoff.ms": 1}
        )  # fmt: skip
        try:
            yield reader
        finally:
            reader.close()

    def told(self, topic: str) -> list[dict[str, Any]]:
        """Values of one of Graft's topics, repeats included."""
        return [orjson.loads(one.value() or b"") for one in self.log(f"{self.topic}.{topic}")]

    def states(self, *names: str) -> dict[int, State]:
        """The newest state of each partition in these state directories, without what the shell has added."""
        every = [one for name in names or (FIRST,) for one in stored(self.state(name))]
        newest = {one.partition: one for one in sorted(every, key=lambda one: one.next_offset)}
        found = {}
        for partition, one in newest.items():
            manifest, arrays = read_state(one.path)
            manifest.pop("shell")
            found[partition] = State(manifest, arrays)
        return found


class Applied(NamedTuple):
    """An order, the offset from which it holds in its partition, and where it stood in the control topic."""

    at: int
    control_offset: int
    order: dict[str, Any]


def applied(site: Site) -> dict[int, list[Applied]]:
    """The orders of each partition in the order of their application, as the experiments tell."""
    orders: dict[str, tuple[int, dict[str, Any]]] = {}
    for message in site.log(f"{site.topic}.control"):
        order = orjson.loads(message.value() or b"")
        orders.setdefault(order["id"], (message.offset() or 0, order))
    found: dict[int, dict[str, Applied]] = {}
    for one in site.told("experiments"):
        if "applied_at" not in one:
            continue
        this = Applied(one["applied_at"]["offset"], *orders[one["id"]])
        before = found.setdefault(one["applied_at"]["partition"], {}).setdefault(one["id"], this)
        assert this == before, f"two lives applied order {one['id']} at offsets {before.at} and {this.at}"
    return {partition: sorted(every.values(), key=lambda one: one[:2]) for partition, every in found.items()}


class Folded:
    """The log of a partition folded by a fresh shard: `shard`, and the `records` that must have left."""

    def __init__(self, site: Site, partition: int) -> None:
        parts, place = Parts(config.load(site.toml(), env={})), Place(site.topic, partition)
        self.shard: Any = parts.new_shard(place)
        self.shard.next_offset = 0
        self._decoder = parts.new_decoder(place, self.shard)
        self.records: list[Any] = []

    def take(self, messages: Sequence[Message]) -> None:
        """Fold these."""
        if messages:
            offsets = np.array([one.offset() for one in messages], np.int64)
            times = np.array([one.timestamp()[1] for one in messages], np.int64)
            values = [one.value() for one in messages]
            batch, dead = self._decoder.decode(values, offsets, times, int(offsets[-1]) + 1)
            assert not dead, dead[:1]
            self.records += self.shard.process(batch).records

    def obey(self, orders: Sequence[Applied], messages: Sequence[Message]) -> None:
        """Fold these, with each order at its offset."""
        for one in orders:
            self.take([message for message in messages if self.shard.next_offset <= (message.offset() or 0) < one.at])
            self.shard.apply(one.order, control_partition=0, next_offset=one.control_offset + 1)
        self.take([message for message in messages if (message.offset() or 0) >= self.shard.next_offset])

    def lose(self, next_offset: int) -> None:
        """Records that retention took before they were read."""
        self.records += self.shard.mark_gap(self.shard.next_offset, next_offset)


def judge(site: Site, *names: str, folded: dict[int, Folded] | None = None) -> Findings:
    """The oracle. names: of the workers. folded: by partition, when there is more to it than the topic still has."""
    wrong, unbalanced, expected = [], [], {}
    states, ends, orders = site.states(*names), site.ends(), applied(site)
    assert set(states) == set(ends), f"states of partitions {set(states)}, of {set(ends)}"
    for partition, state in states.items():
        one = (folded or {}).get(partition)
        if one is None:
            one = Folded(site, partition)
            one.obey(orders.get(partition, []), site.log(site.topic, partition))
            # Orders for others move the position in the control topic too; that is no part of the fold of the data.
            one.shard.control_offsets = {int(k): v for k, v in state.manifest["control_offsets"].items()}
        expected.update({record.value["id"]: plain(record.value) for record in one.records})
        if not same(one.shard.export(), state):
            wrong.append(f"partition {partition}: wanted {one.shard.export().manifest}, found {state.manifest}")
        if not sum(state.manifest["ledger"].values()) == state.manifest["next_offset"] == ends[partition][1]:
            unbalanced.append(f"partition {partition}: {state.manifest['ledger']}, log ends at {ends[partition][1]}")
    told = [one for topic in ("alerts", "escalations", "drift") for one in site.told(topic)]
    # What the desk makes of questions is its own, and no part of the fold.
    told = [one for one in told if one.get("state") not in ("asked", "folded", "answered")]
    return Findings(wrong, unbalanced, *compare(expected, told))


def plain(value: dict[str, Any]) -> Any:
    """As it comes out of a topic."""
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def firings(site: Site) -> set[str]:
    """Ids of the alerts that were told."""
    return {one["id"] for one in site.told("alerts") if one["state"] == "firing"}


def kill_9(pid: int) -> None:
    """A process that is not ours to wait for."""
    os.kill(pid, signal.SIGKILL)


def children(pid: int) -> dict[str, int]:
    """Process id of each part of `graft run`, by module; none for a part that is dead or not quite there."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError, ValueError):
            command = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            found[command[command.index("-m") + 1]] = int(child)
    return found


def outages(*, hosts: int, first: int, every: int, last: int, minutes: int = 12) -> list[tuple[int, int, int]]:
    """One host after the other is ill for a while, from minute `first` on."""
    return [(at // every % hosts, at, at + minutes) for at in range(first, last, every)]
