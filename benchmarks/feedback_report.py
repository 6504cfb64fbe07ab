"""The figures of `benchmarks.feedback` as tables for people, and which goals they meet. Computes nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

#: The goals: false pages at most so many times as many, at most so much recall less (half an event of fifty), within so
#: many answers; chosen so many times as useful as chance; and with a third of the answers wrong at most so much worse.
HALF, EQUAL, WITHIN = 0.5, 0.01, "20"
BETTER, HARM = 1.5, 0.02
TITLES = {"chosen": "chosen", "random": "by chance", "wrong": "30 % wrong"}
HEAD = (
    "answers  event F1    gain  recall  false pages   ratio  level: F1  recall |  after: gain  false (without)"
    "  recall (without)"
)


def goals(sets: dict[str, Any]) -> dict[str, Any]:
    """Goal -> what was wanted, what came, and whether it is met."""
    halved = {
        name: [round(told["chosen"][WITHIN][key], 3) for key in ("false_ratio", "recall_lost")]
        for name, told in sets.items()
    }
    gains = {line: _mean_gain(sets, line) for line in ("chosen", "random")}
    worst = {name: round(min(one["gain"] for one in told["wrong"].values()), 4) for name, told in sets.items()}
    # Where chance makes it worse, whatever does not is better than any multiple of it.
    is_better = gains["chosen"] > 0.0 and gains["chosen"] >= BETTER * gains["random"]
    return {
        "halved": {
            "wanted": f"false pages at most x {HALF}, recall at most {EQUAL} less, within {WITHIN} answers",
            "came": halved,
            "is_met": all(ratio <= HALF and lost <= EQUAL for ratio, lost in halved.values()),
        },
        "useful": {"wanted": f"gain of chosen at least {BETTER} x chance", "came": gains, "is_met": is_better},
        "wrong": {
            "wanted": f"30 % wrong answers never worse than none by more than {HARM}",
            "came": worst,
            "is_met": all(gain >= -HARM for gain in worst.values()),
        },
    }


def _mean_gain(sets: dict[str, Any], line: str) -> float:
    """Mean gain of event F1 over sets and numbers of answers."""
    found = [one["gain"] for told in sets.values() for one in told[line].values()]
    return round(float(np.mean(found)), 4) if found else 0.0


def show(told: dict[str, Any]) -> None:
    """Everything, set by set."""
    print(f"{told['machine']}; {told['seconds']} s" + (" (--fast)" if told["fast"] else ""))
    for what in told["absent"]:
        print(f"absent: {what}")
    for name, lines in told["sets"].items():
        none = lines["none"]["0"]
        print(f"\n{name}: nobody answers: event F1 {none['ev_f1']:.3f}, recall {none['recall']:.3f} of "
              f"{none['events']:.0f} events, {none['false_pages']:.0f} false pages")  # fmt: skip
        print(f"  {'':<12}{HEAD}")
        for line, title in TITLES.items():
            for k, (answers, one) in enumerate(lines[line].items()):
                print(f"  {'' if k else title:<12}{_row(answers, one)}")
    print()
    for line, title in TITLES.items():
        over = [one["over_level"] for lines in told["sets"].values() for one in lines[line].values()]
        print(f"{title}: mean event F1 over its level {float(np.mean(over)):+.4f}")
    for name, one in told["goals"].items():
        print(f"{name}: {'met' if one['is_met'] else 'missed'}: {one['wanted']}; came {one['came']}")


def _row(answers: str, one: dict[str, float]) -> str:
    after = (
        f"{one['after_gain']:>+12.3f}{one['after_false_pages']:>8.1f} ({one['after_false_pages_without']:.1f})"
        f"{one['after_recall']:>9.2f} ({one['after_recall_without']:.2f})"
    )
    whole = f"{one['ev_f1']:>10.3f}{one['gain']:>+8.3f}{one['recall']:>8.3f}{one['false_pages']:>13.1f}"
    level = f"{one['level_ev_f1']:>11.3f}{one['level_recall']:>8.3f}"
    return f"{answers:>7}{whole}{one['false_ratio']:>8.2f}{level} |{after}"
