"""Counting alerts against labelled windows, and the baseline beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import nab


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One recording in NAB's layout: level 10 with a small wobble, and one outlier at row 300."""
    folder = tmp_path / "NAB"
    (folder / "data" / "known").mkdir(parents=True)
    (folder / "labels").mkdir()
    rows = [f"2014-04-01 {at // 12 % 24:02d}:{at % 12 * 5:02d}:00" for at in range(288)]
    rows += [f"2014-04-02 {at // 12 % 24:02d}:{at % 12 * 5:02d}:00" for at in range(112)]
    values = [10.0 + (at % 7) * 0.1 for at in range(400)]
    values[300] = 50.0
    lines = [f"{time},{value}" for time, value in zip(rows, values, strict=True)]
    (folder / "data" / "known" / "one.csv").write_text("\n".join(["timestamp,value", *lines]) + "\n")
    windows = {"known/one.csv": [["2014-04-02 00:50:00.000000", "2014-04-02 01:10:00.000000"]]}
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    return folder


def test_ends_of_a_window_belong_to_it() -> None:
    windows = [nab.Window(10, 20), nab.Window(30, 40)]
    assert nab.count(windows, [10, 20, 40, 41]) == nab.Found(windows=2, hit=2, outside=1, alerts=4)
    assert nab.count([], [5]) == nab.Found(0, 0, 1, 1)


def test_the_baseline_gets_as_many_alerts_as_it_is_told(data: Path) -> None:
    files = sorted((data / "data" / "known").glob("*.csv"))
    top = nab.ewma_z(files[0])
    assert top.starts(0.99 * float(top.z.max())) == [nab.time_ms("2014-04-02 01:00:00")]
    assert len(nab.baseline_starts(files, 1)["one"]) <= 1
    assert nab.baseline_starts(files, 0) == {"one": []}


def test_a_folder_is_replayed_and_counted(data: Path) -> None:
    found = nab.measure(data)["known"]["one"]
    assert found["graft"].windows == found["ewma_z"].windows == 1
    assert found["ewma_z"].alerts <= found["graft"].alerts
