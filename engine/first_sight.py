"""First sight: where in a batch new series have to be given their place, so that batch cuts do not matter.

Owns one question. A series gets its place in the joint state of its entity at its first sample in the log, and the fold
has to stop there. But as long as an entity has had no tick, and none of its series has come a second time, nothing
depends on how many of them have a place; so runs of such series are placed at once, and ten thousand new series do not
mean ten thousand stops.
"""

from __future__ import annotations

import numpy as np

from engine.columns import Array
from engine.state import Entities, Rows


def stops(row: Array, rows: Rows, ents: Entities) -> list[tuple[int, list[int]]]:
    """(index of the sample before which to stop, rows to place there), in log order. row: int32 (n,) of the batch."""
    new = np.flatnonzero(rows.link.block[row] < 0)
    if len(new) == 0:
        return []
    _, first = np.unique(row[new], return_index=True)
    firsts = np.sort(new[first])
    is_free = _free(row, firsts, rows, ents)
    found: list[tuple[int, list[int]]] = []
    for k, at in enumerate(firsts.tolist()):
        if k > 0 and is_free[k] and is_free[k - 1]:
            found[-1][1].append(int(row[at]))
        else:
            found.append((at, [int(row[at])]))
    return found


def _free(row: Array, firsts: Array, rows: Rows, ents: Entities) -> Array:
    """Which first samples come before anything of their entity could depend on them."""
    entity = rows.link.entity[row]
    again = np.ones(len(row), bool)
    again[firsts] = False
    touched = np.full(len(ents.open.members), len(row))
    np.minimum.at(touched, entity[again], np.flatnonzero(again))
    is_fresh = (ents.open.number == 0) & (ents.open.here == 0)
    mine = entity[firsts]
    free: Array = is_fresh[mine] & (firsts < touched[mine])
    return free
