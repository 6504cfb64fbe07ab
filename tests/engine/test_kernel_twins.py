"""A kernel is its plain twin: the same log, compiled and interpreted, gives the same verdicts and the same state.

Runs itself as a program for the interpreted half, because numba reads NUMBA_DISABLE_JIT when it is imported.
Identities, times, decisions and counts are the same; numbers agree to 1e-4, relative, because an inner product of
float32 may be summed in lanes (engine/kernel.py, `summing`). That what has no inner product in it is the same bits is
the stronger law at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.windows import Window
from tests.engine.logs import admit, cold, cut, disturbed, fleet_log

ROOT = Path(__file__).resolve().parents[2]
#: metrics of an entity -> ticks: past the first solves of the joint model, and no longer, since the twin is slow.
WIDTHS = {1: 140, 4: 70, 13: 40}
VERDICTS = ("expected", "lower", "upper", "severity", "confidence", "page", "decision", "outcome")
#: State that an inner product has gone through, and so has the alert's life with its peak.
JOINT = ("entity.entity.", "entity.life.peak", "pool")


def run(metrics: int) -> dict[str, np.ndarray]:
    """Verdicts, ticks and state of a small log with an outage, by name."""
    shard = cold()
    rows = admit(shard, 1, metrics)
    quiet = fleet_log(rows, WIDTHS[metrics], 3)
    n = len(quiet.row)
    begin = int(quiet.ts_ms.max()) - 8 * 60_000
    shard.windows.add(Window("host=h0", None, begin, begin + 5 * 60_000, "a window"), now_ms=0)
    whole = disturbed(quiet, 2 * n // 3, 2 * n // 3 + 5 * metrics, 40.0)
    parts = [shard.process(part) for part in cut(whole, [n // 2])]
    found = {f"verdict.{name}": np.concatenate([getattr(part, name) for part in parts]) for name in VERDICTS}
    for name in parts[0].ticks._fields:
        found[f"tick.{name}"] = np.concatenate([getattr(part.ticks, name) for part in parts])
    found["told"] = np.array([r.value["id"] for part in parts for r in part.records], "U32")
    return found | {f"state.{name}": array for name, array in shard.export().arrays.items()}


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What the interpreted kernels say, all widths in one process."""
    out = tmp_path_factory.mktemp("twin") / "twin.npz"
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, __file__, str(out)], check=True, env=environment, cwd=ROOT, timeout=120)
    with np.load(out, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("metrics", list(WIDTHS))
def test_compiled_equals_interpreted(metrics: int, twin: dict[str, np.ndarray]) -> None:
    compiled, plain = run(metrics), of_width(twin, metrics)
    assert compiled.keys() == plain.keys()
    for name, array in compiled.items():
        assert array.dtype == plain[name].dtype, name
        if array.dtype.kind == "f":
            np.testing.assert_allclose(array, plain[name], rtol=1e-4, atol=1e-4, err_msg=name)
        else:
            assert array.tobytes() == plain[name].tobytes(), name


@pytest.mark.parametrize("metrics", list(WIDTHS))
def test_without_inner_products_they_are_the_same_bits(metrics: int, twin: dict[str, np.ndarray]) -> None:
    compiled, plain = run(metrics), of_width(twin, metrics)
    unequal = [name for name, array in compiled.items() if array.tobytes() != plain[name].tobytes()]
    assert [name for name in unequal if not is_joint(name, metrics)] == []


def of_width(twin: dict[str, np.ndarray], metrics: int) -> dict[str, np.ndarray]:
    return {name.split("/", 1)[1]: array for name, array in twin.items() if name.startswith(f"{metrics}/")}


def is_joint(name: str, metrics: int) -> bool:
    """Has an inner product had a part in it? The verdict on a lone series is its entity's."""
    if name.startswith("tick."):
        return name in ("tick.severity", "tick.confidence", "tick.page")
    if name.startswith("state."):
        return name.removeprefix("state.").startswith(JOINT)
    return metrics == 1 and name in ("verdict.severity", "verdict.confidence", "verdict.page")


def main(out: str) -> None:
    """The interpreted half."""
    found: dict[str, Any] = {f"{metrics}/{name}": array for metrics in WIDTHS for name, array in run(metrics).items()}
    np.savez(out, **found)


if __name__ == "__main__":
    main(sys.argv[1])
