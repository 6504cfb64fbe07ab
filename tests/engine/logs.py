"""Logs for the engine's laws: small, seeded, with everything that a log can hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from engine.batch import Batch
from engine.config import EngineConfig
from engine.series import Kind, Series
from engine.shard import Shard

START_MS = 1_767_225_600_000
CONFIG = EngineConfig(counters_from_shape=False)


def cold(config: EngineConfig = CONFIG) -> Shard:
    """A shard at the start of its log."""
    shard = Shard(config, topic="metrics", partition=0)
    shard.next_offset = 0
    return shard


def admit(shard: Shard, hosts: int, metrics: int) -> np.ndarray:
    """Rows (hosts, metrics) of a small fleet."""
    return np.array(
        [[shard.admit(Series.of(f"m{j}", {"host": f"h{e}"}, Kind.GAUGE)) for j in range(metrics)] for e in range(hosts)]
    )


def fleet_log(rows: np.ndarray, ticks: int, seed: int = 0, *, step_ms: int = 60_000) -> Batch:
    """Correlated daily curves with noise, one record a sample; late, duplicate and missing samples among them."""
    rng = np.random.default_rng(seed)
    hosts, metrics = rows.shape
    at = np.arange(ticks)
    day = np.sin(2 * np.pi * at * step_ms / 86_400_000)[:, None, None]
    shared = rng.normal(size=(ticks, hosts, 1))
    value = 50 + 10 * day + shared + rng.normal(size=(ticks, hosts, metrics)) * 0.5 + 100 * np.arange(metrics)
    ts = np.broadcast_to((START_MS + at * step_ms)[:, None, None], value.shape)
    row = np.broadcast_to(rows, value.shape)
    row, ts, value = row.ravel().copy(), ts.ravel().copy(), value.ravel().copy()
    odd = rng.random(len(row))
    value[odd < 0.01] = np.nan
    ts[(odd > 0.01) & (odd < 0.02)] -= 10 * step_ms
    twice = np.flatnonzero(odd > 0.99)
    order = np.sort(np.concatenate([np.arange(len(row)), twice]), kind="stable")
    return Batch.of(row[order], ts[order], value[order], np.arange(len(order)), len(order))


def cut(batch: Batch, cuts: list[int]) -> list[Batch]:
    """The same log in pieces; cuts: offsets in any order."""
    edges = sorted({0, batch.next_offset, *(at for at in cuts if at < batch.next_offset)})
    found = []
    for low, high in pairwise(edges):
        part = slice(*np.searchsorted(batch.offset, [low, high]))
        columns = (column[part] for column in batch[:4])
        dead, empty = (offsets[(offsets >= low) & (offsets < high)] for offsets in (batch.dead, batch.empty))
        found.append(Batch(*columns, high, dead, empty))
    return found


def disturbed(batch: Batch, begin: int, end: int, add: float) -> Batch:
    """The log with `add` on all values of the samples [begin, end)."""
    value = batch.value.copy()
    value[begin:end] += add
    return batch._replace(value=value)
