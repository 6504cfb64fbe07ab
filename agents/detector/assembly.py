"""Assembly: the hot path's parts, made from the settings and put together. Nothing is read yet.

Owns the wiring and nothing else: each part's rules are in its own file.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents import instance, progress
from agents import settings as config
from agents.clients import CLIENT_LOG, consumer_config, producer_config
from agents.detector.assignment import Assignment
from agents.detector.controls import Controls
from agents.detector.holdings import Holdings
from agents.detector.loop import Loop, Pace
from agents.detector.reporter import Reporter
from agents.detector.unlearner import Unlearner, command_of
from agents.recovery.durability import Durability
from agents.recovery.held import DecoderLike, Place, ShardLike
from agents.recovery.logs import LogNames
from agents.recovery.outputs import Outputs
from agents.recovery.positions import Positions, Start
from agents.recovery.seed_topic import Seeds
from agents.recovery.state_topic import StateTopic
from agents.recovery.state_upload import Uploader
from agents.recovery.store import StateStore
from agents.topics import TopicPlan, Topics, ensure_topics, partitions_of
from engine.errors import OutsideError
from engine.snapshot import MAX_BYTES, State

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.prior import Prior

log = logging.getLogger("agents.detector")
#: The embedded broker keeps 5 MiB a partition: old pieces, new ones and those of other shards have to find room.
KEPT_BY_EMBEDDED_BYTES = 1 << 20


class Parts:
    """What one shard is made of; the tests put a plain shard in its place."""

    def __init__(self, settings: config.Settings) -> None:
        self._settings = settings
        self._inputs = {one.topic: one for one in settings.inputs}
        self._lent: Prior | None = None

    def new_shard(self, place: Place) -> ShardLike:
        """A shard that has seen nothing."""
        from engine.shard import Shard

        return Shard(self.config_of(place.topic), topic=place.topic, partition=place.partition, prior=self._prior())

    def restore(self, state: State, topic: str) -> ShardLike:
        """A shard as it was."""
        from engine.shard import Shard

        return Shard.restore(state, self.config_of(topic))

    def new_decoder(self, place: Place, shard: Any) -> DecoderLike:
        """A decoder that finds and admits the series of this shard."""
        from agents.codecs.decoder import Decoder

        format = self._inputs[place.topic].format  # noqa: A001 - the configuration's word
        return Decoder(shard, format=format, max_record_bytes=self._settings.limits.max_record_bytes)

    def warm_up(self) -> None:
        """Compile or load every kernel before the first record, so that no batch waits for it."""
        import numpy as np

        from agents.codecs.decoder import Decoder
        from engine.shard import Shard
        from engine.windows import Window

        shard = Shard(config.engine_config(self._settings), topic="warm-up", partition=0)
        shard.next_offset = 0
        decoder = Decoder(shard)
        line = b'{"name":"warm.up","value":%d,"timestamp":%d,"host":"a"}'
        for batch in range(3):
            offsets = np.arange(batch * 20, batch * 20 + 20, dtype=np.int64)
            values = [line % (one % 7, 1_767_225_600_000 + 10_000 * one) for one in offsets.tolist()]
            if batch == 2:
                window = Window("host=a", None, 1_767_225_600_000, 1_767_312_000_000, "warm-up")
                shard.windows.add(window, now_ms=shard.clock_ms)
            shard.process(decoder.decode(values, offsets, lambda _: -1, batch * 20 + 20)[0])

    def config_of(self, topic: str) -> EngineConfig:
        """What the engine is told for the shards of one input."""
        return config.engine_config(self._settings, self._inputs[topic])

    def _prior(self) -> Prior | None:
        """What the seed lends to a shard that starts; one that goes on carries it in its state."""
        if self._lent is None and self._settings.seed.snapshot is not None:
            from agents.recovery import shardfile
            from engine.transfer import read_prior

            self._lent = read_prior(shardfile.read(Path(self._settings.seed.snapshot), key=self._settings.state.key))
        return self._lent


def assemble(
    settings: config.Settings,
    *,
    partitions: Sequence[Place] | None,
    start: Start,
    pace: Pace | None,
    parts: Parts,
    again: Sequence[str] = (),
) -> tuple[Loop, StateStore]:
    """Open the clients and put the parts together; nothing is read yet.

    again: arguments by which a child of this process finds the same configuration.
    """
    from confluent_kafka import Consumer, Producer

    topics = [one.topic for one in config.require_inputs(settings)]
    properties, insecure = config.kafka_properties(settings), settings.kafka.insecure
    key = settings.state.key.reveal().encode() if settings.state.key else None
    folder, names = Path(settings.state.dir), Topics.of(settings.topics.prefix)
    store = StateStore(folder, key=key, warn=warn, history=settings.state.keep_history)
    me = instance.claim(folder)
    known = partitions_of(properties, [*topics, names.control, names.state], insecure=insecure)
    _require(known, topics)
    grouped = partitions is None
    reader = consumer_config(
        properties, group=settings.kafka.group, instance_id=me.name if grouped else "", insecure=insecure
    )
    logs = LogNames(properties, [*topics, names.control], insecure=insecure)
    counters: Counter[str] = Counter()
    producer = Producer(producer_config(properties, insecure=insecure), logger=CLIENT_LOG)
    outputs = Outputs(producer, prefix=settings.topics.prefix, source=f"graft/{me.name}")
    # The end of a log is how a shard knows that it repeats nothing of a former life any more.
    assignment = Assignment(Consumer({**reader, "enable.partition.eof": True}, logger=CLIENT_LOG))
    follower = consumer_config(properties, group=f"{settings.kafka.group}-control", insecure=insecure)
    orders = Controls(
        Consumer({**follower, "enable.partition.eof": True}, logger=CLIENT_LOG),
        names.control,
        range(known.get(names.control, 1)),
        warn,
        counters,
    )
    widths = {topic: known[topic] for topic in topics}
    positions = Positions(
        store=store, restore=parts.restore, warn=warn, config_hash=config.config_hash(settings), key=key,
        partitions=widths, counters=counters, control_id=logs.topic_id(names.control),
    )  # fmt: skip
    wide = known.get(names.state, max(widths.values()))
    states, uploads = _state_topic(settings, partitions=wide, positions=positions)
    durability = Durability(
        outputs=outputs, positions=positions, commit=assignment.commit, log_name=logs.name_of, warn=warn,
        uploads=uploads,
    )  # fmt: skip
    holdings = Holdings(
        positions=positions, durability=durability, new_shard=parts.new_shard, new_decoder=parts.new_decoder,
        ends=assignment.ends, log_name=logs.name_of, warn=warn, start=start,
        taken=lambda helds: orders.follow([held.shard.control_offsets for held in helds]),
        states=states, uploads=uploads,
    )  # fmt: skip
    loop = Loop(
        assignment=assignment, holdings=holdings, controls=orders, durability=durability, outputs=outputs,
        partitions=widths, warn=warn, clock=time.monotonic, uploads=uploads, counters=counters,
        pace=pace or Pace(snapshot_interval_s=settings.state.snapshot_interval_s),
        report=Reporter(progress.path_of(folder, me.slot)), for_good=settings.kafka.leave_on_stop,
        seeds=Seeds(_state_reader(settings), names.state, key=key),
        unlearner=Unlearner(
            folder=folder, command=command_of(again), restore=parts.restore, new_decoder=parts.new_decoder, warn=warn,
            clock=time.monotonic, config_hash=positions.config_hash, key=key, counters=counters,
        ),
    )  # fmt: skip
    return loop, store


def _state_topic(
    settings: config.Settings, *, partitions: int, positions: Positions
) -> tuple[StateTopic | None, Uploader | None]:
    """Both halves, or neither: where the topic cannot be had the worker goes on without it, and says so once."""
    from confluent_kafka import Producer

    if settings.state.upload_interval_s == 0:
        return None, None
    properties, insecure = config.kafka_properties(settings), settings.kafka.insecure
    topic = Topics.of(settings.topics.prefix).state
    try:
        ensured = ensure_topics(properties, [TopicPlan(topic, partitions, compacted=True)], insecure=insecure)
    except OutsideError as error:
        warn(f"States are kept in {settings.state.dir} only. {error}")
        return None, None
    if topic in ensured.unsupported:
        warn(f"States are kept in {settings.state.dir} only: there is no topic {topic}, and this broker makes none.")
        return None, None
    for remark in ensured.remarks:
        warn(remark)
    # A piece that comes twice is the same piece, and the manifest waits for all of them: idempotence would only cost
    # half a second at the first one, and a right on the cluster.
    writer = {**producer_config(properties, insecure=insecure), "enable.idempotence": "false"}
    states = StateTopic(_state_reader(settings), topic, partitions)
    uploads = Uploader(
        producer=Producer(writer, logger=CLIENT_LOG), topic=topic,
        home=states.home, read=positions.saved, interval_s=settings.state.upload_interval_s,
        max_bytes=KEPT_BY_EMBEDDED_BYTES if topic in ensured.opaque else MAX_BYTES, warn=warn, clock=time.monotonic,
        counters=positions.counters,
    )  # fmt: skip
    return states, uploads


def _state_reader(settings: config.Settings) -> Callable[[], Any]:
    """Opens consumers of the state topic, which only ever assign."""
    from confluent_kafka import Consumer

    properties, insecure = config.kafka_properties(settings), settings.kafka.insecure
    reader = consumer_config(properties, group=f"{settings.kafka.group}-state", insecure=insecure)
    return lambda: Consumer({**reader, "enable.partition.eof": True}, logger=CLIENT_LOG)


def _require(known: Mapping[str, int], topics: Sequence[str]) -> None:
    for topic in topics:
        if topic not in known:
            raise OutsideError(
                f"Topic {topic} is not there, or this user may not see it. Create it, correct inputs.topic, or grant "
                f"DESCRIBE and READ on it."
            )


def warn(sentence: str) -> None:
    """One sentence for the operator; the log limits repeats."""
    log.warning("%s", sentence)
