"""Console: one line per alert, for people who look at a terminal and for `docker logs`.

Owns the line. Not obvious: labels come from the wire, so control characters are shown, never sent to the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.sinks.delivery import Answer, Outcome
from agents.sinks.notice import RESOLVED, Notice, Write, shown

STYLES = {"critical": "bold red", "error": "red", "warning": "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """Writes to whatever it was given; standard error by default."""

    destination: str
    write: Write
    batch: int = 1
    resend_s: float | None = None

    async def send(self, notices: Sequence[Notice], *, now_s: float) -> Answer:  # noqa: ARG002 - no clock needed here
        """Never fails: a closed terminal loses the line, not the alert's other destinations."""
        for notice in notices:
            self.write(line(notice))
        return Answer(Outcome.DELIVERED, 0)


def line(notice: Notice) -> str:
    """What happened, to what, why."""
    head = "RESOLVED" if notice.state == RESOLVED else f"FIRING {notice.level}"
    numbers = " ".join(
        f"{name}={text}" for name in ("severity", "confidence") if (text := shown(notice.record.get(name)))
    )
    return printable(f"{head} {notice.source}: {notice.summary} [{numbers} incident={notice.incident}]")


def printable(text: str) -> str:
    r"""Control and formatting characters as escapes.

    >>> printable("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def to_stderr(text: str) -> None:
    """A line on standard error, coloured on a terminal."""
    import rich.console
    import rich.text

    style = "green" if text.startswith("RESOLVED") else STYLES.get(text.split(" ")[1], "") if " " in text else ""
    rich.console.Console(stderr=True, soft_wrap=True).print(rich.text.Text(text, style=style))
