"""One file on its way through one shard: chunks in, lines of the output files out, orders where drift calls for them.

Owns the drift loop of a replay and what is carried from one replay to the next. Knows nothing of the other files.

Not obvious: a batch is cut where a drift signal is raised, the tuner's order is applied there, and the rest goes on. It
is cut where a series is seen for the first time, because a row that is given earlier would already count among its
entity's. So the result depends on the rows alone, not on how the file was cut into chunks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TextIO

import numpy as np
import orjson
from numpy.typing import NDArray

from agents.offline.files import CHUNK_SAMPLES, ENTITY, Chunk, Table
from agents.offline.labels import mark
from agents.offline.scores import Answers, Sheet, Ticks, Waiting
from engine.batch import Batch
from engine.errors import BadSample
from engine.shard import Shard, Verdicts
from engine.snapshot import State, json_column, read_json_column

#: The array beside a shard's own in which a replay keeps what the shard does not know, as JSON.
CARRIED = "replay"
#: Drift records that led to an order are kept this long with the state: a tuner that goes on knows its budget by them.
REMEMBERED_MS = 86_400_000
_ANSWERS = ("expected", "lower", "upper", "severity", "confidence", "page")


class Report(Protocol):
    """Told now and then how far it is: file, rows read of it, all samples so far."""

    def __call__(self, name: str, rows: int, samples: int) -> None: ...


class Decider(Protocol):
    """The tuner."""

    def order_for(self, drift: Mapping[str, Any], /) -> Mapping[str, Any] | None: ...


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
    """Open files under --out: records by topic."""

    scores: TextIO
    records: dict[str, TextIO]
    rejected: TextIO


class Passage:
    """Folds one table into one shard. carried: the second half of `split`; labels: see `labels.mark`."""

    def __init__(
        self,
        table: Table,
        shard: Shard,
        tuner: Decider,
        *,
        carried: Mapping[str, Any],
        outputs: Outputs,
        tally: Tally,
        level: str,
        labels: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._table, self._shard, self._tuner = table, shard, tuner
        self._outputs, self._tally, self._level = outputs, tally, level
        self._labels = labels
        self._drifts: list[Mapping[str, Any]] = list(carried.get("drifts", []))
        for drift in self._drifts:
            tuner.order_for(drift)
        waiting = {key: [Waiting(*one) for one in many] for key, many in carried.get("waiting", {}).items()}
        self._sheet = Sheet(outputs.scores, level=level, waiting=waiting)
        self._rows: list[int] = []
        self._entities: list[str] = []
        self._shown: dict[str, str] = {}
        self._ledger_before = dict(shard.ledger.counts())
        self._samples = self._missing = self._rejected = 0

    def fold(self, report: Report, *, chunk_samples: int = CHUNK_SAMPLES) -> None:
        """All chunks of the file, in order; counted even when it is interrupted."""
        name = self._table.source.name
        try:
            for chunk in self._table.chunks(chunk_samples):
                answers = self._judge(chunk)
                self._write_scores(chunk, answers)
                self._write_rejected(chunk)
                self._samples += len(chunk.value)
                self._missing += int(np.isnan(chunk.value).sum()) - len(chunk.rejected)
                report(name, self._table.rows, self._tally.samples + self._samples)
        finally:
            self._count()

    def state(self) -> State:
        """The shard's state, with what a later replay has to know besides."""
        state = self._shard.export()
        waiting = {key: [list(one) for one in many] for key, many in self._sheet.waiting.items() if many}
        newest_ms = max((int(one["at_ms"]) for one in self._drifts), default=0)
        drifts = [dict(one) for one in self._drifts if newest_ms - int(one["at_ms"]) < REMEMBERED_MS]
        return State(state.manifest, {**state.arrays, CARRIED: json_column({"waiting": waiting, "drifts": drifts})})

    def _judge(self, chunk: Chunk) -> Answers:
        """Fold a chunk, piece by piece."""
        n = len(chunk.value)
        numbers, decision = np.full((n, 6), np.nan, np.float32), np.zeros(n, np.int8)
        ticks: list[Ticks] = []
        first = self._shard.next_offset
        for kept, batch in self._pieces(chunk, first):
            for begin, verdicts in self._stretches(batch):
                at = kept[begin : begin + verdicts.consumed]
                numbers[at] = np.stack([getattr(verdicts, name) for name in _ANSWERS], axis=1)
                decision[at] = verdicts.decision
                ticks.append(_ticks(verdicts, kept, begin))
        return Answers(numbers, decision, Ticks(*(np.concatenate(one) for one in zip(*ticks, strict=True))))

    def _pieces(self, chunk: Chunk, first: int) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """(index of each sample in the chunk, batch) between two samples of which the second has a new series."""
        known = len(self._rows)
        news, starts = np.unique(chunk.series, return_index=True)
        begins = [0] if self._table.is_long else [0, len(chunk.series)]
        if self._table.is_long:
            begins = sorted({0, *map(int, starts[news >= known]), len(chunk.series)})
        dead_rows = {one.row - (self._table.rows - len(chunk.stamps)) for one in chunk.rejected}
        for begin, end in pairwise(begins):
            self._admit(int(chunk.series[begin:end].max(initial=-1)) + 1)
            rows = np.asarray(self._rows, np.int32)[chunk.series[begin:end]]
            kept = begin + np.flatnonzero(rows >= 0)
            span = set(range(int(chunk.row[begin]), int(chunk.row[end - 1]) + 1))
            dead = (dead_rows & span) | set(map(int, chunk.row[begin:end][rows < 0]))
            row = chunk.row[kept]
            yield (
                kept,
                Batch(
                    row=rows[rows >= 0],
                    ts_ms=chunk.ts_ms[row],
                    value=chunk.value[kept],
                    offset=first + row,
                    next_offset=first + int(chunk.row[end - 1]) + 1,
                    dead=np.array(sorted(first + one for one in dead), np.int64),
                ),
            )

    def _admit(self, upto: int) -> None:
        """Rows for the series up to a number, -1 where the shard is full."""
        for series in self._table.series[len(self._rows) : upto]:
            try:
                row = self._shard.admit(series)
            except BadSample:
                row = -1
            self._rows.append(row)
            entity = series.entity(self._table.entity_labels)
            is_own = entity == f"{ENTITY}={self._table.source.name}"
            self._entities.append(self._table.source.name if is_own else entity)
            if is_own:
                self._shown[series.text], self._shown[entity] = series.name, self._table.source.name
            mark(self._shard, self._labels, series, entity, self._shown)

    def _stretches(self, batch: Batch) -> Iterator[tuple[int, Verdicts]]:
        """(first sample, verdicts) of each stretch of a batch between two drift signals."""
        begin = 0
        while True:
            verdicts = self._shard.process(_from(batch, begin), stop_at_drift=True)
            yield begin, verdicts
            begin += verdicts.consumed
            for record in verdicts.records:
                self._tell(record.topic, record.value)
                if record.topic == "drift":
                    self._retune(record.value)
            if begin >= len(batch.row):
                return

    def _retune(self, drift: Mapping[str, Any]) -> None:
        order = self._tuner.order_for(drift)
        if order is None:
            return
        self._drifts.append(drift)
        place = self._shard.control_offsets.get(0, 0) + 1
        told = self._shard.apply(order, control_partition=0, next_offset=place)
        self._tally.records["retunes"] += 1
        self._tell("experiments", order)
        for record in told:
            self._tell(record.topic, record.value)

    def _tell(self, topic: str, value: Mapping[str, Any]) -> None:
        self._tally.records[f"{topic}.{value.get('state', '')}"] += 1
        self._outputs.records[topic].write(orjson.dumps(renamed(value, self._shown)).decode() + "\n")

    def _write_scores(self, chunk: Chunk, answers: Answers) -> None:
        ticks = answers.ticks
        for number, word in enumerate(("quiet", "escalate", "alert")):
            self._tally.decisions[word] += int(np.count_nonzero(ticks.decision == number))
        self._tally.decisions["page"] += int(np.count_nonzero(ticks.numbers[:, 2] >= 1))
        if self._level == "none":
            return
        if self._table.is_long:
            names = [self._shown.get(series.text, series.text) for series in self._table.series]
            known = [self._shown.get(entity, entity) for entity in self._shard.roster.entities]
            self._sheet.long(chunk, answers, self._entities, names, known)
        else:
            self._sheet.wide(chunk, answers, self._table.source.name, [one.name for one in self._table.series])

    def _write_rejected(self, chunk: Chunk) -> None:
        where = {"file": str(self._table.source.path), "entity": self._table.source.name}
        lines = []
        for one in chunk.rejected:
            name = self._table.series[one.series].text
            series = self._shown.get(name, name)
            lines.append({**where, "line": one.line, "series": series, "value": one.value, "reason": one.reason})
        refused = np.asarray(self._rows)[chunk.series] < 0
        full = [self._table.series[index].text for index in chunk.series[refused]]
        lines += [{**where, "series": text, "reason": "cardinality"} for text in dict.fromkeys(full)]
        self._rejected += len(chunk.rejected) + len(full)
        self._outputs.rejected.writelines(orjson.dumps(line).decode() + "\n" for line in lines)

    def _count(self) -> None:
        counts = {key: count - self._ledger_before.get(key, 0) for key, count in self._shard.ledger.counts().items()}
        tally = self._tally
        tally.samples += self._samples
        tally.missing += self._missing
        tally.rejected += self._rejected
        tally.ledger.update(counts)
        tally.seeded += int(self._shard.counters().get("seeded", 0))
        tally.inputs.append(
            {
                "file": str(self._table.source.path),
                "shape": self._table.shape,
                "name": self._table.source.name,
                "rows": self._table.rows,
                "samples": self._samples,
                "series": self._shard.series_count,
                "entities": self._shard.entity_count,
                "ledger": counts,
            }
        )


def renamed(value: Any, shown: Mapping[str, str]) -> Any:
    """A record with the names that scores.csv uses: a file's own entity and series go without their inner label.

    >>> renamed({"series": 'value{entity="a"}', "n": 1}, {'value{entity="a"}': "value"})
    {'series': 'value', 'n': 1}
    """
    if isinstance(value, Mapping):
        return {key: renamed(one, shown) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [renamed(one, shown) for one in value]
    if not isinstance(value, str) or value in shown:
        return shown.get(value, value) if isinstance(value, str) else value
    for inner, name in shown.items():
        if inner in value:
            value = value.replace(inner, name)
    return value


def _ticks(verdicts: Verdicts, kept: NDArray[np.int64], begin: int) -> Ticks:
    ticks = verdicts.ticks
    numbers = np.stack([ticks.severity, ticks.confidence, ticks.page], axis=1).astype(np.float32)
    at = kept[np.asarray(ticks.at, np.int64) + begin] if len(kept) else np.empty(0, np.int64)
    return Ticks(ticks.entity, ticks.ts_ms, at, numbers, ticks.decision)


def _from(batch: Batch, begin: int) -> Batch:
    """The rest of a batch. A record may be cut in two here, which only a replay may do: nothing is stored between."""
    if not begin or begin >= len(batch.row):
        return batch
    return Batch(
        row=batch.row[begin:],
        ts_ms=batch.ts_ms[begin:],
        value=batch.value[begin:],
        offset=batch.offset[begin:],
        next_offset=batch.next_offset,
        dead=batch.dead[batch.dead >= batch.offset[begin]],
    )


def split(state: State) -> tuple[State, dict[str, Any]]:
    """The shard's own part of what `Passage.state` gave, and the rest."""
    arrays = dict(state.arrays)
    column = arrays.pop(CARRIED, None)
    return State(state.manifest, arrays), read_json_column(column) if column is not None else {}
