"""The reader on the embedded broker: its position is the outbox's, whatever the group or the broker says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.came import Came
from agents.clients import consumer_config
from agents.embedded import EmbeddedBroker
from agents.notify.alert_reader import Reader
from agents.notify.alert_record import parse
from agents.notify.outbox import Outbox, Taken
from agents.sinks.delivery import Event
from engine.errors import BadSample

TOPIC = "graft.alerts"
HOME = (TOPIC, 0)


class Heard:
    """Hooks that remember."""

    def __init__(self) -> None:
        self.taken = Taken()
        self.refusals: list[tuple[str, int, bytes | None]] = []
        self.owned_times = 0

    def owned(self) -> None:
        self.owned_times += 1

    def taken_in(self, taken: Taken) -> None:
        self.taken = Taken(*(a + b for a, b in zip(self.taken, taken, strict=True)))

    def refused(self, came: Came, error: BadSample) -> None:
        self.refusals.append((error.reason, came.offset, came.value))


class Scene:
    def __init__(self, broker: EmbeddedBroker, folder: Path, group: str) -> None:
        self.broker, self.folder, self.group = broker, folder, group
        self.heard = Heard()
        self.offset = 0

    def produce(self, *records: Any) -> None:
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.broker.bootstrap})
        for record in records:
            producer.produce(TOPIC, record if isinstance(record, bytes) else orjson.dumps(record), b"k")
        producer.flush(10)

    def read(self, until: Callable[[Reader, Outbox], bool], *, file: str = "outbox.db") -> Outbox:
        """One life of a reader; its outbox, open."""
        from confluent_kafka import Consumer

        outbox = Outbox(self.folder / file, destinations=["tool"])
        config = consumer_config(
            {"bootstrap.servers": self.broker.bootstrap, "session.timeout.ms": "2000"}, group=self.group
        )
        consumer = Consumer({**config, "partition.assignment.strategy": "range"})
        self.heard = Heard()
        reader = Reader(consumer, outbox, topic=TOPIC, hooks=self.heard)
        consumer.subscribe([TOPIC], on_assign=reader._on_assign, on_revoke=reader._on_revoke, on_lost=reader._on_lost)
        for _ in range(120):
            reader.turn()
            if until(reader, outbox):
                break
        else:
            pytest.fail("it did not come about")
        outbox.own([HOME], settled={}, now_s=0.0)
        reader._commit()
        consumer.close()
        return outbox

    def until_position(self, offset: int) -> Callable[[Reader, Outbox], bool]:
        return lambda _reader, outbox: outbox.positions().get(HOME, 0) >= offset


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with EmbeddedBroker({TOPIC: 1}) as broker:
        yield Scene(broker, tmp_path, "g")


def tell_all(outbox: Outbox) -> list[str]:
    """Deliver everything; the ids, in order."""
    outbox.own([HOME], settled={}, now_s=0.0)
    told = []
    while due := outbox.due("tool", now_s=1e12, limit=1):
        told.append(due[0].notice.id)
        outbox.mark(due[0].seq, Event.DELIVERED, due_s=0.0, now_s=0.0)
    return told


def test_goes_on_at_the_outbox_position(scene: Scene, alert_record: Any) -> None:
    scene.produce(alert_record(), b"nonsense", alert_record("resolved"))
    box = scene.read(scene.until_position(3))
    assert scene.heard.refusals == [("json", 1, b"nonsense")]
    assert (scene.heard.taken.new, scene.heard.owned_times) == (2, 1)
    assert tell_all(box) == ["a1-firing", "a1-resolved"]
    box.close()
    scene.produce(alert_record(id="b", incident="b"))
    box = scene.read(scene.until_position(4))
    assert scene.heard.taken == Taken(new=1, known=0, stale=0), "nothing is read twice"
    box.close()


def test_a_new_disk_learns_what_was_told_and_tells_what_was_not(scene: Scene, alert_record: Any) -> None:
    scene.produce(alert_record(), alert_record(id="b", incident="b"), alert_record(id="c", incident="c"))

    def one_told(_reader: Reader, outbox: Outbox) -> bool:
        if outbox.positions().get(HOME, 0) < 3:
            return False
        (due,) = outbox.due("tool", now_s=1e12, limit=1)
        outbox.mark(due.seq, Event.DELIVERED, due_s=0.0, now_s=0.0)
        return True

    scene.read(one_told).close()
    box = scene.read(scene.until_position(3), file="another.db")
    assert tell_all(box) == ["b", "c"], "what was not settled is told, what was is not"
    assert [one.id for one in box.to_repeat("tool", now_s=0.0, limit=9)] == ["a1-firing", "b", "c"]
    box.close()


def test_retention_that_has_passed_us_is_a_loud_gap_and_no_skip(
    scene: Scene, alert_record: Any, caplog: pytest.LogCaptureFixture
) -> None:
    scene.produce(alert_record())
    scene.read(scene.until_position(1)).close()
    scene.produce(*(alert_record(id=f"x{n}", incident=f"x{n}") for n in range(5)))
    scene.broker.delete_records(TOPIC, 0, 4)
    box = scene.read(scene.until_position(6))
    assert "is gone" in caplog.text
    assert scene.heard.taken.new == 2
    box.close()


def test_a_topic_made_anew_is_read_from_its_beginning(tmp_path: Path, alert_record: Any) -> None:
    with EmbeddedBroker({TOPIC: 1}) as broker:
        first = Scene(broker, tmp_path, "g")
        first.produce(*(alert_record(id=f"x{n}", incident=f"x{n}") for n in range(9)))
        first.read(first.until_position(9)).close()
    with EmbeddedBroker({TOPIC: 1}) as broker:
        second = Scene(broker, tmp_path, "g")
        second.produce(alert_record(id="new", incident="new"))
        box = second.read(lambda _, outbox: outbox.positions().get(HOME) == 1)
        assert second.heard.taken.new == 1
        box.close()


def came(data: bytes | None) -> Came:
    return Came(TOPIC, 0, 0, 0, None, data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "tombstone"), (b"", "json"), (b"[]", "shape"), (b"{}", "schema"), (b"x" * 300_000, "oversize"),
        (b'{"schema":"graft.alert/2"}', "schema"), (b'{"schema":"graft.alert/1"}', "field"), (b"\xff\xfe", "json"),
    ],
)  # fmt: skip
def test_what_is_no_alert(data: bytes | None, reason: str) -> None:
    with pytest.raises(BadSample) as caught:
        parse(came(data))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""}, {"id": None}, {"id": 5}, {"id": "x" * 256}, {"id": "a\nb"}, {"incident": ""}, {"state": "odd"},
        {"state": None}, {"started_ms": None}, {"started_ms": "1"}, {"started_ms": 1.5}, {"started_ms": True},
        {"started_ms": -1}, {"started_ms": 2**60}, {"ended_ms": "x"}, {"at_ms": []}, {"schema": "graft.alert/10"},
    ],
)  # fmt: skip
def test_fields_that_are_used_are_checked(alert_record: Any, fields: dict[str, Any]) -> None:
    parse(came(orjson.dumps(alert_record())))
    parse(came(orjson.dumps(alert_record(schema="graft.alert/1.7", further="field"))))
    with pytest.raises(BadSample):
        parse(came(orjson.dumps(alert_record(**fields))))
