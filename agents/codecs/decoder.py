"""The decoder of one shard: Kafka records in log order -> one Batch and the dead letters.

Owns: the order of samples, which offsets are dead or empty, and the caches from raw bytes to rows. Knows no Kafka:
values, offsets and times come as plain data. Its caches are not state: a new decoder says the same.

Not obvious: series are admitted in log order, and only after value and time have passed, so that the same log gives
the same rows whatever the batches and whatever path decoded them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agents.codecs import influx, plain, sniff
from agents.codecs.rules import AppendTime, Limits, Out, identity
from engine.batch import Batch
from engine.errors import BadSample, ConfigError
from engine.series import Kind, Series

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
        max_abs_value: float = 1e15,
        future_ms: int = 300_000,
    ) -> None:
        if format not in sniff.FORMATS:
            raise ConfigError(f"inputs.format is {format!r}; wanted one of {', '.join(sniff.FORMATS)}")
        self._shard = shard
        self._format = format
        self._max_record_bytes = max_record_bytes
        self._limits = Limits(max_abs_value, future_ms)
        self._rows: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._heads: influx.Heads = {}
        self._out = Out(self._row_of, self._limits)
        #: The format of the first record that told one, for the caller to log once a topic; None until then.
        self.decision: str | None = None if format == sniff.AUTO else format

    def decode(
        self,
        values: Sequence[bytes | None],
        offsets: NDArray[np.int64],
        append_ms: AppendTime,
        next_offset: int,
    ) -> tuple[Batch, list[DeadLetter]]:
        """One batch of whole records, in log order.

        values: None is a tombstone. offsets: int64, one a record. append_ms(i): the record's own time in epoch
        milliseconds, -1 where it has none. next_offset: the offset after the last record read.
        """
        out, letters, empty = Out(self._row_of, self._limits), list[DeadLetter](), list[int]()
        self._out = out
        for index, value in enumerate(values):
            if value is None:
                empty.append(index)
                continue
            before = len(out.row)
            out.bad, out.bad_samples = None, 0
            self._record(value, append_ms(index), out)
            added = len(out.row) - before
            out.index.extend([index] * added)
            if out.bad is not None:
                letters.append(_letter(index, out.bad, out.bad_samples))
            elif added == 0:
                empty.append(index)
        self._forget()
        return self._batch(out, offsets, letters, empty, next_offset), letters

    def _batch(
        self, out: Out, offsets: NDArray[np.int64], letters: list[DeadLetter], empty: list[int], next_offset: int
    ) -> Batch:
        return Batch(
            np.array(out.row, np.int32),
            np.array(out.ts_ms, np.int64),
            np.array(out.value, np.float64),
            offsets[np.array(out.index, np.int64)],
            next_offset,
            offsets[np.array([letter.index for letter in letters], np.int64)],
            offsets[np.array(empty, np.int64)],
        )

    def _record(self, value: bytes, append_ms: int, out: Out) -> None:
        """The slow path: one record, every case."""
        try:
            if len(value) > self._max_record_bytes:
                raise BadSample("oversize", f"{len(value)} bytes; at most {self._max_record_bytes} are read")
            form = self._format
            if form == sniff.AUTO:
                form = sniff.family(value)
                if self.decision is None:
                    self.decision = sniff.describe(value)
            elif not value.strip():
                raise BadSample("empty", "the record has no bytes but blanks; a tombstone would have none at all")
            if form == sniff.INFLUX:
                influx.decode(value, append_ms, out, self._heads)
            else:
                plain.decode(value, append_ms, out, plain=form == sniff.JSON, telegraf=self._format != sniff.JSON)
        except BadSample as error:
            out.note(error)

    def _row_of(self, name: str, labels: Iterable[tuple[str, str]], kind: Kind) -> int:
        key = (name, tuple(labels))
        row = self._rows.get(key, -1)
        if row < 0:
            series = identity(name, labels, kind)
            row = self._shard.row_of(series.text)
            if row < 0:
                row = self._shard.admit(series)
            self._rows[key] = row
        return row

    def _forget(self) -> None:
        if len(self._rows) > MAX_CACHED:
            self._rows.clear()
        if len(self._heads) > MAX_CACHED:
            self._heads.clear()


def _letter(index: int, error: BadSample, bad_samples: int) -> DeadLetter:
    more = f" (and {bad_samples - 1} more in this record)" if bad_samples > 1 else ""
    return DeadLetter(index, error.reason, error.detail + more)
