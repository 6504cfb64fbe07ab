"""Words: what one source has otherwise than another, class by class, for people.

Owns what is worth a word and how it is said. What is too little for a word is counted, so that silence means equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.columns import Array
from engine.components import season
from engine.series import Kind
from engine.snapshot import State, diff, read_json_column
from engine.transfer import align, learned
from engine.transfer.fingerprint import LAG1, SEEN_SHARE, shape_likeness

#: What is worth a word: a factor, a difference of correlations, of ln(evidence) in the tail, a likeness of two shapes.
FACTOR, LAG_OFF, TAIL_OFF, UNLIKE = 1.1, 0.05, 0.1, 0.9
#: A shape has moved if it fits so much better elsewhere.
MOVED = 0.1


def words(first: State, second: State) -> list[str]:
    """One line for each thing that the second source has otherwise; empty if they are equal bit for bit."""
    told = [*_manifest(first.manifest, second.manifest), *_classes(first, second)]
    rest = [line for line in diff(first, second) if line.startswith("array ")]
    if rest and not any(line.startswith("class ") for line in told):
        told.append(f"nothing of any class changed by more than is worth a word; {len(rest)} arrays differ in bits")
    return told or diff(first, second)


def _manifest(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    told = []
    ours, theirs = (one.get("card") or {} for one in (a, b))
    for key in ("environment", "owner", "licence"):
        was, now = (one.get("origin", {}).get(key) for one in (ours, theirs))
        told += [f"{key}: {was or 'not said'} -> {now or 'not said'}"] * (was != now)
    told += [f"engine {a.get('engine')} -> {b.get('engine')}"] * (a.get("engine") != b.get("engine"))
    for key in sorted({*a.get("health", {}), *b.get("health", {})}):
        was, now = (one.get("health", {}).get(key) for one in (a, b))
        told += [f"{key.replace('_', ' ')}: {_number(was)} -> {_number(now)}"] * (was != now)
    return told + _lineage(ours.get("lineage", []), theirs.get("lineage", []))


def _lineage(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> list[str]:
    """The last thing that was done to make the second, if it is not what made the first."""
    if a == b or not a or not b:
        return []
    was, now = a[0], b[0]
    if now["made"] == "merged":
        before = set(was["parents"]) if was["made"] == "merged" else set()
        more, less = len(set(now["parents"]) - before), len(before - set(now["parents"]))
        told = f"merged of {len(now['parents'])} sources"
        return [f"{told}, {more} more and {less} fewer than the first" if before else told]
    if was["made"] == "merged":
        return [f"cut from one state, where the first was merged of {len(was['parents'])} sources"]
    if (was["topic"], was["partition"]) == (now["topic"], now["partition"]):
        return [f"cut at offset {now['next_offset']} of {now['topic']}-{now['partition']}, not at {was['next_offset']}"]
    return [f"cut from {now['topic']}-{now['partition']}, not from {was['topic']}-{was['partition']}"]


def _classes(first: State, second: State) -> list[str]:
    a, b = first.arrays, second.arrays
    was, now = ({name: k for k, name in enumerate(read_json_column(one["classes"]))} for one in (a, b))
    told = []
    for name in sorted(was.keys() | now.keys()):
        if name not in now:
            told.append(f"class {name} is gone")
        elif name not in was:
            told.append(f"class {name} is new, with {int(b['series'][now[name]])} series")
        elif said := _of_class(a, was[name], b, now[name]):
            told.append(f"class {name}: {', '.join(said)}")
    return told


def _of_class(a: dict[str, Array], i: int, b: dict[str, Array], j: int) -> list[str]:
    told = []
    kinds = ["counter" if int(one["kind"][k]) == Kind.COUNTER else "gauge" for one, k in ((a, i), (b, j))]
    told += [f"a {kinds[1]}, was a {kinds[0]}"] * (kinds[0] != kinds[1])
    series = int(a["series"][i]), int(b["series"][j])
    told += [f"{series[0]} -> {series[1]} series"] * (series[0] != series[1])
    steps = float(a["step_ms"][i]), float(b["step_ms"][j])
    told += [f"step {steps[0] / 1000:g} s -> {steps[1] / 1000:g} s"] * (not np.isclose(*steps, rtol=0.05))
    told += _factor("restlessness", float(np.exp(b["step"][j, 0] - a["step"][i, 0])))
    told += _factor("spread over a step", float(np.sqrt(b["ratio"][j] / a["ratio"][i])))
    told += _factor("surprise", float(b["sigma"][j] / a["sigma"][i]))
    lag1 = float(a["features"][i, LAG1]), float(b["features"][j, LAG1])
    told += [f"autocorrelation {lag1[0]:.2f} -> {lag1[1]:.2f}"] * (abs(lag1[1] - lag1[0]) > LAG_OFF)
    return told + _tail(a, i, b, j) + _shape(a, i, b, j)


def _factor(what: str, by: float) -> list[str]:
    return [f"{what} x{by:.2g}"] if np.isfinite(by) and not 1 / FACTOR < by < FACTOR else []


def _tail(a: dict[str, Array], i: int, b: dict[str, Array], j: int) -> list[str]:
    """Heavier: what is rare lies further beyond what is usual."""
    was, now = (
        learned.of_classes({name: one[name][[k]] for name in _OF_CLASS})["tail"][0] for one, k in ((a, i), (b, j))
    )
    off = float((now[-1] - now[0]) - (was[-1] - was[0]))
    return [f"tail {'heavier' if off > 0 else 'lighter'}"] if np.isfinite(off) and abs(off) > TAIL_OFF else []


_OF_CLASS = ("features", "shape", "visits", "own", "tail")


def _shape(a: dict[str, Array], i: int, b: dict[str, Array], j: int) -> list[str]:
    was, now = (one["shape"][k].astype(np.float64) for one, k in ((a, i), (b, j)))
    seen, seen_now = a["visits"][i] > 0, b["visits"][j] > 0
    if seen.mean() < SEEN_SHARE or seen_now.mean() < SEEN_SHARE:
        return ["its day is seen now"] if seen_now.mean() >= SEEN_SHARE > seen.mean() else []
    likeness = [
        shape_likeness(np.roll(was, slots), now, np.roll(seen, slots) & seen_now) for slots in range(season.SLOTS)
    ]
    as_it_is = likeness[0]
    if not np.isfinite(as_it_is) or as_it_is >= UNLIKE:
        return []
    best = int(np.nanargmax(likeness))
    if likeness[best] < max(as_it_is + MOVED, UNLIKE - MOVED):
        return [f"shape changed (correlation {as_it_is:.2f})"]
    return [f"shape moved {align.later(align.signed(best))}"]


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else "not said"
