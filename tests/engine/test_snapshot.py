"""Laws of the snapshot format: what goes in comes back bit for bit, and equal states make equal bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from engine.errors import ConfigError, SnapshotError
from engine.snapshot import KINDS, State, json_column, pack, read_json_column, unpack
from engine.snapshot import codec as codec_module
from engine.snapshot import header as header_module
from engine.snapshot.head import DTYPES

KEY = b"k" * 32
OTHER = b"o" * 32

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
manifests = st.builds(
    lambda kind, rest: {**rest, "kind": kind},
    st.sampled_from(KINDS),
    st.dictionaries(st.text(max_size=8), plain_values, max_size=5),
)
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
array_values = st.sampled_from(sorted(DTYPES)).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
array_maps = st.dictionaries(st.from_regex(r"[a-z0-9_.]{1,12}", fullmatch=True), array_values, max_size=5)


def same_bits(a: State, b: State) -> bool:
    """Equal manifests, and arrays of equal type, shape and bytes: NaN with all its bits, and -0.0."""
    return a.manifest == b.manifest and {n: _bits(x) for n, x in a.arrays.items()} == {
        n: _bits(x) for n, x in b.arrays.items()
    }


def _bits(array: NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()


@given(manifests, array_maps, st.sampled_from([None, KEY]), st.booleans())
def test_what_is_packed_comes_back_bit_for_bit(
    manifest: dict[str, Any], arrays: dict[str, NDArray[Any]], key: bytes | None, copy: bool
) -> None:
    data = pack(manifest, arrays, key=key)
    assert same_bits(unpack(data, key=key, copy=copy), State(manifest, arrays))


@given(manifests, array_maps)
def test_equal_states_make_equal_bytes_whatever_their_order(
    manifest: dict[str, Any], arrays: dict[str, NDArray[Any]]
) -> None:
    turned = {name: np.asfortranarray(arrays[name]) for name in reversed(arrays)}
    turned = {name: array.reshape(arrays[name].shape) for name, array in turned.items()}
    assert pack(dict(reversed(manifest.items())), turned) == pack(manifest, arrays)


def test_packing_what_was_unpacked_gives_the_same_bytes() -> None:
    data = pack({"kind": "parcel", "b": 1, "a": [1.5, None]}, {"z": np.arange(3), "a": np.zeros((2, 0), np.float32)})
    assert pack(*unpack(data)) == data


def test_every_bit_pattern_of_nan_survives() -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF8DEADBEEF0000, 0x7FF0000000000001], np.uint64)
    back = unpack(pack({"kind": "checkpoint"}, {"x": bits.view(np.float64)})).arrays["x"]
    assert back.view(np.uint64).tolist() == bits.tolist()


def test_big_endian_and_strided_arrays_come_back_plain() -> None:
    wide = np.arange(12, dtype=">i4").reshape(3, 4)[::2, ::-1]
    back = unpack(pack({"kind": "checkpoint"}, {"x": wide})).arrays["x"]
    assert back.dtype == np.dtype("<i4")
    assert back.tolist() == wide.tolist()


def test_unpacked_arrays_are_owned_and_writable_and_views_are_not() -> None:
    data = pack({"kind": "checkpoint"}, {"x": np.arange(3.0), "empty": np.empty(0, np.int8), "one": np.array(1.0)})
    for name, array in unpack(data).arrays.items():
        assert array.flags.owndata, name
        assert array.flags.writeable, name
    for name, array in unpack(data, copy=False).arrays.items():
        assert not array.flags.writeable, name


def test_each_array_starts_on_a_line_of_its_own_in_the_file() -> None:
    arrays = {"a": np.full(9, 0x11, np.uint8), "b": np.full(70, 0x22, np.uint8), "c": np.full(9, 0xF3, np.uint8)}
    data = pack({"kind": "checkpoint"}, arrays)
    starts = [data.index(array.tobytes()) for array in arrays.values()]
    assert [start % 64 for start in starts] == [0, 0, 0]
    assert unpack(memoryview(data)).arrays["b"].tolist() == arrays["b"].tolist()


def test_a_snapshot_may_hold_nothing() -> None:
    assert unpack(pack({"kind": "source"}, {})) == State({"kind": "source"}, {})


@given(st.lists(st.text()))
def test_long_lists_go_through_a_column_of_json(texts: list[str]) -> None:
    assert read_json_column(unpack(pack({"kind": "parcel"}, {"texts": json_column(texts)})).arrays["texts"]) == texts


def test_a_column_that_is_not_json_is_a_snapshot_error() -> None:
    with pytest.raises(SnapshotError, match="column of JSON is not strict JSON"):
        read_json_column(np.frombuffer(b'["a",', np.uint8))


# What would not come back equal is refused on the way in, by name.
REFUSED_MANIFESTS = [
    ({}, "kind None cannot be packed"),
    ({"kind": "pickle"}, "one of checkpoint, parcel, source"),
    ({"kind": "source", "a": {"b": [0, float("nan")]}}, r"manifest\.a\.b\[1\] is nan"),
    ({"kind": "source", "a": (1, 2)}, r"manifest\.a is of type tuple"),
    ({"kind": "source", "a": {1: 2}}, r"manifest\.a has the key 1"),
    ({"kind": "source", "a": {"x"}}, r"manifest\.a is of type set"),
    ({"kind": "source", "a": np.int64(3)}, r"manifest\.a is of type int64"),
    ({"kind": "source", "a": ["x" * 1000] * 1100}, "Move long lists into an array with json_column"),
]


@pytest.mark.parametrize(("manifest", "said"), REFUSED_MANIFESTS)
def test_a_manifest_that_would_not_come_back_is_refused(manifest: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pack(manifest, {})


REFUSED_ARRAYS: list[tuple[str, object, str]] = [
    ("Upper", np.zeros(1), "name is of"),
    ("", np.zeros(1), "name is of"),
    ("a" * 101, np.zeros(1), "name is of"),
    ("../a", np.zeros(1), "name is of"),
    ("a\n", np.zeros(1), "name is of"),
    ("a", np.array([None]), "type object"),
    ("a", np.array(["x"]), "type <U1"),
    ("a", np.zeros(1, np.complex128), "type complex128"),
    ("a", np.zeros(1, np.float16), "type float16"),
    ("a", np.zeros(1, "datetime64[ms]"), "type datetime64"),
    ("a", np.zeros(1, [("x", np.int8)]), "snapshot takes arrays of"),
    ("a", [1.0], "type list"),
    ("a", np.zeros((1,) * 9), "9 dimensions"),
    ("a", np.array([2], np.uint8).view(np.bool_), "neither 0 nor 1"),
]


@pytest.mark.parametrize(("name", "array", "said"), REFUSED_ARRAYS)
def test_an_array_that_no_snapshot_can_hold_is_refused(name: str, array: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pack({"kind": "parcel"}, {name: array})


def test_more_arrays_than_can_be_read_are_not_written() -> None:
    with pytest.raises(ConfigError, match="4097 arrays"):
        pack({"kind": "parcel"}, {f"a{at}": np.empty(0) for at in range(4097)})


# Signatures.
SIGNATURES = [
    (None, None, None, None),
    (KEY, KEY, None, None),
    (KEY, (OTHER, KEY), None, None),
    ((KEY, OTHER), KEY, None, None),
    (KEY, KEY, False, None),
    (None, KEY, True, None),
    (None, None, True, None),
    (KEY, OTHER, None, "its signature does not match"),
    (KEY, OTHER, True, "its signature does not match"),
    ((KEY, OTHER), OTHER, None, "its signature does not match"),
    (KEY, None, None, "there is no key to check that with"),
    (KEY, None, True, "there is no key to check that with"),
    (None, KEY, None, "it is not signed and a signature is wanted"),
    (None, None, False, "it is not signed and a signature is wanted"),
]


@pytest.mark.parametrize(("signed_with", "read_with", "allow_unsigned", "said"), SIGNATURES)
def test_a_signature_is_wanted_where_there_is_a_key(
    signed_with: Any, read_with: Any, allow_unsigned: bool | None, said: str | None
) -> None:
    data = pack({"kind": "source"}, {"a": np.arange(3)}, key=signed_with)
    if said is None:
        assert unpack(data, key=read_with, allow_unsigned=allow_unsigned).arrays["a"].tolist() == [0, 1, 2]
    else:
        with pytest.raises(SnapshotError, match=said):
            unpack(data, key=read_with, allow_unsigned=allow_unsigned)


@pytest.mark.parametrize("key", [b"", (KEY, b"")])
def test_an_empty_key_signs_nothing(key: Any) -> None:
    with pytest.raises(ConfigError, match="empty, so that anybody could sign"):
        pack({"kind": "source"}, {}, key=key)


# Versions.
def test_a_newer_major_version_says_which_it_is_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "MAJOR", 3)
    data = pack({"kind": "source"}, {})
    monkeypatch.undo()
    with pytest.raises(SnapshotError, match=r"it has format 3\.0 and this Graft reads up to 1\.x; upgrade Graft"):
        unpack(data)


def test_a_newer_minor_version_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header_module, "MINOR", 7)
    data = pack({"kind": "source"}, {"a": np.arange(2)})
    monkeypatch.undo()
    assert unpack(data).arrays["a"].tolist() == [0, 1]


def rename_rows(manifest: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {**manifest, "rows": manifest["size"]}, {"level.mean": arrays["mean"]}


def double(manifest: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return manifest, {name: 2 * array for name, array in arrays.items()}


def test_an_older_version_goes_through_each_step_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack({"kind": "source", "size": 2}, {"mean": np.array([1.0, 2.0])})
    monkeypatch.setattr(header_module, "MAJOR", 3)
    monkeypatch.setattr(codec_module, "MIGRATIONS", {1: rename_rows, 2: double})
    state = unpack(data)
    assert state.manifest == {"kind": "source", "size": 2, "rows": 2}
    assert state.arrays["level.mean"].tolist() == [2.0, 4.0]


def test_an_older_version_without_a_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pack({"kind": "source", "size": 2}, {"mean": np.array([1.0, 2.0])})
    monkeypatch.setattr(header_module, "MAJOR", 3)
    monkeypatch.setattr(codec_module, "MIGRATIONS", {1: rename_rows})
    with pytest.raises(SnapshotError, match="without a way from 2 to 3; open it with an older Graft"):
        unpack(data)
