"""The benchmark's own parts, with tiny sizes and no clock: its load means what it says, its figures add up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import throughput_load as loads
from benchmarks.throughput_baselines import Job, split_line
from benchmarks.throughput_profile import Stopwatch, report

ROOT = Path(__file__).resolve().parents[2]
START_MS = 1_767_225_600_000


def small(case: str) -> loads.Load:
    """Two intervals of 20 entities in two partitions."""
    return loads.Load(case, "t", 2, 20, 2)


@pytest.mark.parametrize("case", loads.CASES)
def test_each_record_of_the_load_is_read_as_what_it_says(case: str) -> None:
    import numpy as np

    from agents.codecs.decoder import Decoder
    from engine.config import EngineConfig
    from engine.shard import Shard

    load = small(case)
    seen = 0
    for partition in range(load.partitions):
        shard = Shard(EngineConfig(), topic="t", partition=partition)
        values = [value for _, value in loads.records(load, partition, START_MS)]
        batch, dead = Decoder(shard).decode(values, np.arange(len(values)), lambda _: -1, len(values))
        assert dead == []
        assert shard.entity_count == load.entities // load.partitions
        assert set(batch.ts_ms.tolist()) == {START_MS, START_MS + loads.STEP_MS}
        seen += len(batch.row)
    assert seen == load.samples


@pytest.mark.parametrize("case", loads.CASES)
def test_a_load_is_the_same_each_time_and_counts_its_records(case: str) -> None:
    load = small(case)
    once = [list(loads.records(load, partition, START_MS)) for partition in range(2)]
    assert once == [list(loads.records(load, partition, START_MS)) for partition in range(2)]
    assert load.case == "json100" or sum(map(len, once)) == load.records


@pytest.mark.parametrize(("samples", "partitions"), [(400_000, 4), (1_500_000, 10), (3_000_000, 20)])
def test_the_embedded_broker_keeps_what_is_produced(samples: int, partitions: int) -> None:
    load = loads.load_of("json", "t", samples, embedded=True)
    assert (load.partitions, load.samples) == (partitions, samples)
    assert load.samples // load.partitions <= loads.KEPT_SAMPLES


def test_more_than_the_embedded_broker_keeps_is_refused() -> None:
    with pytest.raises(SystemExit, match="do not fit"):
        loads.load_of("json", "t", 1_000_000_000, embedded=True)


def test_the_baseline_reads_the_lines() -> None:
    split_line(b"cpu,host=web-1,region=eu value=1.5 1767225600000000000\n")
    with pytest.raises(ValueError, match="could not convert"):
        split_line(b"cpu,host=web-1 value=up 1767225600000000000\n")


def test_a_stage_does_not_count_what_it_calls() -> None:
    watch = Stopwatch()
    inner = watch.around("inner", lambda: sum(range(20_000)))
    outer = watch.around("outer", inner)
    outer()
    assert watch.calls == {"inner": 1, "outer": 1}
    assert watch.ns["outer"] < watch.ns["inner"]
    assert [stage for stage, _, _ in report(watch, 1)] == ["inner", "outer"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["consume", "decode", "graft"])
def test_a_variant_reads_every_record(variant: str) -> None:
    from agents.embedded import EmbeddedBroker
    from agents.topics import Topics
    from benchmarks.throughput_graft import PREFIX

    load = loads.Load("json", "bench", 2, 20, 80)
    with EmbeddedBroker({"bench": 2, **dict.fromkeys(Topics.of(PREFIX), 1)}) as broker:
        loads.fill(broker.bootstrap, load, START_MS)
        job = Job(broker.bootstrap, "bench", "json", variant, load.records, 400, f"test-{variant}", series=load.series)
        module = "benchmarks.throughput_graft" if variant == "graft" else "benchmarks.throughput_baselines"
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(job._asdict())],
            cwd=ROOT, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
    if "in a few batches" in done.stderr or "too late" in done.stderr:
        return  # all of so small a topic may come at once; then there is no rate, and it says so
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["records_s"] > 0
    if variant == "graft":
        assert found["ledger"]["learned"] == load.samples
        assert found["series"] == load.series
