"""Labels: what a person says about an escalation or a stretch of a series, on its way to the shard.

Owns the record `graft.label/1` and its three ways: the feedback topic, the checkpoints of a stopped worker, a state
file. Knows no formula: `engine.feedback` makes an order of a label.

Not obvious: a label that is written into a checkpoint is not in any log, so the state is no longer explained by logs
alone. That is what a worker without Kafka at hand is left with; with Kafka the topic is the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from agents import signing
from agents.recovery import shardfile
from agents.secret import Secret
from agents.settings import Settings, engine_config, kafka_properties
from engine.errors import BadSample, ConfigError, OutsideError
from engine.series import stable_id
from engine.snapshot import State

ANSWERS = ("incident", "expected", "new_normal", "false_alarm", "unsure")
FLUSH_S = 10.0


class Applied(NamedTuple):
    """A shard that took the label, and what changed in it."""

    name: str
    changes: list[dict[str, Any]]


def record(
    *,
    answer: str,
    at_ms: int,
    escalation: str | None = None,
    series: str | None = None,
    target: Mapping[str, Any] | None = None,
    from_ms: int | None = None,
    until_ms: int | None = None,
    by: str,
    reason: str = "",
    environment: str = "default",
    overrides: str | None = None,
    key: Secret | None = None,
) -> dict[str, Any]:
    """The label as a record; ConfigError when it is about nothing. overrides: the label in whose place it counts.

    key: signs it. The same answer about the same thing has the same id, so that sending it twice counts once.
    """
    if answer not in ANSWERS:
        raise ConfigError(f"The answer is {answer!r}; it must be one of {', '.join(ANSWERS)}.")
    if not (escalation or series):
        raise ConfigError("The label is about nothing; name an --escalation or a --series.")
    if from_ms is not None and until_ms is not None and until_ms < from_ms:
        raise ConfigError("--until lies before --from; swap them.")
    if overrides and not escalation:
        raise ConfigError("--override needs the --escalation that was answered; an answer to none overrides nothing.")
    about = (escalation, series, from_ms, until_ms)
    # A second answer to the same question is another label only if it overrides one.
    more = (overrides,) if overrides else ()
    label = {
        "schema": "graft.label/1",
        "id": stable_id("label", environment, *about, answer, by, *more),
        "at_ms": at_ms,
        "environment": environment,
        "escalation": escalation,
        "series": series,
        "entity": None,
        "answer": answer,
        "from_ms": from_ms,
        "until_ms": until_ms,
        "by": by,
        "reason": reason,
        "target": dict(target) if target else None,
    }
    if overrides:
        label["overrides"] = overrides
    if key is not None:
        label[signing.FIELD] = signing.signature(label, key)
    return label


def send(label: Mapping[str, Any], settings: Settings) -> str:
    """Write the label to the feedback topic and wait until the broker has it; the topic's name."""
    from confluent_kafka import KafkaException, Producer

    from agents.clients import SILENT, producer_config

    topic, failed = f"{settings.topics.prefix}feedback", []
    # Tried for FLUSH_S only: somebody sits at the terminal.
    properties = {**kafka_properties(settings), "delivery.timeout.ms": str(int(FLUSH_S * 1000))}
    producer = Producer(producer_config(properties, insecure=settings.kafka.insecure), logger=SILENT)
    key = str(label["series"] or label["escalation"])
    try:
        producer.produce(
            topic,
            orjson.dumps(label),
            key.encode(),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        left = producer.flush(FLUSH_S)
    except KafkaException as error:
        raise OutsideError(f"The label was not written to {topic}: {error}.") from None
    if left or failed:
        why = failed[0].str() if failed else f"no answer in {FLUSH_S:g} s"
        raise OutsideError(
            f"The label was not written to {topic} at {settings.kafka.bootstrap}: {why}. Check kafka.bootstrap."
        )
    return topic


def target_of(series: str, settings: Settings) -> dict[str, Any]:
    """The shard that watches a series, from the checkpoints in state.dir; ConfigError where they do not tell."""
    folder = Path(settings.state.dir)
    try:
        found = shardfile.newest(folder, key=settings.state.key)
    except ConfigError:
        found = {}
    for place, state in found.values():
        if series in shardfile.names_of(state):
            return {"topic": place.topic, "partition": place.partition}
    raise ConfigError(
        f"No checkpoint in {folder} knows the series {series}; name the shard with --target TOPIC:PARTITION (an "
        "alert's `follows` shows it), or answer an --escalation."
    )


def apply_to_file(label: Mapping[str, Any], path: Path, settings: Settings) -> list[Applied]:
    """Apply the label to the shards of a state file that know what it is about."""
    state = shardfile.read(path, key=settings.state.key)
    found = shardfile.parts(state)
    applied, changed = [], {}
    for name, one in found.items():
        if (done := _apply(label, one, settings)) is not None:
            changed[name] = done[0]
            applied.append(Applied(name, done[1]))
    _check_found(label, applied, path)
    shardfile.write(path, shardfile.joined({**found, **changed}), key=settings.state.key)
    return applied


def apply_to_folder(label: Mapping[str, Any], folder: Path, settings: Settings) -> list[Applied]:
    """Apply the label to the newest checkpoints of a worker that is not running."""
    from agents.recovery.store import StateStore
    from engine.snapshot import pack

    key = shardfile.key_bytes(settings.state.key)
    applied = []
    with StateStore(folder, key=key) as store:
        for name, (place, state) in shardfile.newest(folder, key=settings.state.key).items():
            if (done := _apply(label, state, settings)) is not None:
                data = pack(done[0].manifest, done[0].arrays, key=key)
                store.save(place.topic, place.partition, place.next_offset, data)
                applied.append(Applied(name, done[1]))
    _check_found(label, applied, folder)
    return applied


def _apply(label: Mapping[str, Any], state: State, settings: Settings) -> tuple[State, list[dict[str, Any]]] | None:
    """The state with the label in it, and what changed; None when the shard does not know what it is about."""
    from engine.feedback import order_for
    from engine.shard import Shard

    known = [
        name
        for name in (label["series"], f'{label["series"]}{{entity="{state.manifest.get("topic")}"}}')
        if name in shardfile.names_of(state)
    ]
    if not known:
        return None
    shard = Shard.restore(state, engine_config(settings))
    target = {"topic": shard.topic, "partition": shard.partition}
    place = shard.control_offsets.get(0, 0)
    try:
        order = order_for({**label, "series": known[0], "target": target}, None)
        told = shard.apply(order, control_partition=0, next_offset=place)
    except BadSample as error:
        raise ConfigError(f"The label cannot be applied: {error.detail}") from None
    after = shard.export()
    # What the shell keeps beside the shard's own part stays as it is.
    kept = State({**state.manifest, **after.manifest}, {**state.arrays, **after.arrays})
    return kept, [one.value for one in told]


def _check_found(label: Mapping[str, Any], applied: list[Applied], where: Path) -> None:
    if not applied:
        about = label["series"] or "the escalation alone; name its series"
        raise ConfigError(f"{where} knows nothing of {about}; write the series as scores.csv or an alert shows it.")
