"""`graft experiments` over the folder of a replay: lists, filters, compares; says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.cli.main import main


def experiment(name: str, **more: Any) -> dict[str, Any]:
    return {
        "schema": "graft.experiment/1", "id": name, "at_ms": 1_767_225_600_000, "environment": "default",
        "entity": "host=a", "series": "cpu", "kind": "retune", "action": "relevel", "finding": "started",
        "before": {"mean": 1.0}, "after": {"mean": 2.0}, "evidence": {}, "because": "it moved", **more,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    told = [
        experiment("aa11"),
        {"schema": "graft.order/1", "id": "order", "kind": "retune"},
        experiment("bb22", finding="kept", at_ms=1_767_225_660_000, evidence={"samples": 8, "proof_new": 120.5}),
        experiment("cc33", series="mem", finding="reverted", at_ms=1_767_225_720_000, after={"mean": 3.0}),
    ]
    (tmp_path / "retunes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*told, told[0]]))
    return tmp_path


def test_all_are_listed_once_oldest_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiments", "--out-dir", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["aa11", "bb22", "cc33"]
    assert "proof 120.5" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [(["--series", "mem"], ["cc33"]), (["--finding", "kept"], ["bb22"]), (["--last", "1"], ["cc33"]),
     (["--series", "host=a", "--last", "0"], ["aa11", "bb22", "cc33"]), (["--kind", "label"], [])],
)  # fmt: skip
def test_they_are_chosen(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], ids: list[str]
) -> None:
    assert main(["experiments", "--out-dir", str(folder), "--json", *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in told["experiments"]] == ids


def test_two_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiments", "--out-dir", str(folder), "--compare", "bb", "cc", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    differences = {name: (a, b) for name, a, b in told["differences"]}
    assert differences["after.mean"] == ("2", "3")
    assert differences["finding"] == ("kept", "reverted")
    assert "before.mean" not in differences


def test_an_unknown_id_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiments", "--out-dir", str(folder), "--compare", "zz", "cc"]) == 2
    assert "begins with 'zz'" in capsys.readouterr().err
