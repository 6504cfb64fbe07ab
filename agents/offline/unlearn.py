"""`graft unlearn`: the law of un-learning, shown on files.

    learned     the file as it is, with the outage in it; a snapshot is kept from before the window
    un-learned  that snapshot, and the rest of the file folded again with the window marked
    marked      the file from its first row on, by a shard that was told of the window in time

Owns the three runs and their comparison: the second and the third have to be equal, bit for bit. The fold is the one
that a worker's rebuild uses (agents/recovery/unlearn.py). Orders of the tuner are given as on Kafka, between two
batches, and hold in all three runs where they held in the first, but for those that answer what was seen since the
window began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from agents.offline.files import Source, Table
from agents.recovery import unlearn
from agents.recovery.unlearn import Piece, Step, Without
from agents.settings import Settings, engine_config
from engine.batch import Batch
from engine.components import level
from engine.config import EngineConfig
from engine.errors import BadSample, ConfigError
from engine.retune import Tuner
from engine.shard import Shard
from engine.snapshot import State, diff, pack, unpack
from engine.windows import IN_TIME, Window

#: Samples of a file that are held in memory, and rows of a batch.
MOST_SAMPLES, BATCH_ROWS = 50_000_000, 2_000
#: Series of which what was learned is told, those that the window has moved most.
SHOWN: Final = 10


class FileLog:
    """A file as a log: a record a row. ts_ms, value, series, offset: one a sample, in order."""

    def __init__(self, table: Table) -> None:
        self.table = table
        parts = []
        for chunk in table.chunks():
            first = table.rows - len(chunk.stamps)
            parts.append((chunk.ts_ms[chunk.row], chunk.value, chunk.series, first + chunk.row))
            if sum(len(part[0]) for part in parts) > MOST_SAMPLES:
                raise ConfigError(f"{table.source.path} has more than {MOST_SAMPLES} samples; give a part of it.")
        if not parts:
            raise ConfigError(f"{table.source.path} has no rows.")
        self.ts_ms, self.value, self.series, self.offset = (np.concatenate(one) for one in zip(*parts, strict=True))

    def pieces(self, start: int, stop: int) -> Iterator[Piece]:
        """Its rows [start, stop), some at a time."""
        for first in range(start, stop, BATCH_ROWS):
            offsets = np.arange(first, min(first + BATCH_ROWS, stop), dtype=np.int64)
            yield Piece([None] * len(offsets), offsets, np.full(len(offsets), -1, np.int64))


class FileDecoder:
    """Offsets to columns; admits series in the order in which they are first seen."""

    def __init__(self, log: FileLog, shard: Shard) -> None:
        self._log, self._shard = log, shard

    def decode(self, _values: Any, offsets: Any, _times_ms: Any, next_offset: int) -> tuple[Batch, list[Any]]:
        """The samples of these rows."""
        log = self._log
        part = slice(*np.searchsorted(log.offset, [offsets[0], offsets[-1] + 1]))
        seen, at = np.unique(log.series[part], return_index=True)
        rows = np.zeros(len(log.table.series), np.int32)
        for index in seen[np.argsort(at)].tolist():
            rows[index] = self._shard.admit(log.table.series[index])
        batch = Batch(
            rows[log.series[part]], log.ts_ms[part], log.value[part], log.offset[part], next_offset,
            np.empty(0, np.int64),
        )  # fmt: skip
        return batch, []


def check(
    path: Path, *, begin: int, end: int, entity: str | None, labels: tuple[str, ...] | None, settings: Settings
) -> dict[str, Any]:
    """The three runs over one file; what has come of them. entity: None where the file is one entity."""
    from agents.offline.files import sources

    (source,) = sources([path])
    table = Table(Source(source.path, source.name), entity_labels=labels)
    config = replace(engine_config(settings, counters_from_shape=False), entity_labels=table.entity_labels)
    log = FileLog(table)
    known = {one.entity(table.entity_labels) for one in table.series}
    about = _entity(known, entity, path)
    window = Window(about, None, begin, end, "check", IN_TIME)
    inside = (log.ts_ms >= begin) & (log.ts_ms < end)
    if not inside.any():
        raise ConfigError(f"{path} has no sample in that window.")
    first, stop = int(log.offset[np.argmax(log.ts_ms >= begin)]), table.rows
    learned, snapshot, steps = _learned(log, config, source.name, first, stop)
    rebuilt, left_out = Shard.restore(unpack(pack(*snapshot)), config), [Without(window, stop + 1)]
    unlearn.rebuild(
        rebuilt, FileDecoder(log, rebuilt), [window], [one for one in steps if one.at >= first],
        log.pieces(first, stop), until=stop, left_out=left_out,
    )  # fmt: skip
    marked = fresh(config, source.name)
    unlearn.rebuild(
        marked, FileDecoder(log, marked), [], [one for one in steps if one.at < first], log.pieces(0, first),
        until=first,
    )  # fmt: skip
    unlearn.rebuild(
        marked, FileDecoder(log, marked), [window], [one for one in steps if one.at >= first],
        log.pieces(first, stop), until=stop, left_out=left_out,
    )  # fmt: skip
    differences = diff(rebuilt.export(), marked.export())
    return {
        "file": str(path),
        "entity": about,
        "window": {"from_ms": begin, "until_ms": end, "samples": int(inside.sum())},
        "from_offset": first,
        "until_offset": stop,
        "orders": len(steps),
        "left_out": sum(one.order["target"]["entity"] == about and one.order["at_ms"] >= begin for one in steps),
        "equal": not differences,
        "differences": differences,
        "taught": _taught(learned, rebuilt, about),
        "arrays_taught": len(diff(learned.export(), rebuilt.export())),
    }


def fresh(config: EngineConfig, name: str) -> Shard:
    """A shard at the beginning of a file."""
    shard = Shard(config, topic=name, partition=0)
    shard.next_offset = 0
    return shard


def _learned(log: FileLog, config: EngineConfig, name: str, first: int, stop: int) -> tuple[Shard, State, list[Step]]:
    """The run that knows of no window: (its end, its state before the window, its orders)."""
    shard, steps, tuner, snapshot = fresh(config, name), list[Step](), Tuner(), None
    decoder = FileDecoder(log, shard)
    for start, end in ((0, first), (first, stop)):
        for piece in log.pieces(start, end):
            verdicts = shard.process(decoder.decode(None, piece.offsets, None, int(piece.offsets[-1]) + 1)[0])
            for record in verdicts.records:
                if record.topic == "drift" and (order := tuner.order_for(record.value)) is not None:
                    steps.append(Step(shard.next_offset, 0, len(steps), order))
                    _give(shard, steps[-1])
        snapshot = snapshot or shard.export()
    assert snapshot is not None
    return shard, snapshot, steps


def _give(shard: Shard, step: Step) -> None:
    try:
        shard.apply(step.order, control_partition=0, next_offset=step.offset + 1)
    except BadSample:
        shard.control_offsets[0] = step.offset + 1


def _entity(known: set[str], wanted: str | None, path: Path) -> str:
    if wanted is None:
        if len(known) != 1:
            raise ConfigError(f"{path} has {len(known)} entities; name one with --entity, as {min(known)}.")
        return next(iter(known))
    if wanted not in known:
        raise ConfigError(f"{path} has no entity {wanted}; it has {', '.join(sorted(known)[:5])}.")
    return wanted


def _taught(learned: Shard, rebuilt: Shard, entity: str) -> list[dict[str, Any]]:
    """Level and scale with what the window had taught, and without."""
    found = []
    for name in [name for e, name in zip(_entity_of(learned), learned.roster.names, strict=True) if e == entity]:
        told: dict[str, Any] = {"series": name}
        for what, shard in (("learned", learned), ("unlearned", rebuilt)):
            row, rows = shard.row_of(name), shard.roster.rows
            told[what] = {"level": float(rows.level.mean[row]), "sd": float(level.scale(rows.level, row))}
        found.append(told)
    found.sort(key=lambda one: -abs(np.log(max(one["learned"]["sd"], 1e-300) / max(one["unlearned"]["sd"], 1e-300))))
    return found[:SHOWN]


def _entity_of(shard: Shard) -> Sequence[str]:
    of = shard.roster.rows.link.entity[: shard.series_count].tolist()
    return [shard.roster.entities[e] for e in of]
