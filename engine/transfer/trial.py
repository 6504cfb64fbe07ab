"""Trial: what became of what was lent to one entity, put together from its records. Pure.

Owns which records belong to one trial, and what came of it in one word. Takes records of kind `guard` and `worth` from
the experiments topic, in any order and more than once; others are passed over, and so is what is not whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.transfer.received import received

#: What a trial has come to. standing: it goes on, and nothing was decided; settled: it ended so.
PASSED, ADOPTED, RETURNED, REFUSED, STANDING, SETTLED = (
    "passed", "adopted", "returned", "refused", "standing", "settled",
)  # fmt: skip
#: Of these the seeded version was believed for a while.
BELIEVED = (PASSED, ADOPTED, RETURNED)
EVICTED = (REFUSED, RETURNED)
OUTCOMES = (PASSED, ADOPTED, RETURNED, REFUSED, STANDING, SETTLED)
#: Records that one report reads at most.
MOST_RECORDS = 1_000_000


@dataclass
class Trial:
    """One trial of one entity. records: of the source that it is about, oldest first."""

    environment: str
    entity: str
    records: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def decided(self) -> Mapping[str, Any] | None:
        """The newest decision."""
        return next((one for one in reversed(self.records) if one["kind"] == "guard"), None)

    @property
    def outcome(self) -> str:
        """One of OUTCOMES."""
        return str((self.decided or self.records[-1])["finding"])

    @property
    def source(self) -> str:
        """The environment that lent."""
        return str(((self.decided or self.records[-1]).get("source") or {}).get("environment") or "unknown")

    @property
    def worth(self) -> Mapping[str, Any]:
        """The newest account that is about its source; empty if there is none."""
        number = _number(self.decided or self.records[-1])
        found = (one["worth"] for one in reversed(self.records) if one.get("worth") and _number(one) == number)
        return next(found, {})

    @property
    def borrowed(self) -> dict[str, dict[str, float]]:
        """Class -> component -> share that came from the source when it was first decided."""
        first = next((one["worth"] for one in self.records if one.get("worth")), None) or {}
        return {one["class"]: dict(one.get("borrowed") or {}) for one in first.get("classes") or ()}


def trials(records: Iterable[Mapping[str, Any]]) -> list[Trial]:
    """All trials, in order of their first record. An entity that is given another trial later has two."""
    found: list[Trial] = []
    latest: dict[tuple[str, str], Trial] = {}
    for one in sorted(_unique(records), key=lambda record: int(record["at_ms"])):
        key = (str(one.get("environment")), str(one["entity"]))
        trial = latest.get(key)
        if trial is None or _is_over(trial, one):
            trial = latest[key] = Trial(*key)
            found.append(trial)
        trial.records.append(one)
    return found


def _unique(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    known: dict[str, Mapping[str, Any]] = {}
    for one in received(records):
        is_whole = isinstance(one.get("at_ms"), int) and one.get("entity") and one.get("finding") in OUTCOMES
        if one.get("kind") in ("guard", "worth") and is_whole and len(known) < MOST_RECORDS:
            known[str(one.get("id"))] = one
    return list(known.values())


def _is_over(trial: Trial, record: Mapping[str, Any]) -> bool:
    """Does a record begin another trial?"""
    begins = record["finding"] in (ADOPTED, REFUSED, STANDING)
    return begins and trial.records[-1]["finding"] in (PASSED, SETTLED)


def _number(record: Mapping[str, Any]) -> Any:
    return (record.get("source") or {}).get("number")
