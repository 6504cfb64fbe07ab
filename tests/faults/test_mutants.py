"""The suite under test: recovery code with one mistake in it must not get past the oracle.

Each mutant is named and described in mutants.py. The same lives with the real code are clean, so what is noticed is
the mistake. (The sixth mutant of the fault table, a position outside the transaction, is the outbox's:
tests/agents/notify/test_outbox_faults.py.)
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.harness import Findings, World, judge


def killed(world: World, point: str, lives: int, *, mutant: str, **options: Any) -> Findings:
    """Some lives that end at a point, then one that ends well."""
    for life in range(lives):
        world.feed(40)
        world.live(failpoint=f"{point}:{1 + life % 2}", mutant=mutant, **options)
    assert world.live(mutant=mutant) == 0
    return judge(world)


def between_commit_and_save(world: World, mutant: str) -> bool:
    return killed(world, "flushed", 6, mutant=mutant).clean


def saved_with_records_on_their_way(world: World, mutant: str) -> bool:
    # The producer waits a second for company, so that what is not flushed is still here when the worker dies.
    return killed(world, "saved", 6, mutant=mutant, properties={"linger.ms": 1_000}).clean


def another_version_takes_over(world: World, mutant: str) -> bool:
    # The last bits of a score may differ between versions; what an alert is called may not.
    world.feed(60)
    world.live(failpoint="flushed:2", mutant=mutant, jitter=1e-9, snapshot_records=1_000)
    world.feed(60)
    world.live(mutant=mutant)
    findings = judge(world)
    return not (findings.extra or findings.missing)


def bad_records_between_good_ones(world: World, mutant: str) -> bool:
    for _ in range(4):
        world.feed(20)
        world.send(b'{"series":"s0","ts_ms":"never","value":1e300}', 0)
        world.send(b'{"series":"s1","ts_ms":1,"value":9e18}', 1)
    world.feed(20)
    world.live(mutant=mutant)
    return judge(world).clean


def retention_overtakes(world: World, mutant: str) -> bool:
    """Records 20-29 of partition 0 are gone before they are read: a gap of exactly ten, told and counted."""
    world.feed(40)
    world.live(mutant=mutant)
    world.feed(80)
    world.broker.delete_records("metrics", 0, 30)
    world.live(mutant=mutant)
    world.feed(8)
    world.live(mutant=mutant)
    state = world.states()[0].manifest
    gaps = [one["evidence"]["records"] for one in world.told("drift") if one["kind"] == "gap"]
    whole = state["ledger"]["gap"] == 10 and sum(state["ledger"].values()) == state["next_offset"] == 64
    return whole and gaps[:1] == [10]


STORIES = {
    "commit-before-save": between_commit_and_save,
    "no-flush": saved_with_records_on_their_way,
    "score-in-id": another_version_takes_over,
    "learn-before-validate": bad_records_between_good_ones,
    "largest-instead-of-error": retention_overtakes,
}


@pytest.mark.parametrize("name", STORIES)
def test_the_real_code_is_clean(world: World, name: str) -> None:
    assert STORIES[name](world, "")


@pytest.mark.parametrize("name", STORIES)
def test_the_mutant_is_noticed(world: World, name: str) -> None:
    assert not STORIES[name](world, name)
