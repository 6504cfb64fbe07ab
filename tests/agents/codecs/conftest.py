"""A shard as far as a decoder sees one, and shorthands to decode with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from agents.codecs.decoder import DeadLetter, Decoder
from engine.batch import Batch
from engine.errors import BadSample
from engine.series import Series


class FakeShard:
    """Admits series in order of first sight, up to max_series."""

    def __init__(self, max_series: int = 100_000) -> None:
        self.max_series = max_series
        self.rows: dict[str, int] = {}
        self.series: list[Series] = []

    def admit(self, series: Series) -> int:
        if series.text in self.rows:
            return self.rows[series.text]
        if len(self.series) >= self.max_series:
            raise BadSample("cardinality", f"{self.max_series} series are admitted already")
        self.rows[series.text] = len(self.series)
        self.series.append(series)
        return len(self.series) - 1

    def row_of(self, text: str) -> int:
        return self.rows.get(text, -1)


class Bench:
    """A decoder over a fake shard; `samples` gives (series text, ts_ms, value, offset) of a batch."""

    def __init__(self, *, max_series: int = 100_000, **options: Any) -> None:
        self.shard = FakeShard(max_series)
        self.decoder = Decoder(self.shard, **options)
        self.offset = 0

    def decode(self, *values: bytes | None, append_ms: int = -1) -> tuple[Batch, list[DeadLetter]]:
        offsets = np.arange(self.offset, self.offset + len(values), dtype=np.int64)
        self.offset += len(values)
        return self.decoder.decode(list(values), offsets, lambda i: append_ms, self.offset)

    def samples(self, *values: bytes | None, append_ms: int = -1) -> list[tuple[str, int, float]]:
        batch, letters = self.decode(*values, append_ms=append_ms)
        assert letters == []
        return self.named(batch)

    def named(self, batch: Batch) -> list[tuple[str, int, float]]:
        texts = [series.text for series in self.shard.series]
        rows, times, values = batch.row.tolist(), batch.ts_ms.tolist(), batch.value.tolist()
        return [(texts[r], t, v) for r, t, v in zip(rows, times, values, strict=True)]

    def reason(self, value: bytes, append_ms: int = -1) -> str:
        _, letters = self.decode(value, append_ms=append_ms)
        assert len(letters) == 1
        return letters[0].reason


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="session")
def make_bench() -> Callable[..., Bench]:
    return Bench
