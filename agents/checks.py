"""What `graft check` tries: everything that would stop a worker at its start, each with a sentence.

Owns the list of checks. Each is a function of the settings; a GraftError that it raises is the finding. Nothing is
created or sent.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agents.settings import OUR_TOPICS, Settings, kafka_properties, require_inputs
from engine.errors import ConfigError, GraftError, OutsideError

#: Below this a disk is as good as full: a checkpoint is written beside the one it replaces.
SCARCE_BYTES = 512 << 20


class Finding(NamedTuple):
    """One check: detail says what was found, or what is wrong and what to do."""

    name: str
    ok: bool
    detail: str


def check(settings: Settings, *, timeout_s: float | None) -> list[Finding]:
    """All checks in order. timeout_s: for the broker and the names of sinks; None asks neither."""
    tried: list[tuple[str, Callable[[], str]]] = [
        ("inputs", lambda: _inputs(settings)),
        ("state", lambda: _state_dir(settings)),
        ("seed", lambda: _seed(settings)),
        ("sinks", lambda: _sinks(settings, timeout_s)),
    ]
    if timeout_s is not None:
        tried.append(("kafka", lambda: _kafka(settings, timeout_s)))
    return [_finding(name, attempt) for name, attempt in tried]


def _finding(name: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(name, ok=True, detail=attempt())
    except GraftError as error:
        return Finding(name, ok=False, detail=str(error))
    except OSError as error:
        return Finding(name, ok=False, detail=f"{error.filename or ''}: {error.strerror or error}")


def _inputs(settings: Settings) -> str:
    return ", ".join(f"{one.topic} ({one.format})" for one in require_inputs(settings))


def _state_dir(settings: Settings) -> str:
    folder = Path(settings.state.dir).resolve()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise ConfigError(f"{there} is a file; state.dir must name a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutsideError(f"{there} cannot be written by this user; change its owner or state.dir.")
    free = shutil.disk_usage(there).free
    if free < SCARCE_BYTES:
        raise OutsideError(
            f"{folder} has {free >> 20} MiB left; make room, a checkpoint needs space beside the old one."
        )
    return f"{folder}{'' if folder == there else ' (will be made)'}, {free >> 30} GiB free"


def _seed(settings: Settings) -> str:
    if settings.seed.snapshot is None:
        return "none, new series start cold"
    from agents.recovery import shardfile
    from engine.transfer import card

    state = shardfile.read(Path(settings.seed.snapshot), key=settings.state.key)
    kind = state.manifest.get("kind")
    if kind != "source":
        raise ConfigError(f"{settings.seed.snapshot} is a {kind}; cut a source with `graft snapshot create`.")
    try:
        card.check(state)
    except GraftError as error:
        raise ConfigError(f"{settings.seed.snapshot}: {error}") from None
    return f"{settings.seed.snapshot}, a source snapshot"


def _sinks(settings: Settings, timeout_s: float | None) -> str:
    import asyncio

    from agents.sinks.config import names_of
    from agents.sinks.probe import dry, resolve
    from agents.sinks.table import build

    build(settings.sinks, post=dry)
    if timeout_s is not None:
        asyncio.run(resolve(settings.sinks, timeout_s=timeout_s))
    return ", ".join(names_of(settings.sinks)) or "none: alerts stay in their topic"


def _kafka(settings: Settings, timeout_s: float) -> str:
    from agents.clients import SILENT
    from agents.topics import partitions_of

    names = [one.topic for one in settings.inputs]
    ours = [settings.topics.prefix + name for name in OUR_TOPICS]
    found = partitions_of(
        kafka_properties(settings),
        [*names, *ours],
        timeout_s=timeout_s,
        insecure=settings.kafka.insecure,
        logger=SILENT,
    )
    absent = [name for name in names if name not in found]
    if absent:
        raise OutsideError(
            f"{settings.kafka.bootstrap} has no topic {', '.join(absent)}; create it, or mend inputs.topic."
        )
    made = sum(name in found for name in ours)
    inputs = ", ".join(f"{name} ({found[name]} partitions)" for name in names)
    return f"{settings.kafka.bootstrap} answers; {inputs or 'no input'}; {made} of {len(ours)} of Graft's topics exist"
