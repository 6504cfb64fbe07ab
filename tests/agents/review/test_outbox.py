"""The outbox: an answer leaves once, can be taken back until it does, and outlives page and broker."""

from __future__ import annotations

import orjson
import pytest

from agents.review import outbox as module
from agents.review.outbox import FullError, waiting
from agents.review.store import Store
from benchmarks import review_data as made
from tests.agents.review.conftest import Failure, Scene


def states(scene: Scene) -> dict[str, str]:
    with scene.store.reading() as db:
        return {row["label"]: row["state"] for row in db.execute("SELECT label, state FROM answers")}


def test_an_answer_leaves_when_its_moment_is_over(scene: Scene) -> None:
    said = made.label(1)
    scene.outbox.put(said, about="q")
    scene.outbox.turn()
    assert scene.producer.sent == []
    scene.now_s += 4.1
    scene.outbox.turn()
    scene.outbox.turn()
    ((topic, key, value),) = scene.producer.sent
    assert (topic, key.decode(), orjson.loads(value)) == ("graft.feedback", said["series"], said)
    assert states(scene) == {said["id"]: "sent"}


def test_what_is_taken_back_in_time_never_was(scene: Scene) -> None:
    said = made.label(1)
    scene.outbox.put(said, about="q")
    assert not scene.outbox.undo(said["id"], "somebody else")
    assert scene.outbox.undo(said["id"], said["by"])
    assert not scene.outbox.undo(said["id"], said["by"])
    scene.now_s += 100
    scene.outbox.turn()
    assert scene.producer.sent == []


def test_what_has_left_cannot_be_taken_back(scene: Scene) -> None:
    said = made.label(1)
    scene.outbox.put(said, about="q")
    scene.now_s += 4.1
    assert not scene.outbox.undo(said["id"], said["by"]), "its moment is over"
    scene.outbox.turn()
    assert not scene.outbox.undo(said["id"], said["by"])


def test_the_same_answer_counts_once_and_one_taken_back_may_be_given_again(scene: Scene) -> None:
    said = made.label(1)
    assert scene.outbox.put(said, about="q").is_new
    assert not scene.outbox.put(said, about="q").is_new
    scene.outbox.undo(said["id"], said["by"])
    assert scene.outbox.put(said, about="q").is_new
    scene.now_s += 5
    scene.outbox.turn()
    assert len(scene.producer.sent) == 1


def test_a_broker_that_is_away_is_waited_for_longer_each_time(scene: Scene) -> None:
    scene.producer.failure = Failure()
    scene.outbox.put(made.label(1), about="q", undo_s=0.0)
    tries = []
    for _ in range(1000):
        before = scene.producer._told
        scene.producer.produce = _counting(scene, tries)  # type: ignore[method-assign]
        scene.outbox.turn()
        scene.now_s += 1.0
        assert before is not None
    assert 30 < len(tries) < 45, "2, 4, 8, 16, then each 30 s"
    with scene.store.reading() as db:
        assert waiting(db) == (1, 0)
    del scene.producer.produce  # type: ignore[method-assign]
    scene.producer.failure = None
    scene.now_s += 31
    scene.outbox.turn()
    assert len(scene.producer.sent) == 1
    with scene.store.reading() as db:
        assert waiting(db) == (0, 0)


def _counting(scene: Scene, tries: list[float]) -> object:
    def produce(*args: object, **kwargs: object) -> None:
        tries.append(scene.now_s)
        type(scene.producer).produce(scene.producer, *args, **kwargs)  # type: ignore[arg-type]

    return produce


def test_after_a_day_it_is_given_up_and_said(scene: Scene) -> None:
    scene.producer.failure = Failure()
    scene.outbox.put(made.label(1), about="q", undo_s=0.0)
    scene.outbox.turn()
    scene.now_s += 86_500
    scene.outbox.turn()
    with scene.store.reading() as db:
        assert waiting(db) == (0, 1)
        assert db.execute("SELECT detail FROM answers").fetchone()[0] == "Local: Message timed out"


def test_an_answer_outlives_the_page(scene: Scene) -> None:
    scene.outbox.put(made.label(1), about="q")
    scene.outbox.put(made.label(2), about="r", undo_s=0.0)
    # Killed after it was marked as leaving, before the broker has answered.
    scene.store.write(scene.outbox._leaving)
    path = scene.store.path
    scene.store.close()
    scene.store = Store(path, clock=lambda: scene.now_s)
    scene.outbox = module.Outbox(
        scene.store, lambda: scene.producer, topic="graft.feedback", undo_s=4.0, clock=lambda: scene.now_s
    )
    scene.now_s += 5
    scene.outbox.turn()
    assert {orjson.loads(value)["id"] for _, _, value in scene.producer.sent} == {made.label(n)["id"] for n in (1, 2)}


def test_more_than_can_be_kept_is_refused(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_CAP", 3)
    for n in range(3):
        scene.outbox.put(made.label(n), about=str(n))
    with pytest.raises(FullError, match="3 answers wait"):
        scene.outbox.put(made.label(9), about="9")
