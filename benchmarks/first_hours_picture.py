"""The picture of `benchmarks.first_hours`: forecast errors of a copy, a cold start and a guarded seed by age, as SVG.

Owns how it looks. Knows the keys of the result and computes nothing but places on paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import log2
from typing import Any

#: Case, and what people call it.
PANELS = (
    ("JS-D2-any-1d", "web services, any source"),
    ("SMD-far-1d", "servers, unlike sources"),
    ("ASD-any-3d", "applications, any source"),
    ("AIOPS-any-1d", "single KPIs, any source"),
)
LINES = (("naive", "copied state", "#c2410c"), ("cold", "cold start", "#6b7280"), ("seeded", "Graft's seed", "#0369a1"))
WIDTH, HEIGHT, TOP, LEFT, GAP = 250, 190, 64, 46, 22
#: Errors beside those of a model that has watched all along, from and to, one line in the grid for each doubling.
LOW, HIGH = 0.5, 16.0
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#374151}.head{font-weight:600}.axis{stroke:#9ca3af;stroke-width:1}"
    ".grid{stroke:#e5e7eb}.warm{stroke:#374151;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#d1d5db}.grid{stroke:#374151}.warm{stroke:#d1d5db}}"
)


def draw(told: Mapping[str, Any]) -> str:
    """One SVG of the panels whose cases are in the result; ValueError if none is."""
    panels = [(case, name) for case, name in PANELS if case in told["cases"]]
    if not panels:
        raise ValueError(f"no case to draw; the picture shows {', '.join(case for case, _ in PANELS)}.")
    width = LEFT + len(panels) * (WIDTH + GAP)
    parts = [_panel(told["cases"][case], name, LEFT + k * (WIDTH + GAP)) for k, (case, name) in enumerate(panels)]
    title = "Forecast error in a new environment by age in hours, beside a model that has watched all along (1)"
    legend, x = "", LEFT
    for _, name, colour in LINES:
        legend += (
            f'<path d="M{x} 38h18" stroke="{colour}" stroke-width="3"/><text x="{x + 24}" y="42">{escape(name)}</text>'
        )
        x += 130
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {TOP + HEIGHT + 40}" role="img" '
        f'aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<text class="head" x="{LEFT}" y="20">{escape(title)}</text>'
        f"{legend}{''.join(parts)}</svg>\n"
    )


def _panel(case: Mapping[str, Any], name: str, x: int) -> str:
    ages = list(case["cold"]["by_age"])
    across = [x + (k + 0.5) * WIDTH / len(ages) for k in range(len(ages))]
    out = f'<text class="head" x="{x}" y="{TOP + HEIGHT + 34}">{escape(name)}</text>'
    for k in range(round(log2(LOW)), round(log2(HIGH)) + 1):
        kind = "warm" if k == 0 else "grid"
        out += f'<path class="{kind}" d="M{x} {_y(2.0**k):.1f}h{WIDTH}"/>'
        out += f'<text x="{x - 4}" y="{_y(2.0**k) + 4:.1f}" text-anchor="end">{2.0**k:g}</text>' if x == LEFT else ""
    out += f'<path class="axis" d="M{x} {TOP + HEIGHT}h{WIDTH}"/>'
    for place, age in zip(across, ages, strict=True):
        out += f'<text x="{place:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{escape(age)}</text>'
    for line, _, colour in LINES:
        errors = [(place, case[line]["by_age"][age]["error_ratio"]) for place, age in zip(across, ages, strict=True)]
        points = " ".join(f"{place:.1f},{_y(error):.1f}" for place, error in errors if error is not None)
        out += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
    return out


def _y(error: float) -> float:
    """Place of an error on paper; logarithmic, and never off it."""
    return TOP + HEIGHT * (log2(HIGH) - log2(min(max(error, LOW), HIGH))) / (log2(HIGH) - log2(LOW))
