"""How kernels are compiled: one decorator, one cache folder per version of the kernel sources.

Owns nothing but the compiler's settings. A kernel is scalar code over columns; `f.py_func`, or NUMBA_DISABLE_JIT=1 in
the environment, is its plain twin. The two agree bit for bit, because no setting here lets the compiler reorder or
fuse floating-point operations, but for `summing`: there a sum of float32 products may be made in lanes, so twins agree
to the last bits, and machines with other vector units too. On one machine a replay is bit for bit the same.

Not obvious, the largest effect of all: numba counts references of every array of every tuple that a kernel touches,
which made a sample four times as dear. Kernels allocate nothing, so the counting is turned off (`_nrt=False`); scratch
space is an argument. And functions that take whole groups of columns are inlined, because a call would copy some
hundred array descriptors.

Not obvious: numba keys its cache by the file that holds the outer kernel, so an edited inner kernel would leave a
stale machine code behind. The folder is therefore named by a hash of all sources that hold kernels, or constants of
theirs; an edit of anything else compiles nothing again.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config as numba_config

F = TypeVar("F", bound=Callable[..., Any])

_ROOT = Path(__file__).resolve().parents[1]
_FOLDERS = ("engine", "engine/components", "agents/codecs")
_IMPORT = re.compile(rb"^from ((?:engine|agents)[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)


def _sources() -> list[Path]:
    """All files whose code or constants may end up in a kernel: those with kernels, and what they import."""
    everywhere = (path for folder in _FOLDERS for path in _ROOT.joinpath(folder).glob("*.py"))
    found = {path: text for path in everywhere if b"from engine.kernel import" in (text := path.read_bytes())}
    waiting = list(found)
    while waiting:
        for module, names in _IMPORT.findall(found[waiting.pop()]):
            for path in _files_of(module.decode(), re.findall(r"\w+", names.decode())):
                if path not in found:
                    found[path] = path.read_bytes()
                    waiting.append(path)
    return sorted(found)


def _files_of(module: str, names: list[str]) -> list[Path]:
    """The file of a module, and those of its names that are modules themselves."""
    at = _ROOT.joinpath(*module.split("."))
    wanted = [at.with_suffix(".py"), *(at / f"{name}.py" for name in names)]
    return [path for path in wanted if path.is_file()]


def _sources_hash() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for path in _sources():
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """A folder of our own, named by the sources; "" where none can be had, then each start compiles.

    numba's index is a pickle, so a folder that another user could write to is no place for it.
    """
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    wished = [Path(_settings.CACHE_DIR)] if _settings.CACHE_DIR else []
    for parent in (*wished, Path(base) / "graft", Path(tempfile.gettempdir()) / f"graft-{os.getuid()}"):
        folder = parent / f"kernels-{_sources_hash()}"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = folder.stat()
        except OSError:
            continue
        if os.access(folder, os.W_OK) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return str(folder)
    return ""


# The one effect at import that this project allows itself: without it each start compiles for 20 s.
_settings: Any = numba_config
_settings.CACHE_DIR = _cache_folder()
_njit: Any = numba.njit


def kernel(function: F) -> F:
    """Compile without the interpreter lock, cached on disk; 1/0 is inf as in numpy, never an exception."""
    options = {"nogil": True, "cache": bool(_settings.CACHE_DIR), "error_model": "numpy", "_nrt": False}
    compiled: F = _njit(**options)(function)
    return compiled


def summing(function: F) -> F:
    """As `kernel`, for inner products: the sum may be made in the lanes of the vector unit."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "nsz"}, "_nrt": False}
    compiled: F = _njit(**options)(function)
    return compiled


def inline(function: F) -> F:
    """As `kernel`, for the small steps of a sample that must not cost a call with forty arrays."""
    options = {"nogil": True, "inline": "always", "error_model": "numpy", "_nrt": False}
    compiled: F = _njit(**options)(function)
    return compiled
