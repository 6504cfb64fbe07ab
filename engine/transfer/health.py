"""Health: may this environment be a source for others?

Owns the gate that a checkpoint must pass before it is distilled: old enough, not drifting, not alerting all the time,
not full of holes. The numbers are stored with the snapshot, so that whoever seeds from it can see them.

Rule: a sick source is refused with the reason and the limit, never distilled with a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.components import change, presence
from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.roster import Roster

#: Samples behind the median series: a young one would hand on its own cold start.
AGE_SAMPLES = 1000.0
#: Alert records an entity-day (firing and resolved), after the first ones, which a short record may hold by chance.
ALERTS_PER_DAY, ALERTS_FREE = 4.0, 4.0
#: Shares of series that may be changing level now, of samples that may be missing, of series that may be absent.
DRIFTING, MISSING, ABSENT = 0.25, 0.2, 0.2
DAY_MS = 86_400_000.0


def measure(roster: Roster, manifest: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of the gate."""
    n, m = len(roster.names), len(roster.entities)
    rows, ents = roster.rows, roster.ents
    ledger = manifest.get("ledger", {})
    learned, missing = int(ledger.get("learned", 0)), int(ledger.get("missing", 0))
    days = float(np.sum(ents.entity.ticks[:m] * ents.entity.step_ms[:m])) / DAY_MS
    cusum = np.maximum(rows.change.up[:n], rows.change.down[:n])
    # A CUSUM beyond its limit in a series that may not report yet is a change under way as well.
    is_drifting = (rows.change.rest[:n] > 0) | (cusum > change.LIMIT)
    return {
        "series": float(n),
        "entities": float(m),
        "age_samples": float(np.median(rows.level.count[:n])) if n else 0.0,
        "entity_days": round(days, 6),
        "alert_records": float(manifest.get("alert_number", 0)),
        "drifting_share": round(float(is_drifting.mean()), 6) if n else 0.0,
        "missing_share": round(missing / max(learned + missing, 1), 6),
        "absent_share": round(float((rows.presence.absent[:n] == presence.ABSENT).mean()), 6) if n else 0.0,
    }


def check(health: Mapping[str, float]) -> None:
    """Nothing, or ConfigError with all reasons why this is no source."""
    alerts_most = ALERTS_FREE + ALERTS_PER_DAY * health["entity_days"]
    alerts = health["alert_records"]
    rules = (
        (health["age_samples"] >= AGE_SAMPLES, "age_samples", f"at least {AGE_SAMPLES:g}; let it run longer"),
        (alerts <= alerts_most, "alert_records", f"at most {alerts_most:.4g} at its age; mend it first"),
        (health["drifting_share"] <= DRIFTING, "drifting_share", f"at most {DRIFTING:g}; wait until it has settled"),
        (health["missing_share"] <= MISSING, "missing_share", f"at most {MISSING:g}; mend its collection first"),
        (health["absent_share"] <= ABSENT, "absent_share", f"at most {ABSENT:g}; wait until its series are back"),
    )
    found = [f"{name} is {health[name]:.4g}, wanted {wanted}" for is_good, name, wanted in rules if not is_good]
    if found:
        raise ConfigError(f"this state is no healthy source: {'; '.join(found)}.")
