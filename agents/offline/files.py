"""Recorded metrics in files: CSV (plain or .gz) and Parquet, three shapes told apart by their header, read in a stream.

    wide   timestamp,<metric>,<metric>,...          one series a column; the entity is the file's name. NAB is this.
    long   timestamp,series,value[,<label>...]      one sample a row; the entity is the labels that the caller names

Owns the shapes, the units of time and what a cell may be. Knows nothing of shards. A malformed file is a ConfigError
that names file and line; a number that no model may see (infinite, or beyond the wire's limit) is kept as missing and
reported, as the dead-letter topic would.

Not obvious: timestamps and values are also kept as they were written, so that the output repeats the input exactly.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from agents.codecs.rules import MICROS_BELOW, MILLIS_BELOW, NO_LIMIT, SECONDS_BELOW, Limits
from engine.batch import LARGEST
from engine.errors import ConfigError, OutsideError
from engine.series import COUNTER_SUFFIXES, Kind, Series

#: Samples a chunk: small enough for Ctrl-C and memory, large enough that a chunk's fixed costs vanish.
CHUNK_SAMPLES = 16_384
#: The label that carries the file's name where the rows have none.
ENTITY = "entity"
SUFFIXES = (".csv", ".csv.gz", ".parquet")

_TIME_NAMES = ("timestamp", "time", "ts", "datetime", "date")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\Z")
_DAY = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])\Z")
#: Beyond the nanoseconds of any year that a file can be of; int() of more could not be counted in milliseconds.
_LARGEST = 1e19
_NOTHING = frozenset(("", "nan", "null", "none", "na", "n/a"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_NAIVE = datetime(1970, 1, 1)  # noqa: DTZ001 - a time without a zone is UTC here
_MILLISECOND = timedelta(milliseconds=1)


class Source(NamedTuple):
    """One input file and the name of its entity: the stem, with its folder where two inputs share a stem."""

    path: Path
    name: str


class Rejected(NamedTuple):
    """A cell that holds a number which no model may see."""

    line: int
    row: int
    series: int
    value: str
    reason: str


class Chunk(NamedTuple):
    """Rows of a file in order; n samples of r rows.

    stamps (r), cells (n): as written. ts_ms int64 (r,). row int64 (n,): the row of each sample within the chunk, not
    decreasing. series int32 (n,): index into `Table.series`. value float64 (n,), NaN: the cell says that there is none.
    """

    stamps: list[str]
    ts_ms: NDArray[np.int64]
    row: NDArray[np.int64]
    series: NDArray[np.int32]
    value: NDArray[np.float64]
    cells: list[str]
    rejected: list[Rejected]


def sources(inputs: Sequence[Path], *, results: Container[Path] = ()) -> list[Source]:
    """Files and the files in folders, each with a name of its own; ConfigError for what is absent or given twice.

    results: what will be written, resolved; passed over in folders, and an error as an input.
    """
    paths = [path for one in inputs for path in _expand(one, results)]
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise ConfigError(f"{path} is given twice; name each input once.")
        seen[path.resolve()] = path
    stems = [_stem(path) for path in paths]
    found = [
        Source(path, stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}/{stem}")
        for path, stem in zip(paths, stems, strict=True)
    ]
    names = [source.name for source in found]
    for path, name in found:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two inputs would both be entity {name}; rename one or replay them one by one.")
    return found


class Table:
    """One open file: its shape, its series, and its rows as chunks.

    entity_labels: for long files, the labels that make an entity; None: all. series grows while a long file is read.
    """

    def __init__(
        self, source: Source, *, entity_labels: tuple[str, ...] | None = None, limits: Limits | None = None
    ) -> None:
        self.source = source
        self.series: list[Series] = []
        self.rows = 0
        self._limits = limits or Limits()
        self._lines = _lines(source.path)
        _, header = next(self._lines, (0, []))
        self._header = _checked_header(source.path, header)
        self.is_long = [name.lower() for name in self._header[1:3]] == ["series", "value"]
        self._time = Clock(source.path)
        self._known: dict[tuple[str, ...], int] = {}
        labels = self._header[3:] if self.is_long else []
        self.entity_labels = tuple(entity_labels or labels) if labels else (ENTITY,)
        self._check_entity(labels)
        if not self.is_long:
            self.series = [self._series(name, ((ENTITY, source.name),)) for name in self._header[1:]]

    @property
    def shape(self) -> str:
        if self.is_long:
            return "long"
        return "nab" if self._header[1:] == ["value"] else "wide"

    def chunks(self, samples: int = CHUNK_SAMPLES) -> Iterator[Chunk]:
        """The rows, about `samples` samples at a time; the verdicts do not depend on it."""
        at_once = samples if self.is_long else max(1, samples // len(self.series))
        rows: list[list[str]] = []
        numbers: list[int] = []
        for number, row in self._lines:
            if len(row) != len(self._header):
                raise ConfigError(f"{self._where(number)}: {len(row)} cells, but the header has {len(self._header)}.")
            rows.append(row)
            numbers.append(number)
            if len(rows) == at_once:
                yield self._chunk(rows, numbers)
                rows, numbers = [], []
        if rows:
            yield self._chunk(rows, numbers)

    def _chunk(self, rows: list[list[str]], lines: list[int]) -> Chunk:
        stamps = [row[0].strip() for row in rows]
        ts_ms = self._time.parse(stamps, lines)
        if self.is_long:
            series = np.fromiter(map(self._index_of, rows, lines), np.int32, len(rows))
            cells, width = [row[2] for row in rows], 1
        else:
            width = len(self.series)
            cells = list(chain.from_iterable(row[1:] for row in rows))
            series = np.tile(np.arange(width, dtype=np.int32), len(rows))
        row_of = np.repeat(np.arange(len(rows), dtype=np.int64), width)
        value = self._numbers(cells, lines, width)
        rejected = self._reject(value, cells, lines, row_of, series)
        self.rows += len(rows)
        return Chunk(stamps, ts_ms, row_of, series, value, cells, rejected)

    def _index_of(self, row: list[str], line: int) -> int:
        key = (row[1], *row[3:])
        index = self._known.get(key, -1)
        if index < 0:
            if not row[1].strip():
                raise ConfigError(f"{self._where(line)}: the series has no name; write one in the second column.")
            labels = tuple((name, cell) for name, cell in zip(self._header[3:], row[3:], strict=True) if cell)
            index = self._known[key] = len(self.series)
            self.series.append(self._series(row[1], labels or ((ENTITY, self.source.name),)))
        return index

    def _series(self, name: str, labels: tuple[tuple[str, str], ...]) -> Series:
        kind = Kind.COUNTER if name.endswith(COUNTER_SUFFIXES) else Kind.GAUGE
        return Series.of(name, labels, kind)

    def _numbers(self, cells: list[str], lines: list[int], width: int) -> NDArray[np.float64]:
        """Each cell as a number. The quick way takes the usual chunk; any surprise is read cell by cell."""
        try:
            if "_" not in "".join(cells):  # float() takes 1_000, which is no number in a file
                return np.fromiter((float(cell or "nan") for cell in cells), np.float64, len(cells))
        except ValueError:
            pass
        return np.array([self._number(cell, lines[at // width]) for at, cell in enumerate(cells)])

    def _number(self, cell: str, line: int) -> float:
        text = cell.strip()
        if text.lower() in _NOTHING:
            return np.nan
        try:
            if "_" in text:
                raise ValueError
            return float(text)
        except ValueError:
            shown = text if len(text) <= 40 else text[:40] + "..."
            raise ConfigError(f"{self._where(line)}: {shown!r} is no number; leave the cell empty for none.") from None

    def _reject(
        self,
        value: NDArray[np.float64],
        cells: list[str],
        lines: list[int],
        row: NDArray[np.int64],
        series: NDArray[np.int32],
    ) -> list[Rejected]:
        """Take numbers that no model may see out of the chunk, and say which."""
        size = np.abs(value)
        # The ends of 64-bit integers and of float64 stand for a limit that is not set (codecs/rules.py).
        value[((size > LARGEST) & (size <= NO_LIMIT)) | (size == np.finfo(np.float64).max)] = np.nan
        bad = np.flatnonzero(np.abs(value) > self._limits.max_abs_value)
        found = []
        for at in map(int, bad):
            reason = "value_range" if np.isfinite(value[at]) else "not_finite"
            found.append(Rejected(lines[row[at]], self.rows + int(row[at]), int(series[at]), cells[at], reason))
        value[bad] = np.nan
        return found

    def _where(self, line: int) -> str:
        return f"{self.source.path}:{line}"

    def _check_entity(self, labels: list[str]) -> None:
        unknown = [name for name in self.entity_labels if labels and name not in labels]
        if unknown:
            raise ConfigError(f"{self.source.path} has no label {unknown[0]}; it has {', '.join(labels)}.")


class Clock:
    """Reads the timestamps of one file: ISO 8601, or epoch numbers of one unit; a mix is an error that names a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unit = ""

    def parse(self, stamps: Sequence[str], lines: Sequence[int]) -> NDArray[np.int64]:
        """Epoch milliseconds of each stamp."""
        if self._unit == "":
            self._unit = "" if not stamps else _unit_of(stamps[0]) or self._refuse(stamps[0], lines[0])
        if self._unit == "iso":
            try:
                return np.fromiter(map(_iso_ms, stamps), np.int64, len(stamps))
            except (ValueError, OverflowError):
                pass
        return np.fromiter(map(self._one, stamps, lines), np.int64, len(stamps))

    def _one(self, stamp: str, line: int) -> int:
        unit = _unit_of(stamp) or self._refuse(stamp, line)
        if unit != self._unit:
            raise ConfigError(
                f"{self._path}:{line}: timestamp {stamp!r} is {_WORDS[unit]}, the lines before have "
                f"{_WORDS[self._unit]}; use one kind in a file."
            )
        return _iso_ms(stamp) if unit == "iso" else _number_ms(stamp, unit)

    def _refuse(self, stamp: str, line: int) -> str:
        raise ConfigError(
            f"{self._path}:{line}: {stamp[:40]!r} is no timestamp; wanted is ISO 8601 (2026-01-31 23:59:00) or "
            "an epoch number in s, ms, us or ns."
        )


_WORDS = {"iso": "ISO 8601", "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_PER_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}


def _unit_of(stamp: str) -> str:
    """iso, s, ms, us, ns, or nothing. 1e11 seconds are the year 5138, 1e11 milliseconds are 1973.

    >>> _unit_of("2014-02-14 14:30:00"), _unit_of("1396332000"), _unit_of("1396332000000")
    ('iso', 's', 'ms')
    """
    if _DAY.match(stamp):  # as seconds it would be a day of 1970
        return ""
    if _NUMBER.match(stamp):
        size = abs(float(stamp))
        if not size < _LARGEST:
            return ""
        return "s" if size < SECONDS_BELOW else "ms" if size < MILLIS_BELOW else "us" if size < MICROS_BELOW else "ns"
    try:
        datetime.fromisoformat(stamp)
    except ValueError:
        return ""
    return "iso"


def moment_ms(text: str) -> int:
    """Epoch milliseconds of one time as people write it; ConfigError otherwise.

    >>> moment_ms("2026-01-01 00:00"), moment_ms("1767225600")
    (1767225600000, 1767225600000)
    """
    unit = _unit_of(text.strip())
    if not unit:
        raise ConfigError(f"{text[:40]!r} is no time; write ISO 8601 (2026-01-31 23:59) or an epoch number.")
    return _iso_ms(text.strip()) if unit == "iso" else _number_ms(text.strip(), unit)


def _iso_ms(stamp: str) -> int:
    moment = datetime.fromisoformat(stamp)
    if stamp.isdigit():
        raise ValueError(stamp)
    return (moment - (_EPOCH_NAIVE if moment.tzinfo is None else _EPOCH)) // _MILLISECOND


def _number_ms(stamp: str, unit: str) -> int:
    if unit == "s":
        return int(stamp) * 1000 if stamp.isdigit() else round(float(stamp) * 1000)
    return (int(stamp) if stamp.isdigit() else int(float(stamp))) // _PER_MS[unit]


def _expand(path: Path, results: Container[Path]) -> list[Path]:
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if one.name.endswith(SUFFIXES) and one.resolve() not in results)
        if not found:
            raise ConfigError(f"{path} holds no {', '.join(SUFFIXES)} file.")
        return found
    if not path.exists():
        raise ConfigError(f"{path} does not exist; name a CSV or Parquet file, or a folder of them.")
    if path.resolve() in results:
        raise ConfigError(f"{path} would be overwritten by the results; name another --out.")
    return [path]


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def _checked_header(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    if not names:
        raise ConfigError(f"{path} is empty; its first line must be a header, as timestamp,value.")
    if names[0].lower() not in _TIME_NAMES or len(names) < 2:
        raise ConfigError(
            f"{path}:1: the header begins with {names[0][:40]!r}; wanted is timestamp,value or "
            "timestamp,<metric>,<metric>,... or timestamp,series,value,<label>,..."
        )
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or "" in names:
        raise ConfigError(f"{path}:1: the header has column {twice or ''!r} twice or without a name; name each column.")
    return names


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row that is not blank, the header first."""
    if path.name.endswith(".parquet"):
        yield from _parquet(path)
        return
    line = 0
    try:
        with _open(path) as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if row:
                    yield line, row
    except csv.Error as error:
        raise ConfigError(f"{path}:{line + 1}: this is not CSV: {error}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start}); is it really a CSV file?") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ConfigError(f"{path} is damaged: {error}.") from None
    except OSError as error:
        raise OutsideError(f"{path} cannot be read: {error.strerror or error}.") from None


def _open(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _parquet(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(f"{path} needs pyarrow, which is not installed: pip install 'graft[parquet]'.") from None
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}.") from None
    yield 1, list(file.schema_arrow.names)
    number = 1
    for batch in file.iter_batches(CHUNK_SAMPLES):
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            number += 1
            yield number, [_text(cell) for cell in row]


def _text(cell: Any) -> str:
    if cell is None:
        return ""
    return cell.isoformat(sep=" ") if isinstance(cell, datetime) else str(cell)
