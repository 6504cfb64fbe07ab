"""Page: the report as one HTML file with pictures, for a browser without a network.

Owns the layout. Everything it shows is in the report; it computes nothing but places of ink. Texts come from metrics
and hosts, so each of them is escaped, and the page allows itself no script and no other source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, NamedTuple

from agents.transfer.style import STYLE
from engine.transfer.report import early_text, hours_text, refused_text

_TITLE = "What the seed was worth"
#: Size of a chart, and its margins, in units of its own.
WIDE, HIGH, LEFT, LOW = 640.0, 260.0, 46.0, 40.0
#: The strongest ink of a cell.
DARKEST = 0.75


def page(report: Mapping[str, Any]) -> str:
    """The whole file."""
    fleets = "".join(_fleet(one) for one in report["fleets"]) or "<p>There are no records of transfer.</p>"
    return frame(_TITLE, f"{fleets}{_how(report)}")


def frame(title: str, body: str) -> str:
    """A whole file around a body, with the look, the title and the policy that all pages share."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{title}</title><style>{STYLE}</style></head><body><main>'
        f"<h1>{title}</h1>{body}</main></body></html>\n"
    )


def _fleet(fleet: Mapping[str, Any]) -> str:
    of = fleet["believed"]
    return (
        f'<section><h2>{escape(str(fleet["environment"]))}</h2><p class="headline">{escape(fleet["headline"])}</p>'
        f"{_tiles(fleet)}"
        f'<div class="two"><figure><h3>Forecast loss by age</h3>{_losses(of["by_age"])}</figure>'
        f"<figure><h3>Series by metric class</h3>{_bars(fleet['classes'])}</figure></div>"
        f"{_sources(fleet['sources'])}{_heat_map(fleet)}{_evictions(fleet)}</section>"
    )


def _tiles(fleet: Mapping[str, Any]) -> str:
    of, entities, pages = fleet["believed"], fleet["entities"], fleet["pages"]
    helped = of["shares"]["helped"]
    ratio = of["error_ratio"]
    tiles = (
        ("worth", hours_text(of) if of["series"] else "-", f"of learning{early_text(of)}"),
        ("helped", percent(helped["share"]) if helped else "-", _interval(helped)),
        ("forecast error", f"x {ratio:.2f}" if ratio is not None else "-", "seeded beside cold, same values"),
        ("refused", str(entities["refused"] + entities["returned"]), f"of {entities['all']:,} entities tried"),
        (
            "pages not sent",
            str(pages["cold_would_have_sent"]),
            "the cold version alone would have sent: an upper bound of false pages avoided",
        ),
    )
    return tiles_of(tiles)


def tiles_of(tiles: Sequence[tuple[str, str, str]]) -> str:
    """The numbers that are seen first: name, value, what it is."""
    boxes = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><small>{escape(what)}</small></div>"
        for name, value, what in tiles
    )
    return f'<div class="tiles">{boxes}</div>'


def _interval(share: Mapping[str, Any] | None) -> str:
    if share is None:
        return "of the series; none was measured"
    low, high = share["interval"]
    return f"of the series forecast better ({100 * low:.0f} to {percent(high)} at 95 %)"


def _losses(by_age: Sequence[Mapping[str, Any]]) -> str:
    """Two lines over the stretches of age."""
    if not by_age:
        return "<p>Nothing was measured.</p>"
    top = max(max(one["seeded"], one["cold"]) for one in by_age) or 1.0
    lines = [
        Line(
            name, [one[name] for one in by_age], [f"{one[name]:.3f} nats ({one['series']:,} series)" for one in by_age]
        )
        for name in ("cold", "seeded")
    ]
    return chart("forecast loss by age", by_age, [top * part / 4 for part in range(5)], top, lines) + (
        '<figcaption><i class="seeded"></i>seeded <i class="cold"></i>cold: mean over the series, in nats a sample '
        "above the best that each came to; lower is better.</figcaption>"
    )


class Line(NamedTuple):
    """A line of a chart. kind: cold or seeded; told: of each value, for the mouse; spans: intervals beside it, if any.

    aside: by how much of a stretch its points are moved, that intervals may not lie on each other.
    """

    kind: str
    values: Sequence[float]
    told: Sequence[str]
    spans: Sequence[tuple[float, float]] = ()
    aside: float = 0.0


def chart(
    label: str, stretches: Sequence[Mapping[str, Any]], levels: Sequence[float], top: float, lines: Sequence[Line]
) -> str:
    """Lines over stretches of age, as wide as each other: the first hours are what it is about. levels: of the grid."""
    step = (WIDE - LEFT) / len(stretches)

    def x(at: int, line: Line) -> float:
        return LEFT + step * (at + 0.5 + line.aside)

    def y(value: float) -> float:
        return 12 + (HIGH - LOW - 12) * (1 - value / top)

    ink = []
    for level in levels:
        ink.append(f'<line class="grid" x1="{LEFT}" x2="{WIDE}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
        ink.append(f'<text class="axis" x="{LEFT - 6}" y="{y(level) + 4:.1f}" text-anchor="end">{level:.2f}</text>')
    for at, one in enumerate(stretches):
        words = f"{one['from_h']:g}-{one['to_h']:g} h"
        ink.append(f'<text class="axis" x="{x(at, lines[0]):.1f}" y="{HIGH - 22}" text-anchor="middle">{words}</text>')
    for line in lines:
        points = [(x(at, line), y(value)) for at, value in enumerate(line.values)]
        ink += [
            f'<polyline class="{line.kind}" points="{a:.1f},{y(low):.1f} {a:.1f},{y(high):.1f}"/>'
            for (a, _), (low, high) in zip(points, line.spans, strict=False)
        ]
        ink.append(f'<polyline class="{line.kind}" points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>')
        ink += [
            f'<circle class="{line.kind}" cx="{a:.1f}" cy="{b:.1f}" r="4"><title>{line.kind}, {one["from_h"]:g} to '
            f"{one['to_h']:g} h: {told}</title></circle>"
            for (a, b), one, told in zip(points, stretches, line.told, strict=True)
        ]
    ink.append(f'<text class="axis" x="{WIDE}" y="{HIGH - 4}" text-anchor="end">age in the new environment</text>')
    return f'<svg viewBox="0 0 {WIDE:.0f} {HIGH:.0f}" role="img" aria-label="{label}">{"".join(ink)}</svg>'


def _bars(classes: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for one in classes:
        if not one["series"]:
            continue
        parts = "".join(
            f'<i class="{word}" style="flex-grow:{one[word]}" title="{one[word]:,} {word}"></i>'
            for word in ("helped", "equal", "hurt")
            if one[word]
        )
        name = escape(one["class"])
        rows.append(
            f'<div class="bar"><span title="{name}">{name}</span><div>{parts}</div>'
            f"<small>{one['series']:,}</small></div>"
        )
    if not rows:
        return "<p>Nothing was measured.</p>"
    return (
        f"{''.join(rows)}<figcaption><i class='helped'></i>helped <i class='equal'></i>equal "
        "<i class='hurt'></i>hurt; the number is that of the series.</figcaption>"
    )


def _sources(sources: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            one["source"], f"{one['entities']['all']:,}",
            f"{one['entities']['refused'] + one['entities']['returned']:,}",
            f"{one['series']:,}", f"{one['helped']:,}", f"{one['equal']:,}", f"{one['hurt']:,}",
            hours_text(one) if one["series"] else "-", number(one["error_ratio"]),
        )
        for one in sources
    ]  # fmt: skip
    head = ("source", "entities", "refused", "series", "helped", "equal", "hurt", "worth", "errors x")
    return f"<h3>By source</h3>{table(head, rows)}"


def _heat_map(fleet: Mapping[str, Any]) -> str:
    classes, parts = fleet["classes"], fleet["heat_map"]["components"]
    if not classes:
        return ""
    most = max((abs(one["gain"]) for one in classes if one["gain"] is not None), default=1.0) or 1.0
    rows = []
    for one in classes:
        cells = "".join(_cell(one["borrowed"][part], one["borrowed"][part], "lent") for part in parts)
        gain = one["gain"]
        cells += _cell(gain, 0.0 if gain is None else abs(gain) / most, "helped" if (gain or 0) >= 0 else "hurt")
        rows.append(f'<tr><th scope="row">{escape(one["class"])}</th>{cells}<td>{_hours(one["parity_h"])}</td></tr>')
    head = "".join(f"<th>{escape(name)}</th>" for name in ("metric class", *parts, "gain", "parity"))
    left_out = fleet["classes_left_out"]
    more = f" {left_out:,} more classes are left out." if left_out else ""
    return (
        f'<h3>What was lent, and what it gained</h3><div class="scroll"><table class="heat"><tr>{head}</tr>'
        f"{''.join(rows)}</table></div><p class='note'>Components: {escape(fleet['heat_map']['shows'])}. Gain in "
        f"nats a sample; parity: hours until half of the series' cold versions forecast as well.{more}</p>"
    )


def _cell(value: float | None, ink: float, kind: str) -> str:
    strength = min(max(ink, 0.0), 1.0) * DARKEST * 100
    return f'<td class="{kind}" style="--ink:{strength:.0f}%">{number(value)}</td>'


def _evictions(fleet: Mapping[str, Any]) -> str:
    rows = [
        (
            one["entity"], one["source"], {"refused": "refused", "returned": "taken back"}[one["outcome"]],
            _moment(one["at_ms"]), one["reason"], number(one["gain"]), f"{one['seeded_would_have_sent']:,}",
        )
        for one in fleet["evictions"]
    ]  # fmt: skip
    if not rows:
        return "<h3>Refused and taken back</h3><p>Nobody: what was lent was believed everywhere.</p>"
    head = ("entity", "source", "what", "when (UTC)", "why", "gain", "pages not sent")
    left_out = fleet["evictions_left_out"]
    more = f" {left_out:,} more are left out." if left_out else ""
    text = refused_text(fleet)
    said = f"<p>{escape(text)}</p>" if text else ""
    return (
        f"<h3>Refused and taken back</h3>{said}{table(head, rows)}<p class='note'>Each goes on with its cold version. "
        "Gain: what the seed would have gained its forecasts all the same, in nats a sample, while that was measured; "
        "what is refused is refused for its alarms. Pages not sent: those that the seeded version would have "
        f"sent alone.{more}</p>"
    )


def _how(report: Mapping[str, Any]) -> str:
    return (
        "<section><h2>How it was measured</h2><p>For each entity on trial two versions run over the same samples: one "
        "that began with what the source lends, one that began cold. Each says what it expects of the next value, and "
        "the value is the judge (loss: -ln of Student's density with four degrees of freedom, at most three nats a "
        "sample worse than the other). A series is helped or hurt if the difference is more than "
        f"{report['margin']:g} nats a sample, about a band 5 % narrower. A trial lasts a day. Intervals count each "
        "entity as one observation.</p></section>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of plain texts, each escaped."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{top}</tr>{body}</table></div>'


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.0f} %"


def number(value: float | None) -> str:
    """A number for people, - if there is none."""
    return "-" if value is None else f"{value:.2f}"


def _hours(hours: float | None) -> str:
    return "longer" if hours is None else f"{hours:g} h"


def _moment(at_ms: Any) -> str:
    try:
        return datetime.fromtimestamp(int(at_ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (TypeError, ValueError, OverflowError, OSError):
        return "-"
