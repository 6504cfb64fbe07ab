"""F39: the notifier is killed between any two steps of durability; every alert is told, each incident once, in order.

A driver process forks one life after the other; each is killed with SIGKILL at a pass of one named point. The tool is
a file: an accepted request is a line in it. The oracle is the log of alerts, not what any life believes.
The mutant - position stored outside the transaction - must be caught, or these tests would prove nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

POINTS = ("rows-written", "position-written", "accepted", "answered", "marked")
HITS = 20

DRIVER = """
import asyncio, json, os, signal, sys
from agents.notify.courier import Courier, InThread, Terms
from agents.notify.gate import Gate
from agents.notify.outbox import Incoming, Outbox
from agents.sinks.delivery import Answer, Outcome

folder, point_name, mutant, hits_wanted = sys.argv[1], sys.argv[2], sys.argv[3] == "mutant", int(sys.argv[4])
LOG = [json.loads(line) for line in open(folder + "/log.jsonl")]
HOME = ("graft.alerts", 0)


class PositionOutside(Outbox):
    def accept(self, batch, positions, **options):
        self._store_positions(positions)
        return super().accept(batch, {}, **options)


class FileTool:
    destination, batch, resend_s = "tool", 1, None

    async def send(self, notices, *, now_s):
        with open(folder + "/tool.jsonl", "a") as file:
            file.write(json.dumps([notices[0].id, notices[0].incident, notices[0].state]) + "\\n")
        return Answer(Outcome.DELIVERED, 200)


async def directly(work):
    return work()


def life(nth):
    left = nth

    def point(name):
        nonlocal left
        left -= name == point_name
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    box = (PositionOutside if mutant else Outbox)(folder + "/outbox.db", destinations=["tool"], point=point)
    box.own([HOME], settled={}, now_s=0.0)
    courier = Courier(FileTool(), box, Gate(per_minute=1e9), Terms(1e12, 1e9), run=InThread(directly),
                      clock=lambda: 1e9, random=lambda: 0.0, point=point)
    while True:
        start = box.positions().get(HOME, 0)
        batch = [Incoming(*HOME, offset, LOG[offset]) for offset in range(start, min(start + 3, len(LOG)))]
        if batch:
            box.accept(batch, {HOME: start + len(batch)}, now_s=0.0)
        while asyncio.run(courier.step()) == 0.0:
            pass
        if not batch:
            os._exit(0)


hits = lives = 0
while True:
    lives += 1
    nth = 1 + lives % 3 if hits < hits_wanted else 10**9
    child = os.fork()
    if child == 0:
        life(nth)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        hits += 1
    elif os.waitstatus_to_exitcode(status) == 0:
        break
    else:
        sys.exit("a life failed by itself")
print(json.dumps({"hits": hits, "lives": lives}))
"""


def log_of_alerts() -> list[dict[str, object]]:
    """200 records, 50 incidents in each of which two episodes begin and end."""
    records: list[dict[str, object]] = []
    for incident in range(50):
        for episode in range(2):
            for state in ("firing", "resolved"):
                name = f"{incident}-{episode}-{state}"
                records.append({
                    "id": name, "incident": str(incident), "state": state, "started_ms": episode, "at_ms": episode,
                })  # fmt: skip
    return records


def run(folder: Path, point: str, *, mutant: bool = False) -> tuple[int, set[str], list[list[str]]]:
    """Hits, ids that were never told, and what the tool got, in order."""
    records = log_of_alerts()
    (folder / "log.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    arguments = [str(folder), point, "mutant" if mutant else "true", str(HITS)]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments], capture_output=True, text=True, timeout=120, check=False,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (folder / "tool.jsonl").read_text().splitlines()]
    missing = {str(record["id"]) for record in records} - {id_ for id_, _, _ in told}
    return json.loads(done.stdout)["hits"], missing, told


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(tmp_path: Path, point: str) -> None:
    hits, missing, told = run(tmp_path, point)
    assert hits >= HITS, "the fault must be seen to have happened"
    assert missing == set()
    assert incidents_at_a_tool_that_merges(told) == 100, "50 incidents, each of two episodes"
    repeats = len(told) - len({id_ for id_, _, _ in told})
    assert repeats == (hits if point == "answered" else 0), "repeated only what was answered and not marked"


def test_the_mutant_is_caught(tmp_path: Path) -> None:
    hits, missing, _ = run(tmp_path, "rows-written", mutant=True)
    assert hits >= 5
    assert missing, "a position outside the transaction loses alerts, and this suite has to see it"


def incidents_at_a_tool_that_merges(told: list[list[str]]) -> int:
    """PagerDuty's way: a trigger of an open key is folded, of a closed one opens a new incident."""
    is_open: set[str] = set()
    opened = 0
    for _, incident, state in told:
        opened += state == "firing" and incident not in is_open
        is_open.add(incident) if state == "firing" else is_open.discard(incident)
    assert not is_open, "every incident has an end"
    return opened
