"""Makes the source snapshot that `graft demo` seeds its fleet from: `python -m agents.demo.make_source`.

Owns the source environment: other hosts than the demo's, in another number, at other levels and gains, over fourteen
quiet days. It is replayed through the engine and distilled, exactly as `graft snapshot create` would.

Not obvious: run it again after a change of what the engine learns or distils, and commit the file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agents.demo.world import STEP_MS, Fleet, Floats, generate
from engine.batch import Batch
from engine.config import EngineConfig
from engine.prior import Prior
from engine.records import Record
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State, pack
from engine.transfer import distil

SOURCE_PATH = Path(__file__).resolve().parent.parent / "data" / "demo-source.snap"
SOURCE_SEED, SOURCE_DAYS, SOURCE_SPREAD = 7, 14, 2.0
#: Midnight of a day long before the demo's.
BEGIN_MS = 1_735_689_600_000
ENTITY_LABELS = ("host", "service")


def source_fleet() -> Fleet:
    """The cast of the source: none of its names occurs in the demo."""
    return Fleet.of(web=18, svc=12, db=3, start=51)


def fold(
    fleet: Fleet, values: Floats, config: EngineConfig, *, prior: Prior | None = None,
    on_records: Callable[[list[Record]], object] = len,
) -> Shard:  # fmt: skip
    """The shard after all of the values."""
    shard = Shard(config, topic="metrics", partition=0, prior=prior)
    shard.next_offset = 0
    rows = [
        shard.admit(Series.of(metric.name, {one.label: one.name}, Kind.GAUGE))
        for one in fleet.entities
        for metric in one.metrics
    ]
    for begin in range(0, len(values), 60):
        part = values[begin : begin + 60]
        minutes = np.arange(begin, begin + len(part))
        times, offsets = BEGIN_MS + minutes * STEP_MS, minutes
        width = len(rows)
        batch = Batch.of(
            np.tile(rows, len(part)),
            np.repeat(times, width),
            part.ravel(),
            np.repeat(offsets, width),
            begin + len(part),
        )
        on_records(shard.process(batch).records)
    return shard


def make(days: int = SOURCE_DAYS) -> State:
    """The source snapshot; the same every time."""
    fleet = source_fleet()
    values = generate(fleet, seed=SOURCE_SEED, minutes=days * 1440, spread=SOURCE_SPREAD)
    config = EngineConfig(environment="demo-source", entity_labels=ENTITY_LABELS)
    return distil(fold(fleet, values, config).export())


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Make the source snapshot of graft demo.")
    parser.add_argument("--out", type=Path, default=SOURCE_PATH)
    path = parser.parse_args().out
    state = make()
    data = pack(state.manifest, state.arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path}: {len(data):,} bytes, {state.manifest.get('class_count')} metric classes")


if __name__ == "__main__":
    main()
