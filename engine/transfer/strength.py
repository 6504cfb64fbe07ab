"""Strength: how strongly what a source has is lent, in pseudo-samples, by zone, and how it thaws.

Owns the numbers, and their form in a plan. Knows nothing of how a zone was found and of the arrays that are lent.

Not obvious, all measured on real services: spread, structure and tails travel, also from a source that is not very
alike, and make a young entity quiet; the shape of a day travels between siblings only, so it is on trial for a day
(`components/trial`). Levels never travel.
"""

from __future__ import annotations

from typing import Any

from engine import prior as lent
from engine.components.habit import HOUR_MS
from engine.components.season import SLOTS
from engine.transfer.match import ADAPT, NAMED, REUSE
from engine.twins import SETTLED_MS

#: Pseudo-samples of (scale, season: visits of a slot, season's level, structure, tail). The residual sizes and the
#: level of the season share a count in the kernel, hence 20: a size known better would stop the level from moving.
STRENGTHS = {
    REUSE: (5000.0, 4.0, 20.0, 5000.0, 1000.0),
    NAMED: (5000.0, 4.0, 20.0, 5000.0, 1000.0),
    ADAPT: (500.0, 0.33, 20.0, 100.0, 500.0),
}
#: Of an entity: ticks that its histograms count for, and its age, which decides when it may page (a multiple of the
#: ticks between two readings of its quantiles).
HISTOGRAM_TICKS, AGE_TICKS = 3000.0, 32.0
#: Ticks that the joint model counts as learned. Scores grow to full size with them, so this is how loud a young entity
#: may be. Its own level is not settled yet: at 2,000 it would page beyond its budget on days without any incident.
LEARNED_TICKS = {REUSE: 5000.0, NAMED: 5000.0, ADAPT: 100.0}
#: A source's models were made of its own evidence, and that of another is larger by so much in ln, by histogram of
#: `components/entity`: a third of what it was with siblings of real services, before a lent scale could thaw. All of it
#: would have every page prove itself against the most unlike of siblings.
LOUDER = (0.1, 0.18, 0.0, 0.1, 0.14, 0.14, 0.0, 0.0, 0.1, 0.18, 0.14, 0.0)
#: The stage of what is lent: alerts follow it once it is adopted. There is no shadow of a seed but its trial.
LIVE = "live"


def components(zone: str) -> dict[str, float]:
    """Pseudo-samples by component, before the sureness of few metrics; empty where nothing is lent.

    >>> components("seed-and-adapt")["scale"]
    500.0
    """
    return dict(zip(lent.STRENGTHS, STRENGTHS[zone], strict=True)) if zone in STRENGTHS else {}


def thaw(zone: str) -> dict[str, Any] | None:
    """How what is lent becomes the series' own, in words and numbers; None where nothing is lent."""
    if zone not in STRENGTHS:
        return None
    return {
        "trial_s": HOUR_MS // 1000,
        "adopted_by": "likeness of restlessness and of evidence, per entity",
        "cold_twin_s": SETTLED_MS // 1000,
        "shape_of_day": f"on trial for its first {SLOTS} quarters of an hour",
        "share": "n0 / (n0 + n), n0 the strength and n the own samples of a component",
    }
