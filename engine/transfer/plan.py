"""Plan: the whole decision of a seeding as data, before anything happens.

Owns what is decided for each metric class of a target, its form as plain data and as a table, and its identity. A plan
is a function of two snapshots and of nothing else, so it is reproducible, and it names both by their digests. It is
read back in `planned.py`. Strengths and thaw follow from the zone and are told for people: they are this version's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import ENGINE_VERSION, EngineConfig
from engine.errors import ConfigError, RefusedPlan
from engine.roster import Roster
from engine.series import stable_id
from engine.snapshot import State, digest_of, read_json_column
from engine.transfer import align, card, fingerprint, form
from engine.transfer.align import AS_IT_IS, Aligned
from engine.transfer.fingerprint import Looks
from engine.transfer.match import COLD, NAMED, match
from engine.transfer.strength import LIVE, components, thaw

SCHEMA = "graft.plan/1"
_HEADER = ["class", "series", "from", "distance", "evidence", "zone", "strength", "stage", "aligned", "because"]
#: How the strengths in the table are to be read, and what becomes of them.
LEGEND = (
    "strength: pseudo-samples of scale, season, level of the season, structure, tail. Each entity tries it for an hour "
    "beside its cold version, adopts it if it is alike, and keeps the cold version for a day; the shape of the day is "
    "on trial until it was seen once. aligned: hours by which its day is later, its size and its step, all beside the "
    "source's. Entities that have begun before it is applied stay as they are."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What happens to one metric class of the target. source: class that lends, None where it stays cold.

    distance in spreads of the source's class, None where there is none; evidence: how much the target knows of itself.
    phase_s, gain, step_ratio: see `align.Aligned`.
    """

    target: str
    series: int
    source: str | None
    distance: float | None
    evidence: float
    zone: str
    by: str
    because: str
    phase_s: int = AS_IT_IS.phase_s
    gain: float = AS_IT_IS.gain
    step_ratio: float = AS_IT_IS.step_ratio

    @property
    def aligned(self) -> Aligned:
        """How what is lent is moved."""
        return Aligned(self.phase_s, self.gain, self.step_ratio)

    def __str__(self) -> str:
        """What a plan's id is made from: without what is not moved, as in plans from before anything was."""
        decided = ((name, getattr(self, name)) for name in Entry.__dataclass_fields__)
        still = AS_IT_IS._asdict()
        told = [f"{name}={value!r}" for name, value in decided if name not in still or still[name] != value]
        return f"Entry({', '.join(told)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with what follows from the zone; stage and thaw are None where it stays cold."""
        own = {name: getattr(self, name) for name in Entry.__dataclass_fields__}
        stage = LIVE if self.zone != COLD else None
        return own | {"components": components(self.zone), "thaw": thaw(self.zone), "stage": stage}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Entries in order of the target's class names. source, target: what it was made of, with digests."""

    source: dict[str, Any]
    target: dict[str, Any]
    entries: tuple[Entry, ...]
    refused: str | None = None

    @property
    def id(self) -> str:
        """The same for the same decision on the same snapshots."""
        return stable_id("plan", self.source["digest"], self.target["digest"], *self.entries, self.refused)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, `graft.plan/1`."""
        warm = [entry for entry in self.entries if entry.zone != COLD]
        return {
            "schema": SCHEMA,
            "id": self.id,
            "engine": ENGINE_VERSION,
            "source": self.source,
            "target": self.target,
            "refused": self.refused,
            "seeded": len(warm),
            "cold": len(self.entries) - len(warm),
            "entries": [entry.to_dict() for entry in self.entries],
        }

    def table(self) -> list[list[str]]:
        """Rows of text for people; the first is the header."""
        return [_HEADER, *(_row(entry) for entry in self.entries)]


def _row(entry: Entry) -> list[str]:
    far = "-" if entry.distance is None else f"{entry.distance:.2f}"
    lender = entry.source or "-"
    strength = "/".join(f"{rows:g}" for rows in components(entry.zone).values()) or "-"
    stage = LIVE if entry.zone != COLD else "-"
    known = f"{entry.evidence:.1f}"
    made = entry.aligned
    moved = "-" if made == AS_IT_IS else f"{made.phase_s / 3600:+g} h x{made.gain:.2f} step x{made.step_ratio:.3g}"
    return [entry.target, str(entry.series), lender, far, known, entry.zone, strength, stage, moved, entry.because]


def check(made: Plan, source: State) -> None:
    """RefusedPlan unless the plan may be carried out with this source snapshot."""
    if made.refused:
        raise RefusedPlan(f"the plan is refused: {made.refused}")
    if made.source["digest"] != digest_of(source):
        raise RefusedPlan(
            f"the plan was made for another source snapshot ({made.source['digest']}, this is {digest_of(source)}); "
            "plan again with this one."
        )
    known = set(read_json_column(source.arrays["classes"]))
    strange = sorted(str(one.source) for one in made.entries if one.source is not None and one.source not in known)
    if strange:
        raise RefusedPlan(f"the plan lends from class {strange[0]!r}, which the source does not have; plan again.")


def plan(source: State, target: State) -> Plan:
    """Decide what `source` (a source snapshot) would lend to the classes of `target` (a checkpoint)."""
    if source.manifest.get("kind") != "source" or target.manifest.get("kind") != "checkpoint":
        raise ConfigError(
            f"a plan was asked for from a {source.manifest.get('kind')!r} to a {target.manifest.get('kind')!r}; wanted "
            "a source snapshot (`graft snapshot create`) and the state of the target."
        )
    theirs = looks_of(source)
    roster = Roster.restore(target.arrays, EngineConfig())
    rows = fingerprint.of_rows(roster)
    ours = fingerprint.by_class(rows)
    seen = align.towards(theirs, ours, own=source.arrays["own"].astype(np.float64))
    young = sorted(set(roster.classes) - set(ours.names))
    entries = [_entry(seen, ours, k) for k in range(len(ours.names))]
    entries += [_entry_of_unknown(theirs, name, roster.classes.count(name)) for name in young]
    part = {key: target.manifest.get(key) for key in ("topic", "partition", "next_offset")}
    return Plan(
        source={"environment": source.manifest.get("environment"), "digest": digest_of(source)},
        target={**part, "digest": digest_of(target)},
        entries=tuple(sorted(entries, key=lambda entry: entry.target)),
        refused=_refused(source),
    )


def _refused(source: State) -> str | None:
    """Why nothing may be lent from this source at all."""
    try:
        form.check_kind(source)
        card.check_golden(source.manifest)
    except ConfigError as error:
        return str(error)
    return None


def _entry(theirs: align.Source, ours: Looks, k: int) -> Entry:
    found = match(theirs, ours, k)
    is_lent = found.source >= 0 and found.zone != COLD
    made = AS_IT_IS
    if is_lent:
        made = found.aligned._replace(gain=align.gain(theirs, ours, k, found.source, found.aligned.phase_s))
    moved = align.words(made)
    return Entry(
        target=ours.names[k],
        series=int(ours.series[k]),
        source=theirs.looks.names[found.source] if is_lent else None,
        distance=round(found.distance, 4) if np.isfinite(found.distance) else None,
        evidence=round(found.evidence, 4),
        zone=found.zone,
        by=found.by,
        because=f"{found.because}; {moved}" if moved else found.because,
        **made._asdict(),
    )


def _entry_of_unknown(theirs: Looks, name: str, series: int) -> Entry:
    """A class that has hardly begun: its name is all there is."""
    is_known = name in theirs.names
    because = "same name, nothing else known yet" if is_known else "not in the source, and too young to be recognised"
    return Entry(
        target=name, series=series, source=name if is_known else None, distance=None, evidence=0.0,
        zone=NAMED if is_known else COLD, by="name" if is_known else "", because=because,
    )  # fmt: skip


def looks_of(source: State) -> Looks:
    """The fingerprints of a source's classes."""
    a = source.arrays
    names = ("samples", "features", "low", "high", "shape", "visits", "step_ms")
    wide = {name: a[name].astype(np.float64) for name in names}
    return Looks(names=read_json_column(a["classes"]), series=a["series"], kind=a["kind"], **wide)
