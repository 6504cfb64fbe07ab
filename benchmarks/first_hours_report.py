"""The figures of `benchmarks.first_hours` as tables for people. Knows the keys, computes nothing."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    ("error_ratio", "error", ".3f"),
    ("hours_to_parity", "parity h", ".1f"),
    ("ev_f1", "ev F1", ".3f"),
    ("rec_1d", "rec@1/d", ".3f"),
    ("false_pages_day", "false/d", ".2f"),
    ("recall_at_page", "recall", ".2f"),
    ("rate_ok", "rate ok", ".2f"),
    ("rate_mean", "rate x", ".2f"),
)
AGED = (("error_ratio", "error", ".2f"), ("false_pages_day", "false/d", ".2f"), ("recall_at_page", "recall", ".2f"))
NOTE = """error: forecast error over that of the warm model, and the age from which it stays within 1.1 of it. page:
best event F1 and recall at one false page a day at one common threshold; false pages a day and recall at page >= 1.
rate of severity >= 3 on normal rows: share of targets within [0.5, 2] of 0.001, and the mean over 0.001."""
HARMS = (("seeded", "harm"), ("unguarded", "harm_unguarded"), ("wrong", "harm_wrong"), ("naive", "harm_naive"))


def show(told: dict[str, Any]) -> None:
    """Everything, case by case."""
    print(f"{told['seconds']} s" + (" (--fast)" if told["fast"] else ""))
    for what in told["absent"]:
        print(f"absent: {what}; give --data DIR or set GRAFT_DATA")
    if told["cases"]:
        print(NOTE)
    for name, case in told["cases"].items():
        _case(name, case)
    if "cost" in told:
        _cost(told["cost"])
    _goals(told["goals"])


def _case(name: str, case: dict[str, Any]) -> None:
    lines = {line: one for line, one in case.items() if isinstance(one, dict) and "ev_f1" in one and "by_age" in one}
    print(f"\n{name}: {case['targets']} targets, {case['runs']} runs, {case['events']} events, {case['seconds']} s")
    print(f"  {'line':<14}" + "".join(f"{head:>9}" for _, head, _ in COLUMNS))
    for line, one in lines.items():
        print(f"  {line:<14}" + "".join(f"{_cell(one[key], form):>9}" for key, _, form in COLUMNS))
    for title, key in (("seeded - cold", "seeded_minus_cold"), ("warm - cold", "warm_minus_cold")):
        parts = [
            f"{measure} {_cell(mid, '+.3f')} [{_cell(low, '+.3f')}, {_cell(high, '+.3f')}]"
            for measure, (low, mid, high) in case[key].items()
        ]
        print(f"  {title}: " + "; ".join(parts))
    print(f"  gap closed: {_cell(case['gap_closed'], '.2f')} (- where warm is not surely better than cold)")
    harms = [
        f"{line} {_cell(case[f'{k}_mean'], '+.1%')}, worst {_cell(case[f'{k}_worst'], '+.1%')}" for line, k in HARMS
    ]
    print("  forecast loss against cold, per target: " + "; ".join(harms))
    print(f"  seeded: share of targets hurt by more than 2 %: {_cell(case['share_hurt'], '.0%')}")
    if "refused_far" in case:
        far, near = (_cell(case.get(f"refused_{zone}"), ".0%") for zone in ("far", "near"))
        print(f"  plan after a day refuses: far {far}, near {near}")
    _ages(lines)
    if "day_one" in lines["cold"]:
        cells = [
            f"{line} " + ", ".join(f"{_cell(one['day_one'][key], form)}" for key, _, form in AGED)
            for line, one in lines.items()
        ]
        print("  day one (error, false/d, recall): " + "; ".join(cells))
    if "variants" in case:
        _variants(case["variants"])


def _ages(lines: dict[str, Any]) -> None:
    for key, head, form in AGED:
        print(f"  {head + ' by age, h':<16}" + "".join(f"{age:>8}" for age in lines["cold"]["by_age"]))
        for line, one in lines.items():
            if any(band[key] is not None for band in one["by_age"].values()):
                cells = "".join(f"{_cell(band[key], form):>8}" for band in one["by_age"].values())
                print(f"    {line:<14}{cells}")


def _variants(variants: dict[str, Any]) -> None:
    shown = ("cold", "naive", "seeded", "unguarded", "wrong", "warm")
    print(
        "  by what sets the target apart: forecast error over warm's, false pages a day; loss of seeded against cold;"
    )
    print("  share of plans after a day that refuse the source")
    print(f"    {'':<10}" + "".join(f"{line:>16}" for line in shown) + f"{'harm':>9}{'refused':>9}")
    for name, one in variants.items():
        cells = "".join(
            f"{_cell(one[line]['error_ratio'], '.2f') + ' ' + _cell(one[line]['false_pages_day'], '.2f'):>16}"
            for line in shown
        )
        print(f"    {name:<10}{cells}{_cell(one['harm_mean'], '+.1%'):>9}{_cell(one['refused'], '.0%'):>9}")
    print("  error over cold's from two hours on, median and worst run")
    for name, one in variants.items():
        cells = "".join(
            f"{line:>12} {_cell(found['median'], '.2f')} {_cell(found['worst'], '.2f')}"
            for line, found in one["after_2h_over_cold"].items()
        )
        print(f"    {name:<10}{cells}")


def _cost(cost: dict[str, Any]) -> None:
    print(f"\nCost of the guard: time and memory over a cold shard's, step {cost['step_s']} s; {cost['seconds']} s")
    for fleet in ("wide", "lone"):
        one = cost[fleet]
        print(
            f"  {fleet}: {one['series']} series, {one['metrics_per_entity']} an entity, cold "
            f"{one['cold_us_per_sample']:.2f} us a sample"
        )
        stages = list(next(iter(one["sources"].values())))
        print(f"    {'sources':<8}" + "".join(f"{stage:>14}" for stage in stages))
        for count, found in one["sources"].items():
            cells = (f"{found[stage]['time']:.2f} {_cell(found[stage].get('memory'), '.2f')}" for stage in stages)
            print(f"    {count:<8}" + "".join(f"{cell:>14}" for cell in cells))


def _goals(goals: list[dict[str, Any]]) -> None:
    """The scorecard."""
    print(f"\n  {'what is wanted':<34}{'this run':>16}{'floor':>18}{'goal':>18}   {'floor':<14}goal")
    head = ""
    for row in goals:
        if row["head"] != head:
            head = row["head"]
            print(f"  {head}")
        figures = ", ".join(_short(part["figure"]) for part in row["parts"])
        floor, goal = (", ".join(_limit(part, kind) for part in row["parts"]) for kind in ("floor", "goal"))
        print(
            f"    {row['name']:<32}{figures:>16}{floor:>18}{goal:>18}   {row['floor'] or '-':<14}{row['goal'] or '-'}"
        )
    for kind in ("floor", "goal"):
        said = [row[kind] for row in goals if row[kind]]
        parts = ", ".join(f"{said.count(word)} {word}" for word in dict.fromkeys(said))
        print(f"  {kind}s: {parts}")


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _limit(part: dict[str, Any], kind: str) -> str:
    limit = part[kind]
    if limit is None:
        return "-"
    told = "..".join(f"{one:g}" for one in limit) if isinstance(limit, (tuple, list)) else f"{limit:g}"
    return f"{part['direction']} {told}"


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
