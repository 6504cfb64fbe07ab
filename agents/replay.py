"""`graft replay`: the same engine over files, as fast as it goes. One shard a file, folded with its own drift loop.

Owns the way from a file's chunks to shards and from verdicts to the files under --out. Knows no formula and no Kafka;
the tuner that answers drift is the one of the worker, called in place instead of through the control topic.

Not obvious: a batch is cut where a drift signal is raised, the tuner's order is applied there, and the rest goes on.
So the result is that of orders which arrive at once, and does not depend on how the file was cut into chunks. Each file
is a shard of its own because a shard's clock is event time: files of other years must not age each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TextIO

import numpy as np
import orjson
from numpy.typing import NDArray

from agents import shardfile
from agents.files import ENTITY, Chunk, Source, Table, sources
from agents.scores import HEADER, Answers, Sheet, Ticks, Waiting
from agents.settings import Settings, engine_config
from engine.batch import Batch
from engine.config import ENGINE_VERSION, EngineConfig
from engine.errors import BadSample, ConfigError, OutsideError
from engine.snapshot import State

#: Record topic -> file under --out.
RECORD_FILES = {
    "alerts": "alerts.jsonl",
    "escalations": "escalations.jsonl",
    "drift": "drift.jsonl",
    "experiments": "retunes.jsonl",
}
REJECTED = "rejected.jsonl"
#: Drift records kept with the state, so that a tuner that goes on knows its cool-downs.
REMEMBERED_DRIFTS = 256


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `graft replay` was asked for."""

    inputs: Sequence[Path]
    out: Path
    settings: Settings
    scores: str = "all"
    entity_labels: tuple[str, ...] | None = None
    snapshot: Path | None = None
    state_in: Path | None = None
    state_out: Path | None = None


class Report(Protocol):
    """Told now and then how far it is: file, rows read of it, all samples so far."""

    def __call__(self, name: str, rows: int, samples: int) -> None: ...


class Decider(Protocol):
    """The tuner."""

    def order_for(self, drift: Mapping[str, Any]) -> dict[str, Any] | None: ...


@dataclass
class Tally:
    """Counts of one run."""

    inputs: list[dict[str, Any]] = field(default_factory=list)
    samples: int = 0
    missing: int = 0
    rejected: int = 0
    records: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    ledger: Counter[str] = field(default_factory=Counter)
    seeded: int = 0
    interrupted: bool = False


class Outputs(NamedTuple):
    """Open files under --out."""

    scores: TextIO
    records: dict[str, TextIO]
    rejected: TextIO


def run(options: Options, *, clock_s: Callable[[], float], report: Report) -> dict[str, Any]:
    """Replay all inputs and write everything under --out; the summary, which is in summary.json as well.

    Ctrl-C ends it early: what was written is whole, the summary says `interrupted`, and no state is written.
    """
    began = clock_s()
    found, tally = sources(options.inputs), Tally()
    before = _earlier(options)
    after: dict[str, State] = {}
    with ExitStack() as stack:
        outputs = _open_outputs(options.out, stack)
        try:
            for source in found:
                one = _File(options, source, _carried(before, source, found), tally, outputs)
                one.fold(report)
                after[one.name] = one.state()
        except KeyboardInterrupt:
            tally.interrupted = True
    if options.state_out and not tally.interrupted:
        shardfile.write(options.state_out, shardfile.joined(after), key=options.settings.state.key)
    summary = _summary(options, tally, clock_s() - began)
    _write(options.out / "summary.json", orjson.dumps(summary, option=orjson.OPT_INDENT_2) + b"\n")
    return summary


class _File:
    """One file on its way through one shard."""

    def __init__(self, options: Options, source: Source, carried: State | None, tally: Tally, outputs: Outputs) -> None:
        from engine.retune import Tuner
        from engine.shard import Shard

        past = carried.manifest.get("replay", {}) if carried else {}
        self.name = str(carried.manifest["topic"]) if carried else source.name
        self.tally, self.outputs, self.level = tally, outputs, options.scores
        self.table = Table(source._replace(name=self.name), entity_labels=options.entity_labels)
        config = _config(options, self.table)
        if carried:
            self.shard = Shard.restore(_without_replay(carried), config)
        else:
            self.shard = Shard(config, topic=self.name, partition=0, prior=_prior(options))
            self.shard.next_offset = 0
        self.tuner: Decider = Tuner()
        self.drifts: list[dict[str, Any]] = list(past.get("drifts", []))
        for drift in self.drifts:
            self.tuner.order_for(drift)
        waiting = {name: [Waiting(*one) for one in open_here] for name, open_here in past.get("waiting", {}).items()}
        self.sheet = Sheet(outputs.scores, level=options.scores, waiting=waiting)
        self.rows: list[int] = []
        self.entities: list[str] = []
        self.shown: dict[str, str] = {}
        self.samples = self.missing = self.rejected = 0
        self.began_at = dict(self.shard.ledger.counts())

    def fold(self, report: Report) -> None:
        """All chunks of the file, in order."""
        for chunk in self.table.chunks():
            self._admit()
            answers = self._judge(chunk)
            self._write_scores(chunk, answers)
            self._write_rejected(chunk)
            self.samples += len(chunk.value)
            self.missing += int(np.isnan(chunk.value).sum()) - len(chunk.rejected)
            report(self.name, self.table.rows, self.tally.samples + self.samples)
        self._count()

    def state(self) -> State:
        """The shard's state, with what a later replay has to know besides."""
        state = self.shard.export()
        waiting = {
            name: [list(one) for one in open_here] for name, open_here in self.sheet.waiting.items() if open_here
        }
        drifts = self.drifts[-REMEMBERED_DRIFTS:]
        return State({**state.manifest, "replay": {"waiting": waiting, "drifts": drifts}}, state.arrays)

    def _admit(self) -> None:
        """Rows for the series that the last chunk has brought, -1 where the shard is full."""
        for series in self.table.series[len(self.rows) :]:
            try:
                row = self.shard.admit(series)
            except BadSample:
                row = -1
            self.rows.append(row)
            entity = series.entity(self.table.entity_labels)
            own = entity == f"{ENTITY}={self.name}"
            self.entities.append(self.name if own else entity)
            if own:
                self.shown[entity], self.shown[series.text] = self.name, series.name

    def _judge(self, chunk: Chunk) -> Answers:
        """Fold the chunk, with the tuner's orders where drift calls for them."""
        n = len(chunk.value)
        rows = np.asarray(self.rows, np.int32)[chunk.series]
        first = self.shard.next_offset
        kept = np.flatnonzero(rows >= 0)
        dead = {first + one.row - (self.table.rows - len(chunk.stamps)) for one in chunk.rejected}
        dead |= {first + int(row) for row in chunk.row[rows < 0]}
        batch = Batch(
            rows[kept],
            chunk.ts_ms[chunk.row[kept]],
            chunk.value[kept],
            first + chunk.row[kept],
            first + len(chunk.stamps),
            dead=np.array(sorted(dead), np.int64),
        )
        numbers, decision = np.full((n, 6), np.nan, np.float32), np.zeros(n, np.int8)
        ticks: list[Ticks] = []
        for begin, verdicts in self._stretches(batch):
            at = kept[begin : begin + verdicts.consumed]
            for column, name in enumerate(("expected", "lower", "upper", "severity", "confidence", "page")):
                numbers[at, column] = getattr(verdicts, name)
            decision[at] = verdicts.decision
            ticks.append(_ticks(verdicts.ticks, kept, begin))
        return Answers(numbers, decision, Ticks(*(np.concatenate(one) for one in zip(*ticks, strict=True))))

    def _stretches(self, batch: Batch) -> Iterator[tuple[int, Any]]:
        """(first sample, verdicts) of each stretch of the batch between two drift signals."""
        begin = 0
        while True:
            verdicts = self.shard.process(_from(batch, begin), stop_at_drift=True)
            yield begin, verdicts
            begin += verdicts.consumed
            self._tell(verdicts.records)
            self._retune([record.value for record in verdicts.records if record.topic == "drift"])
            if begin >= len(batch.row):
                return

    def _retune(self, drifts: Sequence[Mapping[str, Any]]) -> None:
        for drift in drifts:
            order = self.tuner.order_for(drift)
            if order is None:
                continue
            self.drifts.append(dict(drift))
            place = self.shard.control_offsets.get(0, 0) + 1
            told = self.shard.apply(order, control_partition=0, next_offset=place)
            self._line("experiments", order)
            self._tell(told)

    def _tell(self, records: Sequence[Any]) -> None:
        for record in records:
            self._line(record.topic, record.value)

    def _line(self, topic: str, value: Mapping[str, Any]) -> None:
        kind = value.get("state") or ("retunes" if topic == "experiments" else "signals")
        counted = topic != "experiments" or value.get("schema") == "graft.order/1"
        self.tally.records[f"{topic}.{kind}"] += counted
        self.outputs.records[topic].write(orjson.dumps(_renamed(value, self.shown)).decode() + "\n")

    def _write_scores(self, chunk: Chunk, answers: Answers) -> None:
        ticks = answers.ticks
        quiet = len(ticks.at) - np.count_nonzero(ticks.decision)
        self.tally.decisions["quiet"] += quiet
        for word, number in (("escalate", 1), ("alert", 2)):
            self.tally.decisions[word] += int(np.count_nonzero(ticks.decision == number))
        self.tally.decisions["page"] += int(np.count_nonzero(ticks.numbers[:, 2] >= 1))
        if self.level == "none":
            return
        if self.table.is_long:
            names = [self.shown.get(series.text, series.text) for series in self.table.series]
            known = [self.shown.get(entity, entity) for entity in self.shard.roster.entities]
            self.sheet.long(chunk, answers, self.entities, names, known)
        else:
            self.sheet.wide(chunk, answers, self.name, [series.name for series in self.table.series])

    def _write_rejected(self, chunk: Chunk) -> None:
        full = [self.table.series[index].text for index in chunk.series if self.rows[index] < 0]
        self.rejected += len(chunk.rejected) + len(full)
        where = {"file": str(self.table.source.path), "entity": self.name}
        for one in chunk.rejected:
            series = self.table.series[one.series]
            line = {**where, "line": one.line, "series": series.text, "value": one.value, "reason": one.reason}
            self.outputs.rejected.write(orjson.dumps(line).decode() + "\n")
        for text in dict.fromkeys(full):
            self.outputs.rejected.write(
                orjson.dumps({**where, "series": text, "reason": "cardinality"}).decode() + "\n"
            )

    def _count(self) -> None:
        counts = {key: count - self.began_at.get(key, 0) for key, count in self.shard.ledger.counts().items()}
        counters = self.shard.counters()
        self.tally.samples += self.samples
        self.tally.missing += self.missing
        self.tally.rejected += self.rejected
        self.tally.ledger.update(counts)
        self.tally.seeded += int(counters.get("seeded", 0))
        self.tally.inputs.append(
            {
                "file": str(self.table.source.path),
                "shape": self.table.shape,
                "name": self.name,
                "rows": self.table.rows,
                "samples": self.samples,
                "series": self.shard.series_count,
                "entities": self.shard.entity_count,
                "ledger": counts,
            }
        )


def _ticks(ticks: Any, kept: NDArray[np.int64], begin: int) -> Ticks:
    numbers = np.stack([ticks.severity, ticks.confidence, ticks.page], axis=1).astype(np.float32)
    at = kept[ticks.at + begin] if len(kept) else np.empty(0, np.int64)
    return Ticks(ticks.entity, ticks.ts_ms, at, numbers, ticks.decision)


def _from(batch: Batch, begin: int) -> Batch:
    """The rest of a batch. A record may be cut in two here, which only a replay may do: nothing is stored between."""
    if not begin:
        return batch
    rest = batch.offset[begin] if begin < len(batch.offset) else batch.next_offset
    return Batch(*(column[begin:] for column in batch[:4]), batch.next_offset, dead=batch.dead[batch.dead >= rest])


def _config(options: Options, table: Table) -> EngineConfig:
    from dataclasses import replace

    # A file tells counters by their names alone: a gauge that happens to grow must not become a rate in mid-file.
    config = engine_config(options.settings, counters_from_shape=False)
    return replace(config, entity_labels=table.entity_labels)


def _prior(options: Options) -> Any:
    if options.snapshot is None:
        return None
    from engine.transfer import read_prior

    return read_prior(shardfile.read(options.snapshot, key=options.settings.state.key))


def _earlier(options: Options) -> dict[str, State]:
    if options.state_in is None:
        return {}
    if options.snapshot is not None:
        raise ConfigError("--snapshot and --state-in exclude each other: a state that goes on has its seed within it.")
    return shardfile.parts(shardfile.read(options.state_in, key=options.settings.state.key))


def _carried(before: Mapping[str, State], source: Source, found: Sequence[Source]) -> State | None:
    """The state that this input goes on from: the one of its name, or, one input and one state, that one."""
    if len(before) == len(found) == 1:
        return next(iter(before.values()))
    return before.get(source.name)


def _without_replay(state: State) -> State:
    return State({key: value for key, value in state.manifest.items() if key != "replay"}, state.arrays)


def _renamed(value: Any, shown: Mapping[str, str]) -> Any:
    """A record with the names that scores.csv uses: a file's own entity and series go without their inner label."""
    if isinstance(value, dict):
        return {key: _renamed(one, shown) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, shown) for one in value]
    if not isinstance(value, str) or not shown:
        return value
    if value in shown:
        return shown[value]
    for inner, name in shown.items():
        if inner in value:
            value = value.replace(inner, name)
    return value


def _open_outputs(out: Path, stack: ExitStack) -> Outputs:
    try:
        out.mkdir(parents=True, exist_ok=True)
        names = ["scores.csv", *RECORD_FILES.values(), REJECTED]
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
        "retunes": records["experiments.retunes"],
        "entity_ticks": {word: tally.decisions[word] for word in ("quiet", "escalate", "alert", "page")},
        "ledger": dict(tally.ledger),
        "seconds": round(seconds, 3),
        "samples_per_s": round(tally.samples / seconds) if seconds > 0 else None,
        "engine": ENGINE_VERSION,
        "config": engine_config(options.settings, counters_from_shape=False).hash,
        "inputs": tally.inputs,
    }
