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


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
