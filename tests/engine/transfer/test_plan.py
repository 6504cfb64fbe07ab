"""Laws of planning: reproducible, plain data, far sources refused, other names recognised by behaviour."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import ConfigError
from engine.snapshot import State, pack, read_json_column, unpack
from engine.transfer import Plan, plan, read_prior
from engine.transfer.match import ADAPT, COLD, NAMED, REUSE
from tests.engine.transfer.towns import METRICS, Town, grown, source


@pytest.fixture(scope="module")
def lender() -> State:
    return source(Town(seed=1))


def zones(made: Plan) -> dict[str, str]:
    return {entry.target: entry.zone for entry in made.entries}


def test_a_plan_is_reproducible(lender: State) -> None:
    target = grown(Town(seed=2), days=2)
    first = plan(lender, target)
    again = plan(unpack(pack(lender.manifest, lender.arrays)), unpack(pack(target.manifest, target.arrays)))
    assert first == again
    assert first.id == again.id
    assert first.id != plan(lender, grown(Town(seed=3), days=2)).id


def test_a_plan_is_plain_data_and_a_table(lender: State) -> None:
    made = plan(lender, grown(Town(seed=2), days=2))
    told = json.loads(json.dumps(made.to_dict(), allow_nan=False))
    assert told["schema"] == "graft.plan/1"
    assert told["seeded"] + told["cold"] == len(METRICS)
    table = made.table()
    assert [len(row) for row in table] == [len(table[0])] * (1 + len(METRICS))


def test_a_twin_is_reused_whatever_its_unit(lender: State) -> None:
    made = plan(lender, grown(Town(seed=2, scale=1000.0, level=5.0), days=2))
    assert set(zones(made).values()) == {REUSE}


def test_a_target_of_an_hour_goes_by_name(lender: State) -> None:
    assert set(zones(plan(lender, _young(ticks=12))).values()) == {NAMED}
    assert set(zones(plan(lender, _young(ticks=2))).values()) == {NAMED}


def _young(ticks: int) -> State:
    from tests.engine.transfer.towns import log, shard, values

    town = Town(seed=2)
    target = shard(town)
    target.process(log(values(town, ticks)))
    return target.export()


@pytest.mark.parametrize("far", [Town(seed=2, harmonic=2), Town(seed=2, harmonic=3, phase_h=8.0)])
def test_a_stranger_stays_cold_and_says_why(lender: State, far: Town) -> None:
    made = plan(lender, grown(far, days=2))
    assert set(zones(made).values()) == {COLD}
    assert all("shape of the day" in entry.because for entry in made.entries)
    assert made.to_dict()["seeded"] == 0
    assert read_prior(lender, made).summary()["classes"] == 0


def test_other_names_are_recognised_by_behaviour_and_seeded_weakly(lender: State) -> None:
    renamed = Town(seed=2, names=("a.cpu", "a.load", "a.latency", "a.queue"))
    made = plan(lender, grown(renamed, days=4))
    assert set(zones(made).values()) == {ADAPT}
    assert {entry.by for entry in made.entries} == {"fingerprint"}
    assert all(entry.source in METRICS for entry in made.entries)


def test_only_what_is_planned_is_lent(lender: State) -> None:
    made = plan(lender, grown(Town(seed=2), days=2))
    some = replace(made, entries=tuple(replace(e, zone=COLD) if e.target == "cpu" else e for e in made.entries))
    lent = read_prior(lender, some)
    assert sorted(read_json_column(lent.arrays()["classes"])) == sorted(set(METRICS) - {"cpu"})
    assert lent.summary() == {
        "environment": "old town",
        "source": made.source["digest"],
        "classes": 3,
        "entity": {"channels": 3000.0, "ticks": 5000.0, "age": 32.0},
    }


def test_a_plan_for_another_source_is_refused(lender: State) -> None:
    made = plan(source(Town(seed=9)), grown(Town(seed=2), days=2))
    with pytest.raises(ConfigError, match="made for another source"):
        read_prior(lender, made)


def test_a_source_of_another_engine_is_refused_in_words(lender: State) -> None:
    old = State({**lender.manifest, "engine": "0"}, lender.arrays)
    assert plan(old, grown(Town(seed=2), days=2)).to_dict()["refused"].startswith("the source was cut by engine 0")


def test_a_plan_needs_a_source_and_a_target(lender: State) -> None:
    with pytest.raises(ConfigError, match="from a 'source' to a 'source'"):
        plan(lender, lender)


def test_distance_is_symmetric_in_unit_and_grows_with_difference(lender: State) -> None:
    far = [
        float(np.mean([entry.distance for entry in plan(lender, grown(Town(seed=2, noise=noise), days=4)).entries]))
        for noise in (0.25, 0.6, 2.0)
    ]
    assert far[0] < far[1] < far[2]
