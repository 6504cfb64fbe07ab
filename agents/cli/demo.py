"""`graft demo`: the whole story, with nothing else needed."""

from __future__ import annotations

import argparse

from agents.cli.out import Out

_DESCRIPTION = """\
See Graft at work: an embedded Kafka broker (in memory: it forgets), a fleet that is seeded from a snapshot beside one
that starts cold, and a script of incidents with ground truth: a spike, a deploy, a missing dip, an outage of twenty
series, and something that only a person can judge. At the end, a scoreboard.

Exit status 1: an injected incident was missed, or a false page was sent.
"""
_EPILOG = """\
examples:
  graft demo
  graft demo --seconds 20 --json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: those of the demo itself."""
    from agents.demo import arguments as own

    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    own(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents.demo import run

    return int(run(args, out))
