"""The head of a snapshot: JSON that names the arrays and carries the caller's manifest. Strict in both directions.

Owns what may stand in it; never touches an array's bytes. What goes in comes back equal, or is refused on the way in:
JSON would turn a tuple into a list, a key 1 into "1" and NaN into something that is not JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite, prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, SnapshotError
from engine.snapshot.header import MAX_HEAD_BYTES, aligned

KINDS: Final = ("checkpoint", "parcel", "source", "prior")
SCHEMA: Final = "graft.snapshot/1"
#: Plain numbers only: no object (code), no text or record (sizes that hide in the type), no half or long double.
DTYPES: Final = {
    name: np.dtype(name).newbyteorder("<")
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float32", "float64"),
    )
}
NAME: Final = re.compile(r"[a-z0-9_.]{1,100}\Z")
MAX_ARRAYS: Final = 4096
MAX_DIMENSIONS: Final = 8
_HEAD_KEYS: Final = {"arrays", "creator", "kind", "manifest", "schema"}
_SPEC_KEYS: Final = {"bytes", "dtype", "name", "offset", "shape"}


class Spec(NamedTuple):
    """One array: its name, type, shape, and its place in the data, whose first byte is offset 0."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    size: int


def specs_of(arrays: Mapping[str, NDArray[Any]]) -> list[Spec]:
    """The layout of arrays: by name, each at the next multiple of 64."""
    specs, offset = [], 0
    for name in sorted(arrays):
        array = arrays[name]
        specs.append(Spec(name, array.dtype, array.shape, offset, array.nbytes))
        offset = aligned(offset + array.nbytes)
    return specs


def data_bytes(specs: list[Spec]) -> int:
    return specs[-1].offset + specs[-1].size if specs else 0


def write_head(manifest: Mapping[str, Any], specs: list[Spec], creator: str) -> bytes:
    inner = dict(manifest)
    kind = inner.pop("kind", None)
    if kind not in KINDS:
        raise ConfigError(f"a snapshot of kind {kind!r} cannot be packed; manifest.kind is one of {', '.join(KINDS)}")
    text = dump(inner, "manifest")
    if json.loads(text) != inner:
        raise ConfigError(_unlike_json(inner, "manifest") or "manifest does not come back equal from JSON")
    head = {"schema": SCHEMA, "kind": kind, "creator": creator, "manifest": inner, "arrays": [_out(s) for s in specs]}
    data = dump(head, "head").encode()
    if len(data) > MAX_HEAD_BYTES:
        raise ConfigError(
            f"the manifest makes a head of {len(data)} bytes; at most {MAX_HEAD_BYTES} fit. "
            "Move long lists into an array with json_column"
        )
    return data


def dump(value: object, where: str) -> str:
    """JSON that is the same for equal values, and ASCII, so that even a broken surrogate comes back."""
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(_unlike_json(value, where) or f"{where} is not JSON: {error}") from None


def read_head(data: bytes, *, newer_minor: bool) -> tuple[dict[str, Any], list[Spec]]:
    """Manifest (kind included) and array specs. newer_minor: keys that this version does not know are passed over."""
    head = _object(parse(data, "head"), _HEAD_KEYS, "head", more=newer_minor)
    if head["schema"] != SCHEMA:
        raise SnapshotError(f"its head has schema {head['schema']!r}; wanted {SCHEMA!r}")
    if head["kind"] not in KINDS:
        raise SnapshotError(f"it is of kind {head['kind']!r}; wanted one of {', '.join(KINDS)}")
    if not isinstance(head["creator"], str) or not isinstance(head["arrays"], list):
        raise SnapshotError("its head has a creator that is no text or arrays that are no list: not written by Graft")
    if not isinstance(head["manifest"], dict) or "kind" in head["manifest"]:
        raise SnapshotError("its manifest is not an object, or holds a second kind: not written by Graft")
    return {"kind": head["kind"], **head["manifest"]}, _specs(head["arrays"], more=newer_minor)


def parse(data: bytes, where: str) -> Any:
    """Strict JSON: no NaN or Infinity, no key twice. SnapshotError for whatever else is not JSON."""
    try:
        return json.loads(data.decode("ascii"), parse_constant=_no_constant, object_pairs_hook=_no_double)
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"its {where} is not strict JSON: {error}") from None


def json_column(value: object) -> NDArray[np.uint8]:
    """Any JSON value as a column of bytes, for lists that are too long for the head, such as the texts of all series.

    >>> read_json_column(json_column(['up{host="a"}', "load"]))
    ['up{host="a"}', 'load']
    """
    return np.frombuffer(dump(value, "json column").encode(), np.uint8).copy()


def read_json_column(column: NDArray[np.uint8]) -> Any:
    """The value that json_column was given; SnapshotError if the bytes are not JSON."""
    return parse(column.tobytes(), "column of JSON")


def _out(spec: Spec) -> dict[str, object]:
    shape = list(spec.shape)
    return {"name": spec.name, "dtype": spec.dtype.name, "shape": shape, "offset": spec.offset, "bytes": spec.size}


def _specs(entries: list[Any], *, more: bool) -> list[Spec]:
    """Specs in exactly the layout that specs_of makes: so nothing can overlap, leave the file, or come twice."""
    if len(entries) > MAX_ARRAYS:
        raise SnapshotError(f"it names {len(entries)} arrays; at most {MAX_ARRAYS} are possible")
    specs: list[Spec] = []
    offset = 0
    for at, entry in enumerate(entries):
        spec = _spec(_object(entry, _SPEC_KEYS, f"array {at}", more=more), at)
        if specs and spec.name <= specs[-1].name:
            raise SnapshotError(f"array {spec.name!r} comes after {specs[-1].name!r}; names are sorted and come once")
        if spec.offset != offset:
            raise SnapshotError(f"array {spec.name!r} says offset {spec.offset}; the array before it ends for {offset}")
        specs.append(spec)
        offset = aligned(offset + spec.size)
    return specs


def _spec(entry: dict[str, Any], at: int) -> Spec:
    name, shape = entry["name"], entry["shape"]
    if not isinstance(name, str) or not NAME.match(name):
        raise SnapshotError(f"array {at} has a name that is not of [a-z0-9_.], 1 to 100 characters")
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if dtype is None:
        raise SnapshotError(f"array {name!r} has type {str(entry['dtype'])[:40]!r}; wanted one of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_size, shape)):
        raise SnapshotError(f"array {name!r} has no possible shape; wanted up to {MAX_DIMENSIONS} whole numbers >= 0")
    if not _is_size(entry["offset"]) or not _is_size(entry["bytes"]):
        raise SnapshotError(f"array {name!r} has an offset or size that is no whole number >= 0")
    if prod(shape) * dtype.itemsize != entry["bytes"]:
        raise SnapshotError(f"array {name!r} has shape {shape} of {dtype.name}, which is not {entry['bytes']} bytes")
    if prod(max(size, 1) for size in shape) * dtype.itemsize >= 1 << 62:
        raise SnapshotError(f"array {name!r} has shape {shape}, which no memory could hold")
    return Spec(name, dtype, tuple(shape), entry["offset"], entry["bytes"])


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _object(value: object, keys: set[str], where: str, *, more: bool) -> dict[str, Any]:
    if not isinstance(value, dict) or keys - value.keys() or (value.keys() - keys and not more):
        raise SnapshotError(f"its {where} is not an object with {', '.join(sorted(keys))}: not written by Graft")
    return value


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def _no_double(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key comes twice")
    return result


def _unlike_json(value: object, where: str) -> str | None:
    """Where value is something that JSON does not give back, in words; None if it is plain."""
    if isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            return f"{where} has the key {odd!r}; JSON gives back a text: use text keys"
        return next(filter(None, (_unlike_json(item, f"{where}.{key}") for key, item in value.items())), None)
    if isinstance(value, list):
        return next(filter(None, (_unlike_json(item, f"{where}[{at}]") for at, item in enumerate(value))), None)
    if isinstance(value, float) and not isfinite(value):
        return f"{where} is {value}, which JSON does not have; use null, or an array"
    if value is None or isinstance(value, (str, int, float)):
        return None
    return f"{where} is of type {type(value).__name__}, which JSON does not give back; use list, text, int or float"
