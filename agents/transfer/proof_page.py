"""Proof page: `graft.proof/1` as one HTML file that can be passed on, in the look of the report's page.

Owns the layout. Everything it shows is in the proof; it computes nothing but places of ink. Names come from files and
labels, so each is escaped, and the page allows itself no script and no other source.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from agents.transfer.page import WIDE, Line, chart, frame, number, percent, table, tiles_of

_TITLE = "What a seed would be worth here"
#: Height of one row of the chart of entities; the most entities that it shows, and the room for their names.
ROW, MOST_ROWS, NAMES = 22.0, 60, 190.0

#: Only a chart that reaches higher has its upper end written beside it.
TALL = 1.25


def page(proof: Mapping[str, Any]) -> str:
    """The whole file."""
    return frame(
        _TITLE,
        f'<p class="headline">{escape(proof["headline"])}</p>{_tiles(proof)}'
        f'<div class="two"><figure><h3>Forecast error by age</h3>{_errors(proof)}</figure>'
        f"<figure><h3>Change by entity</h3>{_changes(proof)}</figure></div>"
        f"{_ages(proof)}{_lines(proof)}{_targets(proof)}{_how(proof)}",
    )


def _tiles(proof: Mapping[str, Any]) -> str:
    harm, guard, gap = proof["harm"], proof["guard"], proof["gap_closed"]
    worst = f"in {harm['worst_target']}" if harm["worst"] is not None else ""
    tiles = (
        ("change", signed(harm["mean"]["value"]), f"of the cold model's forecast errors {_between(harm['mean'])}"),
        ("worst entity", signed(harm["worst"]), worst),
        (
            "gap closed",
            percent(gap) if gap is not None else "-",
            "of what a cold model lacks of one that has watched all along"
            if gap is not None
            else "it is not sure that a cold model lacks anything here",
        ),
        (
            "adopted",
            share_of(guard["share_adopted"]),
            f"of the seeds; {share_of(guard['share_refused'])} refused or taken back",
        ),
        ("runs", f"{proof['runs']:,}", f"first days of {proof['targets']:,} entities"),
    )
    return tiles_of(tiles)


def _errors(proof: Mapping[str, Any]) -> str:
    """Two lines over the stretches of age, with their intervals; 1 is the warm model."""
    known = [one for one in proof["by_age"] if one["cold"]["value"] is not None and one["seeded"]["value"] is not None]
    if not known:
        return "<p>Nothing was measured.</p>"
    top: float = 1.05 * max(1.0, *(one[line]["high"] for one in known for line in ("cold", "seeded")))
    lines = [
        Line(
            name,
            [one[name]["value"] for one in known],
            [span(one[name]) for one in known],
            [(one[name]["low"], one[name]["high"]) for one in known],
            aside,
        )
        for name, aside in (("cold", -0.02), ("seeded", 0.02))
    ]
    levels = (0.0, 0.5, 1.0, *((top,) if top > TALL else ()))
    return chart("forecast error by age", known, levels, top, lines) + (
        '<figcaption><i class="seeded"></i>seeded <i class="cold"></i>cold: errors beside those of a model that has '
        "watched all along (1), median over the runs with 90 % intervals; lower is better.</figcaption>"
    )


def _changes(proof: Mapping[str, Any]) -> str:
    """A bar for each entity: to the left the seed has helped, to the right it has hurt."""
    known = sorted((one for one in proof["by_target"] if one["change"] is not None), key=lambda one: one["change"])
    if not known:
        return "<p>Nothing was measured.</p>"
    shown = known[:MOST_ROWS]
    most = max(0.05, *(abs(one["change"]) for one in shown))
    middle, half = (WIDE + NAMES) / 2, (WIDE - NAMES) / 2 - 50
    ink = [f'<line class="grid" x1="{middle:.1f}" x2="{middle:.1f}" y1="0" y2="{ROW * len(shown):.0f}"/>']
    for at, one in enumerate(shown):
        wide, top = half * abs(one["change"]) / most, ROW * at
        left, kind = (middle - wide, "seeded") if one["change"] < 0 else (middle, "cold")
        end = left - 6 if one["change"] < 0 else left + wide + 6
        name = one["entity"] if len(one["entity"]) <= 26 else one["entity"][:25] + "\u2026"
        ink.append(
            f'<text class="axis" x="{NAMES - 8}" y="{top + 15:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<polyline class="{kind}" style="stroke-width:12" points="{left:.1f},{top + 11:.1f} '
            f'{left + wide:.1f},{top + 11:.1f}"/><text class="axis" x="{end:.1f}" y="{top + 15:.1f}" '
            f'text-anchor="{"end" if one["change"] < 0 else "start"}">{signed(one["change"])}</text>'
        )
    more = f" {len(known) - len(shown):,} more are in the table." if len(known) > len(shown) else ""
    return (
        f'<svg viewBox="0 0 {WIDE:.0f} {ROW * len(shown):.0f}" role="img" aria-label="change by entity">{"".join(ink)}'
        '</svg><figcaption><i class="helped"></i>errors fall <i class="hurt"></i>errors grow: seeded beside cold, mean '
        f"over the runs of an entity.{more}</figcaption>"
    )


#: Heads of `age_rows` and `line_rows`.
AGES = ("age", "cold: errors x warm's", "seeded", "seeded - cold")
LINES = ("line", "within 10 % of warm", "pages a day")


def age_rows(proof: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Errors by age, and of the first day."""
    rows = [
        (f"{one['from_h']:g}-{one['to_h']:g} h", *(span(one[name]) for name in ("cold", "seeded", "seeded_minus_cold")))
        for one in proof["by_age"]
    ]
    error = proof["error"]
    return [*rows, ("first day", span(error["cold"]), span(error["seeded"]), span(proof["seeded_minus_cold"]))]


def line_rows(proof: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Of each line when it was as good as warm, and its pages."""
    return [
        (line, parity(proof["hours_to_parity"].get(line, 0.0)), span(pages))
        for line, pages in proof["pages_a_day"].items()
    ]


def _ages(proof: Mapping[str, Any]) -> str:
    return f"<h3>By age</h3>{table(AGES, age_rows(proof))}"


def _lines(proof: Mapping[str, Any]) -> str:
    return (
        f"<h3>By line</h3>{table(LINES, line_rows(proof))}<p class='note'>Nobody has "
        "labelled these pages: they may be right.</p>"
    )


def _targets(proof: Mapping[str, Any]) -> str:
    rows = [
        (
            one["entity"], f"{one['runs']:,}", number(one["cold"]), number(one["seeded"]), signed(one["change"]),
            *(number(one["pages_a_day"][line]) for line in ("cold", "seeded", "warm")),
            ", ".join(f"{count} {word}" for word, count in one["outcomes"].items()),
        )
        for one in proof["by_target"]
    ]  # fmt: skip
    head = ("entity", "runs", "cold", "seeded", "change", "pages cold", "seeded", "warm", "guard")
    return f"<h3>By entity</h3>{table(head, rows)}"


def _how(proof: Mapping[str, Any]) -> str:
    refused = proof["sources_refused"]
    seed = (
        "what all other entities had taught until that moment (left out one by one)"
        if proof["left_out"]
        else f"the snapshot {proof['source']}, which should not have been cut from these entities"
    )
    some = (
        f" {proof['entities']:,} of {proof['entities_found']:,} entities took part."
        if proof["entities_found"] > proof["entities"]
        else ""
    )
    how = f"Each entity is a newcomer several times, after at least {proof['history_h']:g} h of history."
    sick = f" A source was refused {refused['times']:,} times; first: {refused['first']}" if refused["times"] else ""
    return (
        "<section><h2>How it was measured</h2><p>"
        f"{escape(how)} {escape(f'Its seed is {seed}.')} "
        "For a day three models forecast the same samples, each before it learns from them: cold, seeded (tried by the "
        "guard as in production), and warm, which has watched the entity all along. Nothing of the entity before its "
        "start reaches the first two. Errors are compared series by series where they move, as a geometric mean. A "
        "refused seed leaves the alarms to the cold model; its forecasts may still be mixed in where they are better. "
        f"Intervals are drawn over entities.{escape(some + sick)}</p></section>"
    )


def span(of: Mapping[str, Any]) -> str:
    """A figure with its interval."""
    if of["value"] is None:
        return "-"
    return f"{of['value']:.2f} ({of['low']:.2f} to {of['high']:.2f})"


def _between(of: Mapping[str, Any]) -> str:
    return "" if of["value"] is None else f"(90 %: {signed(of['low'])} to {signed(of['high'])})"


def signed(share: float | None) -> str:
    """A change for people."""
    return "-" if share is None else f"{100 * share:+.1f} %"


def share_of(share: float | None) -> str:
    """A share for people."""
    return "-" if share is None else percent(share)


def parity(hours: float | None) -> str:
    """How long a line needed to be as good as the warm one."""
    return "-" if hours is None else "not in a day" if hours >= 24 else f"after {hours:g} h"
