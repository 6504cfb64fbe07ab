"""Prior: what a source environment lends to series that a shard sees for the first time.

Owns the lendable half of a distilled snapshot, by metric class, and the act of seeding a row with it. A level is
never lent: it is the target's own from the first sample on. Matching, planning and reporting are in `transfer/`.

Not obvious: the prior is part of the state. A shard that is restored after a crash must lend the same things to
series that appear later, or the state would no longer be the fold of its log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.columns import Array
from engine.components import level, season

if TYPE_CHECKING:
    from engine.roster import Roster


class Prior:
    """Metric classes of a source. arrays: see `transfer/distil`, which makes them."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = dict(arrays)
        names = self._arrays["classes"].tobytes().decode().split("\n")
        self._class = {name: k for k, name in enumerate(names)}
        self.seeded = 0

    @staticmethod
    def from_arrays(arrays: Mapping[str, Array]) -> Prior:
        """From what `arrays` gave."""
        return Prior(arrays)

    def arrays(self) -> dict[str, Array]:
        """All that is lent, for the snapshot."""
        return dict(self._arrays)

    def summary(self) -> dict[str, Any]:
        """For people and manifests."""
        return {"classes": list(self._class)}

    def lend(self, roster: Roster, row: int, entity: int, name: str) -> bool:
        """Seed a fresh row if its metric class is known; False: it stays cold."""
        k = self._class.get(name)
        if k is None:
            return False
        a = self._arrays
        level.seed(roster.rows.level, row, ratio=float(a["ratio"][k]), far=float(a["far"][k]), rows=float(a["rows"][k]))
        season.seed(
            roster.rows.season, row, shape=a["shape"][k], visits=int(a["visits"][k]), sigma=float(a["sigma"][k]), rows=0.0
        )
        self.seeded += 1
        return True
