"""A shard that can be read in a minute: one exponentially weighted mean per series, an alert beyond six deviations.

It keeps every promise of engine.shard.Shard that recovery rests on (a pure fold, ids from what a record is about,
positions in the state, a balanced ledger), and starts in no time. So it carries the many kills and the mutants; the
real shard goes through the same harness with fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from engine.batch import Batch
from engine.errors import BadSample
from engine.fold import DUPLICATE, LEARNED, SCORED_ONLY
from engine.ledger import Ledger
from engine.series import Series, stable_id
from engine.snapshot import State

COLUMNS = ("mean", "variance", "seen", "last_ms", "gate")
#: A sample further away than this many deviations, times e^gate, is an alert and is not learned.
BEYOND = 6.0
WARM_SAMPLES = 10
RATE = 0.05


class Record(NamedTuple):
    topic: str
    key: str
    value: dict[str, Any]


class Verdicts(NamedTuple):
    records: list[Record]


class Letter(NamedTuple):
    index: int
    reason: str
    detail: str


class PlainShard:
    """jitter: added to every score, as another version of the engine might; 0 is the version of the oracle."""

    def __init__(self, topic: str, partition: int, *, jitter: float = 0.0) -> None:
        self.topic, self.partition, self.jitter = topic, partition, jitter
        self.next_offset = -1
        self.control_offsets: dict[int, int] = {}
        self.applied: list[str] = []
        self.number = 0
        self.ledger = Ledger()
        self.names: dict[str, int] = {}
        self.columns: dict[str, list[float]] = {name: [] for name in COLUMNS}

    @property
    def series_count(self) -> int:
        return len(self.names)

    @property
    def entity_count(self) -> int:
        return len(self.names)

    def row_of(self, text: str) -> int:
        return self.names.get(text, -1)

    def admit(self, series: Series) -> int:
        for column in self.columns.values():
            column.append(0.0)
        return self.names.setdefault(series.text, len(self.names))

    def wants_unlearning(self) -> bool:
        return False

    def process(self, batch: Batch) -> Verdicts:
        records: list[Record] = []
        texts = list(self.names)
        outcome = np.zeros(len(batch.row), np.int8)
        for at, (row, ts_ms, value, offset) in enumerate(zip(*map(np.ndarray.tolist, batch[:4]), strict=True)):
            outcome[at] = self._step(row, ts_ms, value, offset, texts[row], records)
        self.ledger.count_batch(batch, len(batch.row), outcome, self.next_offset)
        self.next_offset = batch.next_offset
        return Verdicts(records)

    def _step(self, row: int, ts_ms: int, value: float, offset: int, text: str, records: list[Record]) -> int:
        mean, variance, seen, last_ms, gate = (self.columns[name][row] for name in COLUMNS)
        if ts_ms <= last_ms:
            return DUPLICATE
        self.columns["last_ms"][row] = float(ts_ms)
        score = abs(value - mean) / (variance**0.5 + 1e-9) + self.jitter
        if seen >= WARM_SAMPLES and score > BEYOND * float(np.exp(gate)):
            self.number += 1
            records.append(self._alert(text, ts_ms, value, score, offset))
            return SCORED_ONLY
        step = value - mean
        self.columns["mean"][row] = value if seen == 0 else mean + RATE * step
        self.columns["variance"][row] = 1.0 if seen == 0 else (1 - RATE) * (variance + RATE * step * step)
        self.columns["seen"][row] = seen + 1
        return LEARNED

    def alert_id(self, text: str, ts_ms: int, score: float) -> str:  # noqa: ARG002
        """From what the alert is about; `score` is here only for the mutant that gets this wrong."""
        return stable_id("alert", text, ts_ms)

    def _alert(self, text: str, ts_ms: int, value: float, score: float, offset: int) -> Record:
        return Record(
            "alerts",
            text,
            {
                "schema": "graft.alert/1", "id": self.alert_id(text, ts_ms, score), "at_ms": ts_ms, "series": text,
                "number": self.number, "value": value, "severity": score,
                "follows": [{"topic": self.topic, "partition": self.partition, "offset": offset}],
            },
        )  # fmt: skip

    def apply(self, order: Mapping[str, Any], *, control_partition: int, next_offset: int) -> list[Record]:
        self.control_offsets[control_partition] = next_offset
        if order["id"] in self.applied:
            return []
        row = self.row_of(str(order["target"].get("series")))
        if row < 0:
            raise BadSample("order", f"{order['target']} is unknown here")
        before = self.columns["gate"][row]
        self.columns["gate"][row] = before + float(order["params"]["gate"])
        self.applied.append(order["id"])
        where = {"topic": self.topic, "partition": self.partition, "offset": self.next_offset}
        value = {
            "schema": "graft.experiment/1", "id": order["id"], "before": {"gate": before},
            "after": {"gate": self.columns["gate"][row]}, "applied_at": where,
        }  # fmt: skip
        return [Record("experiments", order["id"], value)]

    def mark_gap(self, from_offset: int, to_offset: int) -> list[Record]:
        self.ledger.add("gap", to_offset - from_offset)
        self.next_offset = to_offset
        name = f"{self.topic}-{self.partition}"
        value = {"schema": "graft.drift/1", "id": stable_id("gap", name, from_offset), "kind": "gap"}
        return [Record("drift", name, {**value, "evidence": {"records": to_offset - from_offset}})]

    def export(self) -> State:
        manifest = {
            "kind": "checkpoint", "topic": self.topic, "partition": self.partition, "next_offset": self.next_offset,
            "control_offsets": {str(k): v for k, v in sorted(self.control_offsets.items())}, "number": self.number,
            "applied": list(self.applied), "ledger": self.ledger.counts(), "names": list(self.names),
        }  # fmt: skip
        return State(manifest, {name: np.array(column, np.float64) for name, column in self.columns.items()})

    @staticmethod
    def restore(state: State, *, jitter: float = 0.0) -> PlainShard:
        m = state.manifest
        shard = PlainShard(m["topic"], m["partition"], jitter=jitter)
        shard.next_offset, shard.number, shard.applied = m["next_offset"], m["number"], list(m["applied"])
        shard.control_offsets = {int(k): v for k, v in m["control_offsets"].items()}
        shard.ledger = Ledger(m["ledger"])
        shard.names = {text: row for row, text in enumerate(m["names"])}
        shard.columns = {name: state.arrays[name].tolist() for name in COLUMNS}
        return shard

    def counters(self) -> dict[str, int | float]:
        return {"series": self.series_count}


class PlainDecoder:
    """One JSON object `{"series", "ts_ms", "value"}` a record; everything else is a dead letter."""

    def __init__(self, shard: PlainShard) -> None:
        self.shard = shard

    def decode(
        self, values: list[bytes | None], offsets: NDArray[np.int64], _append_ms: NDArray[np.int64], next_offset: int
    ) -> tuple[Batch, list[Letter]]:
        rows: list[int] = []
        samples: list[tuple[int, float]] = []
        good: list[int] = []
        dead: list[Letter] = []
        for index, value in enumerate(values):
            try:
                series, ts_ms, number = self.read(value)
            except BadSample as error:
                dead.append(Letter(index, error.reason, error.detail))
                continue
            row = self.shard.row_of(series)
            rows.append(row if row >= 0 else self.shard.admit(Series.of(series, {})))
            samples.append((ts_ms, number))
            good.append(index)
        batch = Batch(
            np.array(rows, np.int32),
            np.array([ts_ms for ts_ms, _ in samples], np.int64),
            np.array([number for _, number in samples], np.float64),
            offsets[np.array(good, np.int64)],
            next_offset,
            offsets[np.array([letter.index for letter in dead], np.int64)],
        )
        return batch, dead

    def read(self, value: bytes | None) -> tuple[str, int, float]:
        try:
            found = orjson.loads(value or b"")
            series, ts_ms, number = str(found["series"]), int(found["ts_ms"]), float(found["value"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise BadSample("json", str(error)) from error
        if abs(number) > 1e15:
            raise BadSample("value_range", f"{number} is no measurement")
        return series, ts_ms, number


class PlainParts:
    """What agents.detector.assembly.Parts is for the real shard."""

    def __init__(self, *, jitter: float = 0.0) -> None:
        self.jitter = jitter

    def new_shard(self, place: Any) -> PlainShard:
        return PlainShard(place.topic, place.partition, jitter=self.jitter)

    def restore(self, state: State, _topic: str) -> PlainShard:
        return PlainShard.restore(state, jitter=self.jitter)

    def new_decoder(self, _place: Any, shard: PlainShard) -> PlainDecoder:
        return PlainDecoder(shard)

    def warm_up(self) -> None:
        return
