"""`graft replay`: the same engine over files, as fast as it goes.

Owns the files under --out, what is carried over by --state-in and --state-out, and the summary. Knows no formula and no
Kafka; the tuner that answers drift is the worker's, called in place instead of through the control topic.

Not obvious: each file is a shard of its own, because a shard's clock is event time: files of other years must not age
each other. So the verdicts on a file do not depend on the other files of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from agents.offline import labels
from agents.offline.files import CHUNK_SAMPLES, Source, Table, sources
from agents.offline.replay_file import Outputs, Passage, Report, Tally, split
from agents.offline.scores import HEADER
from agents.recovery import shardfile
from agents.settings import Settings, engine_config
from engine.batch import Batch
from engine.config import ENGINE_VERSION, EngineConfig
from engine.errors import ConfigError, OutsideError
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State
from engine.windows import Window

#: Record topic -> file under --out.
RECORD_FILES = {
    "alerts": "alerts.jsonl",
    "escalations": "escalations.jsonl",
    "drift": "drift.jsonl",
    "experiments": "retunes.jsonl",
}
SCORES, REJECTED, SUMMARY = "scores.csv", "rejected.jsonl", "summary.json"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `graft replay` was asked for."""

    inputs: Sequence[Path]
    out: Path
    settings: Settings
    scores: str = "all"
    entity_labels: tuple[str, ...] | None = None
    snapshot: Path | None = None
    plan: Path | None = None
    labels: Path | None = None
    state_in: Path | None = None
    state_out: Path | None = None
    chunk_samples: int = CHUNK_SAMPLES


def run(
    options: Options, *, clock_s: Callable[[], float], report: Report, note: Callable[[str], None]
) -> dict[str, Any]:
    """Replay all inputs and write everything under --out; the summary, which is in summary.json as well.

    Ctrl-C ends it early: what was written is whole, the summary says `interrupted`, and no state is written.
    """
    names = (SCORES, *RECORD_FILES.values(), REJECTED, SUMMARY)
    found, tally = sources(options.inputs, results={(options.out / name).resolve() for name in names}), Tally()
    if options.state_out is not None and not options.state_out.parent.is_dir():
        raise ConfigError(f"There is no folder {options.state_out.parent} for --state-out; make it first.")
    before, known = _earlier(options), labels.read(options.labels) if options.labels else []
    prior = _prior(options)
    warm_up(note)
    began_s = clock_s()
    after: dict[str, State] = {}
    with ExitStack() as stack:
        outputs = _open_outputs(options.out, stack)
        try:
            for source in found:
                state = _carried(before, source, found, note)
                passage, name = _passage(options, source, state, prior, known, outputs, tally)
                passage.fold(report, chunk_samples=options.chunk_samples)
                if options.state_out:
                    after[name] = passage.state()
        except KeyboardInterrupt:
            tally.interrupted = True
    summary = _summary(options, tally, clock_s() - began_s)
    _write(options.out / SUMMARY, orjson.dumps(summary, option=orjson.OPT_INDENT_2) + b"\n")
    if options.state_out and not tally.interrupted:
        shardfile.write(options.state_out, shardfile.joined(after), key=options.settings.state.key)
    return summary


def _passage(
    options: Options,
    source: Source,
    state: State | None,
    prior: Any,
    known: Sequence[Mapping[str, Any]],
    outputs: Outputs,
    tally: Tally,
) -> tuple[Passage, str]:
    from engine.retune import Tuner

    name = str(state.manifest["topic"]) if state else source.name
    table = Table(Source(source.path, name), entity_labels=options.entity_labels)
    # A file tells counters by their names alone: a gauge that happens to grow must not become a rate in mid-file.
    config = replace(engine_config(options.settings, counters_from_shape=False), entity_labels=table.entity_labels)
    carried: dict[str, Any] = {}
    if state:
        own, carried = split(state)
        shard = Shard.restore(own, config)
    else:
        shard = Shard(config, topic=name, partition=0, prior=prior)
        shard.next_offset = 0
    passage = Passage(
        table, shard, Tuner(), carried=carried, outputs=outputs, tally=tally, level=options.scores, labels=known
    )
    return passage, name


def _is_compiled() -> bool:
    """Is the machine code of the models on disk already?"""
    import numba

    folder = str(getattr(numba.config, "CACHE_DIR", ""))
    return bool(folder) and any(Path(folder).rglob("fold.fold-*.nbi"))


def warm_up(note: Callable[[str], None]) -> None:
    """Load or compile every kernel, so that the time and the rate that are told are those of the work."""
    if not _is_compiled():
        note("compiling the models for this machine; it takes a minute, and only this once")
    shard = Shard(EngineConfig(), topic="warm-up", partition=0)
    shard.next_offset = 0
    rows = [shard.admit(Series.of(name, {"host": "warm-up"}, Kind.GAUGE)) for name in ("a", "b")]
    at = np.arange(40)
    shard.windows.add(Window("host=warm-up", None, 900_000, 10**7, "warm-up"), now_ms=0)
    shard.process(Batch.of(np.resize(rows, 40), 60_000 * (at // 2), at % 7, at, 40), stop_at_drift=True)


def _prior(options: Options) -> Any:
    if options.snapshot is None:
        if options.plan is not None:
            raise ConfigError("--plan goes with the --snapshot that it was made with.")
        return None
    from engine.transfer import read_prior

    made = shardfile.read_plan_file(options.plan) if options.plan is not None else None
    return read_prior(shardfile.read(options.snapshot, key=options.settings.state.key), made)


def _earlier(options: Options) -> dict[str, State]:
    if options.state_in is None:
        return {}
    if options.snapshot is not None:
        raise ConfigError("--snapshot and --state-in exclude each other: a state that goes on has its seed within it.")
    return shardfile.parts(shardfile.read(options.state_in, key=options.settings.state.key))


def _carried(
    before: Mapping[str, State], source: Source, found: Sequence[Source], note: Callable[[str], None]
) -> State | None:
    """The state that this input goes on from: the one of its name; or, with one input and one state, that one."""
    if len(before) == len(found) == 1:
        ((name, state),) = before.items()
        if name != source.name:
            note(f"{source.path} goes on as {name}, the only one in the state.")
        return state
    if before and source.name not in before:
        note(f"{source.path} starts cold: the state holds nothing called {source.name}.")
    return before.get(source.name)


def _open_outputs(out: Path, stack: ExitStack) -> Outputs:
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = [SCORES, *RECORD_FILES.values(), REJECTED]
        files = [stack.enter_context((out / name).open("w", encoding="utf-8", newline="\n")) for name in names]
    except OSError as error:
        raise OutsideError(f"{out} cannot be written: {error.strerror}; name a folder with --out.") from None
    files[0].write(HEADER)
    return Outputs(files[0], dict(zip(RECORD_FILES, files[1:-1], strict=True)), files[-1])


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OutsideError(f"{path} cannot be written: {error.strerror}.") from None


def _summary(options: Options, tally: Tally, seconds: float) -> dict[str, Any]:
    records = tally.records
    return {
        "schema": "graft.summary/1",
        "interrupted": tally.interrupted,
        "files": len(tally.inputs),
        "rows": sum(one["rows"] for one in tally.inputs),
        "samples": tally.samples,
        "missing": tally.missing,
        "rejected": tally.rejected,
        "series": sum(one["series"] for one in tally.inputs),
        "entities": sum(one["entities"] for one in tally.inputs),
        "seeded": tally.seeded,
        "alerts": records["alerts.firing"],
        "resolved": records["alerts.resolved"],
        "escalations": records["escalations.opened"],
        "drift": sum(count for name, count in records.items() if name.startswith("drift.")),
        "retunes": records["retunes"],
        "entity_ticks": {word: tally.decisions[word] for word in ("quiet", "escalate", "alert", "page")},
        "ledger": dict(tally.ledger),
        "seconds": round(seconds, 3),
        "samples_per_s": round(tally.samples / seconds) if seconds > 0 else None,
        "engine": ENGINE_VERSION,
        "config": engine_config(options.settings, counters_from_shape=False).hash,
        "inputs": tally.inputs,
    }
