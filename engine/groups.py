"""Groups: many groups of unequal size at once, each as if it stood alone.

Owns how they are laid side by side. Knows nothing of what is in them.

Not obvious: what is said of one group may not depend on who else is asked about. A sum of floating-point numbers does
depend on where zeros are put in between, so groups are never filled up to one length: those of equal size are stacked.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.columns import Array


def stacked(group: Array, groups: int) -> Iterator[tuple[Array, Array]]:
    """For each size n > 0 that occurs: numbers of the groups of that size (m,), and which elements they have (m, n).

    group: of each element, its group, 0..groups - 1; the elements of one stay in their order.

    >>> [(numbers.tolist(), at.tolist()) for numbers, at in stacked(np.array([2, 0, 2, 1]), 4)]
    [([0, 1], [[1], [3]]), ([2], [[0, 2]])]
    """
    order, sizes = np.argsort(group, kind="stable"), np.bincount(group, minlength=groups)
    begin = np.cumsum(sizes) - sizes
    for size in np.unique(sizes[sizes > 0]).tolist():
        numbers = np.flatnonzero(sizes == size)
        yield numbers, order[begin[numbers][:, None] + np.arange(size)]


def means(values: Array, group: Array, groups: int) -> Array:
    """Mean of each group, float64 (groups,); NaN where it is empty."""
    found = np.full(groups, np.nan)
    for numbers, at in stacked(group, groups):
        found[numbers] = values[at].mean(axis=1)
    return found
