"""Laws of failpoints: they die where they are told to, at the pass they are told, and cost no surprise otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from agents.failpoint import NAMES, arm, failpoint, parse
from engine.errors import ConfigError

CONTRACT = {
    "mid-batch",
    "produced",
    "flushed",
    "snapshot-half",
    "snapshot-written",
    "snapshot-synced",
    "snapshot-renamed",
    "saved",
    "control-applied",
    "unlearn-half",
    "unlearn-written",
    "unlearn-taken",
    "unlearn-saved",
    "uploaded-half",
    "uploaded",
    "restored-half",
    "restored",
}


def run(code: str, armed: str | None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "GRAFT_FAILPOINT"}
    if armed is not None:
        environment["GRAFT_FAILPOINT"] = armed
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


COUNTING = """
from agents.failpoint import failpoint
for at in range(5):
    print(at, flush=True)
    failpoint("produced")
    failpoint("flushed")
print("done", flush=True)
"""


def test_names_are_those_that_the_fault_tests_hold_on_to() -> None:
    assert NAMES == CONTRACT


def test_unarmed_passes_do_nothing() -> None:
    for name in NAMES:
        failpoint(name)


AT_LAST = [("flushed", "0"), ("flushed:1", "0"), ("produced:3", "2"), ("flushed:5", "4")]


@pytest.mark.parametrize(("armed", "last"), AT_LAST)
def test_the_process_dies_at_the_nth_pass(armed: str, last: str) -> None:
    ran = run(COUNTING, armed)
    assert ran.returncode == -signal.SIGKILL
    assert ran.stdout.split()[-1] == last


@pytest.mark.parametrize("armed", [None, "", "flushed:6", "saved"])
def test_a_point_that_is_not_reached_lets_it_live(armed: str | None) -> None:
    ran = run(COUNTING, armed)
    assert (ran.returncode, ran.stdout.split()[-1]) == (0, "done")


def test_an_unknown_name_is_an_error_even_when_nothing_is_armed() -> None:
    with pytest.raises(ConfigError, match="no failpoint 'flushd'; there are control-applied"):
        failpoint("flushd")
    with pytest.raises(ConfigError, match="no failpoint"), arm("flushd", list):
        pass


@pytest.mark.parametrize("text", ["flushed:0", "flushed:", "flushed:-1", "flushed:x", "flushed:²", "flushed:1:2"])
def test_a_pass_that_is_no_whole_number_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="wanted a whole number from 1"):
        parse(text)


def test_arm_acts_once_at_its_pass_and_only_within_the_block() -> None:
    seen: list[int] = []
    with arm("saved", lambda: seen.append(1), nth=2):
        failpoint("saved")
        assert seen == []
        failpoint("saved")
        failpoint("saved")
        assert seen == [1]
        with arm("saved", lambda: seen.append(2)):
            failpoint("saved")
        assert seen == [1, 2]
    failpoint("saved")
    assert seen == [1, 2]


def test_what_an_action_raises_comes_out_and_disarms() -> None:
    def fail() -> None:
        raise OSError("made up")

    with pytest.raises(OSError, match="made up"), arm("saved", fail):
        failpoint("saved")
    failpoint("saved")
