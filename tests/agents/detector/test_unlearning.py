"""A rebuild finds what truth is left: exact from snapshot and log, else by approximation, else it says no."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.detector.unlearning import Rebuild, result_file
from agents.recovery.held import Place
from agents.recovery.positions import LogEnds
from agents.recovery.store import StateStore
from agents.recovery.unlearn import Piece
from engine.errors import ConfigError
from engine.snapshot import State, diff, pack, unpack
from tests.agents.recovery import test_unlearn as story
from tests.agents.recovery.test_unlearn import BEFORE, CONFIG, END, STEPS, WINDOW

PLACE = Place("metrics", 0)
SHELL = {
    "config_hash": "c", "cluster_id": "k", "topic_id": "t", "topic": "metrics", "partition": 0, "owed": [],
}  # fmt: skip


class Said:
    """A message with a value."""

    def __init__(self, offset: int, value: Any) -> None:
        self._offset, self._value = offset, value

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value if isinstance(self._value, bytes) else orjson.dumps(self._value)


class Past:
    """Topics of which some has been lost: low offsets."""

    def __init__(self, low: int = 0, control_low: int = 0) -> None:
        self.low, self.control_low = low, control_low
        self.control = [Said(one.offset, one.order) for one in STEPS]
        self.experiments = [Said(n, story.experiment(one)) for n, one in enumerate(STEPS)]

    def ends(self, topic: str) -> dict[int, LogEnds]:
        return {0: LogEnds({"metrics": self.low, "control": self.control_low}.get(topic, 0), 10_000)}

    def all_of(self, topic: str) -> Iterator[Said]:
        return iter([Said(0, b"{"), Said(1, b"[]"), *(self.control if topic == "control" else self.experiments)])

    def pieces(self, _place: Place, start: int, stop: int) -> Iterator[Piece]:
        assert start >= self.low
        return story.pieces(start, stop)


class Parts:
    def new_shard(self, _place: Place) -> Any:
        return story.cold()

    def new_decoder(self, _place: Place, shard: Any) -> Any:
        return story.Decoder(shard)

    def config_of(self, _topic: str) -> Any:
        return CONFIG


def saved(folder: Path, shard: Any, **shell: Any) -> None:
    with StateStore(folder, keep=9) as store:
        manifest, arrays = shard.export()
        data = pack({**manifest, "kind": "checkpoint", "shell": SHELL | shell}, arrays)
        store.save("metrics", 0, shard.next_offset, data)


@pytest.fixture(scope="module")
def lives() -> dict[int, Any]:
    """Shards of the run that is told afterwards, by offset."""
    found = {at: story.learned(at=at) for at in (100, BEFORE, 2600)}
    return {at: base for at, (base, _) in found.items()} | {END: found[100][1]}


def rebuilt(folder: Path, past: Past | None = None, config_hash: str = "c") -> tuple[State, Mapping[str, Any]]:
    made = Rebuild(
        PLACE,
        folder,
        key=None,
        parts=Parts(),
        past=past or Past(),
        control="control",
        experiments="experiments",
        config_hash=config_hash,
    )  # type: ignore[arg-type]
    manifest, arrays = unpack(made.run().read_bytes())
    told = manifest.pop("unlearn")
    manifest.pop("shell", None)
    return State(manifest, arrays), told


def test_from_the_newest_snapshot_before_the_window(tmp_path: Path, lives: dict[int, Any]) -> None:
    for shard in lives.values():
        saved(tmp_path, shard)
    state, told = rebuilt(tmp_path)
    assert (told["finding"], told["from_offset"], told["snapshot"]) == ("exact", BEFORE, f"{BEFORE:020d}.snap")
    assert told["windows"] == [list(WINDOW._replace(state=2))]
    assert diff(state, story.straight(BEFORE).export()) == []


def test_a_former_result_is_gone_on_from(tmp_path: Path, lives: dict[int, Any]) -> None:
    for shard in lives.values():
        saved(tmp_path, shard)
    first, told = rebuilt(tmp_path)
    again, told_again = rebuilt(tmp_path, Past(low=END))
    assert diff(first, again) == []
    assert told == told_again


def test_from_the_beginning_of_the_log_if_that_is_left(tmp_path: Path, lives: dict[int, Any]) -> None:
    saved(tmp_path, lives[2600])
    saved(tmp_path, lives[END])
    state, told = rebuilt(tmp_path)
    assert (told["from_offset"], told["snapshot"]) == (0, "the beginning of the log")
    assert diff(state, story.straight(0).export()) == []


@pytest.mark.parametrize(
    ("past", "shell", "why"),
    [
        (Past(low=BEFORE + 1), {}, "the log begins at offset"),
        (Past(control_low=5), {}, "orders before offset 5"),
        (Past(), {"config_hash": "other"}, "no older snapshot is left"),
    ],
)
def test_what_is_lost_is_said(
    tmp_path: Path, lives: dict[int, Any], past: Past, shell: dict[str, Any], why: str
) -> None:
    past.low = past.low or 1
    saved(tmp_path, lives[BEFORE], **shell)
    saved(tmp_path, lives[END])
    state, told = rebuilt(tmp_path, past)
    assert why in told["because"]
    if shell:
        assert told["finding"] == "refused"
        assert not state.arrays
        return
    assert (told["finding"], told["from_offset"]) == ("approximate", BEFORE)
    older = story.Shard.restore(state, CONFIG)
    assert older.roster.entities == ["host=h1"]
    live = story.Shard.restore(lives[END].export(), CONFIG)
    (record,) = live.settle(WINDOW._replace(state=2), told["finding"], told["because"], older)
    assert record.value["finding"] == "approximate"


def test_without_any_older_snapshot_it_says_no(tmp_path: Path, lives: dict[int, Any]) -> None:
    saved(tmp_path, lives[2600])
    saved(tmp_path, lives[END])
    _, told = rebuilt(tmp_path, Past(low=10))
    assert told["finding"] == "refused"
    assert "no snapshot from before the window is left" in told["because"]


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, lives: dict[int, Any]) -> None:
    for shard in lives.values():
        saved(tmp_path, shard)
    path = next(tmp_path.glob(f"shards/*/{BEFORE:020d}.snap"))
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    _, told = rebuilt(tmp_path)
    assert (told["finding"], told["from_offset"]) == ("exact", 100)


def test_an_older_result_that_is_no_state_is_passed_over(tmp_path: Path, lives: dict[int, Any]) -> None:
    for shard in lives.values():
        saved(tmp_path, shard)
    path = result_file(tmp_path, PLACE)
    path.parent.mkdir()
    path.write_bytes(pack({"kind": "checkpoint", "unlearn": {"finding": "refused"}}, {}))
    _, told = rebuilt(tmp_path)
    assert told["finding"] == "exact"


def test_with_another_configuration_than_the_worker_has_nothing_is_rebuilt(
    tmp_path: Path, lives: dict[int, Any]
) -> None:
    for shard in lives.values():
        saved(tmp_path, shard)
    with pytest.raises(ConfigError, match="restart it"):
        rebuilt(tmp_path, config_hash="edited since")
