"""The demo as a user runs it: real processes, real topics; and Ctrl-C. Whether the engine finds all is not judged here.

The exit status is: 0 with everything found, 1 with findings; both are a whole run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.demo.make_source import SOURCE_PATH, source_fleet
from agents.demo.world import Fleet
from engine.snapshot import read_json_column, unpack
from engine.transfer import read_prior

ROOT = Path(__file__).resolve().parents[3]


def demo(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "agents.cli", "demo", "--out", str(folder / "out"), *arguments]


def test_the_shipped_snapshot_lends_to_every_class_of_the_demo_and_names_nobody() -> None:
    state = unpack(SOURCE_PATH.read_bytes())
    assert state.manifest["kind"] == "source"
    lent = set(read_json_column(read_prior(state).arrays()["classes"]))
    assert {name.split("{")[0] for name in Fleet.of().names()} <= lent
    data = SOURCE_PATH.read_bytes()
    assert not any(entity.name.encode() in data for entity in source_fleet().entities)


@pytest.mark.slow
def test_a_whole_run_in_json(tmp_path: Path) -> None:
    done = subprocess.run(
        demo(tmp_path, "--seconds", "16", "--json"), cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    told = json.loads(done.stdout)
    assert told["injected"] == 5
    assert told["dead_letters"] == 0, told["dead_letter_reasons"]
    assert told["lag_records"] == 0
    assert told["samples"] == 5760 * Fleet.of().width
    assert done.returncode == (0 if told["found"] == 5 and told["false_pages"] == 0 else 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.slow
def test_ctrl_c_ends_with_a_summary_and_leaves_nobody_behind(tmp_path: Path) -> None:
    running = subprocess.Popen(
        demo(tmp_path, "--seconds", "120", "--no-ui"), cwd=tmp_path, text=True, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("ready after"):
            break
    time.sleep(1.0)  # the story begins after this line; stopped in the same instant, it has no day to name
    running.send_signal(signal.SIGINT)
    rest, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "stopped at day 1" in rest
    assert "next" in rest
    config = str(tmp_path / "out" / "graft.toml")
    assert config not in _commands()


def _commands() -> str:
    """Command lines of all processes, where the system shows them."""
    proc = Path("/proc")
    if not proc.is_dir():
        return ""
    found = []
    for path in proc.glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(found)
