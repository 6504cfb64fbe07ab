"""Laws of state files: one or many shards come back equal, and a label changes only what it is about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agents import label
from agents.recovery import shardfile
from agents.recovery.store import StateStore
from agents.settings import Settings
from engine.batch import Batch
from engine.config import EngineConfig
from engine.errors import ConfigError, OutsideError
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State, diff, json_column, pack


def shard(topic: str, samples: int = 50) -> Shard:
    made = Shard(EngineConfig(), topic=topic, partition=0)
    made.next_offset = 0
    row = made.admit(Series.of("cpu", {"host": topic}, Kind.GAUGE))
    at = np.arange(samples)
    made.process(Batch.of(np.full(samples, row), 60_000 * at, np.sin(at), at, samples))
    return made


def test_many_shards_come_back_equal(tmp_path: Path) -> None:
    states = {name: shard(name).export() for name in ("a", "b/c")}
    shardfile.write(tmp_path / "s", shardfile.joined(states))
    found = shardfile.parts(shardfile.read(tmp_path / "s"))
    assert list(found) == list(states)
    assert [diff(found[name], states[name]) for name in states] == [[], []]


def test_one_shard_is_a_plain_snapshot(tmp_path: Path) -> None:
    state = shard("a").export()
    shardfile.write(tmp_path / "s", shardfile.joined({"a": state}))
    found = shardfile.read(tmp_path / "s")
    assert not shardfile.is_many(found)
    assert diff(found, state) == []
    assert list(shardfile.parts(found)) == ["a"]
    assert shardfile.names_of(found) == ['cpu{host="a"}']


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with StateStore(tmp_path / "state") as store:
        for topic in ("a", "b"):
            state = shard(topic).export()
            manifest = {**state.manifest, "shell": {"next_offset": 50}}
            store.save(topic, 0, 40, pack(manifest, state.arrays))
            store.save(topic, 0, 50, pack(manifest, {**state.arrays, "beside": json_column([1])}))
    return tmp_path / "state"


def labelled(series: str, answer: str = "false_alarm") -> dict[str, object]:
    return label.record(answer=answer, at_ms=0, series=series, by="ann")


def test_a_label_goes_to_the_one_checkpoint_that_knows_the_series(folder: Path) -> None:
    before = {name: state for name, (_, state) in shardfile.newest(folder).items()}
    (applied,) = label.apply_to_folder(labelled('cpu{host="b"}'), folder, Settings())
    after = {name: state for name, (_, state) in shardfile.newest(folder).items()}
    assert applied.name == "b-0"
    assert diff(before["a-0"], after["a-0"]) == []
    assert any("gate" in line for line in diff(before["b-0"], after["b-0"]))
    assert after["b-0"].manifest["shell"] == {"next_offset": 50}
    assert "beside" in after["b-0"].arrays
    again = label.apply_to_folder(labelled('cpu{host="b"}'), folder, Settings())
    assert again[0].changes == []


def test_a_label_waits_for_the_worker_to_stop(folder: Path) -> None:
    with StateStore(folder), pytest.raises(OutsideError, match="in use by process"):
        label.apply_to_folder(labelled('cpu{host="b"}'), folder, Settings())


def test_the_shard_of_a_series_is_looked_up(folder: Path) -> None:
    settings = Settings(state=type(Settings().state)(dir=str(folder)))
    assert label.target_of('cpu{host="b"}', settings) == {"topic": "b", "partition": 0}
    with pytest.raises(ConfigError, match="--target TOPIC:PARTITION"):
        label.target_of("disk", settings)


def test_a_damaged_checkpoint_is_passed_over(folder: Path) -> None:
    newest = shardfile.newest(folder)["a-0"][0].path
    newest.write_bytes(newest.read_bytes()[:-1])
    assert shardfile.newest(folder)["a-0"][0].next_offset == 40


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        shardfile.newest(tmp_path)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"answer": "maybe", "series": "x"}, "must be one of"),
        ({"answer": "incident"}, "about nothing"),
        ({"answer": "incident", "series": "x", "from_ms": 2, "until_ms": 1}, "swap them"),
    ],
)
def test_a_label_about_nothing_is_refused(options: dict[str, object], wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        label.record(at_ms=0, by="ann", **options)


def test_the_same_answer_has_the_same_id() -> None:
    first, second = labelled("x"), {**labelled("x"), "at_ms": 5}
    assert first["id"] == second["id"] != labelled("x", "incident")["id"]


def test_a_state_without_series_has_no_names() -> None:
    assert shardfile.names_of(State({}, {})) == []
