"""The decoder of one shard: Kafka records in log order -> one Batch and the dead letters.

Owns: the order of samples, which offsets are dead or empty, and the caches from raw bytes to rows. Knows no Kafka:
values, offsets and times come as plain data. Its caches are not state: a new decoder says the same.

Not obvious: series are admitted in log order, and only after value and time have passed, so that the same log gives
the same rows whatever the batches and whatever path decoded them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numba
import numpy as np
from numpy.typing import NDArray

from agents.codecs import influx, plain, sniff
from agents.codecs.columns import Found
from agents.codecs.rules import AppendTime, Families, Limits, Out, identity
from agents.codecs.speculation import Speculation
from engine.batch import LARGEST, Batch
from engine.errors import BadSample, ConfigError
from engine.series import Kind, Labels, Series

#: Identities kept by their raw spelling; full caches are emptied, which costs one slow pass and no correctness.
MAX_CACHED = 400_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that is dead, whole or in part; index is its place among the values given."""

    index: int
    reason: str
    detail: str


class Admitter(Protocol):
    """What a decoder needs of engine.shard.Shard."""

    def admit(self, series: Series) -> int: ...

    def row_of(self, text: str) -> int: ...


class Decoder:
    """Decodes the records of one shard.

    shard: finds and admits series. format: one of sniff.FORMATS. max_record_bytes: larger records are dead letters.
    """

    def __init__(
        self,
        shard: Admitter,
        *,
        format: str = sniff.AUTO,  # noqa: A002 - the configuration's word
        max_record_bytes: int = 256 * 1024,
        max_abs_value: float = LARGEST,
        future_ms: int = 300_000,
        speculate: bool = True,
        max_known_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        if format not in sniff.FORMATS:
            raise ConfigError(f"inputs.format is {format!r}; wanted one of {', '.join(sniff.FORMATS)}")
        self._shard = shard
        self._format = format
        self._max_record_bytes = max_record_bytes
        self._limits = Limits(max_abs_value, future_ms)
        self._rows: dict[tuple[str, Labels], int] = {}
        self._families: Families = {}
        self._slow_records = 0
        self._heads: influx.Heads = {}
        self._fast: Speculation | None = None
        if speculate and not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]  # set by name at run time
            shapes = {"plain": format in (sniff.AUTO, sniff.JSON), "telegraf": format != sniff.JSON}
            self._fast = Speculation(
                self._limits, max_record_bytes=max_record_bytes, max_bytes=max_known_bytes, shapes=shapes
            )

    def decode(
        self,
        values: Sequence[bytes | None],
        offsets: NDArray[np.int64],
        append_ms: AppendTime | NDArray[np.int64],
        next_offset: int,
    ) -> tuple[Batch, list[DeadLetter]]:
        """One batch of whole records, in log order.

        values: None is a tombstone. offsets: int64, one a record. append_ms: the records' own times in epoch
        milliseconds, -1 where there is none, as an array (half the cost) or as a function of the index.
        next_offset: the offset after the last record read.
        """
        own_ms = _times(append_ms, len(values))
        out, letters = Out(self._row_of, self._limits, self._families), list[DeadLetter]()
        self._slow_records = 0
        if self._fast is None:
            for index, value in enumerate(values):
                self._slow(index, value, int(own_ms[index]), out, letters)
            found = Found(
                np.array(out.row, np.int32), np.array(out.ts_ms, np.int64), np.array(out.value, np.float64),
                np.array(out.index, np.int32),
            )  # fmt: skip
        else:
            found = self._speculate(self._fast, values, own_ms, out, letters)
        self._forget(self._slow_records, len(values))
        return _batch(found, offsets, letters, next_offset), letters

    def _speculate(
        self,
        fast: Speculation,
        values: Sequence[bytes | None],
        own_ms: NDArray[np.int64],
        out: Out,
        letters: list[DeadLetter],
    ) -> Found:
        """All records, each by the fast path where it can and else by the slow one, in log order."""
        data, start = _joined(values)
        fast.pos, index = 0, 0
        while index < len(values):
            if fast.pause == 0:
                fast.append(out)
                index = fast.run(data, start, own_ms, index)
                if index == len(values):
                    break
            fast.pause = max(fast.pause - 1, 0)
            value, own = values[index], int(own_ms[index])
            form = self._slow(index, value, own, out, letters)
            if form and value is not None:
                fast.teach(value, own, out, self._heads, lines=form == sniff.INFLUX)
            index += 1
        fast.append(out)
        return fast.take()

    def _slow(self, index: int, value: bytes | None, own_ms: int, out: Out, letters: list[DeadLetter]) -> str:
        """One record by the slow path; its format if there is nothing wrong with it, else ""."""
        if value is None:
            return ""
        self._slow_records += 1
        before = len(out.row)
        out.bad, out.bad_samples = None, 0
        form = self._record(value, own_ms, out)
        out.index.extend([index] * (len(out.row) - before))
        if out.bad is None:
            return form
        letters.append(_letter(index, out.bad, out.bad_samples))
        return ""

    def _record(self, value: bytes, append_ms: int, out: Out) -> str:
        """The slow path: one record, every case; the format that it was read as."""
        form = self._format
        try:
            if len(value) > self._max_record_bytes:
                raise BadSample("oversize", f"{len(value)} bytes; at most {self._max_record_bytes} are read")
            if form == sniff.AUTO:
                form = sniff.family(value)
            elif not value.strip():
                raise BadSample("empty", "the record has no bytes but blanks; a tombstone would have none at all")
            if form == sniff.INFLUX:
                influx.decode(value, append_ms, out, self._heads)
            else:
                plain.decode(value, append_ms, out, plain=form == sniff.JSON, telegraf=self._format != sniff.JSON)
        except BadSample as error:
            out.note(error)
        return form

    def _row_of(self, name: str, labels: Labels, kind: Kind) -> int:
        key = (name, labels)
        row = self._rows.get(key, -1)
        if row < 0:
            series = identity(name, labels, kind)
            row = self._shard.row_of(series.text)
            if row < 0:
                row = self._shard.admit(series)
                if self._fast is not None:
                    self._fast.new_series(1)
            self._rows[key] = row
        return row

    def _forget(self, slow: int, records: int) -> None:
        """Keep the slow path's caches bounded; small where nearly all is known at sight and they are not needed."""
        most = MAX_CACHED if self._fast is None or 10 * slow > records else MAX_CACHED // 100
        for cache in (self._rows, self._heads, self._families):
            if len(cache) > most:
                cache.clear()


def _letter(index: int, error: BadSample, bad_samples: int) -> DeadLetter:
    more = f" (and {bad_samples - 1} more in this record)" if bad_samples > 1 else ""
    return DeadLetter(index, error.reason, error.detail + more)


def _times(append_ms: AppendTime | NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if isinstance(append_ms, np.ndarray):
        return np.ascontiguousarray(append_ms, np.int64)
    return np.fromiter(map(append_ms, range(count)), np.int64, count)


def _joined(values: Sequence[bytes | None]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All records as one array, and where each begins; a tombstone is an empty record, which no kernel takes."""
    try:
        present = cast("Sequence[bytes]", values)
        raw = b"".join(present)
    except TypeError:  # a tombstone; they are rare, and join finds them for nothing
        present = [value or b"" for value in values]
        raw = b"".join(present)
    start = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, present), np.int64, len(present)), out=start[1:])
    return np.frombuffer(raw, np.uint8), start


def _batch(found: Found, offsets: NDArray[np.int64], letters: list[DeadLetter], next_offset: int) -> Batch:
    """Columns as the engine wants them; a record with neither samples nor dead letter is empty."""
    silent = np.ones(len(offsets), np.bool_)
    silent[found.record] = False
    dead = np.array([letter.index for letter in letters], np.int64)
    silent[dead] = False
    return Batch(
        found.row, found.ts_ms, found.value, offsets[found.record], next_offset, offsets[dead], offsets[silent]
    )


def warm_up() -> None:
    """Compile, or load from the cache, all kernels: to be called before gc.freeze() and before the first record."""
    times = np.array([-1], np.int64)
    decoder = Decoder(_NoShard())
    for record in (b'{"name":"warm.up","value":1.5,"ts":1767225600}', b"warm_up value=1.5 1767225600"):
        for offset in range(2):
            decoder.decode([record], np.array([offset]), times, offset + 1)


class _NoShard:
    def admit(self, series: Series) -> int:  # noqa: ARG002 - all series are one here
        return 0

    def row_of(self, text: str) -> int:  # noqa: ARG002 - as above
        return 0
