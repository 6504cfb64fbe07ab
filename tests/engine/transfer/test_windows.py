"""Windows and twins: what is not learned is not learned by the second version either, nor by what judges the two."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import frozen
from engine.parcel import merge, split
from engine.prior import Prior
from engine.shard import Shard
from engine.snapshot import diff, pack, unpack
from engine.windows import COLUMN, Window
from tests.engine.transfer.test_twins import HERE, waiting
from tests.engine.transfer.towns import CONFIG, DAY, START_MS, STEP_MS, log, values

#: Three hours in the middle of the trials, on one of the hosts.
BEGIN, END = 30, 48
WINDOW = Window("host=secret-1", None, START_MS + BEGIN * STEP_MS, START_MS + END * STEP_MS, "one")
WIDTH = HERE.hosts * len(HERE.names)


def ill(ticks: int = 2 * DAY) -> Any:
    """The town with an outage of the host in the window."""
    numbers = values(HERE, ticks)
    numbers[BEGIN:END, 1] += 400.0
    return numbers


def marked(*priors: Prior) -> Shard:
    shard = waiting(list(priors) or None)
    shard.windows.add(WINDOW, now_ms=0)
    return shard


def learned(shard: Shard) -> dict[str, bytes]:
    """What the twins of the host, and their judges, have learned."""
    found, own = {}, shard.roster
    mine = own.members_of(own.entity_of(WINDOW.entity))
    found["guard.other"] = own.rows.guard.other[mine].tobytes()
    for k, roster in enumerate(shard.twins.rosters):
        e = roster.entity_of(WINDOW.entity)
        if e < 0:
            continue
        rows = roster.members_of(e)
        for group, columns, table, at in (
            ("series", roster.rows, frozen.SERIES, rows),
            ("entity", roster.ents, frozen.ENTITY, [e]),
        ):
            for name, fields in table.items():
                for field in fields:
                    array = getattr(getattr(columns, name), field)
                    is_bucket_major = name == "season" and array.ndim == 2
                    found[f"{k}.{group}.{name}.{field}"] = (array[:, at] if is_bucket_major else array[at]).tobytes()
        for b in roster.blocks_of(e):
            part = roster.part(b)
            found |= {f"{k}.{b}.{name}": part[name].tobytes() for name in frozen.BLOCK}
        found[f"{k}.bets"] = b"".join(column[rows].tobytes() for column in shard.twins._trial(k).forecasts)
    return found


def test_the_second_version_and_its_judges_learn_nothing_of_a_window(alike: Prior, hostile: Prior) -> None:
    """Between two looks, for a look decides, by what was learned before."""
    shard = marked(hostile, alike)
    numbers = ill()
    shard.process(log(numbers[: BEGIN + 1]))
    before = learned(shard)
    assert len(before) > 50
    assert len(shard.twins) > 0
    shard.process(log(numbers[BEGIN + 1 : END], BEGIN + 1))
    after = learned(shard)
    assert {name for name in before if name in after and before[name] != after[name]} == set()
    assert set(after) & set(before) > {"guard.other"}


@pytest.mark.parametrize("pieces", [3, 29])
def test_cuts_and_crashes_change_nothing(alike: Prior, hostile: Prior, pieces: int) -> None:
    whole = marked(hostile, alike)
    numbers = ill(DAY)
    verdicts = whole.process(log(numbers))
    other, at = marked(hostile, alike), 0
    ids: list[str] = []
    edges = np.sort(np.random.default_rng(pieces).choice(np.arange(1, DAY), pieces, replace=False)).tolist()
    for edge in [*edges, DAY]:
        ids += [one.value["id"] for one in other.process(log(numbers[at:edge], at)).records]
        other, at = Shard.restore(unpack(pack(*other.export())), CONFIG), edge
    assert ids == [one.value["id"] for one in verdicts.records]
    assert diff(other.export(), whole.export()) == []


def test_a_seed_that_is_refused_leaves_the_state_of_a_cold_start_with_the_same_window(hostile: Prior) -> None:
    seeded, cold = marked(hostile), marked()
    numbers = ill()
    a, b = seeded.process(log(numbers)), cold.process(log(numbers))
    np.testing.assert_array_equal(a.ticks.severity, b.ticks.severity)
    differs = {line for line in diff(seeded.export(), cold.export()) if "seed." not in line and "prior0" not in line}
    assert {line.split(":")[0] for line in differs} <= {"manifest.seed"}


def test_entities_on_trial_take_their_windows_along(alike: Prior) -> None:
    whole = marked(alike)
    numbers, half = ill(DAY), (BEGIN + END) // 2
    whole.process(log(numbers[:half]))
    moved, kept = split(whole.export(), {WINDOW.entity})
    assert COLUMN in moved.arrays
    assert COLUMN not in kept.arrays
    together = Shard.restore(merge(kept, moved), CONFIG)
    assert list(together.windows) == [WINDOW]
    rest = log(numbers[half:], half)
    theirs = np.array([together.row_of(name) for name in whole.roster.names], np.int32)
    a, b = whole.process(rest), together.process(rest._replace(row=theirs[rest.row]))
    for name in ("severity", "page", "outcome"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
