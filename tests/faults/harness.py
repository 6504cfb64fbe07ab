"""World: one embedded broker, one state directory, many short lives of a worker, and an oracle that reads the log.

Rule: nothing is compared with what the feeder thinks it has sent. The oracle folds what *is* in the topic with a fresh
shard, in one go, and compares states bit for bit, alerts by id and payload, and the ledger with the offsets.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from agents.detector.assembly import Parts
from agents.embedded import EmbeddedBroker
from agents.recovery.held import Place
from agents.recovery.store import StateStore
from engine.snapshot import State, unpack
from tests.faults.plain_shard import PlainParts
from tests.faults.zygote import Job, settings_of

ROOT = Path(__file__).resolve().parents[2]
OURS = ("alerts", "escalations", "feedback", "drift", "control", "experiments", "state", "dlq")
START_MS = 1_767_225_600_000
KILLED = -signal.SIGKILL


class Zygote:
    """The warm process of zygote.py. real: has the engine's kernels loaded as well."""

    def __init__(self, log: Path, *, real: bool = False) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", *(["--real"] if real else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, cwd=ROOT, text=True,
        )  # fmt: skip
        self.log = log

    def start(self, job: Job) -> int:
        """Process id of a new life; `end` waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(job).decode() + "\n")
        self._process.stdin.flush()
        return int(self._answer("pid"))

    def end(self) -> int:
        """Exit status of the life that `start` began; negative: the signal."""
        return int(self._answer("status"))

    def live(self, job: Job) -> int:
        """A whole life."""
        self.start(job)
        return self.end()

    def _answer(self, word: str) -> str:
        assert self._process.stdout is not None
        found, _, rest = self._process.stdout.readline().partition(" ")
        assert found == word, f"the zygote says {found!r}: {self.log.read_text()[-2000:]}"
        return rest

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
        self._log.close()


class Findings(NamedTuple):
    """What the oracle objects to; all zero and empty is as it must be."""

    wrong_states: list[str]
    unbalanced: list[str]
    missing: set[str]
    extra: set[str]
    conflicting: set[str]

    @property
    def clean(self) -> bool:
        return not any(self)


class World:
    """Topics `metrics` with `partitions`, and ours. Data: noise around 10 for `series` series, now and then a spike."""

    def __init__(self, broker: EmbeddedBroker, zygote: Zygote, folder: Path, *, partitions: int, plain: bool) -> None:
        self.broker, self.zygote, self.folder, self.partitions = broker, zygote, folder, partitions
        self.plain = plain
        options = {"linger.ms": 0, "log_level": 2, "message.max.bytes": 8 << 20}
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, **options})
        self.random = random.Random(7)
        self.fed = 0

    def job(self, **options: Any) -> Job:
        state = str(self.folder / "state")
        common = {"bootstrap": self.broker.bootstrap, "state_dir": state, "partitions": self.partitions}
        return Job(**{**common, "plain": self.plain, **options})

    @property
    def parts(self) -> Any:
        """What makes shards and decoders here."""
        return PlainParts() if self.plain else Parts(settings_of(self.job()))

    def live(self, **options: Any) -> int:
        """A life that must end well or by its failpoint."""
        status = self.zygote.live(self.job(**options))
        assert status in (KILLED, 0), self.zygote.log.read_text()[-3000:]
        return status

    def feed(self, records: int, *, series: int = 8) -> None:
        """The next records of the story, in series order."""
        for _ in range(records):
            one = self.fed % series
            value = self.random.gauss(10, 1) + (90 if self.fed % 29 == 28 else 0)
            body = {"series": f"s{one}", "ts_ms": START_MS + self.fed * 1_000, "value": value}
            self.send(orjson.dumps(body), one % self.partitions)
            self.fed += 1
        self.producer.flush()

    def send(self, value: bytes | None, partition: int, topic: str = "metrics") -> None:
        self.producer.produce(topic, value=value, partition=partition)
        self.producer.poll(0)

    def log(self, topic: str, partition: int = 0) -> list[Any]:
        """All messages that the topic keeps now."""
        reader = Consumer(
            {"bootstrap.servers": self.broker.bootstrap, "group.id": "oracle", "enable.auto.commit": False,
             "auto.offset.reset": "earliest", "log_level": 2, "fetch.queue.backoff.ms": 1}
        )  # fmt: skip
        try:
            low, high = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            reader.assign([TopicPartition(topic, partition, low)])
            found: list[Any] = []
            while low < high and (not found or found[-1].offset() < high - 1):
                found += [one for one in reader.consume(10_000, 0.1) if one.error() is None]
            return found
        finally:
            reader.close()

    def told(self, topic: str) -> list[dict[str, Any]]:
        """Values of one of our topics, repeats included."""
        return [orjson.loads(one.value()) for one in self.log(f"graft.{topic}")]

    def states(self) -> dict[int, State]:
        """The newest state on disk, by partition, without what the shell has added."""
        with StateStore(self.folder / "state") as store:
            found = {}
            for partition in range(self.partitions):
                _, data = next(store.newest_first("metrics", partition))
                manifest, arrays = unpack(data)
                manifest.pop("shell")
                found[partition] = State(manifest, arrays)
            return found


def fold(world: World, partition: int, *, orders: Iterable[dict[str, Any]] = ()) -> tuple[Any, list[Any]]:
    """The log of a partition, folded at once by a fresh shard. orders: with `at`, the offset each holds from,
    and, of a seed, what it lends."""
    place, records = Place("metrics", partition), []
    shard = world.parts.new_shard(place)
    decoder = world.parts.new_decoder(place, shard)
    messages = world.log("metrics", partition)
    shard.next_offset = 0
    for order in sorted(orders, key=lambda one: (one["at"], one["control_offset"])):
        earlier = [one for one in messages if shard.next_offset <= one.offset() < order["at"]]
        records += fold_some(shard, decoder, earlier)
        lent = {"lent": order["lent"]} if "lent" in order else {}
        shard.apply(order["order"], control_partition=0, next_offset=order["control_offset"] + 1, **lent)
    records += fold_some(shard, decoder, [one for one in messages if one.offset() >= shard.next_offset])
    return shard, records


def fold_some(shard: Any, decoder: Any, messages: list[Any]) -> list[Any]:
    if not messages:
        return []
    offsets = np.array([one.offset() for one in messages], np.int64)
    values, times = [one.value() for one in messages], np.array([one.timestamp()[1] for one in messages], np.int64)
    batch, _ = decoder.decode(values, offsets, times, int(offsets[-1]) + 1)
    return list(shard.process(batch).records)


def judge(world: World, *, orders: Iterable[dict[str, Any]] = ()) -> Findings:
    """The oracle."""
    wrong, unbalanced, expected = [], [], {}
    known = list(orders)
    states = world.states()
    for partition, state in states.items():
        mine = [one for one in known if one["partition"] == partition]
        shard, records = fold(world, partition, orders=mine)
        if known:
            # Positions in the control topic move without an order as well; they are no part of the fold of the data.
            shard.control_offsets = {int(k): v for k, v in state.manifest["control_offsets"].items()}
        expected.update({one.value["id"]: orjson.loads(orjson.dumps(one.value)) for one in records})
        if not same(shard.export(), state):
            wrong.append(f"partition {partition}: {shard.export().manifest} against {state.manifest}")
        if sum(state.manifest["ledger"].values()) != state.manifest["next_offset"]:
            unbalanced.append(f"partition {partition}: {state.manifest['ledger']}")
    told = [one for topic in ("alerts", "escalations", "drift") for one in world.told(topic)]
    # Of the experiments those that follow from the data; the others are made by orders.
    told += [one for one in world.told("experiments") if one.get("kind") == "guard"]
    return Findings(wrong, unbalanced, *compare(expected, told))


def same(one: State, other: State) -> bool:
    """Bit for bit."""
    return one.manifest == other.manifest and _bits(one) == _bits(other)


def _bits(state: State) -> dict[str, Any]:
    return {name: (array.dtype, array.shape, array.tobytes()) for name, array in state.arrays.items()}


def compare(expected: dict[str, Any], told: list[dict[str, Any]]) -> tuple[set[str], set[str], set[str]]:
    """Ids missing, ids too many, and ids under which two different things were said."""
    found: dict[str, Any] = {}
    conflicting = set()
    for one in told:
        if found.setdefault(one["id"], one) != one or expected.get(one["id"], one) != one:
            conflicting.add(one["id"])
    return set(expected) - set(found), set(found) - set(expected), conflicting


@contextmanager
def opened(zygote: Zygote, folder: Path, *, partitions: int = 2, plain: bool = True) -> Iterator[World]:
    """A world of its own."""
    with EmbeddedBroker({"metrics": partitions, **{f"graft.{name}": 1 for name in OURS}}) as broker:
        yield World(broker, zygote, folder, partitions=partitions, plain=plain)
