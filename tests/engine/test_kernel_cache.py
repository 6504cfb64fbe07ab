"""Where compiled kernels are kept: by the version of their sources, in a folder into which nobody else may write."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import kernel

ROOT = Path(__file__).resolve().parents[2]
NAME = "kernels-of-now"
Folder = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The folder that a process would take that is started with this home and this wish; "" for none."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(kernel, "_sources_hash", lambda: "of-now")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def find(wished: Path | None = None) -> str:
        monkeypatch.setattr(kernel._settings, "CACHE_DIR", str(wished or ""))
        return kernel._cache_folder()

    return find


def open_to(mode: int, path: Path) -> Path:
    """A folder that is there already, with these rights."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    return path


def test_a_process_with_a_wish_divides_it_by_the_sources(tmp_path: Path) -> None:
    """Without that, an edited kernel would run as the machine code of the old one."""
    program = "import engine.kernel; from numba.core import config; print(config.CACHE_DIR)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environment, timeout=60
    )
    own = tmp_path / f"kernels-{kernel._sources_hash()}"
    assert done.stdout.strip() == str(own)
    assert own.stat().st_mode & 0o777 == 0o700


def test_a_wish_comes_first_then_the_cache_of_the_user(folder: Folder, tmp_path: Path) -> None:
    assert folder(tmp_path / "wished") == str(tmp_path / "wished" / NAME)
    own = tmp_path / "cache" / "graft" / NAME
    assert folder() == str(own)
    assert own.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_used(mode: int, folder: Folder, tmp_path: Path) -> None:
    """numba's index is a pickle: who may write it may run what he likes."""
    wished = open_to(mode, tmp_path / "wished" / NAME).parent
    cache = open_to(mode, tmp_path / "cache" / "graft" / NAME)
    temporary = tmp_path / "tmp" / f"graft-{os.getuid()}" / NAME
    assert folder(wished) == str(temporary)
    open_to(mode, temporary)
    assert folder(wished) == ""
    open_to(0o755, cache)
    assert folder(wished) == str(cache)


def test_a_folder_of_somebody_else_is_not_used(folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder(tmp_path / "wished") != ""
    another = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: another)
    assert folder(tmp_path / "wished") == ""


def test_where_no_folder_can_be_made_none_is_used(folder: Folder, tmp_path: Path) -> None:
    for name in ("cache", "wished"):
        (tmp_path / name).write_text("a file")
    (tmp_path / "tmp" / f"graft-{os.getuid()}").write_text("a file")
    assert folder(tmp_path / "wished") == ""


def test_the_sources_are_all_that_a_kernel_can_hold() -> None:
    """What importing the loop loads, an interpreter knows best. What only calls kernels is none of them."""
    program = (
        "import sys, engine.fold, engine.prefetch; from pathlib import Path; "
        "print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('engine.') and m.__file__))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    loaded = {Path(name) for name in done.stdout.split() if not name.endswith("__init__.py")}
    assert loaded <= set(kernel._sources())
    assert ROOT / "engine" / "shard.py" not in kernel._sources()


def test_files_with_kernels_import_in_the_one_way_that_is_followed() -> None:
    """`import engine.x`, or an import inside of a function, would leave stale machine code behind without a word."""
    inside = ("engine.", "agents.")
    for path in kernel._sources():
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Import) and any(one.name.startswith(inside) for one in node.names)), path
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(inside):
                assert node.col_offset == 0, path
