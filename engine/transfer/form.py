"""Form: which arrays and which fields of a card a source snapshot has; and is a state such a source?

Owns the layout as tables, which `distil` and `merge` write and every reader checks first, so that nobody after it has
to ask whether a field is there. Knows nothing of what numbers mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.components import block, entity, season, tail
from engine.config import ENGINE_VERSION
from engine.errors import ConfigError, SnapshotError
from engine.prior import BOUNDS, MOST_TEXT, STRENGTHS
from engine.snapshot import State, read_json_column
from engine.transfer.fingerprint import FEATURES
from engine.transfer.received import is_number

SCHEMA = "graft.source/2"
F4 = np.float32
#: One row a class: type, and shape after the first axis.
PER_CLASS: dict[str, tuple[type, tuple[int, ...]]] = {
    "series": (np.int64, ()), "samples": (F4, ()), "step_ms": (F4, ()), "kind": (np.uint8, ()),
    "features": (F4, (len(FEATURES),)), "low": (F4, (len(FEATURES),)), "high": (F4, (len(FEATURES),)),
    "ratio": (F4, ()), "far": (F4, ()), "sigma": (F4, ()), "step": (F4, (2,)),
    "shape": (F4, (season.SLOTS,)), "visits": (F4, (season.SLOTS,)), "tail": (F4, (tail.BINS,)),
    "own": (F4, (block.MOST_LAGS + 1,)), "own_residual": (F4, ()), "sigmas": (F4, (3,)), "n0": (F4, (len(STRENGTHS),)),
}  # fmt: skip
#: One row a pair of classes that share an entity.
PER_PAIR: dict[str, tuple[type, tuple[int, ...]]] = {
    "pairs": (np.int32, (2,)), "lagged": (F4, (block.MOST_LAGS + 1,)), "residual": (F4, ()),
}  # fmt: skip
#: What the smallest of an array may be; 0 where nothing is said.
LEAST = {"series": 1, **{name: BOUNDS[name][0] for name in ("ratio", "sigma")}}
_SIZES = ("series", "samples", "ratio", "far", "sigma", "step_ms", "visits", "tail", "channels", "n0")
#: Neither NaN nor infinity may stand in these; in a step NaN may, for one that is not known.
_KNOWN = (
    "features", "low", "high", "ratio", "far", "sigma", "shape", "tail", "own", "own_residual", "sigmas", "lagged",
    "residual", "channels",
)  # fmt: skip
#: Features are logarithms and correlations.
MOST_FEATURE = 100.0
CHANNELS = (entity.HISTOGRAMS, tail.BINS)

_NONE = type(None)
_NUMBER, _TEXT, _MAYBE_TEXT, _MAYBE_NUMBER = (int, float), (str,), (str, _NONE), (int, float, _NONE)
#: Stands for every field of a dict.
_EACH = "*"
_JUDGED: dict[str, Any] = {"judged": _NUMBER, "distance": _MAYBE_NUMBER, "zones": {_EACH: _NUMBER}}
#: Fields: a tuple of types; a dict of fields, more of which may stand beside them; a list with the form of its entries.
HEALTH: dict[str, Any] = dict.fromkeys(
    ("series", "entities", "age_samples", "entity_days", "alert_records", "drifting_share", "missing_share",
     "absent_share"), _NUMBER,
)  # fmt: skip
CARD: dict[str, Any] = {
    "schema": _TEXT,
    "origin": {"environment": _MAYBE_TEXT, "owner": _MAYBE_TEXT, "licence": _MAYBE_TEXT},
    "metrics": [{"name": _TEXT, "unit": _MAYBE_TEXT, "kind": _TEXT, "step_ms": _NUMBER, "series": _NUMBER,
                 "direction": _MAYBE_TEXT, "range": {name: [_NUMBER] for name in FEATURES}}],
    "metrics_left_out": _NUMBER,
    "labels": {"keys": [{"name": _TEXT, "distinct": _NUMBER}], "entity": [_TEXT]},
    "lineage": [{"made": _TEXT, "parents": [_TEXT], "engine": _TEXT, "recipe": _TEXT}],
    "recipe": {"rules": {_EACH: _TEXT}, "constants": {_EACH: _NUMBER}, "hash": _TEXT,
               "golden": [{"name": _TEXT, "in": {}, "out": [_MAYBE_NUMBER]}]},
    "edges": [{"class": _TEXT, "case": _TEXT, "window": [_MAYBE_NUMBER], "expected": [_MAYBE_NUMBER],
               "severity": [_MAYBE_NUMBER]}],
    "validation": {
        "entities": _NUMBER,
        "because": _MAYBE_TEXT,
        "left_out": [{"entity": _NUMBER, **_JUDGED}],
        "classes": [{"class": _TEXT, **_JUDGED, "error_ratio": dict.fromkeys(STRENGTHS, _MAYBE_NUMBER)}],
    },
}  # fmt: skip
#: What an entry of the lineage has beside that, by what was done.
MADE: dict[str, dict[str, Any]] = {
    "cut": {"topic": _MAYBE_TEXT, "partition": _MAYBE_NUMBER, "next_offset": _MAYBE_NUMBER, "config": _MAYBE_TEXT},
    "merged": {"weights": [_NUMBER], "steps_differ": [_TEXT]},
}


def check_kind(source: State) -> None:
    """Nothing, or ConfigError: no source, one of another engine, or one that was cut before sources had a card."""
    kind, engine = source.manifest.get("kind"), source.manifest.get("engine")
    if kind != "source":
        raise ConfigError(
            f"a snapshot of kind {kind!r} cannot seed; wanted a source, which `graft snapshot create` cuts from a "
            "checkpoint."
        )
    if engine != ENGINE_VERSION:
        raise ConfigError(
            f"the source was cut by engine {engine}, this is engine {ENGINE_VERSION}; cut it again with "
            "`graft snapshot create`."
        )
    if not isinstance(source.manifest.get("card"), dict):
        raise ConfigError("the source has no card, for it was cut by an older Graft; cut it again.")


def check(source: State) -> None:
    """Nothing, or the error of a source whose arrays do not have the layout of this version."""
    check_kind(source)
    a = source.arrays
    if source.manifest.get("schema") != SCHEMA:
        raise ConfigError(f"the source has schema {source.manifest.get('schema')!r}, wanted {SCHEMA!r}; cut it again.")
    _check_fields(source.manifest)
    lacking = sorted({"classes", "channels", *PER_CLASS, *PER_PAIR} - a.keys())
    if lacking:
        raise SnapshotError(f"the source lacks the arrays {', '.join(lacking)}; cut it again.")
    names = read_json_column(a["classes"])
    if not isinstance(names, list) or names != sorted(set(map(str, names))):
        raise SnapshotError("the classes of the source are no sorted list of names, each once; cut it again.")
    count, pairs = len(names), len(a["pairs"]) if a["pairs"].ndim else 0
    wanted = {name: (dtype, (count, *after)) for name, (dtype, after) in PER_CLASS.items()}
    wanted |= {name: (dtype, (pairs, *after)) for name, (dtype, after) in PER_PAIR.items()}
    wanted["channels"] = (F4, CHANNELS)
    for name, (dtype, shape) in wanted.items():
        if a[name].dtype != dtype or a[name].shape != shape:
            came = f"{a[name].dtype} {list(a[name].shape)}"
            raise SnapshotError(f"array {name} of the source is {came}, wanted {dtype.__name__} {list(shape)}.")
    if pairs and not 0 <= a["pairs"].min() <= a["pairs"].max() < count:
        raise SnapshotError(f"the pairs of the source name classes beyond its {count}; cut it again.")
    infinite = [name for name in _KNOWN if not np.isfinite(a[name]).all()] + ["step"] * bool(np.isinf(a["step"]).any())
    if infinite:
        raise SnapshotError(f"array {infinite[0]} of the source holds NaN or infinity; cut it again.")
    low = [name for name in _SIZES if not (a[name] >= LEAST.get(name, 0.0)).all()]
    if low:
        raise SnapshotError(f"array {low[0]} of the source holds what is too small to be true; cut it again.")
    wild = [name for name in ("features", "low", "high") if (np.abs(a[name]) > MOST_FEATURE).any()]
    if wild:
        raise SnapshotError(f"array {wild[0]} of the source holds a logarithm beyond {MOST_FEATURE:g}; cut it again.")


def _check_fields(manifest: Mapping[str, Any]) -> None:
    told = manifest["card"]
    wrong = _unlike(manifest.get("health"), HEALTH, "health") or _unlike(told, CARD, "card")
    if wrong is None:
        for at, step in enumerate(told["lineage"]):
            if step["made"] not in MADE:
                raise SnapshotError(f"card.lineage[{at}].made is {step['made'][:40]!r}, wanted {' or '.join(MADE)}.")
            wrong = wrong or _unlike(step, MADE[step["made"]], f"card.lineage[{at}]")
    if wrong is not None:
        raise SnapshotError(f"{wrong} of the source is missing or of another type than it must be; cut it again.")


def _unlike(value: object, wanted: Any, where: str) -> str | None:
    """Where a value departs from a form; None if it does not."""
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            return where
        fields = dict.fromkeys(value, wanted[_EACH]) if _EACH in wanted else wanted
        parts = (_unlike(value.get(key, ...), inner, f"{where}.{key}") for key, inner in fields.items())
    elif isinstance(wanted, list):
        if not isinstance(value, list):
            return where
        parts = (_unlike(one, wanted[0], f"{where}[{at}]") for at, one in enumerate(value))
    else:
        return None if _is_plain(value, wanted) else where
    return next((part for part in parts if part is not None), None)


def _is_plain(value: object, types: tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, types):
        return False
    if isinstance(value, str):
        return len(value) <= MOST_TEXT
    return value is None or is_number(value)
