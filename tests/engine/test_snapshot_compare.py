"""Laws of diff and describe: silent on equal bits, one line for each thing that differs."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.snapshot import State, describe, diff
from engine.snapshot.head import DTYPES

any_array = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4))
)


def state(**arrays: object) -> State:
    return State({"kind": "checkpoint"}, {name: np.asarray(array) for name, array in arrays.items()})


@given(any_array, any_array)
def test_no_line_if_and_only_if_the_bits_are_equal(a: np.ndarray, b: np.ndarray) -> None:
    same = (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    assert (diff(state(x=a), state(x=b)) == []) == same
    assert diff(state(x=a), state(x=a.copy())) == []


def test_manifest_keys_by_their_way() -> None:
    a = State({"kind": "checkpoint", "n": 1, "deep": {"x": [1, 2], "old": True}, "same": [1]}, {})
    b = State({"kind": "source", "n": 1.0, "deep": {"x": [1, 3, 4], "new": None}, "same": [1]}, {})
    assert diff(a, b) == [
        "manifest.deep.new: added, is None",
        "manifest.deep.old: removed, was True",
        "manifest.deep.x: 2 -> 3 entries, the first difference at [1]: 2 -> 3",
        "manifest.kind: 'checkpoint' -> 'source'",
        "manifest.n: 1 -> 1.0",
    ]


def test_lists_that_only_grow() -> None:
    assert diff(State({"a": [1]}, {}), State({"a": [1, 2]}, {})) == [
        "manifest.a: 1 -> 2 entries, the first difference at [1]: nothing -> 2"
    ]


def test_arrays_that_come_go_and_change_their_form() -> None:
    a = state(gone=np.zeros(2), wider=np.zeros(2, np.float32), longer=np.zeros(2))
    b = state(new=np.zeros((2, 3), np.int8), wider=np.zeros(2), longer=np.zeros(3))
    assert diff(a, b) == [
        "array gone: removed, was float64 [2]",
        "array longer: float64 [2] -> float64 [3]",
        "array new: added, is int8 [2, 3]",
        "array wider: float32 [2] -> float64 [2]",
    ]


def test_how_many_changed_and_by_how_much() -> None:
    assert diff(state(x=[1.0, 2.0, 4.0]), state(x=[1.0, 2.5, 4.0])) == ["array x: 1 of 3 changed, by at most 20 %"]
    assert diff(state(x=[1, 2]), state(x=[2, -2])) == ["array x: 2 of 2 changed, by at most 200 %"]
    assert diff(state(x=[True, False]), state(x=[True, True])) == ["array x: 1 of 2 changed"]


def test_numbers_at_the_edges() -> None:
    nan, big = np.nan, np.finfo(np.float64).max
    assert diff(state(x=[nan, 1.0]), state(x=[2.0, 1.0])) == [
        "array x: 1 of 2 changed, 1 of them to or from NaN or infinity"
    ]
    assert diff(state(x=[big]), state(x=[-big])) == ["array x: 1 of 1 changed, by at most 200 %"]
    assert diff(state(x=[0.0]), state(x=[-0.0])) == ["array x: 1 of 1 changed, by at most 0 %"]
    assert len(diff(state(x=[5e-324]), state(x=[0.0]))) == 1


def test_describe_is_plain_json_with_the_largest_first() -> None:
    manifest = {"kind": "source", "text": "x" * 99, "list": [1, 2]}
    told = describe(State(manifest, {"a": np.zeros(1), "b": np.zeros((2, 2))}))
    assert json.loads(json.dumps(told)) == told
    assert (told["kind"], told["bytes"]) == ("source", 40)
    assert [one["name"] for one in told["arrays"]] == ["b", "a"]
    assert told["manifest"]["list"] == "2 entries"
    assert told["manifest"]["text"].endswith("(101 characters)")
