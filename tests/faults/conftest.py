"""The warm process that the lives of all workers come from, and a world for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import World, Zygote, opened


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    made = Zygote(tmp_path_factory.mktemp("zygote") / "log")
    yield made
    made.close()


@pytest.fixture
def world(zygote: Zygote, tmp_path: Path) -> Iterator[World]:
    with opened(zygote, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def real_zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """With the engine's kernels loaded; the first time on a machine this compiles them."""
    made = Zygote(tmp_path_factory.mktemp("zygote") / "real", real=True)
    yield made
    made.close()
