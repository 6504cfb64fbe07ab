"""`graft plan --prove` as a user calls it: the table, `--json`, the page, and what is said where it cannot be done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agents.cli.main import main
from agents.transfer.proof_page import page
from tests.agents.transfer.test_page import HOSTILE, Reader

DAYS, A_DAY = 6, 288


def run(*arguments: object) -> int:
    return main([str(one) for one in arguments])


def write(path: Path, seed: int, *, days: float = DAYS) -> Path:
    """An entity with the shape of the day that all share."""
    rows, rng = round(days * A_DAY), np.random.default_rng(seed)
    day = np.sin(2 * np.pi * np.arange(rows) / A_DAY)
    made = 10.0 * (1 + seed) * (1 + 0.3 * day[:, None] + 0.03 * rng.normal(size=(rows, 2)))
    lines = (f"{1_767_225_600 + 300 * at},{cpu:.6g},{disk:.6g}\n" for at, (cpu, disk) in enumerate(made))
    path.parent.mkdir(exist_ok=True)
    path.write_text("timestamp,cpu,disk\n" + "".join(lines))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recordings")
    for seed in range(3):
        write(made / f"web-{seed}.csv", seed)
    return made


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.finish()
    return reader


def test_it_answers_in_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--prove", folder, "--starts", 2) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("A seed would have helped")
    for word in ("12-24 h", "pages a day", "adopted", "web-", "what the other entities had taught"):
        assert word in shown.out
    assert shown.err == ""


def test_json_is_one_object_and_the_page_shows_the_same(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html = tmp_path / "proof.html"
    assert run("plan", "--prove", folder, "--starts", 1, "--most", 2, "--html", html, "--json") == 0
    shown = capsys.readouterr()
    assert "2 of 3 entities take part" in shown.err
    told = json.loads(shown.out)
    assert told["schema"] == "graft.proof/1"
    assert (told["entities"], told["entities_found"], told["targets"], told["runs"]) == (2, 3, 2, 2)
    assert [one["entity"] for one in told["by_target"]] == ["web-0", "web-2"]
    text = html.read_text(encoding="utf-8")
    assert text == page(told)
    reader = read(text)
    assert told["headline"] in reader.text
    assert "2 of 3 entities took part" in reader.text
    assert "polyline" in reader.tags


def test_a_seed_that_would_have_hurt_is_a_finding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.offline.proof.HURT_MEAN", -1.0)
    assert run("plan", "--prove", folder, "--starts", 1, "--json") == 1


def test_a_snapshot_is_the_seed_where_one_is_given(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, snapshot = tmp_path / "us.state", tmp_path / "us.snap"
    other = write(tmp_path / "us" / "db.csv", 7)
    assert run("replay", other, "--out", tmp_path / "out", "--scores", "none", "--state-out", state) == 0
    assert run("snapshot", "create", "--from", state, "--out", snapshot) == 0
    capsys.readouterr()
    for arguments in (["plan", snapshot], ["plan", "--snapshot", snapshot]):
        assert run(*arguments, "--prove", folder, "--starts", 1, "--json") == 0
        told = json.loads(capsys.readouterr().out)
        assert told["source"] == "us.snap"
        assert told["history_h"] == 24.0
        assert told["harm"]["mean"]["high"] < 0


def test_what_cannot_be_proven_is_one_sentence(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    write(few / "a.csv", 0, days=3)
    cases = (
        (["--prove", few], "at least 2 are wanted"),
        (["--prove", tmp_path / "nowhere"], "does not exist"),
        (["--prove", folder, "--target", few], "not allowed with"),
        (["--prove", folder, "--out", few], "does not go with --prove"),
        (["--target", few, "--html", few], "goes with --prove DIR only"),
        (["--prove", folder, "--most", "0"], "is no count"),
        (["--prove", folder, "--html", tmp_path / "no" / "page.html", "--starts", 1, "--most", 2], "cannot be written"),
    )
    for arguments, sentence in cases:
        try:
            status = run("plan", *arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        assert status == (3 if "cannot be written" in sentence else 2)
        assert sentence in capsys.readouterr().err.splitlines()[-1]
    write(few / "b.csv", 1, days=3)
    assert run("plan", "--prove", few) == 2
    assert "the longest recording lasts 3.0 days; wanted are 4.8 days" in capsys.readouterr().err


def told_of(name: str, *, is_known: bool) -> dict[str, object]:
    from agents.offline.proof import proof
    from tests.agents.offline.test_prove import a_run

    runs = [a_run(k, *((1.5, 1.2 + k) if is_known else (float("nan"),) * 2)) for k in range(2)]
    return proof(runs, [name, "b"], source=name, entities_found=3, history_h=24.0, refused=[name])


def test_a_hostile_name_stays_a_name() -> None:
    text = page(told_of(HOSTILE, is_known=True))
    reader = read(text)
    assert set(reader.tags) & {"script", "img", "iframe", "object", "link"} == set()
    assert not any(name.startswith("on") for name, _ in reader.attributes)
    assert HOSTILE in reader.text
    assert "://" not in text


def test_a_proof_of_nothing_is_a_page_as_well() -> None:
    text = page(told_of("a", is_known=False))
    read(text)
    assert "nan" not in text
    assert "None" not in text
