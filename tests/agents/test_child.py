"""What both processes do alike: one sentence and a status for what is foreseen, a traceback for what is not."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from agents import child
from agents.settings import Settings
from engine.errors import BadSample, ConfigError, GraftError, OutsideError, SnapshotError


class Panic(BaseException):
    """As a panic of compiled code."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("c"), 2), (OutsideError("o"), 3), (sqlite3.OperationalError("disk full"), 3),
        (OSError(28, "No space left on device", "f"), 3), (TimeoutError(), 70), (sqlite3.ProgrammingError("p"), 70),
        (BadSample("b", "b"), 70), (SnapshotError("s"), 70), (GraftError("g"), 70), (KeyError("k"), 70), (Panic(), 70),
    ],
)  # fmt: skip
def test_statuses(
    error: BaseException, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(child, "setup", lambda **_: None)
    path = tmp_path / "graft.toml"
    path.write_text("")

    def work(_: Settings) -> None:
        raise error

    with caplog.at_level(logging.ERROR):
        assert child.run(child.parser("p", "").parse_args(["-c", str(path)]), work) == status
    (line,) = caplog.records
    assert bool(line.exc_info) is (status == 70)


def test_a_broken_file_is_two_and_the_work_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "setup", lambda **_: None)
    path = tmp_path / "graft.toml"
    path.write_text("[")
    assert child.run(child.parser("p", "").parse_args(["-c", str(path)]), lambda _: pytest.fail("begun")) == 2
    path.write_text("")
    assert child.run(child.parser("p", "").parse_args(["-c", str(path)]), lambda _: None) == 0
