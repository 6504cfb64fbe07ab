"""`graft bench`: the throughput benchmark."""

from __future__ import annotations

import argparse

from agents.cli.out import Out

_DESCRIPTION = """\
Measure records a second through the whole path on this machine (consume, decode, all models, outputs, checkpoints),
beside bare consumption, consumption with JSON parsing, and Faust with River, alternating in one run.
"""
_EPILOG = """\
examples:
  graft bench
  graft bench --bootstrap localhost:9092 --json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: those of the benchmark itself."""
    from benchmarks import throughput

    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    throughput.arguments(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from benchmarks import throughput

    return int(throughput.run(args, out))
