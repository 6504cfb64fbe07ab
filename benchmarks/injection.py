"""Is the right metric named, what does junk cost, what is too small? `python -m benchmarks.injection [--fast]`.

Three questions to the engine that labels cannot answer, with the one configuration of `benchmarks.quality`. *Faults*: a
fault in one metric of a real entity; does it alert, and is that metric the first that the alert names, or among the
first three (injection_faults.py)? *Junk*: real entities with columns that say nothing (injection_junk.py). *Shapes*:
made-up metrics that hardly move, or move by another rhythm than the day's (injection_shapes.py).

Baselines stand beside: metrics ranked by |z| of an exponentially weighted average, at the same ticks; an ensemble that
is fitted on the history; averages by time of day. All randomness is seeded: two runs print the same, but for rows/s.
`--fast`: two entities a set and one seed. Everything takes about five minutes of one core, --fast about two.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import injection_faults as faults
from benchmarks import injection_junk as junk
from benchmarks import injection_shapes as shapes
from benchmarks.quality_methods import GRAFT, warm_up
from benchmarks.quality_sets import WIDE, entity, names, some
from benchmarks.series_data import folder, parser_of, read

#: Places an entity that faults begin at; entities a set with junk; seeds of a shape.
PLACES, ENTITIES, SEEDS = 8, 6, 3
PLACES_FAST, ENTITIES_FAST, SEEDS_FAST = 6, 2, 1
PARTS = ("faults", "junk", "shapes")


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def tell_faults(data: Path, sets: list[str], *, fast: bool) -> dict[str, Any]:
    """Kind -> shares; over all sets, and of each."""
    found: dict[str, list[faults.Outcome]] = {}
    for name in sets:
        _note(f"faults in {name} ...")
        every = names(data, name)
        chosen = some(every, most=2 * ENTITIES_FAST) if fast else every
        found[name] = []
        for seed, one in enumerate(chosen):
            recording = read(data / name / f"{one}.npz")
            found[name] += faults.watch(recording, most=PLACES_FAST if fast else PLACES, seed=seed)
    told = {"all": _by_kind([one for each in found.values() for one in each])}
    return told | {name: _by_kind(each) for name, each in found.items()}


def _by_kind(outcomes: list[faults.Outcome]) -> dict[str, Any]:
    told = {kind: faults.shares([one for one in outcomes if one.kind == kind]) for kind in faults.KINDS}
    injured = [one for one in outcomes if one.kind != "none"]
    return {kind: one for kind, one in told.items() if one["faults"]} | {"all but none": faults.shares(injured)}


def tell_junk(data: Path, sets: list[str], *, fast: bool) -> dict[str, Any]:
    """Kind of junk -> method -> figures."""
    most = ENTITIES_FAST if fast else ENTITIES
    entities = {name: [entity(data, name, one) for one in some(names(data, name), most=most)] for name in sets}
    told = {}
    for kind in (junk.CLEAN, *junk.JUNK):
        _note(f"junk: {kind} ...")
        told[kind] = junk.judge(entities, kind)
    return told


def tell_shapes(*, fast: bool) -> dict[str, Any]:
    """Shape -> alone or of eight -> method -> figures."""
    told = {}
    for name, shape in shapes.SHAPES.items():
        _note(f"shape: {name} ...")
        seeds = SEEDS_FAST if fast else SEEDS
        told[name] = {"wanted": shape.wanted} | {
            place: shapes.judge(shape, alone=place == "alone", seeds=seeds) for place in ("alone", "of eight")
        }
    return told


def show_faults(told: dict[str, Any]) -> None:
    """Shares in percent; the baseline in brackets."""
    print("Faults in one metric. Named first / among three, in % (by |EWMA z| at the same tick).")
    print(f"{'':<16}{'faults':>7}{'alert':>12}{'first':>12}{'of three':>12}{'at peak: 1st':>15}{'of three':>12}")
    for name, kinds in told.items():
        print(f"{name}:")
        for kind in kinds if name == "all" else ("all but none",):
            one = kinds[kind]
            cells = [
                (one["alerts"], one["ewma_alerts"], 12),
                (one["first"], one["ewma_first"], 12),
                (one["three"], one["ewma_three"], 12),
                (one["peak_first"], one["ewma_peak_first"], 15),
                (one["peak_three"], one["ewma_peak_three"], 12),
            ]
            text = "".join(f"{f'{100 * own:.0f} ({100 * other:.0f})':>{width}}" for own, other, width in cells)
            print(f"  {kind:<14}{one['faults']:>7}{text}")


def show_junk(told: dict[str, Any]) -> None:
    """Each kind beside the clean stream; the baseline in brackets."""
    print(f"\nJunk added; means of the sets ({junk.BASELINE}).")
    print(f"{'':<16}" + "".join(f"{name:>17}" for name in (*junk.FIGURES, "rows_s")))
    for kind, methods in told.items():
        own, other = methods[GRAFT], methods[junk.BASELINE]
        cells = "".join(f"{f'{own[name]:.3f} ({other[name]:.3f})':>17}" for name in junk.FIGURES)
        print(f"{kind:<16}{cells}{own['rows_s']:>17,.0f}")


def show_shapes(told: dict[str, Any]) -> None:
    """One line a shape; alone and of eight, by method."""
    print("\nShapes: pages a day, share of events that page, share that severity marks; and the largest page of graft.")
    print("`!`: the event should page; the others should not.")
    heads = [f"{place} {method}" for place in ("alone", "of eight") for method in shapes.METHODS]
    print(f"{'':<26}" + "".join(f"{head:>22}" for head in heads))
    for name, one in told.items():
        cells = []
        for place in ("alone", "of eight"):
            for method, found in one[place].items():
                more = f" ({found['largest']:.1f})" if method == GRAFT else ""
                cells.append(
                    " ".join(f"{found[key]:.2f}" for key in ("pages_day", "event_pages", "event_marked")) + more
                )
        print(f"{name + ' !' * one['wanted']:<26}" + "".join(f"{cell:>22}" for cell in cells))


def main(arguments: list[str] | None = None) -> int:
    """`python -m benchmarks.injection`."""
    parser = parser_of("benchmarks.injection", __doc__)
    parser.add_argument("--fast", action="store_true", help="two entities a set (four with faults), one seed")
    parser.add_argument("--only", choices=PARTS, help="one of the three questions")
    args = parser.parse_args(arguments)
    began, data = time.perf_counter(), folder(args.data)
    sets = [name for name in WIDE if names(data, name)]
    wanted = [args.only] if args.only else list(PARTS)
    told: dict[str, Any] = {"fast": args.fast, "absent": [name for name in WIDE if name not in sets]}
    warm_up([GRAFT, junk.BASELINE, *shapes.METHODS])
    if "faults" in wanted and sets:
        told["faults"] = tell_faults(data, sets, fast=args.fast)
    if "junk" in wanted and sets:
        told["junk"] = tell_junk(data, sets, fast=args.fast)
    if "shapes" in wanted:
        told["shapes"] = tell_shapes(fast=args.fast)
    told["seconds"] = round(time.perf_counter() - began, 1)
    if args.json:
        print(json.dumps(told))
        return 0
    for name, show in (("faults", show_faults), ("junk", show_junk), ("shapes", show_shapes)):
        if name in told:
            show(told[name])
    if told["absent"]:
        print(f"absent: {', '.join(told['absent'])} (nothing under {data}); give --data DIR or set GRAFT_DATA")
    print(f"{told['seconds']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
