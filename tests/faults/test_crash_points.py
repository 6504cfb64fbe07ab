"""A worker is killed at each named point, at least twenty times each, and nothing of it can be seen afterwards.

Random kills hardly ever hit the few microseconds that matter: a worker that commits before it saves passed seventy of
them. So each step of durability has a name, and dies there (F1-F6, F8 of the fault table).
"""

from __future__ import annotations

import pytest

from tests.faults.harness import KILLED, World, judge

HITS = 20

POINTS = {
    "F1": "mid-batch",
    "F2": "produced",
    "F3": "flushed",
    "F4": "snapshot-half",
    "F5": "snapshot-written",
    "F6": "snapshot-synced",
    "F7": "snapshot-renamed",
    "F8": "saved",
}


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS.values(), ids=[f"{name}-{point}" for name, point in POINTS.items()])
def test_killed_at_a_named_point(world: World, point: str) -> None:
    hits = lives = 0
    while hits < HITS:
        world.feed(40)
        lives += 1
        status = world.live(failpoint=f"{point}:{1 + lives % 3}")
        hits += status == KILLED
        assert lives < 3 * HITS, f"{point} was hit {hits} times in {lives} lives only"
    assert world.live() == 0
    findings = judge(world)
    assert findings.clean, findings
    assert len(world.told("alerts")) >= 20, "a test without alerts proves nothing"


def test_a_life_without_faults(world: World) -> None:
    world.feed(300)
    assert world.live() == 0
    findings = judge(world)
    assert findings.clean, findings
    told = world.told("alerts")
    assert len(told) == len({one["id"] for one in told}) >= 5
