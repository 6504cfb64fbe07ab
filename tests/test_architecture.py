"""The laws of the house, read from the source: who may import whom, what the engine must not know, how long a file is.

A law that only a reviewer knows is broken within a month. Each test names the file and line that breaks it.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "agents", "benchmarks", "tests")

#: What only the shell (and what drives it) may know.
SHELL_ONLY = {
    "aiohttp", "aiokafka", "click", "confluent_kafka", "faust", "jinja2", "mode", "msgspec", "orjson",
    "prometheus_client", "pyarrow", "rich", "starlette", "uvicorn", "yaml",
}  # fmt: skip

#: Clocks, chance, disk, network and process: arguments of the engine, never its imports.
OUTSIDE_WORLD = {
    "asyncio", "concurrent", "csv", "glob", "io", "json", "logging", "multiprocessing", "os", "pathlib", "random",
    "secrets", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile",
    "threading", "time", "urllib", "uuid", "zoneinfo",
}  # fmt: skip

#: The exceptions, each with its reason.
ALLOWED = {
    # numba's cache needs a folder named by the kernels' sources; without it each start compiles for 20 s.
    "engine/kernel.py": {"os", "pathlib", "tempfile"},
    # The manifest of a snapshot is JSON, from and to bytes.
    "engine/snapshot": {"io", "json"},
}

#: Layers of the engine, lowest first: a module imports its own layer and those below.
LAYERS = (
    {"errors", "kernel", "columns"},
    {"series", "batch", "recipe", "config"},
    {"components"},
    None,  # shard, verdict, drift, retune, feedback, alerts, snapshot, and whatever joins them
    {"transfer"},
    {"__init__"},
)
_MIDDLE = LAYERS.index(None)

#: The floor of the shell: modules at its root that know only each other.
FLOOR = {
    "__init__", "came", "clients", "configfile", "embedded", "experiments", "failpoint", "instance", "log", "progress",
    "secret", "signing", "supervisor", "topics", "transaction",
}  # fmt: skip
#: Its other parts (packages, and modules at the root), each with those it may know beside the floor. A part names only
#: parts that stand before it, so imports point one way; the two processes, detector and flows, do not know each other.
PARTS: dict[str, set[str]] = {
    "sinks": set(),
    "settings": {"sinks"},
    "child": {"settings"},
    "codecs": set(),
    "recovery": set(),
    "detector": {"settings", "child", "codecs", "recovery"},
    "notify": {"sinks"},
    "web": {"notify"},
    "flows": {"settings", "sinks", "child", "recovery", "notify", "web"},
    "offline": {"settings", "codecs", "recovery"},
    "label": {"settings", "recovery"},
    "review": {"settings", "recovery", "label"},
    "seeding": {"settings", "recovery"},
    "transfer": {"settings"},
    "checks": {"settings", "sinks", "recovery"},
    "cli": {
        "settings",
        "sinks",
        "codecs",
        "recovery",
        "detector",
        "notify",
        "offline",
        "label",
        "review",
        "seeding",
        "transfer",
        "checks",
    },
}

NO_PICKLE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
#: Functions that hide a pickle or ask the world.
FORBIDDEN_CALLS = {
    "open", "input", "exec", "eval", "breakpoint", "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "np.save", "np.load", "np.savez", "np.random.seed", "np.random.rand", "np.random.random", "np.random.default_rng",
}  # fmt: skip

LONGEST_FILE = 400


class Import(NamedTuple):
    """One import: the dotted module, and where."""

    module: str
    where: str

    @property
    def top(self) -> str:
        """The package it comes from."""
        return self.module.partition(".")[0]


def sources(package: str) -> list[Path]:
    """Python files of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    """Path within the project, with slashes."""
    return path.relative_to(ROOT).as_posix()


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in the file, wherever it stands; `from a import b` as a.b where b may be a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}: a relative import hides the layer it comes from"
            yield from (Import(f"{node.module}.{alias.name}", where) for alias in node.names)


def all_imports(*packages: str) -> list[Import]:
    """Imports of all files of the packages."""
    return [found for package in packages for path in sources(package) for found in imports_of(path)]


def test_the_engine_does_not_know_the_shell() -> None:
    assert [found for found in all_imports("engine") if found.top in {"agents", "benchmarks", "tests"}] == []


def test_the_shell_does_not_know_its_tests() -> None:
    assert [found for found in all_imports("agents") if found.top == "tests"] == []
    # `graft bench` runs benchmarks.throughput.
    known = [found for found in all_imports("agents") if found.top == "benchmarks"]
    assert [found for found in known if not found.where.startswith(("agents/cli/", "agents/demo"))] == []


def test_only_the_shell_speaks_to_kafka_json_and_people() -> None:
    assert [found for found in all_imports("engine") if found.top in SHELL_ONLY] == []


def test_only_one_file_of_the_package_imports_river() -> None:
    users = {found.where.partition(":")[0] for found in all_imports("engine", "agents") if found.top == "river"}
    assert users <= {"engine/components/river_model.py"}


def allowed_in(path: Path) -> set[str]:
    """What this file may know beyond the others."""
    return set().union(*(modules for place, modules in ALLOWED.items() if name_of(path).startswith(place)))


def test_the_engine_asks_nothing_of_the_world() -> None:
    broken = [
        found
        for path in sources("engine")
        for found in imports_of(path)
        if found.top in OUTSIDE_WORLD - allowed_in(path)
    ]
    assert broken == []


def test_the_engine_calls_no_clock_no_chance_and_no_file() -> None:
    broken = [
        f"{name_of(path)}:{node.lineno} {called}"
        for path in sources("engine")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (called := ast.unparse(node.func)).removeprefix("datetime.").replace("numpy.", "np.") in FORBIDDEN_CALLS
    ]
    assert broken == []


def layer_of(module: str) -> int:
    """Layer of `engine.x.y`."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    return next((index for index, layer in enumerate(LAYERS) if layer and name in layer), _MIDDLE)


def module_of(path: Path) -> str:
    """engine/components/level.py -> engine.components.level; a package's own file -> the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_layers_of_the_engine_point_down() -> None:
    broken = [
        f"{found.where} imports {found.module}"
        for path in sources("engine")
        for found in imports_of(path)
        if found.top == "engine" and layer_of(found.module) > layer_of(module_of(path))
    ]
    assert broken == []


def part_of(module: str) -> str:
    """Part of the shell that `agents.x.y` belongs to; the demo is one of the commands."""
    name = module.split(".")[1] if "." in module else "__init__"
    return "cli" if name == "demo" else name


def test_parts_of_the_shell_point_down() -> None:
    for index, (part, known) in enumerate(PARTS.items()):
        assert known <= set(list(PARTS)[:index]), f"{part} looks up"
    broken = [
        f"{found.where} imports {found.module}"
        for path in sources("agents")
        for own in (part_of(module_of(path)),)
        for found in imports_of(path)
        if found.top == "agents" and part_of(found.module) not in FLOOR | {own} | PARTS.get(own, set())
    ]
    assert broken == []
    assert {part_of(module_of(path)) for path in sources("agents")} == FLOOR | set(PARTS)


def test_no_module_imports_itself_in_a_circle() -> None:
    modules = {module_of(path): path for package in ("engine", "agents") for path in sources(package)}
    needs = {name: {_module_in(found.module, modules) for found in _at_the_top(path)} for name, path in modules.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name in done:
            return
        for other in sorted(needs.get(name, set()) - {"", name}):
            visit(other, (*above, name))
        done.add(name)

    for name in modules:
        visit(name, ())


def _at_the_top(path: Path) -> Iterator[Import]:
    """Imports made when the module is imported: not those in functions or for the type checker."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, name_of(path)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(f"{node.module}.{alias.name}", name_of(path)) for alias in node.names)


def _module_in(dotted: str, modules: dict[str, Path]) -> str:
    """The module that a dotted import names: a.b.c itself, or a.b where c is a name in it."""
    return next((name for name in (dotted, dotted.rpartition(".")[0]) if name in modules), "")


def test_nothing_is_ever_pickled() -> None:
    assert [found for found in all_imports("engine", "agents", "benchmarks") if found.top in NO_PICKLE] == []
    words = ("allow_pickle=True", "read_pickle(", "to_pickle(")
    hits = [
        f"{name_of(path)}: {word}"
        for package in ("engine", "agents", "benchmarks")
        for path in sources(package)
        for word in words
        if word in path.read_text(encoding="utf-8")
    ]
    assert hits == []


def test_files_are_short_enough_to_read() -> None:
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines())
        for package in ("engine", "agents")
        for path in sources(package)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_a_file_opens_with_its_rules() -> None:
    silent = [
        name_of(path)
        for package in ("engine", "agents")
        for path in sources(package)
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def tracked_files() -> list[Path]:
    """What git knows, or the test is skipped (an unpacked archive has no git)."""
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def test_no_file_names_the_machine_it_was_written_on() -> None:
    words = [b"/" + word + b"/" for word in (b"work", b"root")]
    hits = [
        f"{name_of(path)}: {word.decode()}"
        for path in tracked_files()
        for word in words
        # b"\"/" ... and " /": a folder at the root, not a part of another path.
        if any(before + word in path.read_bytes() for before in (b'"', b"'", b" ", b"=", b"(", b"`", b"\n"))
    ]
    assert hits == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-run.lock"])
def test_a_lock_names_no_host_and_no_path(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if "://" in line or line.startswith(("-", "/", "."))] == []
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert [line for line in pins if "==" not in line] == []
    assert sum("--hash=sha256:" in line for line in lines) >= len(pins)


def test_what_runs_is_locked_as_it_was_tested() -> None:
    tested, runs = (_pins(name) for name in ("requirements.lock", "requirements-run.lock"))
    assert runs <= tested


def _pins(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line.rstrip(" \\") for line in lines if line and not line.startswith((" ", "#"))}
