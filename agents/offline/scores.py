"""scores.csv: one line per sample, and one per entity and timestamp, in the order in which the log made them certain.

Owns the columns and their text. Knows nothing of shards: it gets a chunk of a file, the answers to its samples and the
ticks that they closed.

Not obvious: every line is caused by a row that was read, never by the end of the file. So the output of the first n
rows is the first bytes of the output of all rows, and the outputs of a and b, joined, are the output of a+b. An entity
line is written with the row that closed its tick; orjson writes the numbers, shortest text that reads back the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TextIO

import numpy as np
import orjson
from numpy.typing import NDArray

from agents.offline.files import Chunk

HEADER = "timestamp,entity,series,value,expected,lower,upper,severity,confidence,page,decision\n"
DECISIONS = ("quiet", "escalate", "alert", "")
#: What `--scores` may be.
LEVELS = ("all", "entity", "series", "none")
_NONE = 3
_ANY_TIME = 1 << 62


class Ticks(NamedTuple):
    """Entity ticks closed by a chunk, in order. at: index of the closing sample; numbers (m, 3): severity to page."""

    entity: NDArray[np.int32]
    ts_ms: NDArray[np.int64]
    at: NDArray[np.int64]
    numbers: NDArray[np.float32]
    decision: NDArray[np.int8]


class Answers(NamedTuple):
    """What the engine says of each sample of a chunk. numbers (n, 6): expected to page, NaN where it says nothing."""

    numbers: NDArray[np.float32]
    decision: NDArray[np.int8]
    ticks: Ticks


class Waiting(NamedTuple):
    """A timestamp of an entity whose line is not written yet, because its tick is open or never was. stamp: a cell."""

    ts_ms: int
    stamp: str


class Sheet:
    """Writes the lines of one file of metrics. level: see LEVELS.

    waiting: for long files, by entity, what an earlier run has left open; read it back after the last chunk.
    """

    def __init__(self, out: TextIO, *, level: str, waiting: dict[str, list[Waiting]] | None = None) -> None:
        self._out = out
        self._samples = level in ("all", "series")
        self._entities = level in ("all", "entity")
        self.waiting = waiting if waiting is not None else {}

    def wide(self, chunk: Chunk, answers: Answers, entity: str, series: Sequence[str]) -> None:
        """Rows in which all series of one entity stand side by side: the entity's line follows each row."""
        chunk = _with_cells(chunk)
        width = len(series)
        lines: list[list[str]] = []
        if self._samples:
            heads = [f",{quoted(entity)},{quoted(name)}," for name in series]
            sampled = self._sample_lines(
                chunk, answers, [chunk.stamps[row] for row in chunk.row], heads * len(chunk.stamps)
            )
            lines = [sampled[at : at + width] for at in range(0, len(sampled), width)]
        if self._entities:
            own = self._row_lines(chunk, answers.ticks, f",{quoted(entity)},,,,,,")
            lines = [[*one, line] for one, line in zip(lines, own, strict=True)] if lines else [own]
        self._out.writelines(line for row in lines for line in row)

    def long(
        self, chunk: Chunk, answers: Answers, entity_of: Sequence[str], series: Sequence[str], entities: Sequence[str]
    ) -> None:
        """One sample a row; entity_of and series: by index of a series; entities: by index of a tick's entity."""
        chunk = _with_cells(chunk)
        heads = [f",{quoted(entity)},{quoted(name)}," for entity, name in zip(entity_of, series, strict=True)]
        sampled = self._sample_lines(chunk, answers, chunk.stamps, [heads[index] for index in chunk.series])
        closing = self._closing(answers.ticks, entities)
        for at, line in enumerate(sampled):
            entity, ts_ms = entity_of[chunk.series[at]], int(chunk.ts_ms[at])
            open_here = self.waiting.setdefault(entity, [])
            if not open_here or ts_ms > open_here[-1].ts_ms:
                open_here.append(Waiting(ts_ms, chunk.stamps[at]))
            before, after = list(closing(at, ts_ms)), list(closing(at, _ANY_TIME))
            self._out.writelines([*before, line, *after] if self._samples else [*before, *after])

    def _sample_lines(self, chunk: Chunk, answers: Answers, stamps: Sequence[str], heads: Sequence[str]) -> list[str]:
        if not len(chunk.cells):
            return []
        words = said(answers.numbers[:, 3], answers.decision)
        return [
            f"{stamp}{head}{_cell(cell)},{numbers},{word}\n"
            for stamp, head, cell, numbers, word in zip(
                stamps, heads, chunk.cells, numbers_text(answers.numbers), words, strict=True
            )
        ]

    def _row_lines(self, chunk: Chunk, ticks: Ticks, head: str) -> list[str]:
        """The entity's line of each row: the tick that the row closed for its own time, or nothing."""
        numbers = np.full((len(chunk.stamps), 3), np.nan, np.float32)
        decision = np.full(len(chunk.stamps), _NONE, np.int8)
        rows = chunk.row[ticks.at]
        own = ticks.ts_ms == chunk.ts_ms[rows]
        numbers[rows[own]] = ticks.numbers[own]
        decision[rows[own]] = ticks.decision[own]
        return [
            f"{stamp}{head}{text},{DECISIONS[word]}\n"
            for stamp, text, word in zip(chunk.stamps, numbers_text(numbers), decision, strict=True)
        ]

    def _closing(self, ticks: Ticks, entities: Sequence[str]) -> Callable[[int, int], Iterator[str]]:
        """A cursor over the ticks: the entity lines that sample `at` makes certain, of ticks before `before_ms`."""
        texts, place = numbers_text(ticks.numbers), 0

        def closing(at: int, before_ms: int) -> Iterator[str]:
            nonlocal place
            while place < len(texts) and ticks.at[place] == at and ticks.ts_ms[place] < before_ms:
                k, place = place, place + 1
                if self._entities:
                    numbers = f"{texts[k]},{DECISIONS[ticks.decision[k]]}"
                    yield from self._entity_lines(entities[ticks.entity[k]], int(ticks.ts_ms[k]), numbers)

        return closing

    def _entity_lines(self, entity: str, tick_ms: int, numbers: str) -> Iterator[str]:
        """The line of a closed tick, after those of earlier timestamps that never had a tick of their own."""
        open_here = self.waiting.get(entity, [])
        while open_here and open_here[0].ts_ms <= tick_ms:
            one = open_here.pop(0)
            said_now = numbers if one.ts_ms == tick_ms else ",,,"
            yield f"{one.stamp},{quoted(entity)},,,,,,{said_now}\n"


def said(severity: NDArray[np.float32], decision: NDArray[np.int8]) -> list[str]:
    """The decisions as words; nothing where there is no severity."""
    return [DECISIONS[word] for word in np.where(np.isnan(severity), _NONE, decision)]


def numbers_text(numbers: NDArray[np.float32]) -> list[str]:
    """Each row of numbers as CSV cells; NaN is an empty cell.

    >>> numbers_text(np.array([[0.1, np.nan], [2, 3]], np.float32))
    ['0.1,', '2.0,3.0']
    """
    if not len(numbers):
        return []
    text = orjson.dumps(np.ascontiguousarray(numbers), option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return text[2:-2].replace("null", "").split("],[")


def quoted(text: str) -> str:
    """A CSV cell.

    >>> quoted('used{host="a"}')
    '"used{host=""a""}"'
    """
    if '"' in text or "," in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


def _with_cells(chunk: Chunk) -> Chunk:
    """The chunk with its stamps as CSV cells: ISO 8601 has a comma before the fraction as well."""
    return chunk._replace(stamps=[quoted(stamp) for stamp in chunk.stamps])


def _cell(cell: str) -> str:
    """A value as it was written."""
    return cell.strip()
