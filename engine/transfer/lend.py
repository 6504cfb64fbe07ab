"""Lend: from a source snapshot, and a plan if there is one, to the prior that a shard seeds its new series with.

Owns which arrays of a source are lent to whom. How strongly is `strength.py`; how a zone was found is `match.py`; how
what is lent is moved towards the target is `align.py`.
"""

from __future__ import annotations

import numpy as np

from engine import prior as lent
from engine.columns import Array
from engine.components import tail
from engine.prior import Prior
from engine.snapshot import State, digest_of, json_column, read_json_column
from engine.transfer import align, card, form
from engine.transfer.align import AS_IT_IS, Aligned
from engine.transfer.match import NAMED
from engine.transfer.plan import Plan, check
from engine.transfer.strength import AGE_TICKS, HISTOGRAM_TICKS, LEARNED_TICKS, LOUDER, STRENGTHS


def read_prior(source: State, plan: Plan | None = None) -> Prior:
    """What a source lends: as planned, and nothing beyond the plan; without one, to every class of the same name.

    ConfigError if the snapshot is no source of this engine, or if a golden vector in its card comes out otherwise here;
    RefusedPlan if the plan was made for another one.
    """
    form.check(source)
    card.check_golden(source.manifest)
    names = read_json_column(source.arrays["classes"])
    if plan is None:
        return prior_of(source, names, names, [NAMED] * len(names))
    check(plan, source)
    entries = [entry for entry in plan.entries if entry.zone in STRENGTHS and entry.source is not None]
    return prior_of(
        source, [str(entry.source) for entry in entries], [entry.target for entry in entries],
        [entry.zone for entry in entries], [entry.aligned for entry in entries],
    )  # fmt: skip


def strengths_of(source: State) -> Array:
    """float64 (classes, components): pseudo-samples by how far the source's own entities agree; never above STRENGTHS.

    Not used by `read_prior` yet: it has to be measured first. See `left_out`.
    """
    return np.asarray(np.minimum(source.arrays["n0"].astype(np.float64), np.array(STRENGTHS[NAMED])))


def prior_of(
    source: State, of: list[str], names: list[str], zones: list[str], aligned: list[Aligned] | None = None
) -> Prior:
    """A prior that lends to class names[n] what the source's class of[n] has, as strongly as zones[n] allows.

    aligned: how each is moved; None: all as they are.
    """
    theirs, a = read_json_column(source.arrays["classes"]), source.arrays
    at = [theirs.index(name) for name in of]
    arrays = {name: a[name][at].astype(dtype) for name, dtype in lent.PER_CLASS.items()}
    arrays = align.applied(arrays | _pairs(source, at), aligned or [AS_IT_IS] * len(of))
    arrays["classes"] = json_column(names)
    arrays["origin"] = json_column({"environment": source.manifest.get("environment"), "source": digest_of(source)})
    louder = [tail.moved(shares, by) for shares, by in zip(a["channels"].astype(np.float64), LOUDER, strict=True)]
    arrays["channels"] = np.array(louder, np.float32)
    arrays["strength"] = np.array([STRENGTHS[zone] for zone in zones], np.float32).reshape(-1, len(lent.STRENGTHS))
    arrays["entity_strength"] = np.array(_entity_strength(source, zones), np.float32)
    return Prior(arrays)


def _entity_strength(source: State, zones: list[str]) -> tuple[float, float, float]:
    """What is lent to an entity as a whole: nothing if the source had no grown entity or no class is lent."""
    if not zones or not source.arrays["channels"].sum() > 0:
        return 0.0, 0.0, 0.0
    learned = sum(LEARNED_TICKS[zone] for zone in zones) / len(zones)
    return HISTOGRAM_TICKS, float(np.floor(learned)), AGE_TICKS


def _pairs(source: State, at: list[int]) -> dict[str, Array]:
    """The pairs of classes of which both are lent. A class that serves two targets has its pairs twice."""
    a = source.arrays
    lent_as: dict[int, list[int]] = {}
    for k, j in enumerate(at):
        lent_as.setdefault(j, []).append(k)
    found = [
        (x, y, p)
        for p, (i, j) in enumerate(a["pairs"].tolist())
        for x in lent_as.get(i, [])
        for y in lent_as.get(j, [])
    ]
    rows = [p for _, _, p in found]
    arrays = {name: a[name][rows].astype(dtype) for name, dtype in lent.PER_PAIR.items()}
    return arrays | {"pairs": np.array([(x, y) for x, y, _ in found], np.int32).reshape(-1, 2)}
