"""Laws of the supervisor: a crash is followed by a later start, a spent budget ends it, and nothing is left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from agents.supervisor import Budget, Restarts, parts
from engine.errors import ConfigError

HOST = """
import json, os, sys
from agents.supervisor import Budget, Part, Supervisor
commands = json.loads(sys.argv[1])
budget = Budget(first_s=0.05, most_s=0.1, crashes=int(sys.argv[2]))
found = [Part(name, [sys.executable, "-c", code], os.environ, budget) for name, code in commands.items()]
sys.exit(Supervisor(found).run())
"""
#: Writes its pid, then waits; on a signal it says which and ends.
WAITS = """
import os, pathlib, signal, sys
path = pathlib.Path({path!r})
def stop(number, _):
    path.with_suffix(".stopped").write_text(signal.Signals(number).name)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, stop)
path.write_text(str(os.getpid()))
signal.pause()
"""
APPENDS_AND_DIES = "import sys\nopen({path!r}, 'a').write('x')\nsys.exit({status})"


def start(commands: dict[str, str], *, crashes: int = 3) -> subprocess.Popen[bytes]:
    code = {name: textwrap.dedent(text) for name, text in commands.items()}
    return subprocess.Popen([sys.executable, "-c", HOST, json.dumps(code), str(crashes)])


def until(condition, *, at_most_s: float = 20.0) -> None:
    end = time.monotonic() + at_most_s
    while not condition():
        assert time.monotonic() < end, "did not come"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text())
    return int(path.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_children_and_is_success(tmp_path: Path, number: signal.Signals) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    host = start({path.name: WAITS.format(path=str(path)) for path in paths})
    pids = [pid_in(path) for path in paths]
    host.send_signal(number)
    assert host.wait(20) == 0
    assert [path.with_suffix(".stopped").read_text() for path in paths] == [number.name] * 2
    assert not any(map(is_running, pids))


def test_a_child_that_dies_is_started_again_until_the_budget_is_spent(tmp_path: Path) -> None:
    marks, other = tmp_path / "marks", tmp_path / "other"
    host = start(
        {"dies": APPENDS_AND_DIES.format(path=str(marks), status=1), "lives": WAITS.format(path=str(other))}, crashes=3
    )
    assert host.wait(20) == 70
    assert marks.read_text() == "xxxx"
    assert not is_running(int(other.read_text()))


def test_a_wrong_configuration_is_not_tried_again(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    assert start({"dies": APPENDS_AND_DIES.format(path=str(marks), status=2)}).wait(20) == 2
    assert marks.read_text() == "x"


def test_a_killed_child_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    host = start({"a": WAITS.format(path=str(path))})
    first = pid_in(path)
    os.kill(first, signal.SIGKILL)
    until(lambda: path.read_text() not in ("", str(first)))
    host.terminate()
    assert host.wait(20) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal is Linux's")
def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a"
    host = start({"a": WAITS.format(path=str(path))})
    pid = pid_in(path)
    host.kill()
    host.wait(20)
    until(lambda: not is_running(pid))
    assert path.with_suffix(".stopped").exists()


def test_waits_double_up_to_a_limit_and_old_crashes_are_forgotten() -> None:
    restarts = Restarts(Budget(first_s=1, most_s=5, crashes=4, window_s=100))
    assert [restarts.after(70, now_s) for now_s in (0.0, 1.0, 2.0, 3.0, 4.0)] == [1, 2, 4, 5, None]
    assert restarts.after(70, 200.0) == 1


def test_a_world_that_does_not_answer_is_waited_for_without_end() -> None:
    restarts = Restarts(Budget())
    waits = [restarts.after(3, 40.0 * turn) for turn in range(200)]
    assert waits == [1, 2, 4, 8, 16] + [30] * 195
    assert [restarts.after(-9, 8000.0 + turn) for turn in range(9)] == [30] * 8 + [None], "a crash is a crash"
    assert restarts.after(3, 9999.0) == 1, "a good ten minutes and the waits are short again"


def test_a_child_outlives_its_budget_while_the_broker_is_away(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    host = start({"waits": APPENDS_AND_DIES.format(path=str(marks), status=3)}, crashes=2)
    until(lambda: marks.exists() and len(marks.read_text()) > 5)
    host.terminate()
    assert host.wait(20) == 0


def test_the_parts_of_a_run() -> None:
    found = parts(config=Path("g.toml"), only=None, extra={"worker": ["--dry-run"]}, env={})
    assert [part.name for part in found] == ["detector", "worker"]
    assert found[0]._command[1:] == ["-m", "agents.detector", "-c", "g.toml"]
    assert found[1]._command[1:] == ["-m", "agents.flows.app", "-c", "g.toml", "--dry-run"]
    with pytest.raises(ConfigError, match="--only is 'both'"):
        parts(config=None, only="both", extra={}, env={})
