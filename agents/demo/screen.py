"""Screen: the demo live, four times a second, with rich.

Owns the layout. Everything it shows is handed to it; it decides nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.demo.summary import transfer, transfer_lines
from agents.demo.words import Event, clock

if TYPE_CHECKING:
    from agents.demo.story import Moment, Story

HERTZ = 4
SPARKS, SPARK_MIN, MOST_SERIES, MOST_EVENTS = "▁▂▃▄▅▆▇█", 40, 8, 9
#: How many minutes of the past make a series one of the most unusual.
RECENT_MIN = 12


class Screen:
    """`with Screen(...) as screen: screen.show(moment)`."""

    def __init__(self, story: Story, headline: str) -> None:
        self._story, self._headline = story, headline
        self._events: deque[Event] = deque(maxlen=200)
        #: Records that the line about the seed was made of, and the line.
        self._told, self._worth = -1, ""
        self._names = story.fleet.names()
        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=HERTZ, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def add(self, event: Event) -> None:
        """One more event for the log."""
        self._events.append(event)

    def show(self, moment: Moment) -> None:
        """Draw it."""
        self._live.update(Group(self._numbers(moment), self._series(), self._log()))

    def _numbers(self, moment: Moment) -> Panel:
        score, total = moment.score, len(self._story.values)
        grid = Table.grid(padding=(0, 3))
        p99 = "-" if score.p99_ms is None else f"{score.p99_ms:.0f} ms"
        grid.add_row(
            f"[bold]{clock(moment.minute)}[/]", f"{moment.samples_per_s:,.0f} samples/s",
            f"p99 sample to alert {p99}", f"lag {moment.lag:,} records", f"{len(self._names)} series",
        )  # fmt: skip
        grid.add_row(
            f"found {score.found} of {len(score.lines)}", f"false pages {len(score.false_pages)}",
            f"asked {score.asked}, answered {score.answered}", f"re-tuned {score.adapted}",
            f"paged {moment.pages} (falsely, the cold twin: {moment.cold_false_pages})",
        )  # fmt: skip
        bar = ProgressBar(total=total, completed=moment.minute, width=None)
        seed = Text(self._seed(), "dim", no_wrap=True, overflow="ellipsis")
        return Panel(Group(grid, seed, bar), title=self._headline, title_align="left", border_style="blue")

    def _seed(self) -> str:
        """What the seed was worth so far; the report is made anew only where there are more records of it."""
        told = sum(one.topic == "experiments" for one in self._story.ears.heard())
        if told != self._told:
            self._told, self._worth = told, transfer_lines(transfer(self._story))[0].strip()
        return self._worth

    def _series(self) -> Table:
        table = Table(expand=True, box=None, header_style="dim", pad_edge=False)
        for name, justify, width in (
            ("most unusual now", "left", None), ("last 40 minutes", "left", SPARK_MIN), ("value", "right", 9),
            ("expected", "right", 9), ("band", "right", 21), ("severity", "right", 8),
        ):  # fmt: skip
            table.add_column(name, justify=justify, width=width, no_wrap=True)  # type: ignore[arg-type]
        for column in self._most_unusual():
            table.add_row(*self._row(column))
        return table

    def _most_unusual(self) -> list[int]:
        seen, now = self._story.twins.seen, self._story.twins.next_minute
        recent = seen.severity[max(0, now - RECENT_MIN) : now]
        if len(recent) == 0:
            return []
        highest = np.nan_to_num(recent, nan=-1.0).max(axis=0)
        return [int(one) for one in np.argsort(-highest, kind="stable")[:MOST_SERIES]]

    def _row(self, column: int) -> tuple[Text | str, ...]:
        seen, now = self._story.twins.seen, self._story.twins.next_minute
        span = slice(max(0, now - SPARK_MIN), now)
        values, expected, half = (part[span, column] for part in (self._story.values, seen.expected, seen.half_band))
        last_expected, last_half = float(expected[-1]), float(half[-1])
        severity = float(np.nan_to_num(seen.severity[max(0, now - RECENT_MIN) : now, column], nan=0.0).max())
        style = "red" if severity >= 4 else "yellow" if severity >= 2.5 else "dim"
        return (
            self._names[column], sparkline(values, np.abs(values - expected) > half), f"{values[-1]:.4g}",
            f"{last_expected:.4g}", f"{last_expected - last_half:.4g} to {last_expected + last_half:.4g}",
            Text(f"{severity:.1f}", style),
        )  # fmt: skip

    def _log(self) -> Panel:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, overflow="ellipsis")
        for event in list(self._events)[-MOST_EVENTS:]:
            grid.add_row(event.at, Text(event.mark, event.style), Text(event.text))
        return Panel(grid, title="events", title_align="left", border_style="dim", height=MOST_EVENTS + 2)


def sparkline(values: np.ndarray, outside: np.ndarray) -> Text:
    """One character a minute, scaled to the stretch itself; red where the value is outside its band."""
    low, high = float(np.min(values)), float(np.max(values))
    text = Text()
    for value, is_outside in zip(values.tolist(), outside.tolist(), strict=True):
        at = int((value - low) / (high - low) * (len(SPARKS) - 1)) if high > low else 0
        text.append(SPARKS[at], "bold red" if is_outside else "cyan")
    return text
