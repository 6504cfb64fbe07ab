"""`graft bench`: the throughput benchmark."""

from __future__ import annotations

import argparse
from importlib import import_module

from agents.cli.out import Out

_BENCHMARK = "benchmarks.throughput"

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
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    import_module(_BENCHMARK).arguments(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    return int(import_module(_BENCHMARK).run(args, out))
