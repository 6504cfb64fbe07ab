"""Twins: two fleets' worth of shards over the same records, one seeded and one cold, to see what the seed was worth.

Owns a reader of the input topics and, per partition, two shards with their decoders: the same engine and codecs as the
detector's. They page nobody. The seeded one carries out the orders that the detector reports, so that it shows what
the detector knows; the cold one is left alone. Feeds the screen and the comparison.

Not obvious: forecasts are on no topic, which is why this reader exists at all. Alerts, questions and re-tunes of the
scoreboard come from the detector's topics, never from here.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from agents.demo.broker import FALSE_PAGES_PER_ENTITY_DAY, PARTITIONS, QUIET, Places
from agents.demo.scoreboard import Heard
from agents.demo.useful import band_scores
from agents.demo.world import STEP_MS, Fleet, Floats
from engine.batch import Batch
from engine.errors import BadSample

#: Orders that wait to be carried out; a demo has a dozen.
MOST_ORDERS = 10_000


class Seen(NamedTuple):
    """Per minute and series, NaN where there was no answer. scores: `useful.band_scores`; the rest is of the seeded."""

    seeded_scores: Floats
    cold_scores: Floats
    expected: Floats
    half_band: Floats
    severity: Floats


class _Pair:
    """Seeded and cold shard of one partition."""

    def __init__(self, config: Any, prior: Any, topic: str, partition: int) -> None:
        from agents.codecs.decoder import Decoder
        from engine.shard import Shard

        self.shards = [Shard(config, topic=topic, partition=partition, prior=one) for one in (prior, None)]
        self.decoders = [Decoder(shard) for shard in self.shards]
        for shard in self.shards:
            shard.next_offset = 0
        self.columns = np.empty(0, np.int64)
        self.controls = 0


class Twins:
    """next_minute: how far both have come. cold_heard: what the cold fleet would have sent."""

    def __init__(
        self, fleet: Fleet, values: Floats, *, places: Places, begin_ms: int, prior: Any, stopping: threading.Event
    ) -> None:
        from engine.config import EngineConfig

        self.next_minute, self.records = 0, 0
        self.cold_heard: list[Heard] = []
        shape = values.shape
        self.seen = Seen(*(np.full(shape, np.nan) for _ in Seen._fields))
        self._values, self._places, self._begin_ms, self._stopping = values, places, begin_ms, stopping
        self._column = {name: at for at, name in enumerate(fleet.names())}
        self._orders: queue.Queue[Mapping[str, Any]] = queue.Queue(MOST_ORDERS)
        config = EngineConfig(
            environment="demo", entity_labels=("host", "service"),
            false_pages_per_entity_day=FALSE_PAGES_PER_ENTITY_DAY,
        )  # fmt: skip
        self._pairs = {
            (topic, partition): _Pair(config, prior, topic, partition)
            for topic in places.inputs
            for partition in range(PARTITIONS)
        }

    def obey(self, order: Mapping[str, Any]) -> None:
        """An order that the detector has carried out."""
        self._orders.put_nowait(order)

    def read(self) -> None:
        """Read until told to stop."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({
            "bootstrap.servers": self._places.bootstrap, "group.id": "graft-demo-twins", "enable.auto.commit": False,
            "auto.offset.reset": "earliest", "fetch.queue.backoff.ms": 1, **QUIET,
        })  # fmt: skip
        consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self._pairs])
        try:
            while not self._stopping.is_set():
                runs: dict[tuple[str, int], list[Any]] = {}
                for message in consumer.consume(5_000, 0.05):
                    if message.error() is None:
                        runs.setdefault((str(message.topic()), int(message.partition() or 0)), []).append(message)
                for place, run in runs.items():
                    self._fold(self._pairs[place], run)
                    self.records += len(run)
                self._carry_out()
        finally:
            consumer.close()

    def _fold(self, pair: _Pair, run: list[Any]) -> None:
        values = [message.value() for message in run]
        offsets = np.array([message.offset() for message in run], np.int64)
        for is_cold, (shard, decoder) in enumerate(zip(pair.shards, pair.decoders, strict=True)):
            batch, _ = decoder.decode(values, offsets, lambda _: -1, int(offsets[-1]) + 1)
            verdicts = shard.process(batch)
            self._note(pair, batch, verdicts, is_cold=bool(is_cold))
            if is_cold and len(self.cold_heard) < MOST_ORDERS:
                self.cold_heard.extend(Heard(one.topic, one.value, None) for one in verdicts.records)

    def _note(self, pair: _Pair, batch: Batch, verdicts: Any, *, is_cold: bool) -> None:
        names = pair.shards[0].roster.names
        if len(pair.columns) < len(names):
            pair.columns = np.array([self._column[name] for name in names], np.int64)
        minute, column = (batch.ts_ms - self._begin_ms) // STEP_MS, pair.columns[batch.row]
        off, half_band = self._values[minute, column] - verdicts.expected, verdicts.upper - verdicts.expected
        (self.seen.cold_scores if is_cold else self.seen.seeded_scores)[minute, column] = band_scores(off, half_band)
        if not is_cold and len(minute):
            self.seen.expected[minute, column] = verdicts.expected
            self.seen.half_band[minute, column] = half_band
            self.seen.severity[minute, column] = verdicts.severity
            self.next_minute = max(self.next_minute, int(minute[-1]) + 1)

    def _carry_out(self) -> None:
        while not self._orders.empty():
            order = self._orders.get_nowait()
            target = order.get("target") or {}
            pair = self._pairs.get((str(target.get("topic")), int(target.get("partition", -1))))
            if pair is not None:
                pair.controls += 1
                try:
                    pair.shards[0].apply(order, control_partition=0, next_offset=pair.controls)
                except BadSample:
                    continue  # the detector has told of it
