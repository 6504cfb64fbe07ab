"""Records from a folder and from the topics: all of them, to the end, or one sentence."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from agents.embedded import EmbeddedBroker
from agents.settings import read
from agents.transfer import sources
from engine.errors import ConfigError, OutsideError


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "experiments.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    (tmp_path / "retunes.jsonl").write_text('{"id": 3}\n')
    assert [one["id"] for one in sources.of_folder(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize(("text", "sentence"), [("{\n", r":1 is no JSON object"), ('{"a":1}\n[]\n', ":2 is no JSON")])
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "retunes.jsonl").write_text(text)
    with pytest.raises(ConfigError, match=rf"retunes\.jsonl{sentence}"):
        sources.of_folder(tmp_path)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="holds none of"):
        sources.of_folder(tmp_path)
    (tmp_path / "retunes.jsonl").write_text('{"a": "' + "x" * 100 + '"}\n{}\n{}\n')
    monkeypatch.setattr(sources, "MOST_RECORDS", 2)
    with pytest.raises(ConfigError, match="more than 2 records"):
        sources.of_folder(tmp_path)
    monkeypatch.setattr(sources, "LONGEST_BYTES", 50)
    with pytest.raises(ConfigError, match="longer than 50 bytes"):
        sources.of_folder(tmp_path)


def test_the_topics_are_read_to_their_ends(tmp_path: Path) -> None:
    from confluent_kafka import Producer

    with EmbeddedBroker({"graft.experiments": 1, "graft.control": 2}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for at in range(1200):
            producer.produce("graft.experiments", orjson.dumps({"id": at}), partition=0)
        producer.produce("graft.experiments", b"no record", partition=0)
        producer.produce("graft.experiments", None, b"tombstone", partition=0)
        producer.produce("graft.control", orjson.dumps({"id": "order"}), partition=1)
        assert producer.flush(10) == 0
        path = tmp_path / "graft.toml"
        path.write_text(f"[kafka]\nbootstrap = '{broker.bootstrap}'\n[[inputs]]\ntopic = 'metrics'\n")
        settings = read(path, env={}).settings
        for _ in range(2):
            found = [one["id"] for one in sources.of_topics(settings)]
            assert sorted(found, key=str) == sorted([*range(1200), "order"], key=str)


def test_a_topic_that_is_not_there_is_said(tmp_path: Path) -> None:
    with EmbeddedBroker({"other": 1}) as broker:
        path = tmp_path / "graft.toml"
        path.write_text(f"[kafka]\nbootstrap = '{broker.bootstrap}'\n[[inputs]]\ntopic = 'metrics'\n")
        with pytest.raises(OutsideError, match=r"no topic graft\.experiments"):
            sources.of_topics(read(path, env={}).settings)
