"""Report: what was lent and what it was worth, by fleet, by source and by metric class. Pure: records in, data out.

Owns `graft.transfer_report/1` and its one sentence. A fleet is the entities of one environment. What it counts was
measured by the twins (`engine.account`): in each trial the seeded and the cold version forecast the same values.

Not obvious: the series of one entity are no independent witnesses. So an interval of a share is Wilson's as if each
entity were one observation, which is too wide rather than too narrow, and the sign test counts entities.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from engine.account import MARGIN
from engine.components.worth import EDGES_H
from engine.transfer.received import is_number
from engine.transfer.trial import ADOPTED, BELIEVED, EVICTED, OUTCOMES, PASSED, REFUSED, RETURNED, Trial, trials

SCHEMA = "graft.transfer_report/1"
COMPONENTS = ("scale", "season", "structure", "tail")
#: Rows of the lists in a report; what is left out is counted.
MOST_CLASSES, MOST_EVICTIONS = 40, 200
#: Two-sided 95 %.
Z95 = 1.959964
#: What was known when a trial was decided or ended, in words.
REASONS = (
    ("unlike", "unlikeness of the metrics"),
    ("loud", "ln of the evidence beside the source's"),
    ("proof", "e-value against its forecasts"),
)


def report(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The whole report. records: of the experiments topic; see `transfer/trial`."""
    found = trials(records)
    environments = dict.fromkeys(trial.environment for trial in found)
    fleets = [_fleet([one for one in found if one.environment == name], name) for name in environments]
    return {
        "schema": SCHEMA,
        "margin": MARGIN,
        "headline": " ".join(fleet["headline"] for fleet in fleets) or "Nothing was lent, so nothing was measured.",
        "trials": len(found),
        "fleets": fleets,
    }


def _fleet(of: Sequence[Trial], name: str) -> dict[str, Any]:
    believed = [one for one in of if one.outcome in BELIEVED]
    others = [one for one in of if one.outcome not in BELIEVED]
    evicted = [one for one in of if one.outcome in EVICTED]
    classes = _classes(believed or of)
    fleet: dict[str, Any] = {
        "environment": name,
        "entities": {"all": len(of), **{word: sum(one.outcome == word for one in of) for word in OUTCOMES}},
        "believed": measured(believed),
        "not_believed": measured(others),
        "sources": [
            {"source": source, **_source([one for one in of if one.source == source])}
            for source in dict.fromkeys(one.source for one in of)
        ],
        "classes": classes[:MOST_CLASSES],
        "classes_left_out": max(0, len(classes) - MOST_CLASSES) + sum(_left_out(one) for one in believed or of),
        "heat_map": {
            "components": list(COMPONENTS),
            "shows": "share of each component that came from the source when it was first decided, beside the gain of "
            "the class as a whole: what each component has gained alone cannot be told apart",
        },
        "pages": _pages(believed, others),
        "evictions": [_eviction(one) for one in evicted[:MOST_EVICTIONS]],
        "evictions_left_out": max(0, len(evicted) - MOST_EVICTIONS),
    }
    return {**fleet, "headline": headline(fleet)}


def _source(of: Sequence[Trial]) -> dict[str, Any]:
    outcomes = {word: sum(one.outcome == word for one in of) for word in OUTCOMES}
    return {"entities": {"all": len(of), **outcomes}, **measured([one for one in of if one.outcome in BELIEVED])}


def measured(of: Sequence[Trial]) -> dict[str, Any]:
    """The accounts of some trials as one; series = helped + equal + hurt, shares None if there are none."""
    worths = [one.worth for one in of if one.worth.get("series")]
    series, helped, equal, hurt = (sum(int(one[word]) for one in worths) for word in _COUNTS)
    by_age = _by_age(worths)
    better, worse = (sum(sign * (one["gain"] or 0.0) > MARGIN for one in worths) for sign in (1, -1))
    return {
        "entities_measured": len(worths),
        "series": series,
        "helped": helped,
        "equal": equal,
        "hurt": hurt,
        "shares": {
            word: {"share": _round(count / series), "interval": wilson(count / series, len(worths))} if series else None
            for word, count in (("helped", helped), ("equal", equal), ("hurt", hurt))
        },
        "gain": _mean(worths, "gain"),
        "error_ratio": _mean(worths, "error_ratio", is_ratio=True),
        "entities_better": better,
        "entities_worse": worse,
        "sign_p": sign_test(better, worse),
        "parity_h": _parity(worths),
        "by_age": by_age,
        "worth_h": worth_h(by_age),
        "is_worth_open": bool(by_age) and by_age[-1]["gain"] > MARGIN,
        "behind_h": behind_h(by_age),
    }


_COUNTS = ("series", "helped", "equal", "hurt")


def worth_h(by_age: Sequence[Mapping[str, Any]]) -> float | None:
    """Hours of learning until the cold version forecast as well as the seeded one, of all series together.

    Where the mean gain falls to MARGIN for good, on straight lines between the middles of the stretches; the end of the
    last one if it never does; None if nothing is known.
    """
    if not by_age:
        return None
    last = max((at for at, one in enumerate(by_age) if one["gain"] > MARGIN), default=-1)
    if last < 0:
        return 0.0
    if last == len(by_age) - 1:
        return float(by_age[last]["to_h"])
    a, b = by_age[last], by_age[last + 1]
    from_h, to_h = ((one["from_h"] + one["to_h"]) / 2 for one in (a, b))
    share = float((a["gain"] - MARGIN) / (a["gain"] - b["gain"]))
    return round(float(from_h + (to_h - from_h) * share), 2)


def behind_h(by_age: Sequence[Mapping[str, Any]]) -> float:
    """Hours at the beginning in which the seeded version forecast worse than the cold one; 0 if it never did."""
    hours = 0.0
    for one in by_age:
        if one["gain"] >= -MARGIN:
            break
        hours = float(one["to_h"])
    return hours


def wilson(share: float, observations: int) -> list[float] | None:
    """95 % interval of a share; None without observations.

    >>> wilson(0.5, 4)
    [0.15, 0.85]
    """
    if observations == 0:
        return None
    n, z2 = observations, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return [round(max(middle - half, 0.0), 2), round(min(middle + half, 1.0), 2)]


def sign_test(better: int, worse: int) -> float | None:
    """Two-sided probability of a division as uneven as this by chance; None where all are equal.

    >>> sign_test(5, 0)
    0.0625
    """
    n = better + worse
    if n == 0:
        return None
    # Logarithms: a fleet of ten thousand has no 2 ** n.
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(min(better, worse) + 1)]
    return float(f"{min(1.0, 2 * sum(math.exp(one - n * math.log(2)) for one in logs)):.3g}")


def _by_age(worths: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    told = []
    for from_h, to_h in pairwise(EDGES_H):
        here = [row for one in worths for row in one["by_age"] if row["from_h"] == from_h]
        series = sum(int(row["series"]) for row in here)
        if series:
            means = {
                name: _round(sum(row[name] * row["series"] for row in here) / series)
                for name in ("seeded", "cold", "gain")
            }
            samples = sum(int(row["samples"]) for row in here)
            told.append({"from_h": from_h, "to_h": to_h, "series": series, "samples": samples, **means})
    return told


def _mean(of: Sequence[Mapping[str, Any]], name: str, *, is_ratio: bool = False) -> float | None:
    """Mean over the series of all; of ratios the geometric one."""
    known = [(float(one[name]), int(one["series"])) for one in of if one.get(name) is not None and one["series"]]
    if not known:
        return None
    total = sum(series for _, series in known)
    if is_ratio:
        return _round(math.exp(sum(math.log(max(value, 1e-9)) * series for value, series in known) / total))
    return _round(sum(value * series for value, series in known) / total)


def _parity(of: Sequence[Mapping[str, Any]]) -> float | None:
    """Median over the series, each at its entity's or class's median; None if it lies beyond what was measured."""
    known = sorted(
        (math.inf if one["parity_h"] is None else float(one["parity_h"]), int(one["series"]))
        for one in of
        if one["series"]
    )
    half, seen = sum(series for _, series in known) / 2, 0
    for hours, series in known:
        seen += series
        if seen >= half:
            return hours if math.isfinite(hours) else None
    return None


def _classes(of: Sequence[Trial]) -> list[dict[str, Any]]:
    """By metric class, those with the most series first."""
    parts: dict[str, list[Mapping[str, Any]]] = {}
    borrowed: dict[str, list[tuple[dict[str, float], int]]] = {}
    for trial in of:
        lent = trial.borrowed
        for one in trial.worth.get("classes") or ():
            parts.setdefault(one["class"], []).append(one)
            borrowed.setdefault(one["class"], []).append((lent.get(one["class"], {}), int(one["series"])))
    told = []
    for name, ones in parts.items():
        series, helped, equal, hurt = (sum(int(one[word]) for one in ones) for word in _COUNTS)
        lent_to = borrowed[name]
        total = sum(count for _, count in lent_to)
        told.append({
            "class": name, "series": series, "helped": helped, "equal": equal, "hurt": hurt,
            "gain": _mean(ones, "gain"), "error_ratio": _mean(ones, "error_ratio", is_ratio=True),
            "parity_h": _parity(ones),
            "borrowed": {
                part: _round(sum(shares.get(part, 0.0) * count for shares, count in lent_to) / total) if total else 0.0
                for part in COMPONENTS
            },
        })  # fmt: skip
    return sorted(told, key=lambda one: (-one["series"], one["class"]))


def _left_out(trial: Trial) -> int:
    return int(trial.worth.get("classes_left_out") or 0)


def _pages(believed: Sequence[Trial], others: Sequence[Trial]) -> dict[str, Any]:
    """Pages that the other version would have sent. Without labels none of them is known to be false."""

    def total(of: Sequence[Trial], name: str) -> int:
        return sum(int((one.worth.get("pages") or {}).get(name, 0)) for one in of)

    return {
        "cold_would_have_sent": total(believed, "cold_alone"),
        "seeded_would_have_sent": total(others, "seeded_alone"),
        "is": "pages that the version which was not believed would have sent, and the other one not within an hour; an "
        "upper bound of the false pages avoided, for nobody has said which of them were false",
    }


def _eviction(trial: Trial) -> dict[str, Any]:
    record, worth = trial.decided or {}, trial.worth
    return {
        "entity": trial.entity,
        "source": trial.source,
        "outcome": trial.outcome,
        "at_ms": record.get("at_ms"),
        "evidence": record.get("evidence") or {},
        "limits": record.get("limits") or {},
        "reason": reason(record),
        "because": record.get("because"),
        "hours": worth.get("hours"),
        "gain": worth.get("gain"),
        "seeded_would_have_sent": int((worth.get("pages") or {}).get("seeded_alone", 0)),
    }


def reason(record: Mapping[str, Any]) -> str:
    """Evidence beside its limit, in words."""
    evidence, limits = record.get("evidence") or {}, record.get("limits") or {}
    said = [
        f"{words} {evidence[name]:.2f}" + (f" (limit {limits[name]:.2f})" if is_number(limits.get(name)) else "")
        for name, words in REASONS
        if is_number(evidence.get(name))
    ]
    return ", ".join(said) or "no evidence given"


def headline(fleet: Mapping[str, Any]) -> str:
    """One sentence or two for somebody who knows nothing of this."""
    entities, of = fleet["entities"], fleet["believed"]
    said = f"{fleet['environment']}: " if fleet["environment"] not in ("default", "None") else ""
    if of["series"]:
        said += (
            f"Of {of['series']:,} series of {of['entities_measured']:,} seeded {_plural(of['entities_measured'])}, "
            f"{100 * of['helped'] / of['series']:.0f} % forecast better than a cold start did beside them, "
            f"{100 * of['hurt'] / of['series']:.0f} % worse; the seed was worth {hours_text(of)} of learning"
            + early_text(of)
        )
    else:
        said += "Nothing that was lent is believed, or not for long enough to be measured"
    out = [
        f"{entities[word]:,} {text}"
        for word, text in ((REFUSED, "refused"), (RETURNED, "taken back"))
        if entities[word]
    ]
    if out:
        said += f"; of {entities['all']:,} {_plural(entities['all'])} {' and '.join(out)}"
    if entities[ADOPTED]:
        said += f"; {entities[ADOPTED]:,} still on trial"
    elif not out and entities[PASSED] == entities["all"]:
        said += "; none was refused"
    return said + "."


def hours_text(of: Mapping[str, Any]) -> str:
    """worth_h for people."""
    hours = of["worth_h"]
    if hours is None:
        return "an unknown time"
    if of["is_worth_open"]:
        return f"more than {hours:g} h"
    return "no time" if hours == 0 else f"about {hours:.0f} h" if hours >= 2 else f"about {60 * hours:.0f} min"


def refused_text(fleet: Mapping[str, Any]) -> str:
    """Was it right not to believe? As far as forecasts tell; empty if nothing of it was measured."""
    of = fleet["not_believed"]
    if not of["series"]:
        return ""
    return (
        f"Where the seed is not believed it would have forecast {of['helped']:,} of {of['series']:,} series better and "
        f"{of['hurt']:,} worse ({of['gain']:+.2f} nats a sample). That alone is no reason to believe it: a far source "
        "also forecasts better than a young cold model, and it is refused for its alarms."
    )


def early_text(of: Mapping[str, Any]) -> str:
    """What follows worth_h where the beginning was not the seed's; empty if it was."""
    return f", after {of['behind_h']:g} h in which it forecast worse" if of["behind_h"] and of["worth_h"] else ""


def _plural(count: int) -> str:
    return "entity" if count == 1 else "entities"


def _round(value: float) -> float:
    return round(value, 4)
