"""`graft plan --out` and `graft apply` without a broker: what is refused, what would be sent, and exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agents.cli.main import main
from agents.recovery import shardfile
from engine.snapshot import State
from tests.engine.transfer.towns import Town, grown, source


@pytest.fixture(scope="module")
def lender() -> State:
    return source(Town(seed=1))


@pytest.fixture(scope="module")
def folder(lender: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("apply")
    shardfile.write(made / "eu.snap", lender)
    shardfile.write(made / "other.snap", source(Town(seed=9)))
    shardfile.write(made / "new.state", grown(Town(seed=2), days=1))
    shardfile.write(made / "far.state", grown(Town(seed=2, harmonic=5, noise=3.0), days=2))
    (made / "graft.toml").write_text('[kafka]\nbootstrap = "127.0.0.1:1"\n[[inputs]]\ntopic = "metrics"\n')
    assert run("plan", made / "eu.snap", "--target", made / "new.state", "--out", made / "plan.json") == 0
    return made


def run(*arguments: object) -> int:
    return main([str(one) for one in arguments])


def order(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run("apply", *arguments, "-c", folder / "graft.toml", "--dry-run", "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)["order"]
    return told


def test_the_file_is_what_json_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("plan", folder / "eu.snap", "--target", folder / "new.state", "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "plan.json").read_text())


def test_the_table_tells_strength_and_stage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("plan", folder / "eu.snap", "--target", folder / "new.state")
    shown = capsys.readouterr().out
    assert "5000/4/20/5000/1000" in shown
    assert "live" in shown
    assert "Entities that have begun before it is applied stay as they are" in shown


def test_a_dry_run_prints_the_order_and_the_same_decision_has_the_same_id(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = folder / "plan.json", "--snapshot", folder / "eu.snap"
    first, again = order(folder, capsys, *plan), order(folder, capsys, *plan)
    narrow = order(folder, capsys, *plan, "--partition", 1)
    assert first["id"] == again["id"] != narrow["id"]
    assert (first["kind"], first["target"]) == ("seed", {})
    assert narrow["target"] == {"topic": "metrics", "partition": 1}
    assert first["params"]["plan"]["id"] == json.loads((folder / "plan.json").read_text())["id"]
    assert first["params"]["classes"] == 4
    assert first["params"]["pieces"] == 1
    withdrawn = order(folder, capsys, "--withdraw", first["params"]["digest"])
    assert withdrawn["params"] == {"action": "withdraw", "digest": first["params"]["digest"]}
    assert len(json.dumps(first)) < 2000


def test_a_plan_for_other_data_or_of_another_version_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((folder / "plan.json").read_text())
    capsys.readouterr()

    def refused(why: str, snapshot: str = "eu.snap", **changes: Any) -> None:
        path = tmp_path / "changed.json"
        path.write_text(json.dumps(told | changes))
        assert run("apply", path, "--snapshot", folder / snapshot, "--dry-run", "--json") == 1
        shown = capsys.readouterr()
        assert why in shown.err
        assert len(shown.err.splitlines()) == 1
        assert why in json.loads(shown.out)["refused"]

    refused("made for another source snapshot", "other.snap")
    refused("made by engine 4", engine="4")
    refused("changed since it was made", entries=told["entries"][1:])
    assert run("plan", folder / "eu.snap", "--target", folder / "far.state", "--out", tmp_path / "cold.json") == 1
    capsys.readouterr()
    told = json.loads((tmp_path / "cold.json").read_text())
    refused("lends nothing")


def test_what_is_called_wrongly_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for arguments in (
        [], [folder / "plan.json"], ["--withdraw", "0" * 16, folder / "plan.json"], ["--withdraw", "xyz"],
        [folder / "nothing.json", "--snapshot", folder / "eu.snap"], [folder / "eu.snap", "--snapshot", "x"],
        ["--withdraw", "0" * 16, "--wait", "long"], ["--withdraw", "0" * 16, "--topic", "nobodys"],
    ):  # fmt: skip
        assert run("apply", *arguments, "-c", folder / "graft.toml") == 2, arguments
        assert len(capsys.readouterr().err.splitlines()) == 1, arguments


def test_a_broker_that_is_away_is_the_outside_world(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    config = folder / "graft.toml"
    assert run("apply", folder / "plan.json", "--snapshot", folder / "eu.snap", "-c", config) == 3
    assert "No broker at 127.0.0.1:1" in capsys.readouterr().err


def test_a_replay_lends_what_the_plan_says_and_no_more(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "web.csv"
    rows = (f"{1_767_225_600 + 600 * at},{at % 7},{at % 5},{at % 3}\n" for at in range(3))
    path.write_text("timestamp,cpu,load,strange\n" + "".join(rows))
    out = ("--out", tmp_path / "out", "--scores", "none", "--json", "--state-out", tmp_path / "s.state")
    plan = "--plan", folder / "plan.json"
    capsys.readouterr()
    assert run("replay", path, *out, "--snapshot", folder / "eu.snap", *plan) == 0
    state = shardfile.read(tmp_path / "s.state")
    told = json.loads((folder / "plan.json").read_text())
    assert state.manifest["seed"]["classes"] == told["seeded"]
    capsys.readouterr()
    assert run("replay", path, *out, "--snapshot", folder / "other.snap", *plan) == 1
    assert "made for another source" in capsys.readouterr().err
    assert run("replay", path, *out, *plan) == 2
