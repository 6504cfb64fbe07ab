"""Evidence: has one version of an entity been shown to forecast better than the other, at whatever time one looks?

Owns the wealth of bets on the two versions of each entity that has a twin, and the level at which it is proof. A bet is
settled at each look, on the mean gain of the seeded version since the last one, in nats a sample, cut to -1..1. Who
bets a share of what he has, at odds that are fair if neither version is better, ends with twenty times it with a
probability of a twentieth at most, however often he looks (Ville 1939; testing by betting: Shafer 2021, Waudby-Smith
and Ramdas 2024, section 4). Reads the sums of `components/worth`; decides nothing.

Not obvious, two things. (1) How much to stake is not known beforehand, so as many stand beside each other as there are
shares in STAKES, each with the same money at first; the mean of their wealth is an e-process as each of them is. (2)
What is refuted is that at no look the version is expected to be the worse one, by the cut mean over all metrics of
the entity. So one metric that is forecast worse proves nothing against a seed that serves the others; but three bad
hours are proof, also where a good day would have followed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.columns import Array, Column, Spec
from engine.components.worth import COLD, SEEDED, Forecasts

#: The probability of a proof by chance, and the wealth that is one.
ALPHA = 0.05
PROOF = 1.0 / ALPHA
STAKES = np.array([0.05, 0.1, 0.2, 0.4, 0.8])


class Evidence(NamedTuple):
    """Per entity of a twin. settled (m, 3): loss of seeded, of cold, and samples, at the last look.

    wealth (m, 2, stakes): ln of what a bet on seeded, on cold has come to.
    """

    settled: Array
    wealth: Array


EVIDENCE: Spec = {
    "settled": Column(np.float64, after=(3,)),
    "wealth": Column(np.float64, after=(2, len(STAKES))),
}
ENTITY: dict[str, tuple[Any, Spec]] = {"evidence": (Evidence, EVIDENCE)}


def settle(evidence: Evidence, sums: Forecasts, entity: Array) -> None:
    """Settle the bets of all entities that were forecast since the last look.

    sums: of the n series of a roster of twins; entity (n,): whose each is.
    """
    now = np.zeros_like(evidence.settled)
    series = np.stack([part[: len(entity)].sum(axis=1) for part in (sums.seeded, sums.cold, sums.samples)], axis=1)
    np.add.at(now, entity, series)
    seeded, cold, samples = (now - evidence.settled).T
    is_new = samples > 0
    gain = np.clip((cold - seeded)[is_new] / samples[is_new], -1.0, 1.0)
    for version, better in ((SEEDED, gain), (COLD, -gain)):
        evidence.wealth[is_new, version] += np.log1p(STAKES * better[:, None])
    evidence.settled[:] = now


def against(evidence: Evidence, version: int) -> Array:
    """(m,): e-value against the hypothesis that the version forecasts no worse than the other; 1 at first."""
    other = evidence.wealth[:, COLD if version == SEEDED else SEEDED]
    most = other.max(axis=1)
    return np.asarray(np.exp(np.minimum(most + np.log(np.exp(other - most[:, None]).mean(axis=1)), 700.0)))
