"""Wire: the fleet's numbers as the bytes that Telegraf and an application would send.

Owns the two formats of the demo and the way from a rate to a cumulative counter. Knows no topic and no clock.

Not obvious: values are rounded to five digits first, as agents do, and counters are whole and only grow, so the
detector has to find rates by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from agents.demo.world import STEP_MS, TELEGRAF, Entity, Fleet, Floats


class Message(NamedTuple):
    """One record: of which entity, its bytes."""

    entity: Entity
    value: bytes


def on_wire(fleet: Fleet, values: Floats) -> Floats:
    """Values as they are sent: counters summed up, the rest as it is. NaN: nothing to send."""
    sent = values.copy()
    for entity in fleet.entities:
        for metric, column in zip(entity.metrics, entity.columns, strict=True):
            if metric.counter:
                sent[:, column] = np.cumsum(np.rint(values[:, column] * STEP_MS / 1000))
    return sent


def messages(fleet: Fleet, sent: Floats, ts_ms: int) -> Iterator[Message]:
    """One record per entity of one minute. sent: (series,), a row of `on_wire`."""
    for entity in fleet.entities:
        numbers = sent[entity.columns.start : entity.columns.stop]
        text = _telegraf(entity, numbers, ts_ms) if entity.wire == TELEGRAF else _json(entity, numbers, ts_ms)
        yield Message(entity, text.encode())


def _telegraf(entity: Entity, numbers: Floats, ts_ms: int) -> str:
    """Line protocol, a line a measurement, as Telegraf sends with `use_batch_format`.

    >>> from agents.demo.world import Metric
    >>> one = Entity("web-01", "host", TELEGRAF, (Metric("cpu.usage_user", 30, 1), Metric("cpu.idle", 3, 1)), range(2))
    >>> _telegraf(one, np.array([12.5, 80.0]), 1_700_000_000_000)
    'cpu,host=web-01 usage_user=12.5,idle=80 1700000000000000000'
    """
    groups: dict[str, list[str]] = {}
    for metric, number in zip(entity.metrics, numbers.tolist(), strict=True):
        measurement, field = metric.name.split(".")
        groups.setdefault(measurement, []).append(f"{field}={f'{number:.0f}i' if metric.counter else f'{number:.5g}'}")
    return "\n".join(
        f"{measurement},{entity.label}={entity.name} {','.join(fields)} {ts_ms}000000"
        for measurement, fields in groups.items()
    )


def _json(entity: Entity, numbers: Floats, ts_ms: int) -> str:
    """An array of plain objects, a sample each."""
    samples = (
        f'{{"name":"{metric.name}","value":{number:.5g},"timestamp":{ts_ms},"labels":{{"{entity.label}":"{entity.name}"}}}}'
        for metric, number in zip(entity.metrics, numbers.tolist(), strict=True)
    )
    return f"[{','.join(samples)}]"
