"""What consume() returned, in order and once: the cheap way and the slow way say the same."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.detector import intake
from agents.recovery.held import Place


class Fake(NamedTuple):
    """A message as confluent's are asked."""

    where: tuple[str, int]
    at: int

    def topic(self) -> str:
        return self.where[0]

    def partition(self) -> int:
        return self.where[1]

    def offset(self) -> int:
        return self.at

    def error(self) -> None:
        return None


def usual(monkey: pytest.MonkeyPatch) -> None:
    monkey.setattr(intake, "Message", Fake)


TOPICS = ("a", "b")
PLACES = st.tuples(st.sampled_from(TOPICS), st.integers(0, 2))


@given(st.lists(st.tuples(PLACES, st.integers(1, 4)), max_size=12))
def test_each_partition_in_its_order(stretches: list[tuple[tuple[str, int], int]]) -> None:
    messages, ends = [], dict[tuple[str, int], int]()
    for where, length in stretches:
        for _ in range(length):
            messages.append(Fake(where, ends.setdefault(where, 0)))
            ends[where] += 1
    with pytest.MonkeyPatch.context() as monkey:
        usual(monkey)
        found = intake.sort(messages, TOPICS)  # type: ignore[arg-type]
    assert {place: [one.offset() for one in run] for place, run in found.runs.items()} == {
        Place(*where): list(range(end)) for where, end in ends.items()
    }


@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(0, 45))
def test_each_offset_once_and_never_backwards(offsets: list[int], start: int) -> None:
    messages = [Fake(("a", 0), offset) for offset in offsets]
    expected: list[int] = []
    for offset in offsets:
        if offset > (expected[-1] if expected else start - 1):
            expected.append(offset)
    with pytest.MonkeyPatch.context() as monkey:
        usual(monkey)
        found = intake.fresh(messages, start)  # type: ignore[arg-type]
    if (offsets[0] >= start) and offsets[-1] - offsets[0] + 1 == len(offsets) and offsets != expected:
        return  # repeats that look like a row are told apart by the rebalance that brings them
    assert (found.offsets.tolist() if found else []) == expected
    assert found is None or found.next_offset == expected[-1] + 1
