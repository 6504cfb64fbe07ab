"""Distil: from a shard's checkpoint to a source snapshot, which holds what is general of an environment.

Owns the layout of a source snapshot: per metric class its fingerprint with spread, scale ratio, novelty, shape of a
day, tail and residual sizes; per pair of classes that share an entity their lag covariances; per environment the
histograms of an entity. It never holds a raw sample, an absolute level, a label value or the name of an entity.

Not obvious: everything is pooled in order of names with fixed operations, so a state distilled twice gives the same
bytes. And a class with several series in one entity (one a processor) has two kinds of covariance: `own`, of a series
with itself, and a pair of the class with itself, of two of its series.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array
from engine.components import block, entity, level, tail
from engine.config import ENGINE_VERSION, EngineConfig
from engine.errors import ConfigError
from engine.roster import Roster
from engine.snapshot import State, digest_of, json_column
from engine.transfer import card, fingerprint, form, health, left_out
from engine.transfer.fingerprint import LOG_FAR, LOG_RATIO, LOG_SIGMA, Looks
from engine.transfer.learned import mean_known, tails, thinned

#: Entities whose covariances are pooled; of more, so many at even distances. Their mean moves little beyond.
MOST_ENTITIES = 300
#: Ticks after which an entity's histograms and covariances say more about it than about its start.
GROWN_TICKS = 500.0


def distil(state: State, *, owner: str | None = None, licence: str | None = None) -> State:
    """The source snapshot of a checkpoint; ConfigError if it is none or its environment is not healthy.

    owner, licence: for the card, in the words of whoever cuts it.
    """
    if state.manifest.get("kind") != "checkpoint" or "text.names" not in state.arrays:
        kind = state.manifest.get("kind")
        raise ConfigError(f"a snapshot of kind {kind!r} was given to distil; wanted the checkpoint of one shard.")
    origin = card.origin(state.manifest.get("environment"), owner, licence)
    roster = Roster.restore(state.arrays, EngineConfig())
    measured = health.measure(roster, state.manifest)
    health.check(measured)
    looks = fingerprint.of_rows(roster)
    classes = fingerprint.by_class(looks)
    arrays = _class_arrays(roster, looks, classes) | _pair_arrays(roster, classes) | _entity_arrays(roster)
    cast = left_out.Cast(roster, looks)
    arrays["n0"] = left_out.n0(cast, classes.names, arrays)
    plain = {name: _plain(array) for name, array in arrays.items()}
    told = card.card(
        plain, origin=origin, labels=card.labels_of(roster), lineage=[_cut(state)], validation=left_out.table(cast)
    )
    return State(manifest(told, measured, len(classes.names)), plain)


def _cut(state: State) -> dict[str, Any]:
    """One entry of the lineage."""
    where = {key: state.manifest.get(key) for key in ("topic", "partition", "next_offset", "config")}
    return {
        "made": "cut",
        "parents": [digest_of(state)],
        "engine": ENGINE_VERSION,
        "recipe": card.recipe_hash(),
        **where,
    }


def manifest(told: dict[str, Any], measured: dict[str, float], class_count: int) -> dict[str, Any]:
    """The manifest of a source with this card and these numbers of health."""
    return {
        "kind": "source",
        "schema": form.SCHEMA,
        "environment": told["origin"]["environment"],
        "engine": ENGINE_VERSION,
        "health": measured,
        "class_count": class_count,
        "features": list(fingerprint.FEATURES),
        "card": told,
    }


def _plain(array: Array) -> Array:
    """Little numbers in little room: nothing here is known to more than seven digits."""
    return np.ascontiguousarray(array, np.float32) if array.dtype == np.float64 else np.ascontiguousarray(array)


def _class_arrays(roster: Roster, looks: Looks, classes: Looks) -> dict[str, Array]:
    behind = [thinned(rows, MOST_ENTITIES).tolist() for rows in fingerprint.members(looks).values()]
    own = [_own(roster, rows) for rows in behind]
    features = classes.features
    return {
        "classes": json_column(classes.names),
        "series": classes.series,
        "samples": classes.samples,
        "features": features,
        "low": classes.low,
        "high": classes.high,
        "step_ms": classes.step_ms,
        "kind": classes.kind,
        "ratio": np.exp(features[:, LOG_RATIO]),
        "far": np.maximum(np.exp(features[:, LOG_FAR]) - 1e-4, 0.0),
        "sigma": np.exp(features[:, LOG_SIGMA]),
        "step": _steps(roster, behind),
        "shape": classes.shape,
        "visits": classes.visits,
        "tail": np.array([tails(roster, rows).mean(axis=0) for rows in behind]).reshape(-1, tail.BINS),
        "own": np.array([part.lagged for part in own]).reshape(-1, block.MOST_LAGS + 1),
        "own_residual": np.array([part.residual for part in own], np.float64),
        "sigmas": np.array([part.sigmas for part in own]).reshape(-1, 3),
    }


def _steps(roster: Roster, behind: list[list[int]]) -> Array:
    """(classes, 2): ln of the typical step beside the size of the value, and beside that of the other classes."""
    steps = [np.median(level.log_step(roster.rows.level, np.array(rows)), axis=0) for rows in behind]
    both = np.array(steps, np.float64).reshape(-1, 2)
    both[:, 1] -= np.median(both[:, 1]) if len(both) else 0.0
    return both


class _Own(NamedTuple):
    lagged: Array
    residual: float
    sigmas: Array


def _own(roster: Roster, rows: list[int]) -> _Own:
    lagged, residual, sigmas = [], [], []
    for row in rows:
        part, j = roster.part(int(roster.rows.link.block[row])), int(roster.rows.link.slot[row])
        covariance, left = block.distil(part, j, j)
        lagged.append(covariance)
        residual.append(left)
        sigmas.append(part["vectors"][[block.SIGMA_E, block.SIGMA_X, block.SIGMA_G], j].astype(np.float64))
    return _Own(_extended(mean_known(np.array(lagged))), float(np.mean(residual)), np.mean(sigmas, axis=0))


def _pair_arrays(roster: Roster, classes: Looks) -> dict[str, Array]:
    """pairs (p, 2): classes i, j; lagged (p, 21): E z_i(t) z_j(t - k); residual (p,)."""
    at = {name: k for k, name in enumerate(classes.names)}
    grown = np.flatnonzero(roster.block.ticks[: roster.block_count] >= GROWN_TICKS)
    sums: dict[tuple[int, int], list[tuple[Array, float]]] = {}
    for b in thinned(grown, MOST_ENTITIES).tolist():
        part, width = roster.part(b), int(roster.block.width[b])
        kinds = [at.get(roster.classes[int(row)], -1) for row in roster.block.member[b, :width]]
        for i, j in np.ndindex(width, width):
            if i != j and kinds[i] >= 0 and kinds[j] >= 0:
                sums.setdefault((kinds[i], kinds[j]), []).append(block.distil(part, i, j))
    pairs = sorted(sums)
    lagged = [_extended(mean_known(np.array([one for one, _ in sums[pair]]))) for pair in pairs]
    residual = [float(np.mean([left for _, left in sums[pair]])) for pair in pairs]
    return {
        "pairs": np.array(pairs, np.int32).reshape(-1, 2),
        "lagged": np.array(lagged).reshape(-1, block.MOST_LAGS + 1),
        "residual": np.array(residual, np.float64),
    }


def _extended(lagged: Array) -> Array:
    """Covariances at lags that no source block kept go on falling as they fell last, so that any block can use them."""
    longer = lagged.copy()
    for k in range(1, len(longer)):
        if not np.isfinite(longer[k]):
            before = longer[k - 2] if k > 1 else longer[k - 1]
            falls = longer[k - 1] / before if before * longer[k - 1] > 0 else 0.0
            longer[k] = longer[k - 1] * min(falls, 0.98)
    return longer


def _entity_arrays(roster: Roster) -> dict[str, Array]:
    """channels (12, 40): mean histogram of the grown entities, each of sum 1."""
    grown = np.flatnonzero(roster.ents.entity.ticks[: len(roster.entities)] >= GROWN_TICKS)
    own = [entity.distil(roster.ents.entity, e) for e in thinned(grown, MOST_ENTITIES).tolist()]
    return {"channels": np.mean(own, axis=0) if own else np.zeros((entity.HISTOGRAMS, tail.BINS))}
