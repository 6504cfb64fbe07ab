"""What is in a state and what changed between two, in words for people. Pure; nothing here decides anything.

Two values are the same if their bits are: NaN equals the same NaN, and 0.0 differs from -0.0, as replay compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.snapshot.codec import State

#: Longer values are shown from their beginning only.
SHOWN_CHARACTERS = 60


def diff(a: State, b: State) -> list[str]:
    """One line for each thing that b has otherwise than a; empty if they are equal bit for bit."""
    return [*_diff_values(a.manifest, b.manifest, "manifest"), *_diff_arrays(a.arrays, b.arrays)]


def describe(state: State) -> dict[str, Any]:
    """Kind, sizes and arrays of a state as plain JSON values, largest array first."""
    arrays = sorted(state.arrays.items(), key=lambda item: (-item[1].nbytes, item[0]))
    return {
        "kind": state.manifest.get("kind"),
        "bytes": sum(array.nbytes for _, array in arrays),
        "manifest": {key: _short(value) for key, value in sorted(state.manifest.items())},
        "arrays": [
            {"name": name, "dtype": array.dtype.name, "shape": list(array.shape), "bytes": array.nbytes}
            for name, array in arrays
        ],
    }


def _diff_values(a: Any, b: Any, where: str) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            if key not in b:
                yield f"{where}.{key}: removed, was {_short(a[key])}"
            elif key not in a:
                yield f"{where}.{key}: added, is {_short(b[key])}"
            else:
                yield from _diff_values(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and a != b:
        yield from _diff_lists(a, b, where)
    elif a != b or type(a) is not type(b):
        yield f"{where}: {_short(a)} -> {_short(b)}"


def _diff_lists(a: list[Any], b: list[Any], where: str) -> Iterator[str]:
    same = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    was, now = (_short(x[same]) if same < len(x) else "nothing" for x in (a, b))
    yield f"{where}: {len(a)} -> {len(b)} entries, the first difference at [{same}]: {was} -> {now}"


def _diff_arrays(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    for name in sorted(a.keys() | b.keys()):
        if name not in b:
            yield f"array {name}: removed, was {_form(a[name])}"
        elif name not in a:
            yield f"array {name}: added, is {_form(b[name])}"
        elif _form(a[name]) != _form(b[name]):
            yield f"array {name}: {_form(a[name])} -> {_form(b[name])}"
        elif (changed := _changed(a[name], b[name])).any():
            yield f"array {name}: {_amount(a[name][changed], b[name][changed], a[name].size)}"


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype.name} {list(array.shape)}"


def _changed(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    unsigned = np.dtype(f"u{a.dtype.itemsize}")
    x, y = (np.ascontiguousarray(array).view(unsigned) for array in (a, b))
    return np.asarray(x != y).reshape(a.shape)


def _amount(a: NDArray[Any], b: NDArray[Any], total: int) -> str:
    """How many and by how much: the largest |a - b| as a share of the larger of |a| and |b|."""
    count = f"{a.size} of {total} changed"
    if a.dtype == np.bool_:
        return count
    x, y = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(x) & np.isfinite(y)
    other = a.size - int(finite.sum())
    count += f", {other} of them to or from NaN or infinity" if other else ""
    if not finite.any():
        return count
    # Halved before the subtraction, so that two of the largest numbers cannot overflow.
    x, y = x[finite] / 2, y[finite] / 2
    largest = np.maximum(np.maximum(np.abs(x), np.abs(y)), np.finfo(np.float64).tiny)
    return f"{count}, by at most {100 * float(np.max(np.abs(x - y) / largest)):.3g} %"


def _short(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return f"{len(value)} entries"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}... ({len(text)} characters)"
