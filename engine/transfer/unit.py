"""Unit: what a metric is measured in, guessed from how it is named; None where the name does not say.

Owns the conventions of Prometheus and OpenMetrics (base unit as a suffix), OpenTelemetry (semantic conventions) and
Telegraf (the unit anywhere in the field). Units are UCUM codes, as OpenTelemetry writes them: s, By, %, 1.
"""

from __future__ import annotations

import re

from engine.series import COUNTER_SUFFIXES

#: Words that are a unit wherever they stand in a name; the last of a name that is one counts.
WORDS = {
    "seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns", "minutes": "min", "hours": "h",
    "days": "d", "ms": "ms", "us": "us", "ns": "ns", "bytes": "By", "kilobytes": "kBy", "kb": "kBy", "kib": "KiBy",
    "megabytes": "MBy", "mb": "MBy", "mib": "MiBy", "gb": "GBy", "gib": "GiBy", "bits": "bit", "percent": "%",
    "pct": "%", "ratio": "1", "celsius": "Cel", "volts": "V", "amperes": "A", "joules": "J", "watts": "W", "grams": "g",
    "meters": "m", "hertz": "Hz", "hz": "Hz", "mbit": "Mbit", "kbit": "kbit", "mhz": "MHz", "rpm": "{rpm}",
}  # fmt: skip
#: Last parts of a dotted name, by the semantic conventions of OpenTelemetry.
LAST = {"utilization": "1", "duration": "s", "time": "s", "uptime": "s", "io": "By"}
#: Beginnings of fields that Telegraf's cpu and disk inputs use.
FIRST = {"usage_": "%"}


def unit_of(name: str) -> str | None:
    """The unit of a metric of this name.

    >>> unit_of("node_cpu_seconds_total"), unit_of("net.bytes_recv"), unit_of("cpu.usage_idle"), unit_of("load1")
    ('s', 'By', '%', None)
    """
    if name.lower().endswith("per_second"):
        return "1/s"
    plain = name
    for suffix in COUNTER_SUFFIXES:
        if suffix in ("_count", "_bucket") and name.endswith(suffix):
            return "1"
        plain = plain.removesuffix(suffix)
    last = plain.rsplit(".", 1)[-1].lower()
    start = next((unit for first, unit in FIRST.items() if last.startswith(first)), None)
    found = [WORDS[word] for word in re.split(r"[^a-z0-9]+", last) if word in WORDS]
    dotted = LAST.get(last) if "." in plain and "_" not in name else None
    return found[-1] if found else start or dotted
