"""Lend: from a source snapshot and a plan to the prior that a shard seeds its new series with.

Owns how strongly each component is lent, in pseudo-samples. Strengths are those measured on real services (see
ARCHITECTURE.md, "Where the recipe comes from"): structure and spread travel, levels never do.
"""

from __future__ import annotations

import numpy as np

from engine import prior as lent
from engine.columns import Array
from engine.prior import Prior
from engine.snapshot import State

FULL = (5000.0, 1.0, 0.0, 500.0, 1000.0)
"""Pseudo-samples of scale, season (visits a slot), season's level, structure, tail."""
ENTITY = (3000.0, 500.0, 0.0)


def tables(source: State, at: list[int], names: list[str], strength: Array, entity: Array) -> Prior:
    """A prior that lends to class `names[n]` what the source's class `at[n]` has, as strongly as strength[n]."""
    a = source.arrays
    arrays = {name: a[name][at].astype(dtype) for name, dtype in lent.PER_CLASS.items()}
    place: dict[int, list[int]] = {}
    for k, j in enumerate(at):
        place.setdefault(j, []).append(k)
    pairs, rows = [], []
    for p, (i, j) in enumerate(a["pairs"].tolist()):
        for x in place.get(i, []):
            for y in place.get(j, []):
                pairs.append((x, y))
                rows.append(p)
    arrays |= {name: a[name][rows].astype(dtype) for name, dtype in lent.PER_PAIR.items()}
    arrays["pairs"] = np.array(pairs, np.int32).reshape(-1, 2)
    arrays["classes"] = np.frombuffer("\n".join(names).encode(), np.uint8).copy()
    arrays["channels"] = a["channels"].astype(np.float32)
    arrays["strength"] = np.asarray(strength, np.float32)
    arrays["entity_strength"] = np.asarray(entity, np.float32)
    return Prior(arrays)


def read_prior(source: State, plan=None, full=FULL, entity=ENTITY) -> Prior:
    names = source.arrays["classes"].tobytes().decode().split("\n")
    return tables(source, list(range(len(names))), names, np.tile(full, (len(names), 1)), entity)
