"""The benchmark of the first hours: says what is absent; on real services a sibling's seed is worth having."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import first_hours


def test_absent_data_is_said_and_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = "JS-D2-near-1d,AIOPS-any-6h"
    assert first_hours.main(["--data", str(tmp_path), "--json", "--jobs", "0", "--only", only]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cases"] == {}
    assert told["absent"][0].startswith("JS-D2")


@pytest.mark.slow
def test_a_sibling_lowers_the_error_and_finds_no_less(data_dir: Path) -> None:
    told = first_hours.benchmark(data_dir, first_hours.chosen("JS-D2-near-1d"), fast=True)
    case = told["cases"]["JS-D2-near-1d"]
    seeded, cold = case["seeded"], case["cold"]
    assert seeded["error_ratio"] < cold["error_ratio"]
    assert seeded["rec_1d"] >= cold["rec_1d"]
    assert case["refused_near"] < case["refused_far"]
