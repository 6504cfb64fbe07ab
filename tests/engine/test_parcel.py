"""Split and merge: parts that go their own way are, together, the whole."""

from __future__ import annotations

import numpy as np
import pytest

from engine.batch import Batch
from engine.errors import ConfigError
from engine.parcel import merge, split
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State
from tests.engine.logs import CONFIG, START_MS, admit, cold, cut, fleet_log


def by_entity(state: State) -> dict[str, dict[str, bytes]]:
    """Each entity's state by name, whatever its place."""
    parts, rest = {}, state
    for name in sorted(split_names(state)):
        own, rest = split(rest, {name})
        parts[name] = {key: array.tobytes() for key, array in own.arrays.items() if key != "clock"}
    return parts


def split_names(state: State) -> list[str]:
    return Shard.restore(state, CONFIG).roster.entities


def of_hosts(batch: Batch, rows: np.ndarray, renumber: dict[int, int]) -> Batch:
    mine = np.isin(batch.row, rows)
    row, ts, value, offset = (column[mine] for column in batch[:4])
    return Batch.of([renumber[int(r)] for r in row], ts, value, offset, batch.next_offset)


def test_split_and_merge_give_the_whole_again() -> None:
    shard = cold()
    rows = admit(shard, 5, 3)
    first, second = cut(fleet_log(rows, 200), [2000])
    shard.process(first)
    state = shard.export()
    one, two = split(state, {"host=h1", "host=h3"})
    again = merge(two, one)
    assert by_entity(again) == by_entity(state)

    # Each part folds its own samples on; joined, they are what the whole would have become.
    shard.process(second)
    ended = []
    for part in (one, two):
        alone = Shard.restore(part, CONFIG)
        numbers = {shard.row_of(text): row for row, text in enumerate(alone.roster.names)}
        alone.process(of_hosts(second, np.array(list(numbers)), numbers))
        ended.append(alone.export())
    assert by_entity(merge(ended[1], ended[0])) == by_entity(shard.export())


def test_a_series_lives_in_one_shard_only() -> None:
    shard = cold()
    admit(shard, 2, 2)
    with pytest.raises(ConfigError, match="is in both states"):
        merge(shard.export(), shard.export())
    with pytest.raises(ConfigError, match="not in this state"):
        split(shard.export(), {"host=nobody"})


def test_an_entity_lives_in_one_shard_only() -> None:
    """After a split, one part has seen a new series of a host that the other part has taken along."""
    shard = cold()
    admit(shard, 2, 2)
    one, two = split(shard.export(), {"host=h0"})
    keeper = Shard.restore(two, CONFIG)
    keeper.admit(Series.of("new", {"host": "h0"}, Kind.GAUGE))
    with pytest.raises(ConfigError, match="entity 'host=h0' is in both states"):
        merge(keeper.export(), one)


def test_an_open_question_goes_along_with_its_host() -> None:
    """It names a series by its row, and rows are counted anew in each part."""
    shard = cold()
    rows = admit(shard, 3, 10)
    batch = fleet_log(rows, 1200)
    stopped = (batch.row == rows[1, 6]) & (batch.ts_ms >= START_MS + 1100 * 60_000)
    shard.process(Batch.of(*(column[~stopped] for column in batch[:4]), batch.next_offset))
    one, two = split(shard.export(), {"host=h1"})
    for state in (shard.export(), one, merge(two, one)):
        held = Shard.restore(state, CONFIG)
        assert held.counters()["pending"] == 1
        (asked,) = held.roster.ents.life.about[held.roster.ents.life.about >= 0]
        assert held.roster.names[asked] == 'm6{host="h1"}'


def test_states_of_versions_with_other_arrays_are_not_put_together() -> None:
    shard = cold()
    admit(shard, 2, 2)
    one, two = split(shard.export(), {"host=h1"})
    for name in ("series.level.count", "entity.open.members", "block.ticks"):
        without = State(two.manifest, {key: array for key, array in two.arrays.items() if key != name})
        for keeper, parcel in ((without, one), (one, without)):
            with pytest.raises(ConfigError, match="made by different versions") as refusal:
                merge(keeper, parcel)
            assert name in str(refusal.value)
