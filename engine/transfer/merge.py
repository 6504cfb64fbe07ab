"""Merge: several sources become one, class by class, as if their environments had been one with more entities.

Owns the weights and how each array is pooled: logarithms, covariances and histograms as weighted means, shapes by the
visits behind them, ranges as their envelope, n0 by what lies within sources and between them. Knows nothing of how a
source was cut.

Not obvious, three laws. The order of the arguments does not matter: sources are sorted by digest first. A source given
twice is one source, for it holds nothing new; say with weights that it counts more. And where all sources agree on a
number it is kept as it is, bit for bit, so that one source merged is itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import fsum
from typing import Any

import numpy as np

from engine.columns import Array
from engine.config import ENGINE_VERSION
from engine.errors import ConfigError, SnapshotError
from engine.prior import STRENGTHS
from engine.series import Kind
from engine.snapshot import State, digest_of, json_column, read_json_column
from engine.transfer import card, form, learned
from engine.transfer.distil import manifest

#: Classes that a message or a list names.
MOST_NAMED = 20
#: Weights beyond this are a typing error.
MOST_WEIGHT = 1e6
#: Numbers of health whose smallest is the worst, and sizes, which add up; of the others the largest is the worst.
_LEAST, _SUMS = ("age_samples", "entity_days"), ("series", "entities")
#: Parts of a class that are pooled as logarithms; `far` with the share that its feature is taken with.
_LOGS = {"ratio": 0.0, "sigma": 0.0, "far": 1e-4}
_MEANS = ("samples", "features", "step", "tail", "own", "own_residual", "sigmas")


def merge(sources: Sequence[State], weights: Sequence[float] | None = None) -> State:
    """One source of several; ConfigError if they do not go together.

    weights: one a source; without them a source counts by its series of each class, and by its entities.
    """
    given = _sorted(sources, weights)
    parts = [source for _, source, _ in given]
    names = _names(parts)
    arrays = _classes(given, names) | _pairs(given, names) | {"channels": _channels(given)}
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    told = card.card(
        plain,
        origin=_origin(parts),
        labels=_labels(parts),
        lineage=_lineage(given, has_weights=weights is not None),
        validation=_validation(given),
    )
    return State(manifest(told, _health(parts), len(names)), plain)


Given = list[tuple[str, State, float | None]]


def _sorted(sources: Sequence[State], weights: Sequence[float] | None) -> Given:
    """(digest, source, weight or None) by digest, each source once; a weight given twice for one source adds up."""
    if not sources:
        raise ConfigError("no source was given to merge; name one or more.")
    if weights is not None and len(weights) != len(sources):
        raise ConfigError(f"{len(weights)} weights were given for {len(sources)} sources; wanted one each.")
    for source in sources:
        _check(source)
    bad = next((one for one in weights or () if not 0 < one <= MOST_WEIGHT), None)
    if bad is not None:
        raise ConfigError(f"a weight is {bad:g}; it must lie in (0, {MOST_WEIGHT:g}]. 2 counts twice as much as 1.")
    found: dict[str, tuple[State, list[float]]] = {}
    for at, source in enumerate(sources):
        _, given = found.setdefault(digest_of(source), (source, []))
        given += [] if weights is None else [float(weights[at])]
    return [(name, source, fsum(given) if given else None) for name, (source, given) in sorted(found.items())]


def _check(source: State) -> None:
    """Nothing, or ConfigError naming the source that is none of this version."""
    try:
        card.check(source)
    except (ConfigError, SnapshotError) as error:
        where = source.manifest.get("environment")
        raise ConfigError(
            f"the source of environment {where!r} ({digest_of(source)}) cannot be merged: {error}"
        ) from None


def _names(parts: list[State]) -> list[str]:
    """All classes, sorted; ConfigError where one is a counter here and a gauge there."""
    kinds: dict[str, set[int]] = {}
    for part in parts:
        for name, kind in zip(read_json_column(part.arrays["classes"]), part.arrays["kind"].tolist(), strict=True):
            kinds.setdefault(name, set()).add(kind)
    torn = sorted(name for name, kind in kinds.items() if len({one == Kind.COUNTER for one in kind}) > 1)
    if torn:
        raise ConfigError(
            f"the sources cannot be merged: {', '.join(torn[:MOST_NAMED])} is a counter in one and a gauge in another. "
            "Cut one source again, with the kind said by its sender, or leave it out."
        )
    return sorted(kinds)


def _classes(given: Given, names: list[str]) -> dict[str, Array]:
    at = [{name: k for k, name in enumerate(read_json_column(part.arrays["classes"]))} for _, part, _ in given]
    merged: dict[str, list[Array]] = {name: [] for name in form.PER_CLASS}
    for name in names:
        behind = [
            (part.arrays, where[name], weight)
            for (_, part, weight), where in zip(given, at, strict=True)
            if name in where
        ]
        rows = {field: np.array([a[field][k] for a, k, _ in behind]) for field in form.PER_CLASS}
        weight = np.array([float(a["series"][k]) if own is None else own for a, k, own in behind])
        for field, value in _one_class(rows, weight).items():
            merged[field].append(value)
    arrays: dict[str, Array] = {
        field: np.array(merged[field], dtype).reshape(len(names), *after)
        for field, (dtype, after) in form.PER_CLASS.items()
    }
    return {"classes": json_column(names), **arrays}


def _one_class(rows: dict[str, Array], weight: Array) -> dict[str, Array]:
    """Each field of one class. rows: (sources, ...) by field; weight (sources,)."""
    most = int(np.argmax(weight))
    visits = rows["visits"].astype(np.float64)
    pooled = {field: _mean(rows[field], weight) for field in _MEANS}
    pooled |= {field: _log_mean(rows[field], weight, least) for field, least in _LOGS.items()}
    return pooled | {
        "series": rows["series"].sum(),
        "low": rows["low"].min(axis=0),
        "high": rows["high"].max(axis=0),
        # A step between two steps is nobody's; that of the heaviest source is at least someone's.
        "step_ms": rows["step_ms"][most],
        "kind": rows["kind"][most],
        "shape": _mean(rows["shape"], weight[:, None] * visits),
        "visits": _mean(rows["visits"], weight),
        "n0": _n0(rows, weight),
    }


def _mean(rows: Array, weight: Array) -> Array:
    """Weighted mean over rows of what is not NaN, the number itself where all agree. weight: (rows,) or as rows."""
    return _pooled(rows, weight, lambda x: x, lambda x: x)


def _log_mean(rows: Array, weight: Array, least: float) -> Array:
    return _pooled(rows, weight, lambda x: np.log(x + least), lambda x: np.exp(x) - least)


def _pooled(rows: Array, weight: Array, into: Callable[[Array], Array], back: Callable[[Array], Array]) -> Array:
    known = np.isfinite(rows)
    wide = np.broadcast_to(weight.reshape(weight.shape + (1,) * (rows.ndim - weight.ndim)), rows.shape) * known
    values = np.where(known, into(np.where(known, rows, 1.0).astype(np.float64)), 0.0)
    total = wide.sum(axis=0)
    mean = back((wide * values).sum(axis=0) / np.where(total > 0, total, 1.0))
    first = rows[0]
    agrees = ((rows == first) | (np.isnan(rows) & np.isnan(first))).all(axis=0)
    nobody = np.where(known.any(axis=0), 0.0, np.nan)
    return np.asarray(np.where(agrees, first, np.where(total > 0, mean, nobody)), rows.dtype)


def _n0(rows: dict[str, Array], weight: Array) -> Array:
    """Pseudo-samples: the variance within sources, of which each n0 tells, and the variance between them.

    1 / n0 is the variance between entities in units of that of one sample. Sources that agree keep what they had.
    """
    within = _pooled(rows["n0"], weight, lambda x: 1.0 / np.maximum(x, 1e-6), lambda x: 1.0 / x).astype(np.float64)
    one = _mean(learned.one_sample(rows), weight)
    values, share = learned.of_classes(rows), weight / weight.sum()
    between = np.zeros(len(STRENGTHS))
    for at, name in enumerate(STRENGTHS):
        off = values[name] - _mean(values[name], weight)
        known = np.isfinite(off)
        if known.any():
            squares = np.where(known, off, 0.0) ** 2 * share[:, None]
            between[at] = squares.sum() / max(int(known.any(axis=0).sum()), 1)
    both = 1.0 / (1.0 / np.maximum(within, 1e-6) + between / np.maximum(one, 1e-12))
    return np.where(between > 0, both, within)


def _pairs(given: Given, names: list[str]) -> dict[str, Array]:
    """The pairs of all sources; one that several have counts by the fewer series of its two classes."""
    at = {name: k for k, name in enumerate(names)}
    found: dict[tuple[int, int], list[tuple[Array, Array, float]]] = {}
    for _, part, weight in given:
        a = part.arrays
        place = [at[name] for name in read_json_column(a["classes"])]
        for p, (i, j) in enumerate(a["pairs"].tolist()):
            own = float(min(a["series"][i], a["series"][j])) if weight is None else weight
            found.setdefault((place[i], place[j]), []).append((a["lagged"][p], a["residual"][p], own))
    pairs = sorted(found)
    weights = [np.array([weight for _, _, weight in found[pair]]) for pair in pairs]
    merged: dict[str, list[Array]] = {
        field: [
            _mean(np.array([one[which] for one in found[pair]]), weight)
            for pair, weight in zip(pairs, weights, strict=True)
        ]
        for which, field in enumerate(("lagged", "residual"))
    }
    return {"pairs": np.array(pairs, np.int32).reshape(-1, 2)} | {
        field: np.array(rows, form.PER_PAIR[field][0]).reshape(-1, *form.PER_PAIR[field][1])
        for field, rows in merged.items()
    }


def _channels(given: Given) -> Array:
    """Mean of those that had a grown entity; zeros if none had."""
    known = [
        (part.arrays["channels"], float(part.manifest["health"].get("entities", 1.0)) if weight is None else weight)
        for _, part, weight in given
        if part.arrays["channels"].sum() > 0
    ]
    if not known:
        return np.zeros(form.CHANNELS, form.F4)
    return _mean(np.array([one for one, _ in known]), np.array([weight for _, weight in known]))


def _origin(parts: list[State]) -> dict[str, Any]:
    """The environments, owners and licences of all, each once."""
    origins = [part.manifest["card"]["origin"] for part in parts]
    said = {key: sorted({str(one[key]) for one in origins if one.get(key) is not None}) for key in origins[0]}
    return {key: " + ".join(texts) if texts else None for key, texts in said.items()}


def _labels(parts: list[State]) -> dict[str, Any]:
    """Of each label the most values that one source has: which of them are the same nobody knows, as it must be."""
    distinct: dict[str, int] = {}
    makers: set[str] = set()
    for part in parts:
        told = part.manifest["card"]["labels"]
        makers.update(told["entity"])
        for one in told["keys"]:
            distinct[one["name"]] = max(distinct.get(one["name"], 0), one["distinct"])
    return {"keys": [{"name": key, "distinct": distinct[key]} for key in sorted(distinct)], "entity": sorted(makers)}


def _lineage(given: Given, *, has_weights: bool) -> list[dict[str, Any]]:
    """This merge, then the lineages of its parents, each entry once."""
    entries: list[dict[str, Any]] = [
        {
            "made": "merged",
            "parents": [name for name, _, _ in given],
            "weights": [weight for _, _, weight in given] if has_weights else [],
            "steps_differ": _steps_differ([part for _, part, _ in given]),
            "engine": ENGINE_VERSION,
            "recipe": card.recipe_hash(),
        }
    ]
    for _, part, _ in given:
        entries += [one for one in part.manifest["card"]["lineage"] if one not in entries]
    return entries


def _steps_differ(parts: list[State]) -> list[str]:
    """Classes that come more than twice as often in one source as in another: what is said by sample differs there."""
    steps: dict[str, list[float]] = {}
    for part in parts:
        for name, step in zip(read_json_column(part.arrays["classes"]), part.arrays["step_ms"].tolist(), strict=True):
            steps.setdefault(name, []).append(step)
    return sorted(name for name, of in steps.items() if max(of) > 2.0 * min(of))[:MOST_NAMED]


def _health(parts: list[State]) -> dict[str, float]:
    """The worst of each number; what counts things adds up."""
    told = [part.manifest["health"] for part in parts]
    return {
        key: (sum if key in _SUMS else min if key in _LEAST else max)(one[key] for one in told)
        for key in sorted(told[0])
    }


def _validation(given: Given) -> dict[str, Any]:
    """The tables of the sources in one: nobody was left out between them. Errors are pooled as squares."""
    told = {name: part.manifest["card"]["validation"] for name, part, _ in given}
    because = sorted({one["because"] for one in told.values() if one["because"]})
    rows: dict[str, list[dict[str, Any]]] = {}
    for table in told.values():
        for one in table["classes"]:
            rows.setdefault(one["class"], []).append(one)
    return {
        "entities": sum(one["entities"] for one in told.values()),
        "because": "; ".join(because) or None,
        "left_out": [{"source": name, **one} for name, table in told.items() for one in table["left_out"]],
        "classes": [_judged(name, rows[name]) for name in sorted(rows)][: card.MOST_CLASSES],
    }


def _judged(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    zones: dict[str, int] = {}
    for row in rows:
        for zone, count in row["zones"].items():
            zones[zone] = zones.get(zone, 0) + count
    behind = [row["judged"] for row in rows]
    return {
        "class": name,
        "judged": sum(behind),
        "distance": _power_mean([row["distance"] for row in rows], behind, 1.0),
        "zones": zones,
        "error_ratio": {key: _power_mean([row["error_ratio"][key] for row in rows], behind, 2.0) for key in STRENGTHS},
    }


def _power_mean(values: list[float | None], weights: list[int], power: float) -> float | None:
    """Weighted; what is None is left out."""
    known = [(value**power, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if not known:
        return None
    mean = sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
    return round(float(mean ** (1.0 / power)), 4)
