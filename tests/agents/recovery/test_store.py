"""Laws of the store: the newest whole one is found, each step down is said, nothing good is removed too soon."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from agents.recovery.store import StateStore, read_state, stored, write_state
from engine.errors import ConfigError, OutsideError, SnapshotError
from engine.snapshot import State, pack

KEY = b"k" * 32
DAY_S = 86_400


def data_at(offset: int, key: bytes | None = None) -> bytes:
    return pack({"kind": "checkpoint", "next_offset": offset}, {"x": np.full(100, offset, np.int64)}, key=key)


def offsets(store: StateStore, topic: str = "metrics", partition: int = 0) -> list[int]:
    return [one.next_offset for one in store.list() if (one.topic, one.partition) == (topic, partition)]


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StateStore]:
    with StateStore(tmp_path / "state") as opened:
        yield opened


def test_an_empty_store_has_nothing_to_load(store: StateStore) -> None:
    assert store.load_newest("metrics", 0) == (None, None, [])
    assert store.list() == []
    assert list(store.newest_first("metrics", 0)) == []


def test_the_newest_by_offset_is_loaded(store: StateStore) -> None:
    paths = [store.save("metrics", 0, offset, data_at(offset)) for offset in (9, 10, 1_000_000_000_000)]
    state, path, skipped = store.load_newest("metrics", 0)
    assert state is not None
    assert (state.manifest["next_offset"], path, skipped) == (1_000_000_000_000, paths[-1], [])
    assert state.arrays["x"].flags.writeable


def test_shards_do_not_see_each_other(store: StateStore) -> None:
    shards = [("a", 1), ("a", 11), ("a-1", 1), ("a-1", 0), ("a.1", 0), ("A", 0)]
    for at, (topic, partition) in enumerate(shards):
        store.save(topic, partition, at, data_at(at))
    for at, (topic, partition) in enumerate(shards):
        state = store.load_newest(topic, partition).state
        assert state is not None
        assert state.manifest["next_offset"] == at
    assert {(one.topic, one.partition) for one in store.list()} == set(shards)


@pytest.mark.parametrize("topic", ["../../etc", "/etc/passwd", "..", ".", "a b\n", "ä", "a%2Fb", "a-", "-", ".tmp"])
def test_no_topic_leads_out_of_the_folder(store: StateStore, tmp_path: Path, topic: str) -> None:
    path = store.save(topic, 0, 7, data_at(7))
    assert path.resolve().parent.parent == (tmp_path / "state" / "shards").resolve()
    assert [(one.topic, one.next_offset) for one in store.list()] == [(topic, 7)]


@pytest.mark.parametrize(("topic", "partition", "offset"), [("", 0, 0), ("a", -1, 0), ("a", 0, -1), ("a", 0, 10**20)])
def test_what_cannot_be_a_shard_is_refused(store: StateStore, topic: str, partition: int, offset: int) -> None:
    with pytest.raises(ConfigError):
        store.save(topic, partition, offset, data_at(0))


def test_a_snapshot_at_the_same_offset_takes_the_place_of_the_older(store: StateStore) -> None:
    store.save("metrics", 0, 5, data_at(1))
    store.save("metrics", 0, 5, data_at(2))
    loaded = store.load_newest("metrics", 0)
    assert loaded.state is not None
    assert loaded.state.manifest["next_offset"] == 2
    assert offsets(store) == [5]


def test_only_the_owner_may_read(store: StateStore) -> None:
    path = store.save("metrics", 0, 5, data_at(5))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


# What is kept.
def test_the_last_three_are_kept(store: StateStore) -> None:
    for offset in range(1, 8):
        store.save("metrics", 0, offset, data_at(offset))
    assert offsets(store) == [7, 6, 5]


def test_and_the_last_one_of_an_earlier_day(store: StateStore) -> None:
    for offset, days_ago in [(1, 3), (2, 2), (3, 1), (4, 1), (5, 0), (6, 0)]:
        path = store.save("metrics", 0, offset, data_at(offset))
        at = path.stat().st_mtime - days_ago * DAY_S
        os.utime(path, (at, at))
    for offset in (7, 8, 9):
        store.save("metrics", 0, offset, data_at(offset))
    assert offsets(store) == [9, 8, 7, 4]


def test_the_last_of_some_earlier_hours_stay_as_well(tmp_path: Path) -> None:
    with StateStore(tmp_path, keep=1, days=0, history=2) as store:
        hour_s = int(time.time()) // 3600 * 3600
        for offset, hours_ago in [(1, 5.5), (2, 3.5), (3, 2.5), (4, 2.1), (5, 1.5), (6, 0)]:
            path = store.save("metrics", 0, offset, data_at(offset))
            os.utime(path, (hour_s + 1800 - hours_ago * 3600,) * 2)
        store.save("metrics", 0, 7, data_at(7))
        assert offsets(store) == [7, 5, 4]


@pytest.mark.parametrize("options", [{"keep": 0}, {"days": -1}, {"history": -1}])
def test_a_store_that_keeps_less_than_nothing_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="cannot work"):
        StateStore(tmp_path, **options)


def test_two_earlier_days_if_so_wanted(tmp_path: Path) -> None:
    with StateStore(tmp_path, keep=1, days=2) as store:
        for offset, days_ago in [(1, 3), (2, 2), (3, 1), (4, 1), (5, 0)]:
            path = store.save("metrics", 0, offset, data_at(offset))
            os.utime(path, (path.stat().st_mtime - days_ago * DAY_S,) * 2)
        store.save("metrics", 0, 6, data_at(6))
        assert offsets(store) == [6, 4, 2]


def test_those_beyond_the_saved_one_do_not_push_it_out(store: StateStore) -> None:
    """Whoever saves below them has not used them, so they may be of no use at all."""
    for offset in (50, 60, 70, 10, 20):
        store.save("metrics", 0, offset, data_at(offset))
    assert offsets(store) == [70, 60, 50, 20, 10]


def test_nothing_is_removed_before_the_new_one_is_durable(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for offset in (1, 2, 3):
        store.save("metrics", 0, offset, data_at(offset))
    real = os.fsync
    seen: list[list[int]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(offsets(store)), real(descriptor))[1])
    store.save("metrics", 0, 4, data_at(4))
    assert seen == [[3, 2, 1], [4, 3, 2, 1]]
    assert offsets(store) == [4, 3, 2]


# What is refused.
def test_a_damaged_one_is_passed_over_and_said(store: StateStore) -> None:
    paths = [store.save("metrics", 0, offset, data_at(offset)) for offset in (1, 2, 3)]
    damage(paths[2])
    paths[1].write_bytes(paths[1].read_bytes()[:50])
    state, path, skipped = store.load_newest("metrics", 0)
    assert state is not None
    assert (state.manifest["next_offset"], path) == (1, paths[0])
    assert [one for one, _ in skipped] == [paths[2], paths[1]]
    assert "its sha256 does not match" in skipped[0][1]
    assert "it ends after 50 of 96 bytes" in skipped[1][1]


def test_one_that_the_caller_refuses_is_passed_over_too(store: StateStore) -> None:
    for offset in (1, 2, 3):
        store.save("metrics", 0, offset, data_at(offset))

    def verify(state: State) -> str | None:
        if state.manifest["next_offset"] == 3:
            raise SnapshotError("it is of another topic")
        return "it lies beyond the end of the log" if state.manifest["next_offset"] == 2 else None

    loaded = store.load_newest("metrics", 0, verify=verify)
    assert loaded.state is not None
    assert loaded.state.manifest["next_offset"] == 1
    assert [why for _, why in loaded.skipped] == ["it is of another topic", "it lies beyond the end of the log"]


def test_refused_ones_are_set_aside_only_when_a_good_one_is_there(store: StateStore) -> None:
    paths = [store.save("metrics", 0, offset, data_at(offset)) for offset in (10, 20, 30)]
    for path in paths[1:]:
        damage(path)
    store.load_newest("metrics", 0)
    assert offsets(store) == [30, 20, 10]
    store.save("metrics", 0, 15, data_at(15))
    assert offsets(store) == [15, 10]
    assert sorted(path.name for path in paths[0].parent.glob("*.bad")) == [
        f"{paths[1].name}.bad",
        f"{paths[2].name}.bad",
    ]
    assert store.load_newest("metrics", 0).skipped == []


def test_set_aside_ones_do_not_pile_up(tmp_path: Path) -> None:
    with StateStore(tmp_path, keep=2) as store:
        for offset in range(1, 9):
            damage(store.save("metrics", 0, offset, data_at(offset)))
            assert store.load_newest("metrics", 0).state is None
        assert len(list(tmp_path.glob("shards/*/*.bad"))) <= 3


def test_all_that_a_start_has_refused_survive_it(tmp_path: Path) -> None:
    """With the defaults four are kept, one of them of another day; the wrong key refuses them all."""
    with StateStore(tmp_path) as store:
        for offset in range(1, 5):
            path = store.save("metrics", 0, offset, data_at(offset))
            if offset == 1:
                os.utime(path, (0, 0))
        assert offsets(store) == [4, 3, 2, 1]
        for _, path in [(one.next_offset, one.path) for one in store.list()]:
            damage(path)
        assert store.load_newest("metrics", 0).state is None
        store.save("metrics", 0, 0, data_at(0))
        assert len(list(tmp_path.glob("shards/*/*.bad"))) == 4


def test_the_wrong_key_harms_nothing(tmp_path: Path) -> None:
    with StateStore(tmp_path, key=KEY) as store:
        for offset in (1, 2):
            store.save("metrics", 0, offset, data_at(offset, KEY))
    with StateStore(tmp_path, key=b"x" * 32) as store:
        loaded = store.load_newest("metrics", 0)
        assert loaded.state is None
        assert ["its signature does not match" in why for _, why in loaded.skipped] == [True, True]
    with StateStore(tmp_path, key=KEY) as store:
        assert store.load_newest("metrics", 0).skipped == []


def test_what_cannot_be_read_is_passed_over_and_said(tmp_path: Path) -> None:
    warned: list[str] = []
    with StateStore(tmp_path, max_bytes=5_000, warn=warned.append) as store:
        good = store.save("metrics", 0, 1, data_at(1))
        large = store.save("metrics", 0, 2, data_at(2) + bytes(9_000))
        folder = good.with_name(f"{3:020d}.snap")
        folder.mkdir()
        assert [name for name, _ in store.newest_first("metrics", 0)] == [str(good.relative_to(tmp_path))]
        assert ["not a regular file" in warned[0], "at most 5000 are read" in warned[1]] == [True, True]
        assert [path for path, _ in store.load_newest("metrics", 0).skipped] == [folder, large]


def test_newest_first_gives_bytes_and_set_aside_takes_the_name(store: StateStore) -> None:
    for offset in (1, 2):
        store.save("metrics", 0, offset, data_at(offset))
    (first, data), (second, _) = store.newest_first("metrics", 0)
    assert (data, first > second) == (data_at(2), True)
    store.set_aside(first)
    assert offsets(store) == [2, 1]
    store.save("metrics", 0, 3, data_at(3))
    assert offsets(store) == [3, 1]
    with pytest.raises(ConfigError, match=r"no snapshot '\.\./x'"):
        store.set_aside("../x")


def test_names_that_are_not_ours_are_left_alone(store: StateStore, tmp_path: Path) -> None:
    path = store.save("metrics", 0, 1, data_at(1))
    for name in ("notes.txt", "1.snap", "x.snap", f"{2:020d}.snap.old"):
        (path.parent / name).write_bytes(b"mine")
    (tmp_path / "state" / "shards" / "stray-0").write_bytes(b"a file")
    for offset in range(2, 9):
        store.save("metrics", 0, offset, data_at(offset))
    assert [one.next_offset for one in store.list()] == [8, 7, 6]
    assert len(list(path.parent.iterdir())) == 3 + 4


# One worker a folder.
def test_two_in_one_process_fail_with_a_sentence(store: StateStore) -> None:
    with pytest.raises(OutsideError, match=f"is in use by process {os.getpid()}; a folder serves one worker"):
        StateStore(store.directory)
    store.close()
    StateStore(store.directory).close()


HOLD = """
import sys
from agents.recovery.store import StateStore
store = StateStore(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_the_lock_ends_with_its_process_however_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutsideError, match=f"process {holder.pid}"):
            StateStore(tmp_path)
        assert stored(tmp_path) == []  # looking needs no lock
        holder.kill()
        holder.wait()
    StateStore(tmp_path).close()


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user who may write nowhere here; root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with without_rights(), pytest.raises(OutsideError, match=r"cannot (make|write).*Permission denied.*let user \d+ "):
        StateStore(tmp_path / "state")
    tmp_path.chmod(0o700)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutsideError, match=r"/file: a file has that name; choose another path"):
        StateStore(tmp_path / "file" / "state")


def test_a_folder_that_cannot_be_read_does_not_look_empty(store: StateStore) -> None:
    folder = store.save("metrics", 0, 1, data_at(1)).parent
    folder.chmod(0)
    with without_rights(), pytest.raises(OutsideError, match=r"cannot look into .*Permission denied"):
        store.load_newest("metrics", 0)
    folder.chmod(0o700)


# Single files.
def test_a_state_goes_to_a_file_and_back(tmp_path: Path) -> None:
    state = State({"kind": "source", "from": "eu"}, {"x": np.arange(4.0)})
    size = write_state(tmp_path / "eu.snap", state, KEY, creator="graft 0.1.0")
    assert size == (tmp_path / "eu.snap").stat().st_size
    back = read_state(tmp_path / "eu.snap", KEY)
    assert (back.manifest, back.arrays["x"].tolist()) == (state.manifest, [0.0, 1.0, 2.0, 3.0])
    assert [path.name for path in tmp_path.iterdir()] == ["eu.snap"]


def test_reading_says_what_is_wrong_with_which_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*/eu\.snap; `graft snapshot create`"):
        read_state(tmp_path / "eu.snap")
    with pytest.raises(ConfigError, match="is not a regular file"):
        read_state(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is not a regular file"):
        read_state(tmp_path / "pipe")
    (tmp_path / "eu.csv").write_text("timestamp,value\n")
    with pytest.raises(SnapshotError, match=r"eu\.csv cannot be used: it is not a Graft snapshot"):
        read_state(tmp_path / "eu.csv")
    write_state(tmp_path / "signed.snap", State({"kind": "source"}, {}), KEY)
    with pytest.raises(SnapshotError, match=r"signed\.snap cannot be used: it is signed and there is no key"):
        read_state(tmp_path / "signed.snap")
    with without_rights(), pytest.raises(OutsideError, match=r"cannot read .*Permission denied"):
        read_state(tmp_path / "eu.csv") if os.geteuid() else read_state(tmp_path)


def test_writing_says_what_is_wrong_with_the_path(tmp_path: Path) -> None:
    state = State({"kind": "source"}, {})
    with pytest.raises(ConfigError, match=r"is a folder; give the name of a file"):
        write_state(tmp_path, state)
    with pytest.raises(ConfigError, match=r"there is no folder .*; make it first"):
        write_state(tmp_path / "no" / "eu.snap", state)
