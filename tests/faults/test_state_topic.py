"""The state topic: a worker without the folder of the last one goes on where that one stood, whatever died meanwhile.

F9 and F10 of the fault table: killed with half of an upload on the topic, and with half of it back. The oracle is that
of all crash tests: it folds the log of the input and compares states bit for bit and alerts by id.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer

from agents import progress
from agents.clients import consumer_config
from agents.recovery.held import Place
from agents.recovery.state_topic import GENERATION, Manifest, StateTopic, key_of
from engine.errors import SnapshotError
from tests.faults.harness import KILLED, World, judge

HITS = 8
UPLOADING = {"upload_interval_s": 0.001}


def reader_of(world: World) -> StateTopic:
    config = consumer_config({"bootstrap.servers": world.broker.bootstrap}, group="reader")
    return StateTopic(lambda: Consumer({**config, "enable.partition.eof": True}), "graft.state", 1)


def lose_disk(world: World) -> None:
    shutil.rmtree(world.folder / "state")


def counters(world: World) -> dict[str, int]:
    (last,) = progress.read_all(world.folder / "state")
    return last.counters


def rewritten(world: World, change: Callable[[Manifest], Manifest], *, damage: bool) -> None:
    """The newest uploads once more, under another manifest, with a byte of the last piece flipped."""
    reader = reader_of(world)
    for place in (Place("metrics", 0), Place("metrics", 1)):
        kept = reader.find([place])[place][0]
        by_offset = {one.offset(): one for one in world.log("graft.state")}
        manifest = change(kept.manifest)
        headers = [(GENERATION, manifest.generation.encode())]
        for number, offset in sorted(kept.pieces.items()):
            value = bytes(by_offset[offset].value())
            if damage and number == manifest.chunks - 1:
                value = value[:-1] + bytes([value[-1] ^ 1])
            world.producer.produce("graft.state", value, by_offset[offset].key(), 0, headers=headers)
        world.producer.produce("graft.state", msgspec.json.encode(manifest), key_of(place), 0, headers=headers)
    world.producer.flush()


@pytest.mark.slow
@pytest.mark.parametrize("point", ["uploaded-half", "uploaded"])
def test_killed_while_a_state_is_uploaded(world: World, point: str) -> None:
    hits = lives = 0
    while hits < HITS:
        world.feed(40)
        lives += 1
        hits += world.live(failpoint=f"{point}:{1 + lives % 3}", **UPLOADING) == KILLED
        assert lives < 3 * HITS, f"{point} was hit {hits} times in {lives} lives only"
        if lives % 2:
            lose_disk(world)
    assert world.live(**UPLOADING) == 0
    findings = judge(world)
    assert findings.clean, findings
    assert len(world.told("alerts")) >= 8, "a test without alerts proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("point", ["restored-half", "restored"])
def test_killed_while_a_state_comes_back(world: World, point: str) -> None:
    for hit in range(HITS):
        world.feed(40)
        assert world.live(**UPLOADING) == 0
        lose_disk(world)
        assert world.live(failpoint=f"{point}:{1 + hit % 2}", **UPLOADING) == KILLED
    assert world.live(**UPLOADING) == 0
    assert counters(world)["restores"] >= 1
    findings = judge(world)
    assert findings.clean, findings


def test_another_worker_goes_on_at_the_offset(world: World) -> None:
    world.feed(200)
    assert world.live(**UPLOADING) == 0
    lose_disk(world)
    world.feed(60)
    assert world.live(**UPLOADING) == 0
    assert (counters(world)["restores"], counters(world)["records"]) == (2, 60)
    assert judge(world).clean
    told = world.told("alerts")
    assert len(told) == len({one["id"] for one in told}) > 0


def test_what_is_newer_on_disk_wins(world: World) -> None:
    world.feed(100)
    assert world.live(**UPLOADING) == 0
    world.feed(100)
    assert world.live() == 0  # uploads nothing
    world.feed(20)
    assert world.live(**UPLOADING) == 0
    assert counters(world)["records"] == 20
    assert "restores" not in counters(world)
    assert judge(world).clean


def test_what_is_newer_on_the_topic_wins(world: World) -> None:
    world.feed(100)
    assert world.live() == 0
    shutil.copytree(world.folder / "state", world.folder / "old")
    world.feed(100)
    assert world.live(**UPLOADING) == 0
    lose_disk(world)
    (world.folder / "old").rename(world.folder / "state")
    world.feed(20)
    assert world.live(**UPLOADING) == 0
    assert (counters(world)["restores"], counters(world)["records"]) == (2, 20)
    assert judge(world).clean


def test_a_damaged_upload_is_refused_aloud_and_the_older_one_taken(world: World) -> None:
    world.feed(100)
    assert world.live(**UPLOADING) == 0
    rewritten(world, lambda one: msgspec.structs.replace(one, generation="damaged", next_offset=99), damage=True)
    lose_disk(world)
    assert world.live(**UPLOADING) == 0
    assert (counters(world)["restores"], counters(world)["snapshots_refused"]) == (2, 2)
    assert counters(world).get("records", 0) == 0
    assert "(sha256)" in world.zygote.log.read_text()
    assert judge(world).clean


@pytest.mark.parametrize("sent", [0, 1, 2])
def test_an_upload_without_all_its_pieces_is_none(world: World, sent: int) -> None:
    """Nothing else is there: the worker begins at the beginning."""
    world.feed(100)
    assert world.live() == 0
    manifest = Manifest(
        id="x", topic="metrics", partition=0, next_offset=50, size=9, sha256="0", chunks=3, generation="g", slot=0
    )
    for number in range(sent):
        key = key_of(Place("metrics", 0)) + b"/0/%d" % number
        # Piece 1 is of an upload that a frozen worker has begun between the others.
        generation = b"g" if number == 0 else b"other"
        world.producer.produce("graft.state", b"abc", key, 0, headers=[(GENERATION, generation)])
    world.producer.produce("graft.state", msgspec.json.encode(manifest), key_of(Place("metrics", 0)), 0)
    world.producer.flush()
    lose_disk(world)
    assert world.live(**UPLOADING) == 0
    assert counters(world)["records"] == 100
    assert "pieces are on the topic" in world.zygote.log.read_text()
    assert judge(world).clean


def test_what_others_write_there_is_passed_over(world: World) -> None:
    place = Place("metrics", 0)
    for key, value in (
        (b"", b"x"),
        (key_of(place), b"{"),
        (key_of(place), b"\xff"),
        (key_of(place), None),
        (None, b""),
    ):
        world.producer.produce("graft.state", value, key, 0)
    world.producer.produce("graft.state", b"", key_of(place) + b"/what", 0)
    world.producer.flush()
    assert reader_of(world).find([place]) == {place: []}


def test_a_lying_manifest_costs_no_memory(world: World) -> None:
    manifest = Manifest(
        id="x", topic="metrics", partition=0, next_offset=1, size=1 << 60, sha256="", chunks=1 << 50, generation="g",
        slot=0,
    )  # fmt: skip
    world.producer.produce("graft.state", msgspec.json.encode(manifest), key_of(Place("metrics", 0)), 0)
    world.producer.flush()
    reader = reader_of(world)
    (kept,) = reader.find([Place("metrics", 0)])[Place("metrics", 0)]
    with pytest.raises(SnapshotError, match="pieces"):
        reader.fetch(kept)


def test_a_state_too_large_for_the_broker_is_left_out_in_one_sentence(world: World, monkeypatch: Any) -> None:
    world.feed(200)
    before = world.zygote.log.read_text()
    assert world.live(upload_most_bytes=300, **UPLOADING) == 0
    said = world.zygote.log.read_text()[len(before) :]
    assert said.count("is not uploaded") == 2, "once a shard"
    assert "uploads" not in counters(world)
    assert world.log("graft.state") == []


def test_a_topic_that_refuses_is_no_reason_to_stop(world: World) -> None:
    world.feed(100)
    assert world.live(chunk_bytes=5_000, properties={"message.max.bytes": 1_000}, **UPLOADING) == 0
    assert counters(world)["uploads_failed"] >= 1
    assert "did not get to graft.state" in world.zygote.log.read_text()
    assert judge(world).clean
