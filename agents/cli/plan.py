"""`graft plan`: what a snapshot would lend, before it happens."""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.cli import prove
from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out, write_file

_DESCRIPTION = """\
Match a source snapshot with a target's state and print what would be lent to each metric class, how strongly, and why
not where nothing fits. Nothing is changed: --out writes a file (--json prints it) that `graft apply` carries out. Exit
status 1: nothing fits, the target would start cold.

--prove DIR asks before there is a target: what would a seed be worth to the entities of your own recordings (CSV or
Parquet, in the shapes of `graft replay`; no labels are needed)? Each of them in turn is first seen at several starts
and judged for a day, cold, seeded, and beside a model that has watched it all along. The seed is SNAPSHOT, or what the
other entities had taught until then. Exit status 1: on the mean a seed would have hurt.
"""
_EPILOG = """\
examples:
  graft replay new-site/first-hours.csv --out out --scores none --state-out new-site.state
  graft plan eu.snap --target new-site.state
  graft plan eu.snap --target new-site.state --out eu-to-new.json
  graft apply eu-to-new.json --snapshot eu.snap -c graft.toml
  graft plan --prove recordings/ --html proof.html
  graft plan --prove recordings/ --snapshot eu.snap
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("snapshot", type=Path, metavar="SNAPSHOT", nargs="?", help="a source snapshot")
    parser.add_argument("--snapshot", dest="named", type=Path, metavar="SNAPSHOT", help="the same, by name")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--target", dest="state", type=Path, metavar="FILE", help="state of the target")
    target.add_argument("--target-dir", dest="from_dir", type=Path, metavar="DIR", help="state.dir of a worker")
    target.add_argument("--prove", type=Path, metavar="DIR", help="measure what a seed would be worth to recordings")
    parser.add_argument("--part", metavar="NAME", help="which shard of the target, where there are several")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the plan there, as `graft apply` takes it")
    prove.arguments(parser.add_argument_group("with --prove"))
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    prove.check(args)
    if args.prove is not None:
        return prove.main(args, out)
    from agents.cli.snapshot import load_part
    from agents.recovery import shardfile
    from engine.errors import ConfigError
    from engine.transfer import plan
    from engine.transfer.plan import LEGEND

    settings = settings_of(args)
    path = args.snapshot or args.named
    if path is None:
        raise ConfigError("graft plan needs a source snapshot: graft plan SNAPSHOT --target STATE.")
    source = shardfile.read(path, key=settings.state.key)
    made = plan(source, load_part(args, settings, out))
    told = made.to_dict()
    if args.out is not None:
        import json

        text = json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False)
        write_file(args.out, f"{text}\n", "name another with --out")
    out.result(told)
    rows = made.table()
    out.table(rows[1:], [str(cell) for cell in rows[0]])
    if told["refused"]:
        out.say(f"refused: {told['refused']}")
    out.say(LEGEND)
    out.say(f"{told['seeded']} classes would be seeded, {told['cold']} stay cold")
    return 1 if told["refused"] or not told["seeded"] else 0
