"""The reader on the embedded broker: killed, cut off, or overtaken, it goes on, and nothing is lost or counts twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.clients import SILENT, consumer_config
from agents.embedded import EmbeddedBroker
from agents.review import history, questions
from agents.review.reader import Reader
from agents.review.store import BusyError, Store
from benchmarks import review_data as made

TOPICS = ("escalations", "alerts", "feedback", "drift", "control", "experiments")


class Scene:
    def __init__(self, broker: EmbeddedBroker, path: Path) -> None:
        self.broker, self.path = broker, path
        self.store = Store(path)
        self.reader = self.fresh()

    def fresh(self) -> Reader:
        from confluent_kafka import Consumer

        def opened(on_error: Callable[[Any], None]) -> Any:
            config = consumer_config({"bootstrap.servers": self.broker.bootstrap or "127.0.0.1:9"}, group="g")
            config |= {"reconnect.backoff.ms": "50", "reconnect.backoff.max.ms": "200"}
            return Consumer({**config, "error_cb": on_error}, logger=SILENT)

        return Reader(opened, self.store, prefix="graft.")

    def restart(self) -> None:
        """The page is killed and begins again with its file."""
        self.close()
        self.store.close()
        self.store = Store(self.path)
        self.reader = self.fresh()

    def tell(self, topic: str, *records: Any) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.broker.bootstrap})
        for record in records:
            data = orjson.dumps(record) if isinstance(record, dict) else record
            producer.produce(f"graft.{topic}", data, b"k", partition=0)
        producer.flush(10)

    def until(self, reached: Callable[[], bool], *, turns: int = 400) -> None:
        for _ in range(turns):
            self.reader.turn()
            if reached():
                return
        pytest.fail(f"it did not come about: {self.reader.heard} {self.reader.counters}")

    def totals(self) -> dict[str, int]:
        with self.store.reading() as db:
            return history.totals(db)

    def close(self) -> None:
        if self.reader._consumer is not None:
            self.reader._consumer.close()
            self.reader._consumer = None
        self.store.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with EmbeddedBroker({f"graft.{name}": 1 for name in TOPICS}) as broker:
        found = Scene(broker, tmp_path / "review.db")
        yield found
        found.close()


def test_each_topic_is_read_and_what_is_of_no_use_is_shown(scene: Scene) -> None:
    scene.tell("escalations", made.escalation(1), b"nonsense", made.escalation(1, "asked"))
    scene.tell("alerts", made.alert(1))
    scene.tell("feedback", made.label(1))
    scene.tell("drift", made.drift(1))
    scene.tell("control", made.effect(made.label(1))["order"])
    scene.tell("experiments", made.effect(made.label(1)), None)
    scene.until(lambda: scene.reader.counters["records"] == 9)
    found = scene.totals()
    assert {name: found[name] for name in ("questions", "alerts", "labels", "drifts", "orders", "experiments")} == {
        "questions": 1, "alerts": 1, "labels": 1, "drifts": 1, "orders": 1, "experiments": 1,
    }  # fmt: skip
    with scene.store.reading() as db:
        (row,) = history.refused(db)
        assert (row["topic"], row["offset"], row["reason"]) == ("graft.escalations", 1, "json")
        assert history.shards(db) == [("metrics", 0)]


def test_a_page_that_is_killed_goes_on_where_its_file_ends(scene: Scene) -> None:
    scene.tell("drift", *(made.drift(n) for n in range(700)))
    scene.until(lambda: scene.reader.counters["records"] >= 500)
    scene.restart()
    scene.tell("drift", *(made.drift(n) for n in range(700, 900)))
    scene.until(lambda: scene.totals()["drifts"] == 900)
    assert scene.reader.counters["records"] <= 400, "what was on disk is not read again"


def test_killed_between_reading_and_writing_nothing_is_lost_and_nothing_counts_twice(scene: Scene) -> None:
    take, fails = scene.store.write, [True]

    def dies_once(job: Any, **more: Any) -> Any:
        def half(db: Any) -> None:
            job(db)
            raise KeyboardInterrupt

        return take(half if fails.pop() else job, **more) if fails else take(job, **more)

    scene.until(lambda: bool(scene.reader._next))
    scene.tell("alerts", *(made.alert(n) for n in range(30)))
    scene.store.write = dies_once  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        scene.until(lambda: False)
    scene.restart()
    scene.until(lambda: scene.totals()["alerts"] == 30)
    assert scene.reader.counters["records"] == 30


def test_a_disk_that_refuses_for_a_while_loses_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.review.reader.DISK_WAIT_S", 0.01)
    scene.until(lambda: bool(scene.reader._next))
    take, refusals = scene.store.write, [1, 2, 3]

    def full(job: Any, **more: Any) -> Any:
        if refusals:
            refusals.pop()
            raise BusyError("The disk is full.")
        return take(job, **more)

    scene.store.write = full  # type: ignore[method-assign]
    scene.tell("drift", *(made.drift(n) for n in range(20)))
    scene.until(lambda: scene.totals()["drifts"] == 20)
    assert scene.reader.counters["records"] == 20


def test_a_broker_that_goes_away_is_noticed_and_gone_on_with(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.review.reader.ASK_S", 0.3)
    scene.tell("drift", made.drift(1))
    scene.until(lambda: scene.totals()["drifts"] == 1)
    assert scene.reader.heard.answers
    version = scene.store.version
    scene.broker.down()
    scene.until(lambda: not scene.reader.heard.answers)
    assert scene.store.version > version, "open pages are told"
    assert time.time() - scene.reader.heard.since_s < 60
    assert scene.totals()["drifts"] == 1, "what it has, it shows"
    scene.broker.up()
    scene.until(lambda: scene.reader.heard.answers)
    scene.tell("drift", made.drift(2))
    scene.until(lambda: scene.totals()["drifts"] == 2)


def test_a_page_that_begins_without_a_broker_waits_for_it(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.review.reader.ASK_S", 0.3)
    scene.broker.down()
    scene.until(lambda: scene.reader.heard.why != "")
    assert not scene.reader.heard.answers
    scene.broker.up()
    scene.tell("escalations", made.escalation(1))
    scene.until(lambda: scene.totals()["questions"] == 1)


def test_a_topic_that_comes_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.review.reader.ASK_S", 0.1)
    with EmbeddedBroker({"graft.alerts": 1}) as broker:
        scene = Scene(broker, tmp_path / "review.db")
        scene.until(lambda: scene.reader.heard.topics == ("graft.alerts",))
        broker.create_topic("graft.escalations")
        scene.tell("escalations", made.escalation(1))
        scene.until(lambda: scene.totals()["questions"] == 1)
        scene.close()


def test_retention_that_has_passed_is_counted_and_read_on_from_what_is_left(scene: Scene) -> None:
    scene.tell("drift", *(made.drift(n) for n in range(3)))
    scene.until(lambda: scene.totals()["drifts"] == 3)
    scene.close()
    for n in range(3, 8):
        scene.tell("drift", made.drift(n))
    scene.broker.delete_records("graft.drift", 0, 6)
    scene.restart()
    scene.until(lambda: scene.totals()["drifts"] == 5)
    assert scene.reader.counters["gaps"] == 1


def test_a_topic_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    for life, count in ((0, 9), (1, 2)):
        with EmbeddedBroker({"graft.escalations": 1}) as broker:
            scene = Scene(broker, tmp_path / "review.db")
            scene.tell("escalations", *(made.escalation(100 * life + n) for n in range(count)))
            scene.until(lambda: scene.reader.counters["records"] == count)  # noqa: B023 - carried out in this turn
            found = scene.totals()["questions"]
            scene.close()
    assert found == 11


def test_what_is_shown_while_it_catches_up(scene: Scene) -> None:
    scene.tell("drift", *(made.drift(n) for n in range(1500)))
    scene.reader._asked_s = 0.0
    scene.until(lambda: scene.reader.counters["records"] == 1500)
    scene.reader._asked_s = 0.0
    scene.reader.turn()
    assert scene.reader.heard.behind == 0
    with scene.store.reading() as db:
        assert questions.counts(db)["open"] == 0


def test_whatever_goes_wrong_reading_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.review.reader.DISK_WAIT_S", 0.01)
    take, failures = scene.reader._take, [1, 2]

    def fails(messages: Any) -> None:
        if failures:
            failures.pop()
            raise RuntimeError("a defect")
        take(messages)
        if scene.totals()["drifts"] == 20:
            scene.reader.stop.set()

    scene.reader._take = fails  # type: ignore[method-assign]
    scene.tell("drift", *(made.drift(n) for n in range(20)))
    scene.reader.run()
    assert (scene.totals()["drifts"], scene.reader.counters["records"]) == (20, 20)
