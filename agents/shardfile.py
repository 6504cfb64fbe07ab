"""State files of `graft replay`: one shard as a plain snapshot, several as a snapshot of snapshots.

Owns the way from a path to a State and back, with the sentence that names the path. Knows nothing of what is inside.

Not obvious: each shard of several is kept as its own packed bytes, so a fleet of thousands of files stays within the
limits of one snapshot's head, and each part is checked by its own digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from agents.secret import Secret
from agents.store import read_state, write_state
from engine.errors import ConfigError
from engine.snapshot import State, pack, unpack

#: Marks a snapshot whose arrays are snapshots.
HOLDS = "holds"


def read(path: Path, *, key: Secret | None = None) -> State:
    """The state in a file; the errors begin with the path."""
    return read_state(path, key_bytes(key))


def write(path: Path, state: State, *, key: Secret | None = None) -> int:
    """Write a snapshot whole or not at all; its bytes."""
    return write_state(path, state, key_bytes(key))


def parts(state: State) -> dict[str, State]:
    """The shards in a state by name; a plain snapshot is one, under the name that it gives itself."""
    names = state.manifest.get(HOLDS)
    if names is None:
        return {str(state.manifest.get("topic", "")): state}
    return {name: unpack(state.arrays[f"part.{at}"].tobytes()) for at, name in enumerate(names)}


def joined(shards: Mapping[str, State]) -> State:
    """One state of one shard or of many."""
    if len(shards) == 1:
        return next(iter(shards.values()))
    arrays = {
        f"part.{at}": np.frombuffer(pack(state.manifest, state.arrays), np.uint8)
        for at, state in enumerate(shards.values())
    }
    return State({"kind": "checkpoint", HOLDS: list(shards)}, arrays)


def only_part(state: State, path: Path, name: str | None = None) -> State:
    """The shard called `name`, or the only one."""
    found = parts(state)
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name is None or name not in found:
        raise ConfigError(f"{path} holds {', '.join(list(found)[:10])}; name one of them with --part.")
    return found[name]


def key_bytes(key: Secret | None) -> bytes | None:
    """The bytes that sign and check snapshots."""
    return key.reveal().encode() if key else None
