"""`graft run` as a user starts it: both processes on a broker, probes that answer, Ctrl-C that ends it in order."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from agents import progress
from agents.embedded import EmbeddedBroker
from agents.recovery import shardfile
from agents.topics import Topics

#: A cold start compiles the models.
START_S = 240
RECORDS = 40


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def answer(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as found:
            return found.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    except OSError:
        return ""


def until(condition, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + START_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "did not come"
        time.sleep(0.2)


@pytest.mark.slow
def test_both_processes_run_and_ctrl_c_ends_them(tmp_path: Path) -> None:
    from confluent_kafka import Producer

    port, state = free_port(), tmp_path / "state"
    with EmbeddedBroker({"metrics": 1, **dict.fromkeys(Topics.of("graft."), 1)}) as broker:
        (tmp_path / "graft.toml").write_text(
            f"[kafka]\nbootstrap = '{broker.bootstrap}'\n[[inputs]]\ntopic = 'metrics'\n[[sinks]]\nkind = 'console'\n"
            f"[state]\ndir = '{state}'\n[web]\nlisten = '127.0.0.1:{port}'\n"
        )
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for at in range(RECORDS):
            value = {"name": "cpu", "host": "a", "value": at % 5, "timestamp": 1_767_225_600 + 10 * at}
            producer.produce("metrics", json.dumps(value).encode())
        producer.flush()
        arguments = [sys.executable, "-m", "agents.cli", "run", "-c", str(tmp_path / "graft.toml")]
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        try:
            read = lambda: sum(one.counters.get("records", 0) for one in progress.read_all(state))  # noqa: E731
            until(lambda: read() == RECORDS and answer(port, "/readyz").endswith("ok\n"), process)
            assert f"graft_records_total {RECORDS}" in answer(port, "/metrics")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(30)
    assert process.returncode == 0
    assert f"stopped: {RECORDS} records read" in said
    assert "Traceback" not in said
    ((place, found),) = shardfile.newest(state).values()
    assert (place.next_offset, shardfile.names_of(found)) == (RECORDS, ['cpu{host="a"}'])
