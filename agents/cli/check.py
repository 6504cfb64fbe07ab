"""`graft check`: will this configuration work here?"""

from __future__ import annotations

import argparse
from typing import Any

from agents.cli.options import add_config, add_json, loaded
from agents.cli.out import Out

_DESCRIPTION = """\
Print every setting with its value and where it comes from, then try what a worker will need: the broker, its topics,
the state directory, the seed, the sinks. Secrets are never shown. Exit status 1: something would not work.
"""
_EPILOG = """\
examples:
  graft check -c graft.toml
  graft check --offline --json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("--offline", action="store_true", help="ask neither the broker nor the DNS")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="wait for the broker (default: 5)")
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents.checks import check
    from agents.settings import config_hash

    configuration = loaded(args)
    settings = configuration.settings
    effective = configuration.effective()
    findings = check(settings, timeout_s=None if args.offline else args.timeout)
    good = all(one.ok for one in findings)
    out.result(
        {
            "ok": good,
            "config": config_hash(settings),
            "settings": {line.key: {"value": line.value, "origin": line.origin} for line in effective},
            "checks": [one._asdict() for one in findings],
        }
    )
    out.table([(line.key, _shown(line.value), line.origin) for line in effective], ("setting", "value", "origin"))
    out.say()
    for one in findings:
        out.say(f"{'ok  ' if one.ok else 'BAD '} {one.name}: {one.detail}")
    return 0 if good else 1


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
