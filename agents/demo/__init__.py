"""`graft demo`: the whole chain, live, with ground truth. See command.py for the order of things.

Owns the arguments. Imports nothing heavy, so that `graft demo --help` answers at once.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.cli.out import Out


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--seconds", type=_seconds, default=75.0, metavar="N", help="wall time; the story is the same")
    parser.add_argument("--seed", type=int, default=42, help="of the made-up fleet (default 42)")
    parser.add_argument("--no-ui", action="store_true", help="plain lines, on a terminal too")
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    parser.add_argument("--out", default="demo-out", metavar="DIR", help="where records and log go (default demo-out)")
    parser.add_argument("--bootstrap", metavar="HOST:PORT", help="a Kafka of yours instead of the embedded one")
    parser.add_argument("--alertmanager", metavar="URL", help="send the alerts to this Alertmanager as well")


def run(args: argparse.Namespace, out: Out) -> int:
    """Run it; the exit status."""
    from agents.demo.command import run as run_command

    return run_command(args, out)


def _seconds(text: str) -> float:
    value = float(text)
    if not 5 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} seconds; it must lie in [5, 3600]")
    return value
