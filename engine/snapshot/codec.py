"""State <-> bytes. Equal states make equal bytes; whatever is not such bytes is a SnapshotError, and nothing else.

Never allocates for what a file claims, only for what it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, SnapshotError
from engine.snapshot import header as headers
from engine.snapshot.head import (
    DTYPES,
    MAX_ARRAYS,
    MAX_DIMENSIONS,
    NAME,
    Spec,
    data_bytes,
    read_head,
    specs_of,
    write_head,
)
from engine.snapshot.header import Keys, aligned
from engine.snapshot.migrate import MIGRATIONS, migrated

#: What `digest_of` gives.
DIGEST: Final = re.compile(r"[0-9a-f]{16}")
#: A shard of 100,000 series at 4 KiB each is 0.4 GiB.
MAX_BYTES: Final = 1 << 30


class State(NamedTuple):
    """What a snapshot holds: a manifest of plain JSON values with its "kind", and named columns."""

    manifest: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def digest_of(state: State) -> str:
    """16 hex digits of a snapshot's contents, see DIGEST; its signature is no part of them."""
    return sha256(pack(state.manifest, state.arrays)).hexdigest()[:16]


def pack(
    manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, key: Keys = None, creator: str = "graft"
) -> bytes:
    """The bytes of one snapshot, signed if there is a key.

    manifest["kind"] is checkpoint, parcel or source. Neither the order of keys nor the memory order of arrays matters.
    ConfigError for what would not come back equal.

    >>> state = unpack(pack({"kind": "parcel", "rows": 2}, {"level.mean": np.array([1.0, np.nan])}))
    >>> state.manifest, state.arrays["level.mean"]
    ({'kind': 'parcel', 'rows': 2}, array([ 1., nan]))
    """
    if len(arrays) > MAX_ARRAYS:
        raise ConfigError(f"{len(arrays)} arrays cannot be packed into a snapshot; at most {MAX_ARRAYS}")
    plain = {name: _plain(name, array) for name, array in arrays.items()}
    specs = specs_of(plain)
    head = write_head(manifest, specs, creator)
    rest = [head, *_pieces(len(head), specs, plain)]
    return b"".join([headers.write_header(len(head), data_bytes(specs), rest, key), *rest])


def unpack(
    data: bytes | memoryview,
    *,
    key: Keys = None,
    allow_unsigned: bool | None = None,
    max_bytes: int = MAX_BYTES,
    copy: bool = True,
) -> State:
    """The state in data, which is checked from front to back before any of it is used; else SnapshotError.

    allow_unsigned: None refuses an unsigned snapshot only where there is a key, so that a signature cannot be cut off.
    copy=False gives read-only views into data: no second copy in memory, and data must stay as it is.
    """
    view = memoryview(data).cast("B")
    if len(view) > max_bytes:
        raise SnapshotError(f"it has {len(view)} bytes; at most {max_bytes} are read")
    header = headers.read_header(view)
    headers.check_signature(header, view, key, allow_unsigned=allow_unsigned)
    headers.check_digest(header, view)
    head = bytes(view[headers.SIZE : headers.SIZE + header.head_bytes])
    newer = header.major == headers.MAJOR and header.minor > headers.MINOR
    manifest, specs = read_head(head, newer_minor=newer)
    if data_bytes(specs) != header.data_bytes:
        raise SnapshotError(f"its arrays take {data_bytes(specs)} bytes and its data has {header.data_bytes}")
    body = view[header.data_start :]
    arrays = {spec.name: _array(spec, body, copy=copy) for spec in specs}
    return State(*migrated(manifest, arrays, found=header.major, wanted=headers.MAJOR, steps=MIGRATIONS))


def _plain(name: str, array: object) -> NDArray[Any]:
    """array in C order and little-endian, without a copy where it is so already."""
    if not NAME.match(name):
        raise ConfigError(f"an array named {name!r} cannot be packed; a name is of [a-z0-9_.], 1 to 100 characters")
    if not isinstance(array, np.ndarray) or array.dtype.name not in DTYPES:
        came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise ConfigError(f"array {name!r} is of type {came}; a snapshot takes arrays of {', '.join(DTYPES)}")
    if array.ndim > MAX_DIMENSIONS:
        raise ConfigError(f"array {name!r} has {array.ndim} dimensions; a snapshot takes up to {MAX_DIMENSIONS}")
    plain = np.asarray(array, DTYPES[array.dtype.name], order="C")
    if plain.dtype == np.bool_ and not _true_bools(plain):
        raise ConfigError(f"array {name!r} holds booleans that are neither 0 nor 1 in memory; compare to make it")
    return plain


def _pieces(head_bytes: int, specs: list[Spec], arrays: dict[str, NDArray[Any]]) -> list[bytes | memoryview]:
    """Padding and arrays in turn, as views: the only copy is the one that joins them."""
    start = headers.SIZE + head_bytes
    pieces: list[bytes | memoryview] = [bytes(aligned(start) - start)]
    end = 0
    for spec in specs:
        pieces += [bytes(spec.offset - end), arrays[spec.name].reshape(-1).view(np.uint8).data]
        end = spec.offset + spec.size
    return pieces


def _array(spec: Spec, body: memoryview, *, copy: bool) -> NDArray[Any]:
    raw = np.frombuffer(body[spec.offset : spec.offset + spec.size], np.uint8) if spec.size else np.empty(0, np.uint8)
    if spec.dtype == np.bool_ and raw.size and int(raw.max()) > 1:
        raise SnapshotError(f"array {spec.name!r} holds a boolean that is neither 0 nor 1: not written by Graft")
    array = raw.view(spec.dtype).reshape(spec.shape)
    if copy:
        return array.copy()
    array.flags.writeable = False
    return array


def _true_bools(array: NDArray[np.bool_]) -> bool:
    return not array.size or int(array.reshape(-1).view(np.uint8).max()) <= 1
