"""What nobody foresaw stops the worker and skips nothing; what somebody changed under it is said aloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agents import child, progress
from agents.detector import process as detector
from agents.embedded import EmbeddedBroker
from tests.faults.harness import OURS, ROOT, World, Zygote, judge
from tests.faults.zygote import Panic


def counters(world: World) -> dict[str, int]:
    (last,) = progress.read_all(world.folder / "state")
    return last.counters


def test_a_panic_in_the_engine_stops_it_and_nothing_is_skipped(world: World) -> None:
    """Again in the next life, as the same records come again; one without the defect goes on as if nothing was."""
    world.feed(100)
    for _ in range(2):
        assert world.zygote.live(world.job(fails_at=20)) not in (0, 1)
    said = world.zygote.log.read_text()
    assert said.count("The engine failed on metrics[") == 2
    assert "the worker stops" in said
    assert max(state.manifest["next_offset"] for state in world.states().values()) <= 25
    assert world.live() == 0
    findings = judge(world)
    assert findings.clean, findings


def test_whatever_is_unforeseen_is_a_defect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The supervisor starts such a worker again, and gives up when its budget of crashes is spent."""
    path = tmp_path / "graft.toml"
    path.write_text('[[inputs]]\ntopic = "metrics"\n')

    def fails(*_: object, **__: object) -> None:
        raise Panic("index out of bounds")

    monkeypatch.setattr(detector, "run_detector", fails)
    monkeypatch.setattr(child, "setup", lambda **_: None)
    assert detector.main(["-c", str(path)]) == 70


def test_more_partitions_are_not_accepted_in_silence(zygote: Zygote, tmp_path: Path) -> None:
    """As after `kafka-topics.sh --alter --partitions`: said until a checkpoint has remembered it."""
    sentence = "Topic metrics had 2 partitions and has 3 now."
    with EmbeddedBroker({"metrics": 3, **{f"graft.{name}": 1 for name in OURS}}) as broker:
        world = World(broker, zygote, tmp_path, partitions=2, plain=True)
        for seems, raised in ((2, 0), (0, 1), (0, 0)):
            world.feed(20)
            before = len(zygote.log.read_text())
            assert world.live(seems=seems) == 0
            assert zygote.log.read_text()[before:].count(sentence) == raised
            assert counters(world).get("partitions_raised", 0) == raised
        assert judge(world).clean


@pytest.mark.slow
def test_a_signal_ends_the_warm_up_at_once(tmp_path: Path) -> None:
    """Compiling takes half a minute in which no Python runs; it is the kernel that ends the process."""
    path = tmp_path / "graft.toml"
    code = (
        "import sys, time; from agents.detector import process; from agents.detector.assembly import Parts\n"
        "Parts.warm_up = lambda self: (print('warming', flush=True), time.sleep(60))\n"
        f"sys.exit(process.main(['-c', {str(path)!r}]))"
    )
    with EmbeddedBroker({"metrics": 1, **{f"graft.{name}": 1 for name in OURS}}) as broker:
        state = tmp_path / "state"
        path.write_text(
            f'[kafka]\nbootstrap = "{broker.bootstrap}"\n[[inputs]]\ntopic = "metrics"\n[state]\ndir = "{state}"\n'
        )
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "warming\n"
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=20) == -signal.SIGTERM
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
