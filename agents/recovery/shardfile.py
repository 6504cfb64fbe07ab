"""State files of `graft replay`: one shard as a plain snapshot, several as a snapshot of snapshots. And plans.

Owns the way from a path to a State and back, with the sentence that names the path. Knows nothing of what is inside.

Not obvious: each shard of several is kept as its own packed bytes, so a fleet of thousands of files stays within the
limits of one snapshot's head, and each part is checked by its own digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

from agents.recovery.store import Stored, read_state, stored, write_state
from agents.secret import Secret
from engine.errors import ConfigError, SnapshotError
from engine.snapshot import State, pack, read_json_column, unpack

if TYPE_CHECKING:
    from engine.transfer import Plan

#: Marks a snapshot whose arrays are snapshots.
HOLDS = "holds"
#: A plan of a hundred thousand classes.
MAX_PLAN_BYTES = 64 << 20


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


def read_plan_file(path: Path) -> Plan:
    """The plan that `graft plan --out` wrote; the errors begin with the path."""
    from engine.transfer import read_plan

    try:
        with path.open("rb") as file:
            data = file.read(MAX_PLAN_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_PLAN_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_PLAN_BYTES} bytes; a plan is not.")
    try:
        return read_plan(orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from None
    except ConfigError as error:
        raise type(error)(f"{path}: {error}") from None


def is_many(state: State) -> bool:
    """Does this state hold several shards?"""
    return HOLDS in state.manifest


def newest(directory: Path, *, key: Secret | None = None) -> dict[str, tuple[Stored, State]]:
    """The newest checkpoint of each shard in a worker's state.dir that can be read, by `topic-partition`."""
    found: dict[str, tuple[Stored, State]] = {}
    refused: dict[str, str] = {}
    for one in stored(directory):
        name = f"{one.topic}-{one.partition}"
        if name in found:
            continue
        try:
            found[name] = one, read(one.path, key=key)
        except SnapshotError as error:
            refused[name] = str(error)
    if not found:
        why = next(iter(refused.values()), "has a worker run with it, and for longer than state.snapshot_interval_s?")
        raise ConfigError(f"{directory} holds no checkpoint that can be read: {why}")
    return found


def names_of(state: State) -> list[str]:
    """The series of a shard's state, by row."""
    names = state.arrays.get("text.names")
    return [] if names is None else list(read_json_column(names))


def key_bytes(key: Secret | None) -> bytes | None:
    """The bytes that sign and check snapshots."""
    return key.reveal().encode() if key else None
