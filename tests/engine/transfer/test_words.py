"""What changed between two sources, in words: silent only on equal bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.components import tail
from engine.series import Kind
from engine.snapshot import State
from engine.transfer import distil, merge
from engine.transfer.words import words
from tests.engine.transfer.towns import METRICS, Town, grown, source


@pytest.fixture(scope="module")
def made() -> State:
    return source(Town(hosts=3))


def changed(made: State, **arrays: Any) -> State:
    return State(made.manifest, {**made.arrays, **arrays})


def one_class(made: State, name: str, k: int, value: Any) -> State:
    array = made.arrays[name].copy()
    array[k] = value
    return changed(made, **{name: array})


def test_equal_sources_have_nothing_to_say(made: State) -> None:
    assert words(made, source(Town(hosts=3))) == []


def test_a_class_is_new_or_gone(made: State) -> None:
    other = source(Town(hosts=3, names=("cpu", "load", "new")))
    told = words(made, other)
    assert "class latency is gone" in told
    assert "class queue is gone" in told
    assert "class new is new, with 3 series" in told


def test_what_has_become_of_a_class(made: State) -> None:
    cpu = sorted(METRICS).index("cpu")
    assert words(made, one_class(made, "step", cpu, made.arrays["step"][cpu] + np.log(1.4))) == [
        "class cpu: restlessness x1.4"
    ]
    assert words(made, one_class(made, "sigma", cpu, made.arrays["sigma"][cpu] / 2)) == ["class cpu: surprise x0.5"]
    assert words(made, one_class(made, "kind", cpu, Kind.COUNTER)) == ["class cpu: a counter, was a gauge"]
    assert words(made, one_class(made, "series", cpu, 9)) == ["class cpu: 3 -> 9 series"]
    assert words(made, one_class(made, "step_ms", cpu, 60_000)) == ["class cpu: step 600 s -> 60 s"]
    far = made.arrays["tail"][cpu].copy()
    far[tail.BINS - 5] += 0.02
    assert words(made, one_class(made, "tail", cpu, far)) == ["class cpu: tail heavier"]
    assert words(one_class(made, "tail", cpu, far), made) == ["class cpu: tail lighter"]


@pytest.mark.parametrize(("slots", "said"), [(8, "2 h later"), (-8, "2 h earlier"), (20, "5 h later")])
def test_a_shape_that_has_moved(made: State, slots: int, said: str) -> None:
    moved = one_class(made, "shape", 0, np.roll(made.arrays["shape"][0], slots))
    assert words(made, moved) == [f"class cpu: shape moved {said}"]


def test_a_shape_that_has_changed(made: State) -> None:
    other = np.sin(2 * np.pi * np.arange(96) / 24)
    (line,) = words(made, one_class(made, "shape", 0, other))
    assert line.startswith("class cpu: shape changed (correlation ")


def test_less_than_a_word_is_said_too(made: State) -> None:
    (line,) = words(made, one_class(made, "ratio", 0, made.arrays["ratio"][0] * 1.001))
    assert line == "nothing of any class changed by more than is worth a word; 1 arrays differ in bits"
    told = State({**made.manifest, "class_count": 5}, made.arrays)
    assert words(made, told) == ["manifest.class_count: 4 -> 5"]


def test_what_a_merge_and_a_new_cut_changed(made: State) -> None:
    other = source(Town(hosts=3, seed=4))
    assert "merged of 2 sources" in words(made, merge([made, other]))
    third = source(Town(hosts=2, seed=5))
    merged = merge([made, other])
    assert "merged of 3 sources, 1 more and 0 fewer than the first" in words(merged, merge([made, other, third]))
    assert "cut from one state, where the first was merged of 2 sources" in words(merged, made)
    later = distil(grown(Town(hosts=3), days=15), owner="blue", licence="CC0")
    told = words(made, later)
    assert "cut at offset 25920 of metrics-0, not at 24192" in told
    assert {"owner: not said -> blue", "licence: not said -> CC0", "age samples: 2016 -> 2160"} <= set(told)
