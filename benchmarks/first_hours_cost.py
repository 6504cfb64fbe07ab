"""What does the guard cost? Time and memory of a shard that is lent to, beside the same shard cold.

Owns the fleets, the stages and the ratios. All shards fold the same made-up samples in one process, a quarter of an
hour at a time, in turns; a round is an hour of all of them. A time is the processor's; ratios are medians over rounds.
Memory is what a shard counts of its columns. Knows no label and no recording.

begin   the first sample of each series: it gets its place, and a twin from each source
hour    the first hour: as many twins as sources
choice  the second: a source is adopted, the others' twins are given up
day     hours 2 to 24: the source that was adopted, and one twin
end     the 25th hour, in which the twin is given up
after   the hours after that

first_day is the time of all up to its end in one life, over the cold shard's.

Not obvious: the fleet is of the first source's kind, so that nearly all adopt; who refuses has no twin in the day and
would make it look cheap. `twins` says how many there were an entity. `0` sources are a second cold shard: its ratio is
what equal things come to here. An entity that has borrowed solves its joint model less often, as an old one does, so
`after` may be less than 1. A look at the twins costs the same at any step, so a fleet with a step of 10 s has a
sixth of it for each sample.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import first_hours_made as made
from benchmarks.series_data import CONFIG, Array
from engine.batch import Batch
from engine.errors import ConfigError
from engine.prior import Prior
from engine.series import Kind, Series
from engine.shard import Shard
from engine.transfer import distil, read_prior

STEP_S, SOURCE_DAYS = 60, 6
ROWS_AN_HOUR = 3600 // STEP_S
#: In one round each shard has so many turns.
TURNS = 4
#: Samples a call, as many as the detector takes from Kafka at once.
BATCH = 5000
#: Numbers of sources.
SOURCES = (0, 1, 3)
COLD = "cold"
#: Stage -> hours of age [from, to).
STAGES = {"hour": (0, 1), "choice": (1, 2), "day": (2, 24), "end": (24, 25), "after": (25, 28)}
HOURS, YOUNG_HOURS = 28, 2
#: Lives of the first two hours, of which one goes on: each has one round of a stage there.
LIVES, LIVES_FAST = 3, 1


class Kept(NamedTuple):
    """A fleet's shape. is_lone: each metric is an entity of its own."""

    hosts: int
    hosts_fast: int
    width: int
    is_lone: bool


#: More than 1,000 series, from which on a shard asks for memory ahead.
FLEETS = {"wide": Kept(28, 2, 38, is_lone=False), "lone": Kept(110, 4, 10, is_lone=True)}


class Fleet(NamedTuple):
    """Entities that are alike. values (rows, series); sources: of the same names, the first one of the same kind."""

    names: list[Series]
    entities: int
    values: Array
    sources: list[Prior]


class Round(NamedTuple):
    """One hour in all shards, or its first sample (hour -1). All by number of sources or COLD; twins an entity."""

    hour: int
    seconds: dict[str, float]
    state_bytes: dict[str, int]
    twins: dict[str, float]


def measure(*, fast: bool = False, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Everything that `--json` tells under "cost"."""
    began = time.perf_counter()
    found: dict[str, Any] = {"step_s": STEP_S}
    for name, kept in FLEETS.items():
        tell(f"cost of the guard, {name} ...")
        one = fleet(kept.hosts_fast if fast else kept.hosts, kept.width, is_lone=kept.is_lone, hours=HOURS)
        lives = [live(one, HOURS), *(live(one, YOUNG_HOURS) for _ in range(1, LIVES_FAST if fast else LIVES))]
        cold_s = sum(each.seconds[COLD] for each in lives[0])
        found[name] = {
            "metrics_per_entity": len(one.names) // one.entities,
            "series": len(one.names),
            "cold_us_per_sample": round(1e6 * cold_s / one.values.size, 3),
            "sources": figures(lives),
        }
    return found | {"seconds": round(time.perf_counter() - began, 1)}


def figures(lives: Sequence[Sequence[Round]]) -> dict[str, dict[str, dict[str, float]]]:
    """Number of sources -> stage -> time and memory over cold's, twins, rounds. The first life is the long one."""
    rounds = [each for one in lives for each in one]
    return {
        name: {stage: _stage(name, [one for one in rounds if _stage_of(one) == stage]) for stage in ("begin", *STAGES)}
        | {"first_day": _whole(name, [one for one in lives[0] if one.hour < STAGES["day"][1]])}
        for name in lives[0][0].seconds
        if name != COLD
    }


def _stage_of(one: Round) -> str:
    return next((name for name, (begin, end) in STAGES.items() if begin <= one.hour < end), "begin")


def _stage(name: str, rounds: list[Round]) -> dict[str, float]:
    return {
        "time": float(np.median([one.seconds[name] / one.seconds[COLD] for one in rounds])),
        "memory": float(np.median([one.state_bytes[name] / one.state_bytes[COLD] for one in rounds])),
        "twins": float(np.mean([one.twins[name] for one in rounds])),
        "rounds": len(rounds),
    }


def _whole(name: str, rounds: list[Round]) -> dict[str, float]:
    return {"time": sum(one.seconds[name] for one in rounds) / sum(one.seconds[COLD] for one in rounds)}


def live(one: Fleet, hours: int) -> list[Round]:
    """A life of the fleet in all shards. Bytes are the most of a round, twins the mean."""
    shards = {COLD: _shard(one.names, [])} | {str(k): _shard(one.names, one.sources[:k]) for k in SOURCES}
    turns = [(-1, 0, 1)] + [
        (at // TURNS, 1 + at * ROWS_AN_HOUR // TURNS, 1 + (at + 1) * ROWS_AN_HOUR // TURNS)
        for at in range(hours * TURNS)
    ]
    found: dict[int, Round] = {}
    for turn, (hour, begin, end) in enumerate(turns):
        if hour not in found:
            found[hour] = Round(hour, dict.fromkeys(shards, 0.0), dict.fromkeys(shards, 0), dict.fromkeys(shards, 0.0))
        now = found[hour]
        batches = _batches(one.values, begin, end)
        gc.collect()
        # Who goes first finds the samples in no cache.
        first = turn % len(shards)
        for name in (*list(shards)[first:], *list(shards)[:first]):
            shard = shards[name]
            now.seconds[name] += _fold(shard, batches)
            now.state_bytes[name] = max(now.state_bytes[name], int(shard.counters()["state_bytes"]))
            now.twins[name] += len(shard.twins) / one.entities / (TURNS if hour >= 0 else 1)
    return list(found.values())


def fleet(hosts: int, width: int, *, is_lone: bool, hours: int) -> Fleet:
    """So many hosts of so many metrics, and what may lend to them."""
    names, rows = _names(hosts, width, is_lone=is_lone), 1 + hours * ROWS_AN_HOUR
    values = made.hosts(hosts, _towns(0, width), rows=rows, step_s=STEP_S, seed=0)[:, :, :width]
    sources = [_source(k, width, is_lone=is_lone) for k in range(max(SOURCES))]
    return Fleet(names, len(names) if is_lone else hosts, values.reshape(rows, -1), sources)


def _source(k: int, width: int, *, is_lone: bool) -> Prior:
    """What one host of the k-th kind lends at the first hour after two days at which it is healthy."""
    hours = 24 * SOURCE_DAYS
    values = made.hosts(1, _towns(k, width), rows=hours * ROWS_AN_HOUR, step_s=STEP_S, seed=1 + k)[:, 0, :width]
    shard, at = _shard(_names(1, width, is_lone=is_lone), []), 0
    for hour in range(48, hours):
        _fold(shard, _batches(values, at, hour * ROWS_AN_HOUR))
        at = hour * ROWS_AN_HOUR
        try:
            return read_prior(distil(shard.export()))
        except ConfigError:
            continue
    raise AssertionError(f"a made-up source of kind {k} is healthy at no hour of {SOURCE_DAYS} days")


def _towns(kind: int, width: int) -> tuple[int, ...]:
    """Numbers of the towns whose metrics make a host of a kind."""
    each = -(-width // len(made.NAMES))
    return tuple(range(kind * each, (kind + 1) * each))


def _names(hosts: int, width: int, *, is_lone: bool) -> list[Series]:
    return [
        Series.of(
            f"{made.NAMES[column % len(made.NAMES)]}_{column // len(made.NAMES)}",
            {"host": f"h{number:04d}-{column:02d}" if is_lone else f"h{number:04d}"},
            Kind.GAUGE,
        )
        for number in range(hosts)
        for column in range(width)
    ]


def _shard(names: list[Series], sources: list[Prior]) -> Shard:
    shard = Shard(CONFIG, topic="file", partition=0, prior=sources)
    shard.next_offset = 0
    for name in names:
        shard.admit(name)
    return shard


def _batches(values: Array, begin: int, end: int) -> list[Batch]:
    """Rows [begin, end) as they would come from Kafka, a record a sample."""
    count, found = values.shape[1], []
    for at in range(begin * count, end * count, BATCH):
        offset = np.arange(at, min(at + BATCH, end * count))
        ts_ms = 1000 * (made.BEGIN_S + STEP_S * (offset // count))
        found.append(Batch.of(offset % count, ts_ms, values.ravel()[offset], offset, int(offset[-1]) + 1))
    return found


def _fold(shard: Shard, batches: list[Batch]) -> float:
    """Seconds of the processor."""
    began = time.process_time()
    for batch in batches:
        shard.process(batch)
    return time.process_time() - began
