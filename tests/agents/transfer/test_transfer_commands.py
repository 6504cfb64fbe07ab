"""`graft transfer report` and `graft explain`, from a replay with a source that fits three hosts and not the fourth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.cli.main import main
from agents.recovery import shardfile
from tests.engine.transfer.towns import DAY, START_MS, STEP_MS, Town, source, values

HERE = Town(seed=5, level=150.0, scale=3.0)
STRANGER = "host=secret-3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """--out of a replay of a day and an hour; beside it the state after half a day."""
    out = tmp_path_factory.mktemp("transfer")
    shardfile.write(out / "alike.snap", source(Town(seed=1)))
    numbers = values(HERE, DAY + 8)
    restless = np.random.default_rng(3).normal(80.0, 30.0, (len(numbers), 1, numbers.shape[2]))
    numbers = np.concatenate([numbers, restless], axis=1)
    _write(out / "town.csv", numbers)
    _write(out / "half.csv", numbers[: DAY // 2])
    assert main([*map(str, ("replay", out / "town.csv", "--snapshot", out / "alike.snap", "--out", out / "out"))]) == 0
    half = ("replay", out / "half.csv", "--snapshot", out / "alike.snap", "--out", out / "half")
    assert main([*map(str, half), "--state-out", str(out / "half.state"), "--scores", "none"]) == 0
    return out


def _write(path: Path, numbers: np.ndarray) -> None:
    lines = ["timestamp,series,value,host"]
    for tick, hosts in enumerate(numbers):
        for host, metrics in enumerate(hosts):
            for name, value in zip(HERE.names, metrics, strict=True):
                lines.append(f"{(START_MS + tick * STEP_MS) // 1000},{name},{value:.6g},secret-{host}")
    path.write_text("\n".join(lines) + "\n")


def graft(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    capsys.readouterr()
    assert main([str(one) for one in arguments]) == status
    told = capsys.readouterr()
    return told.out if status == 0 else told.err


def test_the_report_of_a_replay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "report.html"
    told = json.loads(
        graft(capsys, "transfer", "report", "--out-dir", folder / "out", "--json", "--html", page)
    )  # fmt: skip
    (fleet,) = told["fleets"]
    of = fleet["believed"]
    assert (fleet["entities"]["all"], fleet["entities"]["passed"], fleet["entities"]["refused"]) == (4, 3, 1)
    assert of["helped"] + of["equal"] + of["hurt"] == of["series"] == 12
    assert of["helped"] > 6
    assert of["error_ratio"] < 1
    assert of["worth_h"] > 3
    assert fleet["not_believed"]["series"] == 4
    (evicted,) = fleet["evictions"]
    assert evicted["entity"] == STRANGER
    assert evicted["evidence"]["unlike"] > evicted["limits"]["unlike"]
    assert {one["class"] for one in fleet["classes"]} == set(HERE.names)
    assert all(one["borrowed"]["structure"] > 0.5 for one in fleet["classes"])
    assert told["headline"] in page.read_text()
    text = graft(capsys, "transfer", "report", "--out-dir", folder / "out")
    assert told["headline"] in text
    assert f"refused  {STRANGER}" in text


def test_what_is_on_trial_comes_from_the_state(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def series(*more: object) -> tuple[dict[str, Any], int]:
        told = json.loads(graft(capsys, "transfer", "report", "--out-dir", folder / "half", "--json", *more))
        return told["fleets"][0]["entities"], told["fleets"][0]["believed"]["series"]

    entities, young = series()
    assert entities["adopted"] == 3
    # A tick takes ten minutes: at the decision too little was seen of any series.
    assert young == 0
    again, measured = series("--state", folder / "half.state")
    assert again == entities
    assert measured == 12


def test_explain(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(graft(capsys, "explain", STRANGER, "--out-dir", folder / "out", "--json"))
    assert [one["what"] for one in told["events"] if one["what"] != "retune"] == ["refused", "trial over"]
    text = graft(capsys, "explain", 'cpu{host="secret-0"}', "--out-dir", folder / "out")
    assert "of host=secret-0" in text
    assert text.index("adopted") < text.index("passed")
    assert "(limit 1.00)" in text
    assert "cpu: the seeded version forecast 1 better" in text


def test_errors_are_sentences(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = graft(capsys, "explain", "host=secret-9", "--out-dir", folder / "out", status=2)
    assert "No record is about 'host=secret-9'; near it are host=secret-" in said
    assert "holds none of" in graft(capsys, "transfer", "report", "--out-dir", tmp_path, status=2)
    said = graft(
        capsys, "transfer", "report", "--out-dir", folder / "out", "--html", tmp_path / "no" / "page.html", status=3
    )  # fmt: skip
    assert "cannot be written" in said
