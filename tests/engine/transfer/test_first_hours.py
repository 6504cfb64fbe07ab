"""The benchmark of the first day: says what is absent; on real services a sibling's seed is worth having."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import first_hours
from benchmarks.series_data import load


def test_absent_data_is_said_and_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["first_hours", "--data", str(tmp_path), "--json"])
    assert first_hours.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cases"] == {}
    assert told["absent"][0].startswith("JS-D2")


@pytest.mark.slow
def test_a_sibling_lowers_the_error_and_the_false_pages(data_dir: Path) -> None:
    case = first_hours.run(load(data_dir, "JS-D2"), starts=2, most=6, note=lambda _: None)
    seeded, cold = case["seeded"], case["cold"]
    assert seeded["error_ratio"] < cold["error_ratio"]
    assert seeded["false_pages_day"] <= cold["false_pages_day"]
    assert seeded["rec_1d"] >= cold["rec_1d"]
    assert case["refused_near"] < case["refused_far"]
