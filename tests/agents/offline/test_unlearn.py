"""Windows of files: labels that are known before the first row, and the law of un-learning shown on one's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from agents.cli.main import main
from agents.offline.labels import read
from agents.offline.unlearn import check
from agents.recovery import shardfile
from agents.settings import Settings
from engine.errors import ConfigError
from tests.agents.offline.test_replay import replay

START_S, MINUTES = 1_767_225_600, 900
OUTAGE = range(600, 660)
FROM, UNTIL = ((START_S + 60 * minute) * 1000 for minute in (OUTAGE.start, OUTAGE.stop))


def wide(folder: Path, name: str = "web.csv", add: float = 60.0) -> Path:
    rng = np.random.default_rng(4)
    lines = ["timestamp,cpu,latency"]
    for minute in range(MINUTES):
        ill = add if minute in OUTAGE else 0.0
        cells = (f"{base + ill + rng.normal():.6g}" for base in (50, 200))
        lines.append(f"{START_S + 60 * minute},{','.join(cells)}")
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def long(folder: Path) -> Path:
    rng = np.random.default_rng(5)
    lines = ["timestamp,series,value,host"]
    for minute in range(MINUTES):
        for host in ("a", "b"):
            for series in ("cpu", "late") if minute > 620 else ("cpu",):
                ill = 60.0 if host == "b" and minute in OUTAGE else 0.0
                lines.append(f"{START_S + 60 * minute},{series},{50 + ill + rng.normal():.6g},{host}")
    path = folder / "fleet.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def label(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "graft.label/1", "id": "one", "answer": "incident", "by": "ana", "series": "cpu", "entity": "web",
        "from_ms": FROM, "until_ms": UNTIL,
    } | changes  # fmt: skip


def labels(folder: Path, *records: Any) -> Path:
    path = folder / "labels.jsonl"
    path.write_bytes(b"\n".join(one if isinstance(one, bytes) else orjson.dumps(one) for one in records) + b"\n")
    return path


def level_of(path: Path, series: str) -> float:
    state = shardfile.read(path)
    return float(state.arrays["series.level.var"][shardfile.names_of(state).index(series)])


@pytest.mark.parametrize(
    "record",
    [
        label(),
        label(entity=None),
        label(series=None, escalation="e"),
        label(series='latency{entity="web"}', entity="entity=web"),
        label(answer="expected"),
    ],
)
def test_a_labelled_window_is_not_learned(tmp_path: Path, record: dict[str, Any]) -> None:
    file = wide(tmp_path)
    told = replay(tmp_path / "out", file, labels=labels(tmp_path, record), state_out=tmp_path / "marked.state")
    free = replay(tmp_path / "out2", file, state_out=tmp_path / "free.state")
    assert told["ledger"]["scored_only"] > free["ledger"].get("scored_only", 0)
    for series in ('cpu{entity="web"}', 'latency{entity="web"}'):
        assert level_of(tmp_path / "marked.state", series) < 2.0
        assert level_of(tmp_path / "free.state", series) > 20.0
    assert told["alerts"] + told["escalations"] > 0


@pytest.mark.parametrize(
    "record",
    [
        label(answer="false_alarm"),
        label(series="other"),
        label(entity="somebody"),
        label(from_ms=None, until_ms=None),
        label(from_ms=FROM + 10**9, until_ms=UNTIL + 10**9),
    ],
)
def test_labels_about_something_else_change_nothing_that_is_learned(tmp_path: Path, record: dict[str, Any]) -> None:
    file = wide(tmp_path)
    replay(tmp_path / "out", file, labels=labels(tmp_path, record), state_out=tmp_path / "marked.state")
    replay(tmp_path / "out2", file, state_out=tmp_path / "free.state")
    one, other = (shardfile.read(tmp_path / f"{name}.state").arrays for name in ("marked", "free"))
    assert {name: array.tobytes() for name, array in one.items() if name != "text.windows"} == {
        name: array.tobytes() for name, array in other.items()
    }


def test_of_a_fleet_one_host(tmp_path: Path) -> None:
    known = labels(tmp_path, label(series='cpu{host="b"}', entity="host=b"))
    replay(tmp_path / "out", long(tmp_path), labels=known, state_out=tmp_path / "marked.state")
    assert level_of(tmp_path / "marked.state", 'cpu{host="b"}') < 2.0
    assert shardfile.read(tmp_path / "marked.state").arrays["text.windows"].tobytes().count(b"host=b") == 1


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"{", "labels.jsonl:2: it is no JSON"),
        (b"[]", "labels.jsonl:2: it is no JSON object"),
        (orjson.dumps(label(answer="maybe")), "labels.jsonl:2: answer is 'maybe'"),
        (orjson.dumps(label(from_ms=UNTIL, until_ms=FROM)), "labels.jsonl:2: a window begins before it ends"),
        (orjson.dumps(label(schema="graft.label/9")), "labels.jsonl:2: schema is"),
    ],
)
def test_a_label_that_cannot_be_used_is_named_by_its_line(tmp_path: Path, line: bytes, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        read(labels(tmp_path, label(), line))
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "nothing.jsonl")


def prove(path: Path, **options: Any) -> dict[str, Any]:
    common: dict[str, Any] = {"begin": FROM, "end": UNTIL, "entity": None, "labels": None, "settings": Settings()}
    return check(path, **common | options)


def test_unlearned_equals_marked_beforehand(tmp_path: Path) -> None:
    told = prove(wide(tmp_path))
    assert told["equal"]
    assert told["differences"] == []
    assert told["window"]["samples"] == 2 * len(OUTAGE)
    assert told["arrays_taught"] > 10
    assert all(one["learned"]["sd"] > 3 * one["unlearned"]["sd"] for one in told["taught"])


def test_of_a_long_file_with_a_series_that_comes_later(tmp_path: Path) -> None:
    told = prove(long(tmp_path), entity="host=b")
    assert told["equal"]
    assert {one["series"] for one in told["taught"]} == {'cpu{host="b"}', 'late{host="b"}'}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"entity": "host=c"}, "has no entity host=c"),
        ({"entity": None}, "has 2 entities; name one"),
        ({"entity": "host=b", "begin": FROM + 10**10, "end": UNTIL + 10**10}, "no sample in that window"),
    ],
)
def test_a_check_of_nothing_is_refused(tmp_path: Path, options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        prove(long(tmp_path), **options)


def test_also_of_a_file_with_rows_that_come_late(tmp_path: Path) -> None:
    path = wide(tmp_path)
    lines = path.read_text().splitlines()
    lines.insert(300, f"{UNTIL // 1000},1,1")
    path.write_text("\n".join(lines) + "\n")
    told = prove(path)
    assert told["equal"]
    assert told["from_offset"] == 299


def test_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(wide(tmp_path))
    window = ["--from", str(FROM // 1000), "--until", str(UNTIL // 1000)]
    assert main(["unlearn", "--check", path, *window, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True
    assert main(["unlearn", "--check", path, *window]) == 0
    assert "equals marked beforehand, bit for bit" in capsys.readouterr().out
    assert main(["unlearn", "--check", path, "--from", window[3], "--until", window[1]]) == 2
    assert "begins before it ends" in capsys.readouterr().err
