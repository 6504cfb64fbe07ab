"""Verdict: from severity, page and what the engine knows of itself to confidence and a decision.

Owns the three words quiet | escalate | alert and the meaning of `confidence`: how sure the engine is of *this*
verdict, .5 being a coin's worth. Knows no component.

Not obvious: confidence is not severity. A page that one channel alone wants, on an entity known for an hour, is
severe and unsure; it goes to a person (escalate), not to the pager. But above CEILING doubt never hides an outage.
"""

from __future__ import annotations

import numpy as np

from engine.kernel import kernel

QUIET, ESCALATE, ALERT = 0, 1, 2
NAMES = ("quiet", "escalate", "alert")

#: Below this confidence a page is a question. .55: a little more than a coin.
SURE = 0.55
#: A page this far beyond its threshold is sent whatever the confidence.
CEILING = 3.0
#: A long unusual stretch that never had a sharp start: severe for LONG ticks without a page is a question as well.
SEVERE, LONG = 2.5, 8
#: Ticks of experience that are worth half of full maturity.
YOUNG = 150.0


@kernel
def confidence(severity: float, page: float, agreement: float, ticks: float, quality: float) -> float:
    """How sure, in [0, 1].

    agreement: share of channels that find the tick unusual; quality: share of metrics that reported; ticks: age.
    """
    maturity = quality * ticks / (ticks + YOUNG)
    if page >= 1.0:
        z = 2.0 * np.log(page) + 5.0 * (agreement - 0.4)
        return np.float64(0.35 + (1.0 / (1.0 + np.exp(-z)) - 0.35) * maturity)
    if np.isnan(severity):
        return 0.5
    unusual = 1.0 / (1.0 + np.exp(-2.0 * (severity - 3.0)))
    return np.float64(0.5 + 0.49 * (1.0 - unusual) * maturity)


@kernel
def decide(page: float, confidence_now: float, severe_ticks: int) -> int:
    """quiet, escalate or alert. severe_ticks: how long severity has been beyond SEVERE."""
    if page >= 1.0:
        return ALERT if confidence_now >= SURE or page >= CEILING else ESCALATE
    return ESCALATE if severe_ticks == LONG else QUIET
