"""The progress file: a disk that does not take it stops nobody."""

from __future__ import annotations

import errno
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents import progress
from agents.detector.reporter import Reporter


def loop(said: list[str], *, changes: int = 1) -> Any:
    return SimpleNamespace(
        clock=lambda: 0.0, counters=Counter(), warn=said.append, holdings=[],
        assignment=SimpleNamespace(changes=changes),
        outputs=SimpleNamespace(sent=Counter(), dead_reasons=Counter(), waiting=0),
    )  # fmt: skip


def test_a_full_disk_is_counted_and_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    mine, reporter = loop(said), Reporter(tmp_path / "0.json")
    reporter.now(mine)
    before = progress.read(tmp_path / "0.json")

    def full(path: Path, _data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        for _ in range(3):
            reporter.now(mine)
    assert mine.counters["reports_failed"] == 3
    assert len(said) == 1
    assert progress.read(tmp_path / "0.json") == before
    assert [one.name for one in tmp_path.iterdir()] == ["0.json"], "what was written in part is gone"
    reporter.now(mine)
    after = progress.read(tmp_path / "0.json")
    assert after is not None
    assert after.counters == {"reports_failed": 3}


@pytest.mark.parametrize(("changes", "ready"), [(0, False), (1, True)])
def test_a_worker_without_partitions_is_ready_once_it_has_joined(tmp_path: Path, changes: int, ready: bool) -> None:
    assert Reporter(tmp_path / "0.json").standing(loop([], changes=changes)).ready is ready
