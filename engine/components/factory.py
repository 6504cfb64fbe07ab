"""Factory: what the evidence of an entity is like before anything is known of it.

Owns a histogram each of the channels, the two severity evidences, the hourly peaks and the page evidence, as shapes
with a weight in ticks. Knows nothing of how they are read.

Not obvious: the weights differ. That of a channel is a day's, for entities differ; that of the page evidence is months,
for what is left there is nearly the same for all, and learned from one alone it would follow that one's incidents.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.components import tail

FACTORY_ROWS = 1000.0
#: Ticks behind the histogram of the page evidence: two memories.
PAGE_ROWS = 100_000.0
#: And behind those of the hourly peaks of a channel.
PEAK_ROWS = 400.0

# ln(evidence) on normal data of many entities: centre, spread of the body, slope of the tail, ticks; a row a histogram
# of `entity`, in its order.
FACTORY = (
    (-1.30, 0.50, 0.35, FACTORY_ROWS),
    (-1.45, 0.40, 0.35, FACTORY_ROWS),
    (-1.30, 0.50, 0.35, FACTORY_ROWS),
    (-0.70, 0.40, 0.45, FACTORY_ROWS),
    (-0.65, 0.45, 0.40, FACTORY_ROWS),
    (-1.50, 0.50, 0.35, FACTORY_ROWS),
    (0.20, 0.50, 0.35, FACTORY_ROWS),
    (0.00, 0.45, 0.35, FACTORY_ROWS),
    (0.65, 0.45, 0.35, PEAK_ROWS),
    (0.10, 0.50, 0.35, PEAK_ROWS),
    (-0.20, 0.50, 0.35, PEAK_ROWS),
    (-0.15, 0.38, 0.30, PAGE_ROWS),
)


def factory() -> Array:
    """float32 (12, 40): the histograms that a fresh entity starts with."""
    middle = tail.LOW + tail.WIDTH * (np.arange(tail.BINS) + 0.5)
    counts = np.empty((len(FACTORY), tail.BINS))
    for at, (centre, spread, slope, ticks) in enumerate(FACTORY):
        start = centre + 2.05 * spread
        body = np.exp(-0.5 * ((middle - centre) / spread) ** 2)
        beyond = np.exp(-0.5 * 2.05**2) * np.exp(-(middle - start) / slope)
        shape = np.where(middle < start, body, beyond)
        counts[at] = shape * (ticks / shape.sum())
    # Less than a millionth of an entry is nothing, and denormal numbers are slow.
    return np.where(counts < 1e-6, 0.0, counts).astype(np.float32)
