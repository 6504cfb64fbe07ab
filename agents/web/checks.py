"""The probes' judgement: is there progress, is it ready? Pure: a Standing in, named checks out.

Alive means progress, not a process: a detector that hangs has a process, and so has a notifier whose consumer was
stuck behind a broker's restart. A sink that is down is degraded, not unready: restarting Graft would not mend it.
"""

from __future__ import annotations

from typing import NamedTuple

from agents.progress import Progress
from agents.web.standing import Standing

#: The detector writes four times a second, but not while it fetches a shard's state, waits for room in a full queue or
#: for a slow disk; each of these has its limit below max.poll.interval.ms (two minutes).
HEARTBEAT_S = 150.0
#: One that was killed for good beside another leaves its file; so long it is taken for one that hangs.
FORGOTTEN_S = 3600.0
#: The reader turns four times a second, and waits ten seconds for the group's offsets at most.
READER_S = 60.0
#: A detector compiles its kernels for half a minute at its first start.
GRACE_S = 90.0


class Check(NamedTuple):
    """One finding. ok None: worth a look (degraded), no reason to restart or to wait."""

    name: str
    ok: bool | None
    detail: str


def alive(now: Standing) -> list[Check]:
    """For /livez."""
    return [_detector_turns(now), _reader_turns(now)]


def ready(now: Standing) -> list[Check]:
    """For /readyz."""
    return [*alive(now), _detector_ready(now), _assigned(now), *_sinks(now)]


def passed(checks: list[Check]) -> bool:
    """Whether none has failed."""
    return all(check.ok is not False for check in checks)


def _detector_turns(now: Standing) -> Check:
    watched = _watched(now)
    if not watched:
        return Check("detector", None, "no detector runs here")
    age_s = max(now.age_s(one) for one in watched)
    starting = now.up_s < GRACE_S
    return Check("detector", age_s < HEARTBEAT_S or starting, f"last sign of life {age_s:.0f} s ago")


def _watched(now: Standing) -> list[Progress]:
    """Detectors that have not left in order; the last that was heard of, and others unless that is long ago."""
    last_ms = max((one.at_ms for one in now.progress), default=0)
    return [one for one in now.progress if not one.ended and (one.at_ms == last_ms or now.age_s(one) < FORGOTTEN_S)]


def _reader_turns(now: Standing) -> Check:
    if now.reader_turned_s == 0.0:
        return Check("notifier", now.up_s < GRACE_S, "has not begun to read")
    age_s = now.now_s - now.reader_turned_s
    return Check("notifier", age_s < READER_S, f"last turn {max(0.0, age_s):.0f} s ago")


def _detector_ready(now: Standing) -> Check:
    if not _watched(now):
        return Check("shards", None, "no detector runs here")
    shards, ready = sum(len(one.shards) for one in now.fresh), sum(one.ready for one in now.fresh)
    return Check("shards", ready > 0, f"{shards} held, {ready} workers ready")


def _assigned(now: Standing) -> Check:
    waiting = [name for name, ok in (("alerts", now.reader_assigned), ("flows", now.flows_assigned)) if not ok]
    return Check("partitions", not waiting, f"waiting for {' and '.join(waiting)}" if waiting else "assigned")


def _sinks(now: Standing) -> list[Check]:
    return [
        Check(
            f"sink {one.name}",
            True if one.circuit == "closed" and not one.held_s else None,
            f"circuit {one.circuit}" + (f", asks for a pause of {one.held_s:.0f} s more" if one.held_s else ""),
        )
        for one in now.sinks
    ]
