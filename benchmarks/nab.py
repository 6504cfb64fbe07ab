"""What Graft finds in the Numenta benchmark's recordings: `python -m benchmarks.nab [--data DIR] [--json]`.

Owns the count: how many labelled windows hold the start of an alert, and how many alerts start outside of all windows.
The recordings are replayed by `agents.offline.replay`, as `graft replay` does it: files as they are, one configuration,
nothing known beforehand, verdicts from earlier rows only. This is not NAB's own score.

Beside it, an exponentially weighted mean and deviation (`ewma_z`), with the one threshold for all files of a folder
that gives it as many alerts as Graft raised there, or fewer; it is told that number, Graft is not.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.series_data import folder

#: The folders whose labels stem from operators, which the figures of the release name.
SHOWN = ("realKnownCause", "realAWSCloudwatch")
#: Weight of a new value in the baseline's mean and variance; rows it learns from before it speaks; rows within which
#: two crossings are one alert.
WEIGHT, SILENT_ROWS, MERGE_ROWS = 0.02, 150, 24


class Window(NamedTuple):
    """A labelled stretch, both ends included."""

    from_ms: int
    until_ms: int


class Found(NamedTuple):
    """windows: labelled; hit: of them with an alert; outside: alerts in no window; alerts: all of them."""

    windows: int
    hit: int
    outside: int
    alerts: int

    def plus(self, other: Found) -> Found:
        """Both together."""
        return Found(*(a + b for a, b in zip(self, other, strict=True)))


def count(windows: Sequence[Window], starts_ms: Sequence[int]) -> Found:
    """Where alerts start, against the windows.

    >>> count([Window(10, 20), Window(30, 40)], [12, 15, 25])
    Found(windows=2, hit=1, outside=1, alerts=3)
    """
    hit = sum(any(one.from_ms <= at <= one.until_ms for at in starts_ms) for one in windows)
    outside = sum(not any(one.from_ms <= at <= one.until_ms for one in windows) for at in starts_ms)
    return Found(len(windows), hit, outside, len(starts_ms))


def time_ms(text: str) -> int:
    """NAB's local times, read as UTC as `graft replay` does."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def graft_starts(files: Sequence[Path]) -> dict[str, list[int]]:
    """Start of each alert, by entity (the file's stem), from a replay of the files."""
    from agents.offline import replay
    from agents.settings import Settings

    starts: dict[str, list[int]] = defaultdict(list)
    with TemporaryDirectory(prefix="graft-bench-") as out:
        options = replay.Options(inputs=files, out=Path(out), settings=Settings(), scores="none")
        replay.run(options, clock_s=time.monotonic, report=lambda *_: None, note=lambda _: None)
        for line in (Path(out) / "alerts.jsonl").read_text().splitlines():
            alert = json.loads(line)
            if alert["state"] == "firing":
                starts[alert["entity"]].append(alert["started_ms"])
    return starts


class Scored(NamedTuple):
    """A recording and the baseline's z of each row."""

    ts_ms: NDArray[np.int64]
    z: NDArray[np.float64]

    def starts(self, threshold: float) -> list[int]:
        """Start of each stretch beyond the threshold."""
        over = np.flatnonzero(self.z >= threshold)
        first = np.diff(over, prepend=-MERGE_ROWS - 1) > MERGE_ROWS
        return [int(at) for at in self.ts_ms[over[first]]]


def ewma_z(path: Path) -> Scored:
    """|value - mean| / deviation, both exponentially weighted over the rows before."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    mean, variance, z = 0.0, 0.0, np.zeros(len(rows))
    for at, row in enumerate(rows):
        value = float(row["value"])
        weight = max(WEIGHT, 1 / (at + 1))
        if at >= SILENT_ROWS and variance > 0:
            z[at] = abs(value - mean) / variance**0.5
        off = value - mean
        mean += weight * off
        variance = (1 - weight) * (variance + weight * off * off)
    return Scored(np.array([time_ms(row["timestamp"]) for row in rows], np.int64), z)


def baseline_starts(files: Sequence[Path], alerts: int) -> dict[str, list[int]]:
    """Starts by stem, at the lowest threshold that gives at most so many alerts over all files."""
    scored = {path.stem: ewma_z(path) for path in files}
    every = np.sort(np.concatenate([one.z for one in scored.values()]))[::-1]
    best = np.inf
    # Down from the top, since far down all crossings would merge into one alert again.
    for level in every[: len(every) // 5 : max(1, len(every) // 5000)]:
        if sum(len(one.starts(level)) for one in scored.values()) > alerts:
            break
        best = level
    return {stem: one.starts(best) for stem, one in scored.items()}


def measure(data: Path) -> dict[str, Any]:
    """Counts by folder and file, of Graft and of the baseline."""
    labels = json.loads((data / "labels" / "combined_windows.json").read_text())
    result: dict[str, Any] = {}
    for group in sorted(path.name for path in (data / "data").iterdir() if path.is_dir()):
        files = sorted((data / "data" / group).glob("*.csv"))
        starts = graft_starts(files)
        alerts = sum(len(one) for one in starts.values())
        methods = {"graft": starts, "ewma_z": baseline_starts(files, alerts)}
        result[group] = {
            path.stem: {
                name: count(
                    [Window(*map(time_ms, one)) for one in labels[f"{group}/{path.name}"]], found.get(path.stem, [])
                )
                for name, found in methods.items()
            }
            for path in files
        }
    return result


def total(files: dict[str, dict[str, Found]], method: str) -> Found:
    """Sum over the files of a folder."""
    whole = Found(0, 0, 0, 0)
    for one in files.values():
        whole = whole.plus(one[method])
    return whole


def show(result: dict[str, Any]) -> None:
    """For people: each file of the two operators' folders, and a line a folder."""
    print(f"{'':<58}{'windows':>8}{'found':>8}{'alerts outside':>16}   ewma_z: {'found':>6}{'outside':>9}")
    for group, files in result.items():
        lines = [(f"  {stem}", one["graft"], one["ewma_z"]) for stem, one in files.items()] if group in SHOWN else []
        for name, graft, other in [*lines, (group, total(files, "graft"), total(files, "ewma_z"))]:
            ours = f"{name:<58}{graft.windows:>8}{graft.hit:>8}{graft.outside:>16}"
            print(f"{ours}           {other.hit:>6}{other.outside:>9}")


def main() -> int:
    """`python -m benchmarks.nab`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nab", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="folder that holds NAB/ (default ../shared/data, or GRAFT_DATA)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    data = folder(args.data) / "NAB"
    if not (data / "labels" / "combined_windows.json").exists():
        print(f"NAB is absent: {data} has no labels/combined_windows.json; nothing was measured.", file=sys.stderr)
        if args.json:
            print(json.dumps({"absent": ["NAB"], "folders": {}}))
        return 0
    result = measure(data)
    if args.json:
        totals = {group: {m: total(files, m)._asdict() for m in ("graft", "ewma_z")} for group, files in result.items()}
        files = {
            f"{g}/{s}": {m: one[m]._asdict() for m in one} for g, found in result.items() for s, one in found.items()
        }
        print(json.dumps({"absent": [], "folders": totals, "files": files}))
    else:
        show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
