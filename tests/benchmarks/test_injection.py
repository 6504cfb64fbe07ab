"""Faults where they belong and nowhere else, junk beside untouched metrics, shapes with their event in place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import injection
from benchmarks import injection_faults as faults
from benchmarks import injection_junk as junk
from benchmarks import injection_shapes as shapes
from benchmarks.quality_baselines import BASELINES
from benchmarks.quality_sets import Stream, entity
from benchmarks.series_data import Recording, feed, fresh, read

ROWS, DAY = 900, 288


def write(path: Path, seed: int) -> None:
    """Three metrics in five-minute steps, one event, a history of two days."""
    values = np.random.default_rng(seed).normal(50.0, 1.0, (ROWS, 3))
    label = np.zeros(ROWS, np.uint8)
    label[700:720] = 1
    values[700:720] += 25.0
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, X=values, y=label, ts=300 * np.arange(ROWS), train_len=600)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One set of one entity."""
    write(tmp_path / "ASD" / "a.npz", 0)
    return tmp_path


@pytest.fixture
def recording(data: Path) -> Recording:
    """That entity."""
    return read(data / "ASD" / "a.npz")


def test_faults_begin_late_and_two_hours_from_any_label(recording: Recording) -> None:
    rows = faults.places(recording, 50)
    clear = 2 * DAY // 24
    assert len(set(rows)) == 50
    for row in rows:
        assert ROWS // 2 <= row <= ROWS - faults.LONGEST - clear
        assert not recording.label[row - clear : row + faults.LONGEST + clear].any()
    assert faults.places(recording._replace(label=np.ones(ROWS, bool)), 5) == []


@pytest.mark.parametrize("kind", faults.KINDS)
def test_a_fault_changes_one_metric_only(recording: Recording, kind: str) -> None:
    found = faults.injured(recording, kind, 500, np.random.default_rng(3))
    assert found is not None
    values, column = found
    clean = recording.values[500 : 500 + len(values)]
    changed = (values != clean).any(axis=0)
    assert faults.SHORTEST <= len(values) <= faults.LONGEST
    assert np.flatnonzero(changed).tolist() == ([] if kind == "none" else [column])
    if kind == "frozen":
        assert (values[:, column] == recording.values[499, column]).all()
    if kind == "spike 10 sd":
        assert np.flatnonzero(values[:, column] != clean[:, column]).tolist() == [0]
    if kind == "shift 3 sd":
        sd = faults.before(recording, 500, column).sd
        assert np.abs(values - clean)[:, column] == pytest.approx(3.0 * sd)


def test_only_what_moves_is_injured_and_only_what_moves_always_is_frozen(recording: Recording) -> None:
    recording.values[:, 0] = 7.0
    recording.values[1::2, 1] = recording.values[::2, 1]
    for seed in range(20):
        shifted, frozen = (
            faults.injured(recording, kind, 500, np.random.default_rng(seed)) for kind in ("shift 3 sd", "frozen")
        )
        assert shifted is not None
        assert shifted[1] in (1, 2)
        assert frozen is not None
        assert frozen[1] == 2
    recording.values[:] = 7.0
    assert faults.injured(recording, "shift 3 sd", 500, np.random.default_rng(0)) is None


def test_who_would_be_named_is_what_an_alert_names(recording: Recording) -> None:
    shard = fresh(3)
    feed(shard, recording, 0, 500)
    state, average = shard.export(), faults.Average(recording.values[0])
    average.feed(recording.values[1:500])
    values = recording.values[500:540].copy()
    values[:, 1] += 30.0
    found = faults.suffer(state, values, recording.ts_ms[500:540], 1, "shift", average)
    assert found == faults.Outcome("shift", alert=0, peak=0, ewma_alert=0, ewma_peak=0, ewma_pages=True)
    # Neither the state nor the average that it began with was touched.
    assert found == faults.suffer(state, values, recording.ts_ms[500:540], 1, "shift", average)
    assert shard.next_offset == 500


def test_the_average_is_the_baseline_of_the_benchmark_of_quality(recording: Recording) -> None:
    average = faults.Average(recording.values[0])
    for part in (slice(1, 300), slice(300, ROWS)):
        average.feed(recording.values[part])
    whole = BASELINES["ewma-z"].score(Stream(recording.values, recording.ts_ms, 0, DAY))
    assert np.concatenate(average.score)[29:] == pytest.approx(whole[30:])


def test_shares_of_what_did_not_alert_are_no_numbers() -> None:
    quiet = faults.Outcome("none", alert=-1, peak=2, ewma_alert=-1, ewma_peak=0, ewma_pages=False)
    loud = quiet._replace(alert=0, ewma_alert=3, peak=0)
    assert np.isnan(faults.shares([quiet])["first"])
    found = faults.shares([quiet, loud])
    assert [found[key] for key in ("alerts", "first", "ewma_three", "peak_first", "peak_three")] == [0.5, 1, 0, 0.5, 1]


@pytest.mark.parametrize("kind", junk.JUNK)
def test_junk_stands_beside_the_metrics_and_is_the_same_each_time(data: Path, kind: str) -> None:
    one = entity(data, "ASD", "a")
    wide = junk.with_junk(one, kind, 1)
    count = kind.partition(" ")[0]
    more = {"2": 2, "4": 4, "all": 18, "200": junk.WIDENED - 3}[count]
    assert wide.stream.values.shape == (ROWS, 3 + more)
    assert np.array_equal(wide.stream.values[:, :3], one.stream.values)
    assert np.array_equal(wide.stream.values, junk.with_junk(one, kind, 1).stream.values, equal_nan=True)
    assert wide.label.tolist() == one.label.tolist()


def test_what_comes_and_goes_is_missing_about_half_of_the_time() -> None:
    values = np.random.default_rng(0).normal(size=(20_000, 2))
    gone = np.isnan(junk.come_and_go(values, DAY, np.random.default_rng(1)))
    assert 0.35 < gone.mean() < 0.65
    assert np.abs(np.diff(gone, axis=0)).sum() < 1000


@pytest.mark.parametrize("name", shapes.SHAPES)
def test_an_event_lies_within_what_is_judged(name: str) -> None:
    shape = shapes.SHAPES[name]
    lone, one_of_eight = (shapes.stream_of(shape, alone=alone, seed=0) for alone in (True, False))
    assert lone.values.shape == (shape.days * 1440, 1)
    assert one_of_eight.values.shape == (shape.days * 1440, 8)
    assert np.array_equal(lone.values[:, 0], one_of_eight.values[:, 3])
    assert lone.history < shape.event[0] < shape.event[1] <= len(lone.values)


def test_everything_is_told(data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    few = {name: shapes.SHAPES[name] for name in ("0 always, a 1",)}
    monkeypatch.setattr(shapes, "SHAPES", few)
    monkeypatch.setattr(junk, "WIDENED", 8)
    found = told(data, capsys, "--fast", "--json")
    assert set(found) == {"fast", "absent", "faults", "junk", "shapes", "seconds"}
    assert found["absent"] == ["SMD", "JS-D2"]
    assert set(found["faults"]) == {"all", "ASD"}
    assert set(found["faults"]["all"]) == {*faults.KINDS, "all but none"}
    assert set(found["junk"]) == {junk.CLEAN, *junk.JUNK}
    assert found["shapes"]["0 always, a 1"]["alone"]["graft"]["pages_day"] == 0.0
    assert injection.main(["--data", str(data), "--fast"]) == 0
    text = capsys.readouterr().out
    for part in ("shift 10 sd", "200 metrics", "0 always, a 1"):
        assert part in text


def told(data: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `--json` writes."""
    assert injection.main(["--data", str(data), *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_without_data_the_made_up_shapes_remain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shapes, "SHAPES", {"42.0 still, step 1e-6": shapes.SHAPES["42.0 still, step 1e-6"]})
    assert injection.main(["--data", str(tmp_path), "--fast"]) == 0
    text = capsys.readouterr().out
    assert "absent: SMD, ASD, JS-D2" in text
    assert "42.0 still" in text
