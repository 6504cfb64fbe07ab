"""The decoder with a real shard, and its caches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.codecs import decoder as decoder_module
from agents.codecs.decoder import Decoder
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.shard import Shard

T = 1_767_225_600_000


def lines(at: int, series: int) -> list[bytes | None]:
    return [b"cpu,host=h%d usage=%d.5 %d000000" % (i, i + at, T + 10_000 * at) for i in range(series)]


def test_a_real_shard_gets_its_samples_and_its_ledger_balances() -> None:
    shard = Shard(EngineConfig(), topic="metrics", partition=0)
    shard.next_offset = 0
    decoder = Decoder(shard)
    for at in range(5):
        values = [*lines(at, 3), None, b"{", b'note text="x" 1767225600']
        offsets = np.arange(at * 6, at * 6 + 6)
        batch, letters = decoder.decode(values, offsets, lambda _: -1, at * 6 + 6)
        assert [letter.reason for letter in letters] == ["json"]
        assert shard.process(batch).consumed == 3
    assert shard.next_offset == 30
    assert shard.series_count == 3
    assert shard.row_of('cpu.usage{host="h2"}') == 2
    assert shard.ledger["dead_letter"] == 5
    assert shard.ledger["empty"] == 10


def test_a_full_shard_refuses_with_a_reason_and_no_crash() -> None:
    shard = Shard(EngineConfig(max_series=2), topic="metrics", partition=0)
    shard.next_offset = 0
    batch, letters = Decoder(shard).decode(lines(0, 4), np.arange(4), lambda _: -1, 4)
    assert [(letter.index, letter.reason) for letter in letters] == [(2, "cardinality"), (3, "cardinality")]
    assert shard.process(batch).consumed == 2


def test_times_come_as_an_array_or_as_a_function(make_bench: Any) -> None:
    values = [b"up value=1", b"up value=2"]
    one, two = make_bench().decoder, make_bench().decoder
    batch, _ = one.decode(values, np.arange(2), lambda index: T + index, 2)
    again, _ = two.decode(values, np.arange(2), np.array([T, T + 1]), 2)
    assert batch.ts_ms.tolist() == again.ts_ms.tolist() == [T, T + 1]


def test_an_empty_batch_is_a_batch(bench: Any) -> None:
    batch, letters = bench.decode()
    assert (len(batch.row), letters, batch.next_offset) == (0, [], 0)


@pytest.mark.parametrize("speculate", [True, False])
def test_caches_are_bounded_and_forgetting_changes_nothing(
    speculate: bool, make_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_module, "MAX_CACHED", 20)
    bench = make_bench(speculate=speculate)
    for at in range(3):
        batch, letters = bench.decode(*lines(at, 50))
        assert letters == []
        assert batch.row.tolist() == list(range(50))
    assert len(bench.decoder._rows) + len(bench.decoder._heads) <= 40
    assert len(bench.shard.series) == 50


def test_where_all_is_known_at_sight_the_slow_caches_go(make_bench: Any) -> None:
    bench = make_bench()
    for at in range(4):
        bench.decode(*lines(at, 5_000))
    assert len(bench.decoder._rows) + len(bench.decoder._heads) == 0


def test_the_columns_of_a_batch_are_its_own(bench: Any) -> None:
    first, _ = bench.decode(*lines(0, 5))
    kept = first.value.tolist()
    bench.decode(*lines(7, 5))
    bench.decode(*lines(8, 5))
    assert first.value.tolist() == kept


def test_an_unknown_format_names_the_known_ones(make_bench: Any) -> None:
    with pytest.raises(ConfigError, match="telegraf-influx"):
        make_bench(format="xml")
