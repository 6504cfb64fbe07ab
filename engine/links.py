"""Links: do those of a state that was read lead to what leads back?

Owns the check, and nothing of how the state is kept. Compiled code believes every number that says where something
is, so one that leads nowhere would be a write to memory of somebody else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine import alerts
from engine.components import guard
from engine.components.block import Block
from engine.state import Entities, Rows


class Counts(NamedTuple):
    """How many there are of each."""

    series: int
    entities: int
    blocks: int
    sources: int


def check_links(rows: Rows, ents: Entities, block: Block, counts: Counts) -> None:
    """ValueError unless each link leads to what leads back."""
    n, m, b = counts.series, counts.entities, counts.blocks
    own, slot = rows.link.block[:n], rows.link.slot[:n]
    placed = np.flatnonzero(own != -1)
    width, capacity, after = block.width[:b], block.capacity[:b], block.next[:b]
    first = ents.open.first_block[:m]
    links = {
        "entity": (rows.link.entity[:n] >= 0) & (rows.link.entity[:n] < m),
        "block": (own >= -1) & (own < b),
        "width": (width >= 1) & (width <= capacity),
        "next": (after == -1) | ((after > np.arange(b)) & (after < b)),
        "first block": (first >= -1) & (first < b),
        "series of an alert": (ents.life.about[:m] < n).all(axis=1),
        "source": (ents.seed.source[:m] >= guard.REFUSED) & (ents.seed.source[:m] < counts.sources),
        "state of an alert": ents.life.state[:m] < len(alerts.STATES),
    }
    wrong = [name for name, right in links.items() if not right.all()]
    if not wrong:
        in_place = (slot[placed] >= 0) & (slot[placed] < width[own[placed]])
        back = block.member[own[placed], np.where(in_place, slot[placed], 0)] == placed
        wrong = ["slot"] * (not in_place.all()) + ["member"] * (not back.all())
    wrong += ["member"] * (int(width.sum()) != len(placed))
    if wrong:
        raise ValueError(f"{wrong[0]} of something leads nowhere")
