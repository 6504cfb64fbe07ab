"""The child and its answers, made up: what is used, what is not, and when the answer is no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.detector import unlearner
from agents.detector.unlearner import Job, Unlearner, result_file
from agents.recovery.held import Held, Place
from engine.snapshot import pack

PLACE = Place("metrics", 0)
WINDOW = ["host=a", None, 1, 2, "order", 2]


class Shard:
    """Asks for one window."""

    def __init__(self, next_offset: int = 100) -> None:
        self.next_offset = next_offset
        self.asks = True
        self.settled: list[str] = []

    def wants_unlearning(self) -> bool:
        return self.asks

    @property
    def windows(self) -> Any:
        return SimpleNamespace(asked=lambda: [unlearner.Window(*WINDOW)])

    def settle(self, _window: Any, finding: str, because: str, older: Any) -> list[Any]:
        self.asks = False
        self.settled.append(f"{finding}: {because}, {older}")
        return []

    def active(self) -> list[Any]:
        return []


class World:
    """A loop with one shard. works: whether broker and disk do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shard = Shard()
        self.held = Held(place=PLACE, shard=self.shard, decoder=None, replay_until=0, caught_up=True)  # type: ignore[arg-type]
        self.works, self.now_s, self.read_from, self.begun = True, 0.0, list[int](), list[Sequence[str]]()
        self.status: int | None = 0
        self.holdings = Holdings({PLACE: self.held})
        self.durability = SimpleNamespace(barrier=self.barrier, checkpoint=lambda _: self.works, arrive=lambda _: True)
        self.assignment = SimpleNamespace(read_from=lambda _, offset: self.read_from.append(offset))
        self.gaps: set[Place] = set()
        self.warned: list[str] = []
        self.unlearner = Unlearner(
            folder=folder, command=["child"], restore=lambda state, _: Shard(state.manifest["next_offset"]),
            new_decoder=lambda *_: None, warn=self.warned.append, clock=lambda: self.now_s,  # type: ignore[arg-type,return-value]
            config_hash="c",
        )  # fmt: skip
        monkeypatch.setattr(unlearner.subprocess, "Popen", self.popen)

    def popen(self, command: Sequence[str], **_: Any) -> Any:
        self.begun.append(command)
        return SimpleNamespace(poll=lambda: self.status, returncode=self.status, kill=lambda: None, wait=lambda: None)

    def barrier(self, _held: Held, change: Any) -> bool:
        if self.works:
            change()
        return self.works

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_s += 60.0
            self.unlearner.turn(self)  # type: ignore[arg-type]

    def answer(self, finding: str = "exact", *, next_offset: int = 90, config_hash: str = "c", **changes: Any) -> None:
        told = {
            "finding": finding,
            "because": "so",
            "windows": [WINDOW],
            "from_offset": 1,
            "snapshot": "a",
            "drifts": [],
        }
        path = result_file(self.unlearner.folder, PLACE)
        path.parent.mkdir(exist_ok=True)
        manifest = {"kind": "checkpoint", "next_offset": next_offset, "unlearn": told | {"drifts": []} | changes}
        path.write_bytes(pack({**manifest, "shell": {"config_hash": config_hash}}, {}))


class Holdings:
    """As agents.detector.holdings has it."""

    def __init__(self, by_place: dict[Place, Held]) -> None:
        self.by_place = by_place

    def __iter__(self) -> Any:
        return iter(tuple(self.by_place.values()))

    def taken(self, _helds: Any) -> None: ...


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_rebuilt_state_is_taken_over_and_its_log_read_again(world: World) -> None:
    world.turn()
    assert world.begun[0][:5] == ["child", "--topic", "metrics", "--partition", "0"]
    world.answer()
    world.turn()
    assert world.held.shard is not world.shard
    assert world.read_from == [90]
    assert world.held.replaying
    assert world.held.arrival is not None
    assert world.held.arrival.until == 100
    # It has arrived when durability says so; the file is not needed any more.
    world.held.arrival = None
    world.turn()
    assert world.unlearner.rewinds == []
    assert not result_file(world.unlearner.folder, PLACE).exists()


@pytest.mark.parametrize("kept", ["broker", "gap", "replay"])
def test_it_waits_until_it_can_be_taken_over(world: World, kept: str) -> None:
    world.turn()
    world.answer()
    world.works = kept != "broker"
    world.gaps = {PLACE} if kept == "gap" else set()
    world.held.caught_up, world.held.replay_until = kept != "replay", 1000
    world.turn(3)
    assert world.held.shard is world.shard
    assert len(world.begun) == 1
    world.works, world.gaps, world.held.caught_up = True, set(), True
    world.turn()
    assert world.held.shard is not world.shard


def test_after_an_order_it_is_begun_again(world: World) -> None:
    world.turn()
    world.answer()
    world.held.barriers += 1
    world.turn()
    assert len(world.begun) == 2
    assert world.held.shard is world.shard
    assert result_file(world.unlearner.folder, PLACE).exists(), "the next child goes on from it"
    world.turn()
    assert world.held.shard is not world.shard


def test_orders_that_never_end_wait_after_some_rounds(world: World) -> None:
    world.turn()
    world.answer()
    for _ in range(unlearner.MOST_ROUNDS):
        assert not world.unlearner.holds_orders
        world.held.barriers += 1
        world.turn()
    assert world.unlearner.holds_orders
    world.turn()
    assert world.held.shard is not world.shard
    assert not world.unlearner.holds_orders


@pytest.mark.parametrize(
    "wrong", [{"config_hash": "other"}, {"next_offset": 101}, {"finding": "perhaps"}, {"status": 3}, {"absent": True}]
)
def test_what_fails_three_times_is_an_answer_and_another_question_is_tried_again(
    world: World, wrong: dict[str, Any]
) -> None:
    world.status = wrong.get("status", 0)
    if not {"absent", "status"} & set(wrong):
        world.answer(**wrong)
    world.turn(8)
    assert len(world.begun) == 3
    assert len(world.warned) == 3 + (world.status == 0 and bool({"finding", "absent"} & set(wrong))) * 3
    assert world.shard.settled == ["refused: the rebuild has failed 3 times, None"]
    assert world.held.shard is world.shard
    world.shard.asks, world.status = True, 0
    world.turn()
    assert len(world.begun) == 4


@pytest.mark.parametrize("finding", ["approximate", "refused"])
def test_another_answer_is_told_at_a_barrier(world: World, finding: str) -> None:
    world.turn()
    world.answer(finding)
    world.works = False
    world.turn(2)
    assert world.shard.settled == []
    world.works = True
    world.turn()
    assert world.shard.settled == [f"{finding}: so, None"]
    world.turn(3)
    assert len(world.begun) == 1


def test_of_a_shard_that_has_gone_nothing_is_used(world: World) -> None:
    world.turn()
    world.answer()
    world.holdings.by_place.clear()
    world.turn(2)
    assert world.unlearner.job is None
    assert world.read_from == []


def test_while_the_child_is_at_work_no_other_is_begun(world: World) -> None:
    world.status = None
    world.turn(5)
    assert len(world.begun) == 1
    assert isinstance(world.unlearner.job, Job)
    world.unlearner.close()
    assert world.unlearner.job is None
    assert Counter(world.unlearner.counters) == {"unlearn_begun": 1}


def test_a_shard_on_its_way_asks_for_nothing_new(world: World) -> None:
    world.turn()
    world.answer()
    world.turn()
    world.turn(3)
    assert len(world.begun) == 1


def test_half_of_a_file_is_no_answer(world: World) -> None:
    world.turn()
    path = result_file(world.unlearner.folder, PLACE)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half of a file")
    world.turn()
    assert world.held.shard is world.shard
    assert "not used" in world.warned[0]
