"""Older snapshots, step by step: one entry a major version, each making the next version's state of its own.

The container (header, head, arrays) is the same in all versions; what changes between majors is what the state means.
A version that has no entry is refused with a reason, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from engine.errors import SnapshotError

Manifest = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
#: Gets the state of its own version and gives back that of the next; may change what it is given.
Migration = Callable[[Manifest, Arrays], tuple[Manifest, Arrays]]

#: Major version -> the step to the next one. Empty: there is only version 1 so far.
MIGRATIONS: dict[int, Migration] = {}


def migrated(
    manifest: Manifest, arrays: Arrays, *, found: int, wanted: int, steps: Mapping[int, Migration]
) -> tuple[Manifest, Arrays]:
    """The state brought from version found to version wanted, one step after the other."""
    for major in range(found, wanted):
        if major not in steps:
            raise SnapshotError(
                f"it has format {found} and this Graft reads {wanted}, without a way from {major} to {major + 1}; "
                "open it with an older Graft and save it again, or start from a newer snapshot"
            )
        manifest, arrays = steps[major](manifest, arrays)
    return manifest, arrays
