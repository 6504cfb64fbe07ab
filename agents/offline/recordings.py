"""Recordings: the entities of a folder of files, each with its samples in order of time.

Owns which entities are taken where there are too many, and the limit of what is held in memory. Knows nothing of
models. What the files may look like is in `files`.

Not obvious: an entity of long files may be spread over several of them, so its samples are put together and sorted. A
wide file is an entity of its own, as it is for `graft replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from agents.offline.files import ENTITY, Chunk, Source, Table, sources
from engine.columns import Array
from engine.errors import ConfigError
from engine.series import Series

#: Samples that are held at most, 20 bytes each.
MOST_SAMPLES = 20_000_000

#: Says how far the reading is.
Report = Callable[[str], None]


class Recording(NamedTuple):
    """One entity. series (d,); of its n samples in order of time: ts_ms int64, at int32 (index into series), value.

    value: float64, NaN: the file says that there is none.
    """

    name: str
    series: tuple[Series, ...]
    ts_ms: Array
    at: Array
    value: Array

    @property
    def step_ms(self) -> float:
        """Time between two samples of its fullest series; NaN if it has one only."""
        if not len(self.at):
            return float("nan")
        ts_ms = self.ts_ms[self.at == np.bincount(self.at).argmax()]
        return float(np.median(np.diff(ts_ms))) if len(ts_ms) > 1 else float("nan")


class Folder(NamedTuple):
    """What was read. found: entities in the files, of which `recordings` may be a part."""

    recordings: list[Recording]
    found: int


class _Parts:
    """What has been read of one entity."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.series: list[Series] = []
        self.parts: list[tuple[Array, Array, Array]] = []

    def slot(self, series: Series) -> int:
        """Number of a series; a new one is given the next."""
        number = self.slots.setdefault(series.text, len(self.series))
        if number == len(self.series):
            self.series.append(series)
        return number

    def recording(self, name: str) -> Recording:
        """All of it in order of time."""
        ts_ms, at, value = (np.concatenate(one) for one in zip(*self.parts, strict=True))
        self.parts.clear()
        order = np.argsort(ts_ms, kind="stable")
        return Recording(name, tuple(self.series), ts_ms[order], at[order], value[order])


def read(inputs: Sequence[Path], *, entity_labels: tuple[str, ...] | None, most: int, report: Report) -> Folder:
    """Read the entities of files and folders, at most so many, evenly picked by name.

    entity_labels: of long files, see `Table`. ConfigError for what cannot be read, or is more than MOST_SAMPLES.
    """
    found = sources(inputs)
    names = _names(found, entity_labels, report)
    picked = names if len(names) <= most else [names[at] for at in _evenly(len(names), most)]
    parts = {name: _Parts() for name in picked}
    held = 0
    for source in found:
        table = Table(source, entity_labels=entity_labels)
        if not table.is_long and source.name not in parts:
            continue
        places = _Places(table, parts)
        for chunk in table.chunks():
            held += places.take(chunk)
            if held > MOST_SAMPLES:
                raise ConfigError(
                    f"{inputs[0]} holds more than {MOST_SAMPLES:,} samples of {len(picked)} entities; take fewer "
                    "entities with --most, or less of the recordings."
                )
            report(f"reading {source.name}: {held:,} samples")
    return Folder([part.recording(name) for name, part in parts.items() if part.parts], len(names))


def _names(found: Sequence[Source], entity_labels: tuple[str, ...] | None, report: Report) -> list[str]:
    """All entities, in order of their names. A long file has to be read for it."""
    names: set[str] = set()
    for source in found:
        table = Table(source, entity_labels=entity_labels)
        if not table.is_long:
            names.add(source.name)
            continue
        for _ in table.chunks():
            report(f"looking for entities in {source.name}: {table.rows:,} rows")
        names |= {_entity(table, series) for series in table.series}
    return sorted(names)


def _evenly(count: int, most: int) -> list[int]:
    return [int(at) for at in np.unique(np.linspace(0, count - 1, most).round())]


def _entity(table: Table, series: Series) -> str:
    """As people know it: a file's own entity goes without its label."""
    name = series.entity(table.entity_labels)
    return table.source.name if name == f"{ENTITY}={table.source.name}" else name


class _Places:
    """Where the series of one table belong: whose (number among `names`, -1: nobody's) and which slot of it."""

    def __init__(self, table: Table, parts: dict[str, _Parts]) -> None:
        self._table, self._parts = table, parts
        self._numbers = {name: number for number, name in enumerate(parts)}
        self._whose: list[int] = []
        self._slots: list[int] = []

    def take(self, chunk: Chunk) -> int:
        """Add the samples of a chunk to their entities; how many were taken."""
        for series in self._table.series[len(self._whose) :]:
            self._place(series)
        whose, slots = np.array(self._whose), np.array(self._slots, np.int32)
        of, ts_ms, taken = whose[chunk.series], chunk.ts_ms[chunk.row], 0
        names = list(self._parts)
        for number in np.unique(of[of >= 0]).tolist():
            mine = np.flatnonzero(of == number)
            self._parts[names[number]].parts.append((ts_ms[mine], slots[chunk.series[mine]], chunk.value[mine]))
            taken += len(mine)
        return taken

    def _place(self, series: Series) -> None:
        name = _entity(self._table, series)
        number, slot = self._numbers.get(name, -1), 0
        if number >= 0:
            labels = {key: value for key, value in series.labels if key not in self._table.entity_labels}
            slot = self._parts[name].slot(Series.of(series.name, labels | {ENTITY: name}, series.kind))
        self._whose.append(number)
        self._slots.append(slot)
