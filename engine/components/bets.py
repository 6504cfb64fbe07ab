"""Bets: two settings of a series' models forecast the same values; what a bet on each has come to.

Owns the loss of a value under a setting, and the settling of bets. Knows nothing of what the settings mean or what
follows (`engine/shadows.py`). The two stand still: nothing is learned here.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.kernel import kernel

#: The setting that there is, and the one that is on trial.
OLD, NEW = range(2)
#: The square of a residual, in its typical size, counts up to so much; bets are settled on at most CUT nats a sample; a
#: residual beyond SURPRISE typical ones is one.
FARTHEST, CUT, SURPRISE = 25.0, 3.0, 4.0


@kernel
def bet(
    values: Array, slots: Array, near: Array, is_bet: Array, settings: Array, shapes: Array, stakes: Array,
    wealth: Array, losses: Array, surprises: Array, least: float,
) -> None:  # fmt: skip
    """Settle the bets on values[1:], as far as `is_bet`, each given the one before where that is `near`, in place.

    slots (n,): of the day; settings (2, 5): mean, sd, level, sigma, persistence, see `engine.diagnosis.Setting`; shapes
    (2, 96); wealth (2, stakes): ln; losses, surprises (2,): sums. The loss is -ln of the normal density of the whitened
    residual, but for a constant and cut. least: what a bet on the old never falls below; 0 makes a detector of it,
    which sees soon when it is right again (e-CUSUM: Shin, Ramdas and Rinaldo 2023).
    """
    for k in range(1, len(values)):
        if not is_bet[k]:
            continue
        better = 0.0
        for v in range(2):
            mean, sd, level = settings[v, 0], settings[v, 1], settings[v, 2]
            size, rho = settings[v, 3], settings[v, 4]
            off = (values[k] - mean) / sd - level - np.float64(shapes[v, slots[k]])
            if near[k]:
                off -= rho * ((values[k - 1] - mean) / sd - level - np.float64(shapes[v, slots[k - 1]]))
                size *= np.sqrt(1.0 - rho * rho)
            ratio = off / size
            loss = np.log(sd * size) + 0.5 * min(ratio * ratio, FARTHEST)
            losses[v] += loss
            surprises[v] += 1.0 if abs(ratio) > SURPRISE else 0.0
            better = loss if v == OLD else better - loss
        gain = min(max(better, -CUT), CUT) / CUT
        for s in range(len(stakes)):
            wealth[NEW, s] += np.log1p(stakes[s] * gain)
            wealth[OLD, s] = max(wealth[OLD, s] + np.log1p(-stakes[s] * gain), least)
