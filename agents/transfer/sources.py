"""Where the records of transfer come from: the folder of a replay or a demo, or the topics of a worker.

Owns reading them whole and within limits. Judges nothing: what a record means is `engine.transfer`'s.

Not obvious: the topics are read to the ends that they had at the start, with no group, so nothing is committed and a
running worker does not notice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from engine.errors import ConfigError, OutsideError

if TYPE_CHECKING:
    from agents.settings import Settings

#: Files under --out of `graft replay` and of `graft demo` that hold records of the experiments and control topics.
FILES = ("experiments.jsonl", "retunes.jsonl", "control.jsonl")
#: Of one record, and of all: an experiment with its account has some kB.
LONGEST_BYTES, MOST_RECORDS = 4 << 20, 1_000_000
#: Without any record for so long the topic is given up.
PATIENCE_S = 30.0
AT_ONCE = 500

Record = Mapping[str, Any]


def of_folder(folder: Path) -> list[Record]:
    """All records in a folder. ConfigError if there are none of these files, or one is damaged."""
    found = [path for name in FILES if (path := folder / name).is_file()]
    if not found:
        raise ConfigError(
            f"{folder} holds none of {', '.join(FILES)}; name the --out of `graft replay` or of `graft demo`."
        )
    records: list[Record] = []
    for path in found:
        records.extend(_of_file(path, MOST_RECORDS - len(records)))
    return records


def _of_file(path: Path, most: int) -> Iterator[Record]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_BYTES + 1):
            number += 1
            if len(line) > LONGEST_BYTES:
                raise ConfigError(
                    f"{path}:{number} is longer than {LONGEST_BYTES:,} bytes; it is no record of Graft's."
                )
            if number > most:
                raise ConfigError(f"{path} has more than {most:,} records; split the replay, or name one of its parts.")
            record = _decoded(line)
            if record is None:
                raise ConfigError(f"{path}:{number} is no JSON object; write the file again with `graft replay`.")
            yield record


def of_topics(settings: Settings, *, clock_s: Callable[[], float] = time.monotonic) -> list[Record]:
    """All records of the experiments and control topics, as far as they reach now. OutsideError if they cannot be read.

    What is no JSON object is passed over: another hand may have written there.
    """
    from confluent_kafka import Consumer, KafkaException

    from agents.clients import SILENT, consumer_config
    from agents.settings import kafka_properties
    from agents.topics import Topics, partitions_of

    topics = Topics.of(settings.topics.prefix)
    properties, insecure = kafka_properties(settings), settings.kafka.insecure
    wanted = (topics.experiments, topics.control)
    known = partitions_of(properties, wanted, insecure=insecure, logger=SILENT)
    if topics.experiments not in known:
        raise OutsideError(f"There is no topic {topics.experiments}; has `graft run` run with this configuration?")
    config = consumer_config(properties, group=f"{settings.kafka.group}-report", insecure=insecure)
    own = {
        "enable.auto.commit": False, "enable.auto.offset.store": False, "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }  # fmt: skip
    consumer = Consumer({**config, **own}, logger=SILENT)
    try:
        return list(_of_topics(consumer, known, clock_s))
    except KafkaException as error:
        raise OutsideError(f"{', '.join(known)} cannot be read: {error.args[0].str()}.") from error
    finally:
        consumer.close()


def _of_topics(consumer: Any, known: Mapping[str, int], clock_s: Callable[[], float]) -> Iterator[Record]:
    from confluent_kafka import OFFSET_BEGINNING, TopicPartition

    open_ = {(topic, partition) for topic, count in known.items() for partition in range(count)}
    stops = {one: consumer.get_watermark_offsets(TopicPartition(*one), timeout=10)[1] for one in open_}
    open_ = {one for one in open_ if stops[one] > 0}
    consumer.assign([TopicPartition(*one, OFFSET_BEGINNING) for one in open_])
    heard_s, count = clock_s(), 0
    while open_:
        messages = consumer.consume(AT_ONCE, 0.1)
        heard_s = clock_s() if messages else heard_s
        if clock_s() - heard_s > PATIENCE_S:
            raise OutsideError(f"{min(open_)[0]} was not read to its end: nothing came for {PATIENCE_S:g} s.")
        for message in messages:
            place, is_end = (str(message.topic()), int(message.partition() or 0)), _is_end(message)
            if is_end or int(message.offset() or 0) >= stops[place] - 1:
                open_.discard(place)
            record = None if is_end else _decoded(message.value() or b"")
            if record is not None:
                count += 1
                if count > MOST_RECORDS:
                    raise OutsideError(f"{place[0]} has more than {MOST_RECORDS:,} records; this is all that is read.")
                yield record


def _is_end(message: Any) -> bool:
    from confluent_kafka import KafkaError

    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise OutsideError(f"{message.topic()}[{message.partition()}] cannot be read: {error.str()}.")
    return error is not None


def _decoded(data: bytes) -> Record | None:
    """None for what is no JSON object."""
    try:
        record = orjson.loads(data) if len(data) <= LONGEST_BYTES else None
    except orjson.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
