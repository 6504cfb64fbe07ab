"""Words: numbers, times and states as people read them on the page. Pure; knows no HTML.

Times are UTC and say so: the people on call sit in several zones, and so do the logs that they compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

#: What each answer is called, its key, and what it does. The table of engine.feedback has the same answers.
ANSWERS: dict[str, tuple[str, str, str]] = {
    "incident": (
        "Incident", "a", ("It was real. Here it pages a little earlier from now on, and the stretch that is marked is "
        "not kept as normal."),
    ),
    "expected": (
        "Expected", "e", ("It was unusual, and known: a deploy, a load test. The stretch that is marked is not kept as "
        "normal, and here it pages a little later."),
    ),
    "new_normal": ("New normal", "n", "This is how it is from now on. The level moves to where the series is now."),
    "false_alarm": ("False alarm", "f", "Nothing was wrong. Here it takes more to page from now on."),
    "unsure": ("Unsure", "", "Nobody knows. The question is closed, and nothing changes."),
}  # fmt: skip
#: Answers whose stretch is marked.
MARKING = ("incident", "expected")


def answer_name(answer: object) -> str:
    """
    >>> answer_name("new_normal"), answer_name("?"), answer_name(None)
    ('New normal', '?', '-')
    """
    return ANSWERS[answer][0] if answer in ANSWERS else str(answer or "-")


def moment(ms: object) -> str:
    """
    >>> moment(1_790_000_000_000), moment(None)
    ('2026-09-21 14:13:20', '-')
    """
    if not isinstance(ms, (int, float)) or isinstance(ms, bool) or not 0 <= ms < 200_000_000_000_000:
        return "-"
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(ms: object) -> str:
    """For a machine; "" where there is no time.

    >>> iso(0)
    '1970-01-01T00:00:00Z'
    """
    text = moment(ms)
    return "" if text == "-" else text.replace(" ", "T") + "Z"


def clock(ms: object) -> str:
    """The time of the day alone.

    >>> clock(1_790_000_000_000)
    '14:13:20'
    """
    return moment(ms)[11:] or "-"


def length(ms: object) -> str:
    """A stretch of time in its two largest units.

    >>> length(59_000), length(3_720_000), length(200_000_000), length(None)
    ('59 s', '1 h 2 min', '2 d 7 h', '-')
    """
    if not isinstance(ms, (int, float)) or isinstance(ms, bool) or ms != ms:  # noqa: PLR0124 - NaN
        return "-"
    seconds = round(max(0.0, ms) / 1000)
    units = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    parts = list[str]()
    for size, name in units:
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
    return " ".join(part for part in parts[:2] if part) or "0 s"


def figure(value: object, digits: int = 4) -> str:
    """
    >>> figure(0.123456), figure(1234567.0), figure(None), figure("x"), figure(42)
    ('0.1235', '1.235e+06', '-', '-', '42')
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:  # noqa: PLR0124 - NaN
        return "-"
    return f"{value:,}" if isinstance(value, int) and abs(value) < 1e15 else f"{value:.{digits}g}"


def percent(value: object) -> str:
    """
    >>> percent(0.456), percent(None)
    ('46 %', '-')
    """
    return "-" if isinstance(value, bool) or not isinstance(value, (int, float)) else f"{100 * value:.0f} %"


def size(octets: float) -> str:
    """
    >>> size(1536), size(3 << 20)
    ('1.5 KiB', '3.0 MiB')
    """
    for unit in ("B", "KiB", "MiB"):
        if octets < 1024:
            return f"{octets:.0f} B" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} GiB"


def rare(severity: object) -> str:
    """What a severity means: one in so many.

    >>> rare(3), rare(0.2), rare(None), rare(12)
    ('one in 1,000', 'usual', '-', 'one in 10^12')
    """
    if isinstance(severity, bool) or not isinstance(severity, (int, float)):
        return "-"
    if severity < 1:
        return "usual"
    if severity >= 7:
        return f"one in 10^{severity:.0f}"
    whole = 10**severity
    digits = 10 ** max(0, len(str(int(whole))) - 2)
    return f"one in {round(whole / digits) * digits:,}"


def why_unsure(record: Mapping[str, Any]) -> list[str]:
    """Why a question was asked and nobody paged, from what its record says."""
    said = record.get("why") or record.get("unsure")
    found = [one for one in said if isinstance(one, str)][:8] if isinstance(said, list) else []
    confidence, page = record.get("confidence"), record.get("page")
    if isinstance(confidence, (int, float)) and not found:
        found.append(f"Its confidence is {percent(confidence)}; 50 % is a coin's worth.")
    if isinstance(page, (int, float)) and page < 1:
        found.append(
            f"Its urgency is {figure(page, 2)}; from 1 on it pages: it is not both sudden and rare enough here."
        )
    borrowed = record.get("borrowed")
    shares = sorted(_shares(borrowed), key=lambda one: -one[1]) if isinstance(borrowed, Mapping) else []
    if shares and shares[0][1] >= 0.2:
        names = ", ".join(f"{percent(share)} of {name}" for name, share in shares[:3])
        found.append(f"Much of what it is compared with is borrowed from another environment: {names}.")
    components = record.get("components")
    first = components[0] if isinstance(components, list) and components else None
    if isinstance(first, Mapping) and isinstance(first.get("share"), (int, float)) and first["share"] < 0.5:
        found.append(f"No kind of evidence stands out: the largest, {first.get('name')}, is {percent(first['share'])}.")
    contributors = record.get("contributors")
    if isinstance(contributors, list) and len(contributors) == 1:
        found.append("One series alone is unusual; none of its neighbours is.")
    return found


def _shares(borrowed: Mapping[str, Any]) -> Sequence[tuple[str, float]]:
    return [(str(name), float(share)) for name, share in borrowed.items() if isinstance(share, (int, float))]


def stretch(question: Mapping[str, Any]) -> tuple[int, int]:
    """The time that an answer marks unless its giver says otherwise: from where the value leaves its band, without a
    return of more than two samples, to the last that is known."""
    opened = question.get("opened") or question.get("firing") or {}
    began = int(question.get("opened_ms") or question.get("started_ms") or 0)
    until = max(began, int(question.get("ended_ms") or question.get("at_ms") or began))
    context = opened.get("context")
    if not isinstance(context, Mapping):
        return began, until
    times, inside = samples_of(context)
    at = len(times) - 1
    while at >= 0 and times[at] > began:
        at -= 1
    first, calm = None, 0
    while at >= 0 and calm <= 2:
        calm = calm + 1 if inside[at] else 0
        first = times[at] if not inside[at] else first
        at -= 1
    return min(began, first if first is not None else began), max(until, times[-1] if times else until)


def samples_of(context: Mapping[str, Any]) -> tuple[list[int], list[bool]]:
    """Times of a context, and whether the value was inside its band; what is malformed is left out."""
    columns = [context.get(name) for name in ("t_ms", "value", "lower", "upper")]
    if not all(isinstance(column, list) for column in columns):
        return [], []
    times, inside = [], []
    for t_ms, value, lower, upper in zip(*columns, strict=False):
        if type(t_ms) is int and 0 <= t_ms < 100_000_000_000_000:
            times.append(t_ms)
            known = [isinstance(one, (int, float)) for one in (value, lower, upper)]
            inside.append(not all(known) or lower <= value <= upper)
    return times, inside
