"""What a command says, and where: results on standard output, everything else on standard error.

Owns the rule of `--json`: one object on standard output and nothing else there. Knows no command.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Progress is for eyes; four times a second is as fast as they read.
PROGRESS_S = 0.25


class Out:
    """Results and remarks of one command. json: `--json` was given."""

    def __init__(self, *, json: bool = False) -> None:
        self.json = json
        self._shown_s = 0.0
        self._is_open = False

    def result(self, value: Mapping[str, Any]) -> None:
        """The one object of `--json`; nothing otherwise."""
        if self.json:
            print(json.dumps(value, default=str, allow_nan=False, ensure_ascii=False))

    def say(self, text: str = "") -> None:
        """A line of the result for people; nothing with `--json`."""
        if not self.json:
            self.clear()
            print(text)

    def flush(self) -> None:
        """What was said so far, now: somebody waits for it at the other end of a pipe."""
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A remark on standard error."""
        self.clear()
        print(text, file=sys.stderr)

    def progress(self, text: str) -> None:
        """A line that the next one replaces; only on a terminal."""
        now_s = time.monotonic()
        if sys.stderr.isatty() and now_s - self._shown_s >= PROGRESS_S:
            self._shown_s, self._is_open = now_s, True
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the progress line away."""
        if self._is_open:
            self._is_open = False
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def table(self, rows: Sequence[Sequence[object]], head: Sequence[str] = ()) -> None:
        """Columns as wide as they need; numbers to the right."""
        if self.json:
            return
        cells = [[_cell(value) for value in row] for row in [*([list(head)] if head else []), *rows]]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
        right = [bool(rows) and all(isinstance(row[at], (int, float)) for row in rows) for at in range(len(widths))]
        for row in cells:
            padded = (
                text.rjust(width) if to_right else text.ljust(width)
                for text, width, to_right in zip(row, widths, right, strict=True)
            )
            self.say("  ".join(padded).rstrip())


def write_file(path: Path, text: str, otherwise: str) -> None:
    """One file that was asked for; OutsideError, which says what to do otherwise, if it cannot be written."""
    from engine.errors import OutsideError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutsideError(f"{path} cannot be written: {error.strerror}; {otherwise}.") from None


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
