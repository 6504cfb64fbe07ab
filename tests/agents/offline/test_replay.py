"""Laws of replay, on the real engine: causal, independent of cuts, and a then b is a+b. All bit for bit."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.offline.replay import RECORD_FILES, Options, run
from agents.offline.scores import HEADER
from agents.settings import Settings
from engine.errors import ConfigError

DATA = Path(os.environ.get("GRAFT_DATA", Path(__file__).parents[3] / "../shared/data"))
FILES = ("scores.csv", *RECORD_FILES.values(), "rejected.jsonl")
#: Drift is told from the third day on.
ROWS, SHIFT = 3600, 3000


def clock_s() -> float:
    return 0.0


def report(name: str, rows: int, samples: int) -> None:
    pass


def note(text: str) -> None:
    pass


def replay(out: Path, *inputs: Path, **options: object) -> dict[str, object]:
    asked = Options(inputs=inputs, out=out, settings=Settings())
    return run(replace(asked, **options), clock_s=clock_s, report=report, note=note)


def wide_rows(rows: int = ROWS) -> list[str]:
    """Three metrics with a level shift, a spike, a duplicate time, missing cells and a number no model may see."""
    made = np.random.default_rng(7).normal(size=(rows, 3)) * [1, 5, 0.2] + [10, 200, 1]
    made[SHIFT:, 0] += 12
    made[700, 1] += 500
    stamps = [f"2026-01-{1 + at // 1440:02}T{at // 60 % 24:02}:{at % 60:02}:00" for at in range(rows)]
    stamps[40] = stamps[39]
    cells = [[f"{value:.6g}" for value in row] for row in made]
    cells[100][2] = cells[101][2] = ""
    cells[300][1] = "inf"
    return [f"{stamp},{','.join(row)}" for stamp, row in zip(stamps, cells, strict=True)]


def long_rows(rows: int = ROWS) -> list[str]:
    """Two hosts; one metric comes late, one host stops for a while, the times of a tick are not quite the same."""
    made = np.random.default_rng(8).normal(size=(rows, 4))
    made[SHIFT:, 0] += 12
    lines = []
    for at in range(rows):
        for place, (name, host) in enumerate((("cpu", "a"), ("disk", "a"), ("cpu", "b"), ("disk", "b"))):
            is_away = host == "b" and 150 < at < 170
            if is_away or (name == "disk" and host == "a" and at < 20):
                continue
            jitter = place if at % 7 == 0 else 0
            lines.append(f"{1_767_225_600 + 60 * at + jitter},{name},{made[at, place]:.6g},{host}")
    return lines


SHAPES = {
    "wide": ("timestamp,cpu,latency,errors", wide_rows),
    "long": ("timestamp,series,value,host", long_rows),
    "nab": ("timestamp,value", lambda: [",".join(line.split(",")[:2]) for line in wide_rows()]),
}


@pytest.fixture(params=SHAPES)
def table(request: pytest.FixtureRequest, tmp_path: Path):
    """Writes some of the rows of one shape to a file of the same name in a folder of its own."""
    header, rows = SHAPES[request.param]
    lines = rows()

    def write(folder: str, begin: int = 0, end: int | None = None) -> Path:
        path = tmp_path / folder / "web.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([header, *lines[begin:end]]) + "\n")
        return path

    write.rows = len(lines)
    return write


def outputs(out: Path) -> dict[str, str]:
    return {name: (out / name).read_text() for name in FILES}


def test_the_first_rows_give_the_first_lines(table, tmp_path: Path) -> None:
    replay(tmp_path / "whole", table("w"))
    whole = outputs(tmp_path / "whole")
    for rows in (1, 2, 41, 301, table.rows * 4 // 5, table.rows - 3):
        replay(tmp_path / "part", table("p", 0, rows))
        for name, text in outputs(tmp_path / "part").items():
            if name != "rejected.jsonl":
                assert whole[name].startswith(text), (name, rows)


def test_drift_is_answered_where_it_was_seen(table, tmp_path: Path) -> None:
    summary = replay(tmp_path / "out", table("w"))
    drifts, retunes = ((tmp_path / "out" / name).read_text().splitlines() for name in ("drift.jsonl", "retunes.jsonl"))
    told = [json.loads(line) for line in retunes]
    orders = {one["id"]: one for one in told if one["schema"] == "graft.order/1"}
    experiments = [one for one in told if one["schema"] == "graft.experiment/1"]
    assert summary["drift"] == len(drifts) >= summary["retunes"] == len(orders) > 0
    assert len(orders) + len(experiments) == len(told)
    answered = [one for one in experiments if one["id"] in orders]
    assert {one["id"] for one in answered} == set(orders)
    for one in answered:
        order = orders[one["id"]]
        assert one["finding"] in ("started", "refused", "applied")
        # Of a wide row, the other series are still to come.
        assert one["applied_at"]["offset"] - order["follows"][0]["offset"] in (0, 1)
    # What became of a trial comes later, and says of which.
    for one in experiments:
        assert one["lineage"][0] in orders
    assert any(one["finding"] == "kept" for one in experiments)


def test_a_then_b_is_a_and_b(table, tmp_path: Path) -> None:
    replay(tmp_path / "whole", table("w"), state_out=tmp_path / "whole.state")
    whole = outputs(tmp_path / "whole")
    for cut in (1, 40, 301, table.rows * 4 // 5):
        state = tmp_path / "a.state"
        replay(tmp_path / "a", table("a", 0, cut), state_out=state)
        replay(tmp_path / "b", table("b", cut), state_in=state, state_out=tmp_path / "b.state")
        first, second = outputs(tmp_path / "a"), outputs(tmp_path / "b")
        for name in FILES[:-1]:
            joined = first[name] + second[name].removeprefix(HEADER if name == "scores.csv" else "")
            assert joined == whole[name], (name, cut)
        assert (tmp_path / "b.state").read_bytes() == (tmp_path / "whole.state").read_bytes(), cut


@pytest.mark.parametrize("samples", [1, 3, 97, 4096])
def test_chunks_do_not_matter(table, tmp_path: Path, samples: int) -> None:
    rows = 1000 if samples < 10 else table.rows
    replay(tmp_path / "whole", table("w", 0, rows), state_out=tmp_path / "whole.state")
    replay(tmp_path / "cut", table("w", 0, rows), state_out=tmp_path / "cut.state", chunk_samples=samples)
    assert outputs(tmp_path / "cut") == outputs(tmp_path / "whole")
    assert (tmp_path / "cut.state").read_bytes() == (tmp_path / "whole.state").read_bytes()


def test_a_file_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    header, rows = SHAPES["wide"]
    for name, begin in (("a", 0), ("b", 500)):
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *rows()[begin : begin + 600]]) + "\n")
    inputs = [tmp_path / "a.csv", tmp_path / "b.csv"]
    summary = replay(tmp_path / "both", *inputs, state_out=tmp_path / "both.state")
    replay(tmp_path / "b", inputs[1])
    both = (tmp_path / "both/scores.csv").read_text()
    assert both.endswith((tmp_path / "b/scores.csv").read_text().removeprefix(HEADER))
    assert [one["name"] for one in summary["inputs"]] == ["a", "b"]
    again = replay(tmp_path / "again", *inputs, state_in=tmp_path / "both.state")
    assert again["ledger"]["late"] + again["ledger"]["duplicate"] > 0


def test_the_lines_of_a_wide_file(tmp_path: Path) -> None:
    path = tmp_path / "web.csv"
    path.write_text("\n".join(["timestamp,cpu,latency,errors", *wide_rows()]) + "\n")
    summary = replay(tmp_path / "out", path)
    with (tmp_path / "out/scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 4 * ROWS
    assert [line["series"] for line in lines[:4]] == ["cpu", "latency", "errors", ""]
    assert {line["entity"] for line in lines} == {"web"}
    assert lines[4 * 100 + 2]["value"] == lines[4 * 100 + 2]["severity"] == ""
    assert lines[4 * 300 + 1]["value"] == "inf"
    assert lines[4 * 300 + 1]["severity"] == ""
    late = lines[4 * 1700]
    assert float(late["lower"]) < float(late["expected"]) < float(late["upper"])
    assert 0 <= float(late["confidence"]) <= 1
    assert late["decision"] in ("quiet", "escalate", "alert")
    assert summary["samples"] == 3 * ROWS
    assert (summary["missing"], summary["rejected"], summary["rows"]) == (2, 1, ROWS)
    assert sum(summary["ledger"].values()) == ROWS
    (rejected,) = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    assert (rejected["line"], rejected["series"], rejected["reason"]) == (302, "latency", "not_finite")
    assert summary["drift"] > 0
    for line in (tmp_path / "out/drift.jsonl").read_text().splitlines():
        assert json.loads(line)["entity"] == "web"


@pytest.mark.parametrize(("level", "named"), [("entity", {""}), ("series", {"value"}), ("none", set())])
def test_levels_of_scores(tmp_path: Path, level: str, named: set[str]) -> None:
    path = tmp_path / "x.csv"
    path.write_text("timestamp,value\n" + "".join(f"{at * 60},{at % 7}\n" for at in range(50)))
    replay(tmp_path / "out", path, scores=level)
    with (tmp_path / "out/scores.csv").open() as file:
        assert {line["series"] for line in csv.DictReader(file)} == named


def test_an_empty_table_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("timestamp,value\n")
    summary = replay(tmp_path / "out", tmp_path / "x.csv", state_out=tmp_path / "x.state")
    assert summary["samples"] == 0
    assert (tmp_path / "out/scores.csv").read_text() == HEADER


def test_a_full_shard_rejects_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("timestamp,series,value\n" + "".join(f"{at},s{at % 4},{at}\n" for at in range(40)))
    settings = Settings()
    settings = type(settings)(limits=type(settings.limits)(max_series=3))
    summary = replay(tmp_path / "out", path, settings=settings)
    assert summary["rejected"] == summary["ledger"]["dead_letter"] == 10
    assert "cardinality" in (tmp_path / "out/rejected.jsonl").read_text()


def test_a_seed_and_a_state_exclude_each_other(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("timestamp,value\n")
    with pytest.raises(ConfigError, match="exclude each other"):
        replay(tmp_path / "out", tmp_path / "x.csv", snapshot=tmp_path / "s", state_in=tmp_path / "t")


def test_a_place_for_the_state_that_is_not_there_is_told_first(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("timestamp,value\n1,1\n")
    with pytest.raises(ConfigError, match="--state-out"):
        replay(tmp_path / "out", tmp_path / "x.csv", state_out=tmp_path / "none" / "x.state")
    assert not (tmp_path / "out").exists()


def test_results_are_never_an_input(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("timestamp,value\n1,1\n")
    replay(tmp_path / "out", tmp_path)
    written = (tmp_path / "out/scores.csv").read_text()
    assert replay(tmp_path / "out", tmp_path)["files"] == 1
    with pytest.raises(ConfigError, match="overwritten"):
        replay(tmp_path / "out", tmp_path / "out/scores.csv")
    assert (tmp_path / "out/scores.csv").read_text() == written


@pytest.mark.parametrize("shape", ["timestamp,value\n{},1\n{},2\n", "timestamp,series,value\n{},a,1\n{},a,2\n"])
def test_a_comma_in_a_time_breaks_no_line(tmp_path: Path, shape: str) -> None:
    stamps = ["2026-01-01 00:00:00,500", "2026-01-01 00:01:00,500"]
    (tmp_path / "x.csv").write_text(shape.format(*(f'"{stamp}"' for stamp in stamps)))
    replay(tmp_path / "out", tmp_path / "x.csv")
    with (tmp_path / "out/scores.csv").open() as file:
        head, *rows = csv.reader(file)
    assert {len(row) for row in rows} == {len(head)}
    assert {row[0] for row in rows} == set(stamps)


def test_the_newest_first_is_told_and_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from agents.cli.main import main

    rows = [f"{at * 60},{at % 7}\n" for at in range(40)]
    for name, lines, status in (("old", rows, 0), ("new", rows[::-1], 1)):
        (tmp_path / f"{name}.csv").write_text("timestamp,value\n" + "".join(lines))
        assert main(["replay", str(tmp_path / f"{name}.csv"), "--out", str(tmp_path / name)]) == status
        assert ("39 of 40 rows" in capsys.readouterr().err) is (status == 1)


def test_ctrl_c_keeps_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("timestamp,value\n" + "".join(f"{at * 60},{at % 7}\n" for at in range(500)))

    def interrupt(name: str, rows: int, samples: int) -> None:
        if rows >= 200:
            raise KeyboardInterrupt

    asked = Options(inputs=[path], out=tmp_path / "out", settings=Settings(), chunk_samples=100)
    asked = replace(asked, state_out=tmp_path / "x.state")
    summary = run(asked, clock_s=clock_s, report=interrupt, note=note)
    assert summary["interrupted"]
    assert summary["samples"] == 200
    assert len((tmp_path / "out/scores.csv").read_text().splitlines()) == 401
    assert not (tmp_path / "x.state").exists()


@pytest.mark.needs_data
def test_nab_is_causal(tmp_path: Path) -> None:
    source = DATA / "NAB/data/realKnownCause/nyc_taxi.csv"
    if not source.exists():
        pytest.skip(f"{source} is absent; set GRAFT_DATA")
    lines = source.read_text().splitlines(keepends=True)
    (tmp_path / "nyc_taxi.csv").write_text("".join(lines[:4001]))
    replay(tmp_path / "whole", source)
    replay(tmp_path / "part", tmp_path / "nyc_taxi.csv")
    whole, part = outputs(tmp_path / "whole"), outputs(tmp_path / "part")
    for name in FILES:
        assert whole[name].startswith(part[name])
    assert len(part["scores.csv"].splitlines()) == 1 + 2 * 4000
