"""Left out: would what the other entities have learned have helped this one? A table, made when a source is cut.

Owns the leave-one-entity-out validation of a source, and what follows from it: how many samples each component of each
class is worth to a newcomer (n0). It never names an entity. Knows nothing of how strongly anything is lent now.

Not obvious: n0 is the variance of one sample over the variance between entities, by the method of moments. Entities
that agree make a source worth many samples; where they differ, a newcomer's own first hour says more. It cannot tell
entities that agree from too few of them, so the present strengths are its limit, and below three it is silent. And it
takes a newcomer's data as stationary: of public machines it says tens of samples for the scale, where thousands were
measured to be best. So it is stored and shown, and nothing is lent by it yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import Array
from engine.prior import STRENGTHS
from engine.transfer import align, fingerprint, learned
from engine.transfer.fingerprint import Looks
from engine.transfer.learned import Learned, mean_known, thinned
from engine.transfer.match import ADAPT, COLD, NAMED, REUSE, match
from engine.transfer.strength import STRENGTHS as LENT

if TYPE_CHECKING:
    from engine.roster import Roster

#: Entities that are left out in turn, at even distances; and classes in the table, those of most series.
MOST_LEFT_OUT, MOST_CLASSES = 20, 500
#: Entities that are looked at at all.
MOST_ENTITIES = 300
#: Fewer entities than this say nothing of what lies between entities.
LEAST_ENTITIES = 3
#: What is lent at most, in samples; the same where there are too few entities to tell.
MOST_N0 = np.array(LENT[NAMED])
_ZONES = (REUSE, NAMED, ADAPT, COLD)
#: Pooled as `distil` pools them: medians of these, means of the rest.
_MEDIANS = ("scale", "level")


class Cast:
    """The series that have a fingerprint, by class: whose they are, and what they have learned. Read only.

    Of very many entities and classes some: a table from 300 entities says what one from 30,000 would.
    """

    def __init__(self, roster: Roster, looks: Looks) -> None:
        groups = fingerprint.members(looks)
        kept = sorted(sorted(groups, key=lambda name: (-len(groups[name]), name))[:MOST_CLASSES])
        rows = np.concatenate([groups[name] for name in kept] or [np.empty(0, np.int64)]).astype(np.int64)
        entity = roster.rows.link.entity[rows].astype(np.int64)
        cls = np.repeat(np.arange(len(kept)), [len(groups[name]) for name in kept])
        found = np.unique(entity)
        self.entity_count = len(found)
        self.entities = thinned(found, MOST_ENTITIES)
        some = np.isin(entity, self.entities)
        self.names, self.looks = kept, looks
        self.rows, self.entity, self.cls = rows[some], entity[some], cls[some]
        self.learned = learned.of_rows(roster, looks, self.rows)
        self.behind = learned.samples_behind(looks, self.rows)
        self.factory = learned.factory()


def table(cast: Cast) -> dict[str, Any]:
    """Plain data: each entity by its number, how alike the rest finds it; each class, what the others are worth to it.

    error_ratio: size of the error of what the others lend over that of what the factory says, by component, over the
    entities that were left out; below 1 is worth borrowing, null: not known.
    """
    if cast.entity_count < LEAST_ENTITIES:
        why = f"{cast.entity_count} entities with a fingerprint, wanted at least {LEAST_ENTITIES} to leave one out"
        return {"entities": cast.entity_count, "because": why, "left_out": [], "classes": []}
    errors = np.zeros((len(cast.names), len(STRENGTHS), 2))
    found: list[list[tuple[float, str]]] = [[] for _ in cast.names]
    told = []
    for number, e in enumerate(thinned(cast.entities, MOST_LEFT_OUT)):
        is_own = cast.entity == e
        apart = _distances(cast, is_own)
        for name, one in apart.items():
            found[cast.names.index(name)].append(one)
        for k in np.unique(cast.cls[is_own]):
            errors[k] += _errors(cast, is_own, int(k))
        told.append({"entity": number, **_summary(list(apart.values()))})
    classes = [
        {"class": name, **_summary(found[k]), "error_ratio": _ratios(errors[k])}
        for k, name in enumerate(cast.names)
        if found[k]
    ]
    return {"entities": cast.entity_count, "because": None, "left_out": told, "classes": classes}


def _summary(apart: list[tuple[float, str]]) -> dict[str, Any]:
    far = [distance for distance, _ in apart if np.isfinite(distance)]
    zones = {zone: sum(one == zone for _, one in apart) for zone in _ZONES}
    return {
        "judged": len(apart),
        "distance": round(float(np.median(far)), 4) if far else None,
        "zones": {zone: count for zone, count in zones.items() if count},
    }


def _distances(cast: Cast, is_own: Array) -> dict[str, tuple[float, str]]:
    """Distance and zone of each class of the entity that the rest has as well."""
    ours = fingerprint.by_class(_subset(cast.looks, cast.rows[is_own]))
    theirs = fingerprint.by_class(_subset(cast.looks, cast.rows[~is_own]))
    shared, seen = set(theirs.names), align.towards(theirs, ours)
    matches = {name: match(seen, ours, k) for k, name in enumerate(ours.names) if name in shared}
    return {name: (one.distance, one.zone) for name, one in matches.items()}


def _subset(looks: Looks, rows: Array) -> Looks:
    return Looks([looks.names[row] for row in rows], *(column[rows] for column in looks[1:]))


def _errors(cast: Cast, is_own: Array, k: int) -> Array:
    """(components, 2): mean squared error of the rest's word and of the factory's; zeros where nobody can be asked."""
    own, rest = is_own & (cast.cls == k), ~is_own & (cast.cls == k)
    sums = np.zeros((len(STRENGTHS), 2))
    if rest.any():
        for at, (name, start) in enumerate(cast.factory.items()):
            truth, said = _pooled(name, cast.learned, own), _pooled(name, cast.learned, rest)
            known = np.isfinite(truth) & np.isfinite(said)
            if known.any():
                sums[at] = [np.mean((word[known] - truth[known]) ** 2) for word in (said, start[0])]
    return sums


def _pooled(name: str, values: Learned, rows: Array) -> Array:
    return np.median(values[name][rows], axis=0) if name in _MEDIANS else mean_known(values[name][rows])


def _ratios(errors: Array) -> dict[str, float | None]:
    pairs = zip(STRENGTHS, errors.tolist(), strict=True)
    return {name: round(float(np.sqrt(lent / cold)), 4) if cold > 0 else None for name, (lent, cold) in pairs}


def n0(cast: Cast, classes: list[str], arrays: Mapping[str, Array]) -> Array:
    """float64 (classes, components): pseudo-samples by moment matching, for each class of the source."""
    found = np.tile(MOST_N0, (len(classes), 1))
    one = learned.one_sample(arrays)
    at = {name: row for row, name in enumerate(classes)}
    for k, name in enumerate(cast.names):
        row = at[name]
        found[row] = worth(one[row], _between(cast, k, one[row]))
    return found


def worth(one_sample: Array, between: Array) -> Array:
    """Samples that leave as much open as entities differ, at most MOST_N0. between: a variance, NaN: not known."""
    known = np.isfinite(between) & np.isfinite(one_sample)
    samples = np.where(known, one_sample, 1.0) / np.maximum(np.where(known, between, 0.0), 1e-12)
    return np.asarray(np.where(known, np.minimum(samples, MOST_N0), MOST_N0))


def _between(cast: Cast, k: int, one_sample: Array) -> Array:
    """(components,): variance between the entities of class k, less what their samples leave open; NaN: too few.

    A mean of few entities is itself uncertain, which counts as a difference to the next one.
    """
    of_class = np.flatnonzero(cast.cls == k)
    groups = [of_class[cast.entity[of_class] == e] for e in np.unique(cast.entity[of_class])]
    between = np.full(len(STRENGTHS), np.nan)
    if len(groups) < LEAST_ENTITIES:
        return between
    behind = np.array([np.median(cast.behind[rows], axis=0) for rows in groups])
    noise = one_sample * np.mean(1.0 / behind, axis=0)
    for at, name in enumerate(STRENGTHS):
        values = np.array([mean_known(cast.learned[name][rows]) for rows in groups])
        values = values[:, np.isfinite(values).sum(axis=0) >= LEAST_ENTITIES]
        if values.size:
            off = np.where(np.isfinite(values), values - mean_known(values), 0.0)
            count = np.isfinite(values).sum(axis=0)
            spread = float(np.mean((off**2).sum(axis=0) / (count - 1) * (1.0 + 1.0 / count)))
            between[at] = max(spread - noise[at], 0.0)
    return between
