"""What are a reviewer's answers worth? `python -m benchmarks.feedback [--data DIR] [--json] [--fast] [--only LIST]`.

All entities of a set are one shard, as in life. Over the scored part somebody answers at most three questions a day
with the truth, 5 % of the answers wrong; each answer is carried out at the end of its hour, so it changes only what
comes later. What is asked is chosen by the worker's own desk, from pages and escalations. Beside it, in the same run:
nobody answers; chance chooses; and a reviewer of whom 30 % of the answers are wrong. Told is what pages at page >= 1 in
the whole scored part, and (`after`) only in the part after the last answer, beside what the same part was without
answers: event F1, recall, false pages, each against the most answers that were given (0, 5, 10, 20, 40).

`gain` is of event F1 over nobody's answers. `level` is the control that tells what the answers themselves say: nobody's
pages at one common threshold, chosen in hindsight, that gives no more false pages than the line had. A line that is not
above its level has gained by being quieter, not by knowing where.

Means are over the seeds of chance and of who is wrong. Exit status 1: a
goal is missed (false pages halved at equal recall within 20 answers; chosen 1.5 times as useful as chance; 30 % wrong
never worse than nobody by more than .02).

`--fast` is four entities a set, 20 answers and one seed. `--only` names sets.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feedback_report import goals, show
from benchmarks.feedback_run import Came, Line, figures, level, run, score
from benchmarks.feedback_world import World
from benchmarks.quality import machine
from benchmarks.quality_sets import NAB, SETS, names
from benchmarks.series_data import folder, parser_of

#: NAB's files are no fleet, and live in times of their own.
REVIEWED = tuple(name for name in SETS if name != NAB)
ANSWERS, SEEDS, FEW = (5, 10, 20, 40), 3, 4
WRONG = 0.3
#: Lines by name.
LINES: dict[str, Callable[[int, int], Line]] = {
    "chosen": lambda answers, seed: Line(answers, seed=seed),
    "random": lambda answers, seed: Line(answers, is_random=True, seed=seed),
    "wrong": lambda answers, seed: Line(answers, wrong=WRONG, seed=seed),
}


def measure(world: World, answers: Sequence[int], seeds: int) -> dict[str, Any]:
    """Everything about one set: line -> answers -> figures."""
    nobody = run(world, Line(0))
    told: dict[str, Any] = {"none": {"0": figures(score(world, nobody))}}
    for name, line in LINES.items():
        told[name] = {}
        for most in answers:
            found = [_one(world, line(most, seed), nobody) for seed in range(seeds)]
            told[name][str(most)] = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    return told


def _one(world: World, line: Line, nobody: Came) -> dict[str, float]:
    """Figures of one line, and its gains over nobody's answers."""
    came = run(world, line)
    last_ms = max(came.answered_ms, default=0)
    whole, before = figures(score(world, came)), figures(score(world, nobody))
    same = level(world, nobody, whole["false_pages"])
    later, without = (figures(score(world, one, from_ms=last_ms)) for one in (came, nobody))
    return whole | {
        "gain": whole["ev_f1"] - before["ev_f1"],
        "false_ratio": whole["false_pages"] / max(before["false_pages"], 1.0),
        "recall_lost": before["recall"] - whole["recall"],
        "level_ev_f1": same["ev_f1"],
        "level_recall": same["recall"],
        "over_level": whole["ev_f1"] - same["ev_f1"],
        "given": float(len(came.answered_ms)),
        "wrong": float(sum(one["wrong"] for one in came.asked)),
        "after_gain": later["ev_f1"] - without["ev_f1"],
        "after_false_pages": later["false_pages"],
        "after_false_pages_without": without["false_pages"],
        "after_recall": later["recall"],
        "after_recall_without": without["recall"],
    }


def benchmark(data: Path, sets: Sequence[str], *, fast: bool) -> dict[str, Any]:
    """Everything that `--json` tells."""
    began = time.perf_counter()
    told: dict[str, Any] = {"machine": machine(), "fast": fast, "absent": [], "sets": {}}
    for name in sets:
        if not names(data, name):
            told["absent"].append(f"{name} (nothing under {data / name})")
            continue
        print(f"{name} ...", file=sys.stderr)
        world = World(data, name, most=FEW if fast else None)
        told["sets"][name] = measure(world, (20,) if fast else ANSWERS, 1 if fast else SEEDS)
    return told | {"goals": goals(told["sets"]), "seconds": round(time.perf_counter() - began, 1)}


def main(arguments: list[str] | None = None) -> int:
    """`python -m benchmarks.feedback`."""
    parser = parser_of("benchmarks.feedback", __doc__)
    parser.add_argument("--only", metavar="LIST", help=f"of {', '.join(REVIEWED)}, with commas")
    parser.add_argument("--fast", action="store_true", help=f"{FEW} entities a set, 20 answers, one seed")
    args = parser.parse_args(arguments)
    wanted = [word for word in (args.only or "").split(",") if word] or list(REVIEWED)
    strange = [word for word in wanted if word not in REVIEWED]
    if strange:
        raise SystemExit(f"--only does not know {', '.join(strange)}; it takes {', '.join(REVIEWED)}.")
    told = benchmark(folder(args.data), wanted, fast=args.fast)
    print(json.dumps(told)) if args.json else show(told)
    return 0 if all(one["is_met"] for one in told["goals"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
