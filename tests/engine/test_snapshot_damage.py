"""Nothing that is damaged, cut, foreign or forged is ever loaded, and refusing it takes no more memory than it has."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SnapshotError
from engine.snapshot import pack, unpack

KEY = b"k" * 32
#: Of the interpreter and of the messages, whatever the size of the file.
OVERHEAD_BYTES = 64 << 10


def sample(key: bytes | None = None) -> bytes:
    generator = np.random.default_rng(3)
    arrays = {
        "level.mean": generator.normal(size=500),
        "level.seen": generator.integers(0, 99, 300, np.int32),
        "flags": generator.random(100) < 0.5,
        "season.shape": generator.normal(size=(7, 24)).astype(np.float32),
    }
    manifest = {"kind": "checkpoint", "topic": "metrics", "partition": 3, "next_offset": 12_345}
    return pack(manifest, arrays, key=key)


DATA = sample()
SIGNED = sample(KEY)
HEAD_END = 96 + struct.unpack_from("<Q", DATA, 16)[0]


def refused(data: bytes | bytearray, **options: Any) -> str:
    """Why data is refused; within twice the memory that it has itself."""
    tracemalloc.start()
    try:
        with pytest.raises(SnapshotError) as caught:
            unpack(bytes(data), **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * len(data) + OVERHEAD_BYTES
    return str(caught.value)


def test_the_sample_is_good() -> None:
    assert unpack(DATA).manifest["next_offset"] == 12_345
    assert unpack(SIGNED, key=KEY).manifest["next_offset"] == 12_345


@pytest.mark.parametrize("part", range(64))
def test_cut_short_at_any_64th(part: int) -> None:
    refused(DATA[: len(DATA) * part // 64])
    refused(SIGNED[: len(SIGNED) * part // 64], key=KEY)


@pytest.mark.parametrize("tail", [b"\0", b"x" * 64, DATA])
def test_something_added_at_the_end(tail: bytes) -> None:
    assert "something was added" in refused(DATA + tail)


def test_every_bit_of_header_and_manifest() -> None:
    for data, key in ((DATA, None), (SIGNED, KEY)):
        for at in range(HEAD_END):
            for bit in range(8):
                broken = bytearray(data)
                broken[at] ^= 1 << bit
                with pytest.raises(SnapshotError):
                    unpack(bytes(broken), key=key)


def test_a_thousand_bits_of_the_data() -> None:
    chooser = random.Random(7)
    for _ in range(1_000):
        broken = bytearray(DATA)
        broken[chooser.randrange(HEAD_END, len(DATA))] ^= 1 << chooser.randrange(8)
        with pytest.raises(SnapshotError, match="its sha256 does not match"):
            unpack(bytes(broken))


def test_a_file_that_is_larger_than_allowed_is_not_looked_into() -> None:
    assert "at most 100 are read" in refused(b"\0" * 101, max_bytes=100)


def test_cutting_the_signature_off_does_not_help() -> None:
    fields = bytearray(SIGNED[:32])
    struct.pack_into("<I", fields, 12, 0)
    forged = bytes(fields) + sha256(fields + SIGNED[96:]).digest() + bytes(32) + SIGNED[96:]
    assert "a signature is wanted" in refused(forged, key=KEY)
    assert unpack(forged).manifest["partition"] == 3


FOREIGN = {
    b"": "it is empty",
    b"\x89GRA": "ends after 4 bytes",
    b"\x89GRAFT\r\n": "of its header",
    b"\x89GRAFT\n": "it is not a Graft snapshot but",
    b"PK\x03\x04npz": "a zip, npz or docx file",
    b"\x80\x04\x95pickle": "a pickle, which is never loaded",
    b"\x1f\x8b\x08": "unpack it first",
    b"\x93NUMPY\x01": "an npy file",
    b'{"schema": 1}': "JSON",
    b"timestamp,value\n": "starting with b'timestam'",
}


@pytest.mark.parametrize(("data", "said"), FOREIGN.items())
def test_other_files_are_called_by_their_name(data: bytes, said: str) -> None:
    assert said in refused(data)


@settings(max_examples=500)
@given(st.binary(max_size=300))
def test_random_bytes(noise: bytes) -> None:
    for data in (noise, DATA[:8] + noise, DATA[:32] + noise, forge(noise, b"")):
        with pytest.raises(SnapshotError):
            unpack(data)


# Forged with a right checksum: an enemy can compute one too.
def forge(head: bytes, data: bytes, *, head_bytes: int | None = None, data_bytes: int | None = None) -> bytes:
    said_head = len(head) if head_bytes is None else head_bytes
    said_data = len(data) if data_bytes is None else data_bytes
    fields = struct.pack("<8sHHIQQ", DATA[:8], 1, 0, 0, said_head, said_data)
    rest = head + bytes(-(96 + len(head)) % 64) + data
    return fields + sha256(fields + rest).digest() + bytes(32) + rest


def head_of(*arrays: dict[str, Any], **changes: Any) -> dict[str, Any]:
    plain = {"arrays": list(arrays), "creator": "graft", "kind": "source", "manifest": {}, "schema": "graft.snapshot/1"}
    return {**plain, **changes}


def spec(name: object = "a", **changes: Any) -> dict[str, Any]:
    return {"name": name, "dtype": "float64", "shape": [2], "offset": 0, "bytes": 16, **changes}


def forged(*arrays: dict[str, Any], data: bytes = bytes(16), **changes: Any) -> bytes:
    return forge(json.dumps(head_of(*arrays, **changes)).encode(), data)


def test_the_forger_can_make_a_good_one() -> None:
    assert unpack(forged(spec())).arrays["a"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("size", [0, 1, 15, 17, 1 << 20, (1 << 20) + 1, 1 << 40, (1 << 64) - 1])
def test_forged_lengths(size: int) -> None:
    head = json.dumps(head_of(spec())).encode()
    refused(forge(head, bytes(16), data_bytes=size))
    refused(forge(head, bytes(16), head_bytes=size))


HUGE = 1 << 62
FORGED_SPECS: list[tuple[tuple[dict[str, Any], ...], str]] = [
    ((spec("A"),), "not of [a-z0-9_.]"),
    ((spec(""),), "not of [a-z0-9_.]"),
    ((spec("a/../b"),), "not of [a-z0-9_.]"),
    ((spec("a" * 101),), "not of [a-z0-9_.]"),
    ((spec(7),), "not of [a-z0-9_.]"),
    ((spec(dtype="object"),), "has type 'object'"),
    ((spec(dtype="|O"),), "has type '|O'"),
    ((spec(dtype=">f8"),), "has type '>f8'"),
    ((spec(dtype="float128"),), "has type"),
    ((spec(dtype=["float64"]),), "has type"),
    ((spec(dtype={"names": ["x"]}),), "has type"),
    ((spec(shape=2),), "no possible shape"),
    ((spec(shape=[-2]),), "no possible shape"),
    ((spec(shape=[-1, -2]),), "no possible shape"),
    ((spec(shape=[2.0]),), "no possible shape"),
    ((spec(shape=[True, 2]),), "no possible shape"),
    ((spec(shape=["2"]),), "no possible shape"),
    ((spec(shape=[1] * 9),), "no possible shape"),
    ((spec(shape=[HUGE]),), "no possible shape"),
    ((spec(shape=[1 << 61, 1 << 61]),), "which is not 16 bytes"),
    ((spec(shape=[1 << 40], bytes=8 << 40),), "its arrays take"),
    ((spec(shape=[0, 1 << 61], bytes=0),), "which no memory could hold"),
    ((spec(shape=[3]),), "which is not 16 bytes"),
    ((spec(bytes=15),), "which is not 15 bytes"),
    ((spec(bytes=-16),), "no whole number"),
    ((spec(offset=-64),), "no whole number"),
    ((spec(offset=0.0),), "no whole number"),
    ((spec(offset=64),), "says offset 64"),
    ((spec(offset=8),), "says offset 8"),
    ((spec("a"), spec("a", offset=64)), "names are sorted and come once"),
    ((spec("b"), spec("a", offset=64)), "names are sorted and come once"),
    ((spec("a"), spec("b", offset=0)), "says offset 0"),
    ((spec("a"), spec("b", offset=16)), "says offset 16"),
    ((spec("a"), spec("b", offset=64)), "its arrays take 80 bytes and its data has 16"),
    ((spec(more=1),), "is not an object with"),
    (({"name": "a"},), "is not an object with"),
    ((), "its arrays take 0 bytes"),
]


@pytest.mark.parametrize(("arrays", "said"), FORGED_SPECS)
def test_forged_arrays(arrays: tuple[dict[str, Any], ...], said: str) -> None:
    assert said in refused(forged(*arrays))


def test_arrays_that_are_no_objects() -> None:
    for entry in (1, None, "a", [], ["name", "dtype", "shape", "offset", "bytes"]):
        assert "is not an object with" in refused(forged(arrays=[entry]))


def test_a_boolean_is_0_or_1() -> None:
    flag = spec(dtype="bool", shape=[1], bytes=1)
    assert unpack(forged(flag, data=b"\1")).arrays["a"].tolist() == [True]
    assert "neither 0 nor 1" in refused(forged(flag, data=b"\2"))


FORGED_HEADS: list[tuple[dict[str, Any], str]] = [
    ({"schema": "graft.snapshot/2"}, "has schema 'graft.snapshot/2'"),
    ({"kind": "pickle"}, "is of kind 'pickle'"),
    ({"kind": ["source"]}, "is of kind ['source']"),
    ({"creator": 1}, "a creator that is no text"),
    ({"arrays": {}}, "arrays that are no list"),
    ({"manifest": []}, "its manifest is not an object"),
    ({"manifest": {"kind": "parcel"}}, "a second kind"),
    ({"extra": 1}, "is not an object with"),
    ({"arrays": [spec(f"a{at:04d}", shape=[0], bytes=0) for at in range(4097)]}, "names 4097 arrays"),
]


@pytest.mark.parametrize(("changes", "said"), FORGED_HEADS)
def test_forged_heads(changes: dict[str, Any], said: str) -> None:
    data = forge(json.dumps(head_of(**changes)).encode(), b"")
    with pytest.raises(SnapshotError) as caught:
        unpack(data)
    assert said in str(caught.value)


BOMBS = {
    "deep": b"[" * (1 << 20),
    "deep objects": b'{"a":' * 200_000,
    "long number": b"9" * (1 << 20),
    "nan": b'{"a":NaN}',
    "infinity": b'{"a":-Infinity}',
    "utf-8": '{"a":"é"}'.encode(),
    "utf-16": '{"a":1}'.encode("utf-16"),
    "a key twice": b'{"arrays":[],"arrays":[]}',
    "two values": b"{}{}",
    "array": b"[]",
    "null": b"null",
}


@pytest.mark.parametrize("name", BOMBS)
def test_heads_that_are_no_strict_json(name: str) -> None:
    with pytest.raises(SnapshotError, match="head is not"):
        unpack(forge(BOMBS[name], b""))


def test_a_key_that_comes_twice_is_refused_wherever_it_stands() -> None:
    """Two readers could each believe another of the two."""
    head = json.dumps(head_of(manifest={"at": {"offset": 1}})).encode()
    assert unpack(forge(head, b"")).manifest["at"] == {"offset": 1}
    assert "a key comes twice" in refused(forge(head.replace(b'"offset": 1', b'"offset": 1, "offset": 2'), b""))


@settings(max_examples=300)
@given(st.data())
def test_random_changes_of_a_head_with_a_right_checksum(data: st.DataObject) -> None:
    """Whatever the head says, it is refused or it describes exactly the bytes that are there."""
    head = bytearray(json.dumps(head_of(spec("a"), spec("b", offset=64, dtype="int32", shape=[2, 2]))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(0, len(head) - 1))] = data.draw(st.sampled_from(b'0123456789-[]{}",:.ae '))
    try:
        state = unpack(forge(bytes(head), bytes(80)))
    except SnapshotError:
        return
    assert sum(array.nbytes for array in state.arrays.values()) <= 80
