"""The figures of `benchmarks.quality` as tables for people. Knows the keys, computes nothing."""

from __future__ import annotations

from typing import Any

COLUMNS = (
    ("vus_pr", "VUS-PR", ".3f"),
    ("ap", "AP", ".3f"),
    ("ev_f1", "ev F1", ".3f"),
    ("rec_1d", "rec@1/d", ".3f"),
    ("false_pages_day", "false/d", ".2f"),
    ("recall_at_page", "recall", ".2f"),
    ("rate_ok", "rate ok", ".2f"),
    ("rate_worst", "worst x", ".1f"),
)
NOTE = """severity: VUS-PR, AP, and rate of severity >= 3 (baselines: over its history's 99.9 % point) on normal rows:
share of entities within [0.5, 2] of 0.001, and the worst factor. page: best event F1 and recall at one false page an
entity-day, both at a common threshold; false pages a day and recall at page >= 1 (configured 0.1 a day)."""


def show(told: dict[str, Any]) -> None:
    """Everything, set by set."""
    print(f"{told['machine']}; {told['seconds']} s" + (" (--fast)" if told["fast"] else ""))
    for what in told["absent"]:
        print(f"absent: {what}")
    if told["sets"]:
        print(NOTE)
    for name, methods in told["sets"].items():
        _table(name, methods)
        _over(told["over"].get(name, {}))
        ours = methods.get("graft")
        if ours:
            worst = ours["worst_decile"]
            print(f"  worst tenth: VUS-PR {worst['vus_pr']:.3f} ({', '.join(worst['entities'])})")
    if told["mean"]:
        _table(f"mean of {', '.join(told['mean_of'])}", told["mean"])
        _over(told["over"].get("mean", {}))
    if told["honesty"]:
        print(
            "\nrate of severity over all sets: share of entities that keep it, worst factor; and the share that would"
        )
        print("would keep it if it were promised exactly, with runs of alarms as long as they are")
    for method, one in told["honesty"].items():
        shares = f"{one['rate_ok']:>9.2f}{one['rate_worst']:>9.1f}{one['rate_ok_at_best']:>9.2f}"
        print(f"  {method:<20}{one['entities']:>4}{shares}")
    if told["nab"]:
        _nab(told["nab"])
        for method, one in told["nab_published"].items():
            print(f"  {method:<20} from NAB's repository: {one['standard']:.1f} / {one['cv5']:.1f}")
    _causal(told["causal"])
    if "compare" in told:
        _compare(told["compare"])
        for name, (then, now) in told["then_and_now"].items():
            print(f"  {name:<25}{then:>9.3f} ->{now:>9.3f}")


def _table(title: str, methods: dict[str, Any]) -> None:
    print(
        f"\n{title:<22}{'n':>4}"
        + "".join(f"{head:>9}" for _, head, _ in COLUMNS)
        + f"{'rows/s':>11}  VUS-PR, ev F1 90 %"
    )
    for method, one in methods.items():
        cells = "".join(f"{format(one[key], form):>9}" for key, _, form in COLUMNS)
        ends = "  ".join("{:.3f}-{:.3f}".format(*one["interval"][key]) for key in ("vus_pr", "ev_f1"))
        speed = f"{one['rows_s']:>11,.0f}" if "rows_s" in one else " " * 11
        print(f"  {method:<20}{one['entities']:>4}{cells}{speed}  {ends}")


def _over(over: dict[str, Any]) -> None:
    for method in ("ens2-s", "ens3", "ar20-s", "ar20"):
        if over.get(method):
            parts = [f"{key} {mid:+.3f} [{low:+.3f}, {high:+.3f}]" for key, (low, mid, high) in over[method].items()]
            print(f"  graft - {method}: " + "; ".join(parts))


def _nab(methods: dict[str, Any]) -> None:
    kinds = ("", "_plain", "_severity")
    heads = ("page, quiet period", "page as it is", "severity, quiet")
    print("\nNAB, standard profile: threshold fitted on all files / on the other four fifths")
    print(
        f"  {'':<20}{'files':>6}"
        + "".join(f"{head:>22}" for head in heads)
        + f"{'false/d':>9}{'recall':>9}{'rows/s':>11}"
    )
    for method, one in methods.items():
        pairs = (f"{one[f'standard{kind}']:.1f} / {one[f'cv5{kind}']:.1f}" for kind in kinds)
        cells = "".join(f"{pair:>22}" for pair in pairs)
        # A baseline without a history has no scale for its pages.
        at_one = f"{one['false_pages_day']:>9.2f}{one['recall_at_page']:>9.2f}" if method == "graft" else " " * 18
        print(f"  {method:<20}{one['files']:>6}{cells}{at_one}{one['rows_s']:>11,.0f}")


def _causal(causal: dict[str, Any]) -> None:
    checked = [(name, method, off) for name, one in causal.items() for method, off in one["difference"].items()]
    bad = [f"{method} on {name} ({off:.2g})" for name, method, off in checked if method in causal[name]["broken"]]
    print(f"\nprefix check: {len(checked)} checked, " + (f"NOT CAUSAL: {', '.join(bad)}" if bad else "all causal"))


def _compare(change: dict[str, Any]) -> None:
    print("\ngraft now less graft then, per entity (signed-rank p)")
    for name, each in change.items():
        moved = {key: one for key, one in each.items() if one["up"] + one["down"]}
        if not moved:
            print(f"  {name:<8}nothing has changed")
        for key, one in moved.items():
            print(f"  {name:<8}{key:<17}{one['mean']:+.4f}  up {one['up']}, down {one['down']}, p {one['p']:.3f}")
        gaps = sorted(each["vus_pr"]["entities"].items(), key=lambda item: item[1])
        if name != "all" and "vus_pr" in moved:
            ends = dict([*gaps[:3], *gaps[-3:]])
            print("          vus_pr by entity: " + ", ".join(f"{who} {gap:+.3f}" for who, gap in ends.items()))
