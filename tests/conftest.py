"""What all tests share: the embedded broker, a free port, programs and data that may be absent, hypothesis' settings.

Rule: a test that needs something from outside skips and says what is missing. Under GRAFT_REQUIRE_ALL=1, which
.ci/run sets after installing everything, the same absence is a failure, so that nothing goes untested unnoticed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from agents.embedded import EmbeddedBroker

ROOT = Path(__file__).resolve().parent.parent

# `ci`, the default, gives every run the same examples: a suite that fails by chance teaches people to run it twice.
# HYPOTHESIS_PROFILE=search looks for new ones.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", derandomize=True, max_examples=100, database=None, **_COMMON)
settings.register_profile("search", max_examples=2_000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# A runner that was started in the background of a shell hands on that SIGINT is ignored; then Ctrl-C, in the processes
# that the tests start, would be waited for in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def absent(reason: str) -> None:
    """Skip the running test and say why; fail it where everything has to be there."""
    if os.environ.get("GRAFT_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (and GRAFT_REQUIRE_ALL=1 asks for it)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """`missing("no Java 17")` skips the running test with that sentence, or fails it; see the top of this file."""
    return absent


@pytest.fixture(scope="session")
def needs() -> Callable[[str], str]:
    """`needs("prometheus-alertmanager")` is the program's path, or skips the test."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            absent(f"{program} is not installed")
        return str(path)

    return find


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public data sets: GRAFT_DATA, else ../shared/data beside the project."""
    path = Path(os.environ.get("GRAFT_DATA") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        absent(f"no data sets at {path}; set GRAFT_DATA")
    return path


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker of this test alone; 30 ms."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def shared_embedded() -> EmbeddedBroker:
    """One broker for all tests that use topics and groups of their own names and break nothing.

    It ends with the process. After minutes of clients that come and go, some of them killed, librdkafka's tear-down of
    a mock cluster has been seen to crash, and a crash at the end of a run would hide what the tests have said.
    """
    return EmbeddedBroker().start()


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="session")
def free_ports() -> Callable[[int], list[int]]:
    """`free_ports(3)`: so many different ports, all free at the same moment."""

    def find(count: int) -> list[int]:
        sockets = [socket.socket() for _ in range(count)]
        try:
            for sock in sockets:
                sock.bind(("127.0.0.1", 0))
            return [int(sock.getsockname()[1]) for sock in sockets]
        finally:
            for sock in sockets:
                sock.close()

    return find
