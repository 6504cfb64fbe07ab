"""`graft snapshot` of sources: the card for people and whole in --json, what changed in words, merge, verify, keys."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.cli.main import main
from agents.cli.out import Out
from agents.cli.source import has_card, say_card
from engine.snapshot import State, pack, unpack
from engine.transfer import distil
from tests.engine.transfer.forging import GONE, ODD, forged, places
from tests.engine.transfer.towns import Town, grown, source

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> int:
    return main([str(one) for one in arguments])


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    names = ("cpu", "load_ms", "mem.used_percent")
    return {
        "eu": grown(Town(hosts=4, names=names)),
        "us": grown(Town(hosts=3, names=("cpu", "load_ms", "disk"), seed=3, noise=0.8)),
    }


@pytest.fixture
def snaps(states: dict[str, State], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Path]:
    """Cut by the command itself."""
    found = {}
    for name, state in states.items():
        (tmp_path / f"{name}.state").write_bytes(pack(*state))
        found[name] = tmp_path / f"{name}.snap"
        more = ["--owner", "team blue", "--licence", "CC0"] if name == "eu" else []
        assert run("snapshot", "create", "--from", tmp_path / f"{name}.state", "--out", found[name], *more) == 0
    capsys.readouterr()
    return found


def test_the_card_for_people(snaps: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("snapshot", "show", snaps["eu"]) == 0
    told = capsys.readouterr().out
    for words in (
        "environment  old town", "owner        team blue", "licence      CC0", "12 series of 4 entities",
        "host (4 values); an entity is made of host", "cut from metrics-0 at offset 24192",
        "4 of 4 entities left out in turn",
    ):  # fmt: skip
        assert words in told
    row = next(line.split() for line in told.splitlines() if line.startswith("mem.used_percent"))
    assert row[1:5] == ["4", "600", "gauge", "%"]
    assert "yes" in row
    assert all(float(one) < 1.0 for one in row[-5:])
    assert run("snapshot", "show", snaps["us"]) == 0
    assert "owner        not said" in capsys.readouterr().out


def test_the_card_whole_in_json(snaps: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("snapshot", "show", snaps["eu"], "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["card"] == unpack(snaps["eu"].read_bytes()).manifest["card"]
    assert told["kind"] == "source"
    assert {"n0", "ratio", "tail"} <= {one["name"] for one in told["arrays"]}


def test_arrays_are_listed_when_asked_for(snaps: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("snapshot", "show", snaps["eu"], "--arrays") == 0
    told = capsys.readouterr().out
    assert "owner        team blue" in told
    assert "3 x 96" in told


def test_what_changed_in_words(snaps: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("snapshot", "diff", snaps["eu"], snaps["us"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert "owner: team blue -> not said" in told
    assert "class disk is new, with 3 series" in told
    assert "class mem.used_percent is gone" in told
    assert any(line.startswith("class cpu: 4 -> 3 series, restlessness x") for line in told)
    assert run("snapshot", "diff", snaps["eu"], snaps["us"], "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == told
    assert any(line.startswith("array ratio: ") for line in found["bits"])
    assert run("snapshot", "diff", snaps["eu"], snaps["eu"]) == 0
    assert capsys.readouterr().out == "equal, bit for bit\n"


def test_merge(snaps: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ways = {"a": (snaps["eu"], snaps["us"]), "b": (snaps["us"], snaps["eu"])}
    for name, way in ways.items():
        assert run("snapshot", "merge", *way, "--out", tmp_path / f"{name}.snap") == 0
        assert "merged of " in capsys.readouterr().out
    assert (tmp_path / "a.snap").read_bytes() == (tmp_path / "b.snap").read_bytes()
    assert run("snapshot", "verify", tmp_path / "a.snap") == 0
    assert run("snapshot", "merge", *ways["a"], "--weight", "2,1", "--out", tmp_path / "c.snap", "--json") == 0
    capsys.readouterr()
    assert run("snapshot", "diff", snaps["eu"], tmp_path / "c.snap") == 1
    assert "merged of 2 sources" in capsys.readouterr().out
    for weight, words in (("2", "1 numbers for 2 files"), ("a,b", "wanted 2 numbers"), ("1,-1", "must lie in")):
        assert run("snapshot", "merge", *ways["a"], "--weight", weight, "--out", tmp_path / "d.snap") == 2
        assert words in capsys.readouterr().err
    assert run("snapshot", "merge", snaps["eu"], tmp_path / "us.state", "--out", tmp_path / "d.snap") == 2
    shown = capsys.readouterr().err
    assert "kind 'checkpoint'" in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "d.snap").exists()


def test_verify_says_what_does_not_hold(
    snaps: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("snapshot", "verify", snaps["eu"], tmp_path / "eu.state") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].endswith("source, whole; card, golden vectors and edge cases hold")
    assert told[1].endswith("checkpoint, whole")
    state = unpack(snaps["eu"].read_bytes())
    golden = copy.deepcopy(state.manifest)
    golden["card"]["recipe"]["golden"][0]["out"][1] = 2.5
    bad = {
        "golden": (State(golden, state.arrays), "golden vector 'recipe'"),
        "form": (State(state.manifest, {**state.arrays, "ratio": np.zeros(2, np.float32)}), "array ratio"),
        "old": (State({"kind": "source", "engine": state.manifest["engine"]}, state.arrays), "cut it again"),
    }
    for name, (other, words) in bad.items():
        path = tmp_path / f"{name}.snap"
        path.write_bytes(pack(*other))
        assert run("snapshot", "verify", path, "--json") == 1
        (one,) = json.loads(capsys.readouterr().out)["files"]
        assert not one["ok"]
        assert words in one["because"]
        assert str(path) in one["because"]
    series = tmp_path / "web.csv"
    series.write_text("timestamp,cpu\n" + "".join(f"{at * 60},{at % 7}\n" for at in range(50)))
    assert run("replay", series, "--snapshot", snaps["eu"], "--out", tmp_path / "out") == 0
    capsys.readouterr()
    assert run("replay", series, "--snapshot", tmp_path / "golden.snap", "--out", tmp_path / "out") == 2
    assert "golden vector 'recipe'" in capsys.readouterr().err
    config = tmp_path / "graft.toml"
    config.write_text(
        "[kafka]\nbootstrap = '127.0.0.1:1'\n[[inputs]]\ntopic = 'metrics'\n[[sinks]]\nkind = 'console'\n"
        f"[state]\ndir = '{tmp_path}/state'\n[seed]\nsnapshot = '{tmp_path}/golden.snap'\n"
    )
    assert run("check", "-c", config, "--offline") == 1
    assert "golden vector 'recipe'" in capsys.readouterr().out


def test_a_source_that_is_not_signed_is_used_nowhere_where_there_is_a_key(
    snaps: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    series = tmp_path / "web.csv"
    series.write_text("timestamp,cpu\n" + "".join(f"{at * 60},{at % 7}\n" for at in range(50)))
    config = tmp_path / "graft.toml"
    config.write_text(
        "[kafka]\nbootstrap = '127.0.0.1:1'\n[[inputs]]\ntopic = 'metrics'\n[[sinks]]\nkind = 'console'\n"
        f"[state]\ndir = '{tmp_path}/state'\n[seed]\nsnapshot = '{snaps['eu']}'\n"
    )
    uses: list[tuple[Any, ...]] = [
        ("snapshot", "show", snaps["eu"]),
        ("snapshot", "verify", snaps["eu"]),
        ("snapshot", "diff", snaps["eu"], snaps["eu"]),
        ("snapshot", "merge", snaps["eu"], "--out", tmp_path / "m.snap"),
        ("snapshot", "create", "--from", tmp_path / "eu.state", "--out", tmp_path / "m.snap"),
        ("plan", snaps["eu"], "--target", tmp_path / "us.state"),
        ("replay", series, "--snapshot", snaps["eu"], "--out", tmp_path / "out"),
        ("replay", series, "--state-in", tmp_path / "eu.state", "--out", tmp_path / "out"),
        ("check", "-c", config, "--offline"),
    ]
    monkeypatch.setenv("GRAFT__STATE__KEY", "${env:KEY}")
    monkeypatch.setenv("KEY", "canary")
    for use in uses:
        assert run(*use) != 0, use
        assert "not signed" in "".join(capsys.readouterr()), use
    # Signed with the key it is what it was; with another one it is nothing.
    signed = tmp_path / "signed.snap"
    signed.write_bytes(pack(*unpack(snaps["eu"].read_bytes()), key=b"canary"))
    assert run("snapshot", "verify", signed) == 0
    assert run("snapshot", "merge", signed, "--out", tmp_path / "m.snap") == 0
    assert run("snapshot", "verify", tmp_path / "m.snap") == 0
    assert "whole, signed; card" in capsys.readouterr().out
    monkeypatch.setenv("KEY", "another")
    assert run("snapshot", "verify", signed) == 1
    assert "canary" not in "".join(capsys.readouterr())


def test_owner_of_two_lines_is_a_usage_error(tmp_path: Path, snaps: dict[str, Path]) -> None:
    assert run("snapshot", "create", "--from", tmp_path / "eu.state", "--out", tmp_path / "x.snap", "--owner", "") == 2
    assert not (tmp_path / "x.snap").exists()


@pytest.fixture(scope="module")
def lender() -> State:
    return source(Town(hosts=3, names=("cpu",)), days=8)


def test_any_card_is_shown_or_refused(lender: State, capsys: pytest.CaptureFixture[str]) -> None:
    """Each field of it with each odd value."""
    shown = 0
    for place in places(lender.manifest):
        for value in (GONE, *ODD):
            made = forged(lender, place, value)
            if has_card(made):
                say_card(made, Out())
                shown += 1
    assert shown > 100
    assert "\x1b" not in capsys.readouterr().out


def test_the_source_of_the_demo_is_of_this_version() -> None:
    assert run("snapshot", "verify", ROOT / "agents" / "data" / "demo-source.snap") == 0


def test_distil_without_words_says_nothing(states: dict[str, State]) -> None:
    assert distil(states["us"]).manifest["card"]["origin"]["owner"] is None
