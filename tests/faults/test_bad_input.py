"""Bad input through the whole loop: no crash, one dead letter at most, and all others as if it had not been there.

The rows are the codecs' own table (B1-B45). Here they go through a broker, the real shard and the dead-letter topic.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.parcel import split
from engine.snapshot import State
from tests.agents.codecs.test_bad_input import CASES, good
from tests.faults.harness import Zygote, opened

HOSTS, TICKS = 6, 150
#: The embedded broker keeps 5 MiB of a partition, so the longest record is shorter here; it is as much too long.
LONGEST = 2 << 20
#: Reasons that depend on what the decoder's own test leaves out: a Kafka record has a time, and a limit that is set.
OTHERWISE = ("no_time", "oversize")


class Run(NamedTuple):
    """states: by entity. offsets: of each case. letters: value and headers of the dead letters."""

    states: dict[str, dict[str, bytes]]
    manifest: dict[str, Any]
    offsets: dict[str, int]
    letters: list[tuple[bytes | None, dict[str, bytes]]]


def run(zygote: Zygote, folder: Path, cases: dict[str, bytes | None]) -> Run:
    """Some ticks of good records, with the cases strewn in between."""
    left, offsets, at = dict(cases), {}, 0
    with opened(zygote, folder, partitions=1, plain=False) as world:
        for tick in range(TICKS):
            if left and tick >= 20:
                name = next(iter(left))
                offsets[name] = at
                record = left.pop(name)
                world.send(record[:LONGEST] if record else record, 0)
                at += 1
            for host in range(HOSTS):
                world.send(good(host, tick), 0)
                at += 1
        world.producer.flush()
        assert not left
        assert world.live(consume_records=100, snapshot_records=1_000) == 0
        state = world.states()[0]
        letters = [(one.value(), dict(one.headers())) for one in world.log("graft.dlq")]
        return Run(by_entity(state), state.manifest, offsets, letters)


def by_entity(state: State) -> dict[str, dict[str, bytes]]:
    """State of each good host, wherever its rows are."""
    found = {}
    for host in range(HOSTS):
        own, _ = split(state, {f"host=h{host}"})
        found[f"h{host}"] = {name: array.tobytes() for name, array in own.arrays.items() if name != "clock"}
    return found


@pytest.fixture(scope="module")
def runs(real_zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    records = {name: case.record for name, case in CASES.items()}
    bad = run(real_zygote, tmp_path_factory.mktemp("bad"), records)
    return bad, run(real_zygote, tmp_path_factory.mktemp("good"), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_one_dead_letter_at_most_with_its_bytes(runs: tuple[Run, Run], name: str) -> None:
    bad, _ = runs
    offset, case = str(bad.offsets[name]).encode(), CASES[name]
    own = [(value, headers) for value, headers in bad.letters if headers["graft.err.offset"] == offset]
    assert len(own) <= 1
    if case.reason not in OTHERWISE:
        assert [headers["graft.err.reason"].decode() for _, headers in own] == ([case.reason] if case.reason else [])
    for value, headers in own:
        assert value == case.record or (value or b"")[:4096] == (case.record or b"")[:4096]
        assert headers["graft.err.topic"] == b"metrics"
        assert headers["graft.err.detail"]


@pytest.mark.slow
def test_the_other_series_are_the_same_bit_for_bit(runs: tuple[Run, Run]) -> None:
    bad, clean = runs
    assert bad.states == clean.states


@pytest.mark.slow
def test_every_offset_is_accounted_for_once(runs: tuple[Run, Run]) -> None:
    bad, _ = runs
    assert sum(bad.manifest["ledger"].values()) == bad.manifest["next_offset"] == TICKS * HOSTS + len(CASES)
    assert bad.manifest["ledger"]["dead_letter"] == len(bad.letters)
    assert max(Counter(headers["graft.err.offset"] for _, headers in bad.letters).values()) == 1
