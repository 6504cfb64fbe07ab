"""`graft experiments`: what was tried on the models, and what came of it."""

from __future__ import annotations

import argparse

from agents.cli.options import add_config, add_json
from agents.cli.out import Out
from agents.cli.transfer import add_records, records_of

_DESCRIPTION = """\
Every re-tune, answer and un-learned window as an experiment: what was changed, before and after, on which evidence, and
what became of it: started, kept, reverted (no proof), rolled_back (what was before is right after all), settled. They
are read from the control and experiments topics, or from the folder of `graft replay` or `graft demo`.
"""
_EPILOG = """\
examples:
  graft experiments --out-dir out
  graft experiments -c graft.toml --series 'cpu{host="web-1"}' --finding kept
  graft experiments -c graft.toml --compare 8f3c 51ab
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    add_records(parser)
    which = parser.add_argument_group("which of them")
    which.add_argument("--series", metavar="SERIES|ENTITY", help="only those about it")
    which.add_argument("--kind", help="only this kind: retune, label, mark, unlearn, seed, guard, worth")
    which.add_argument("--finding", help="only those that came to this")
    which.add_argument("--last", type=int, default=50, metavar="N", help="the newest N (default: 50; 0: all)")
    which.add_argument(
        "--compare", nargs=2, metavar="ID", help="two of them side by side; the beginning of an id will do"
    )
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents.experiments import compared, line, listed, whole

    found = listed(records_of(args))
    if args.compare:
        one, other = (whole(found, name) for name in args.compare)
        told = compared(one, other)
        out.result({"schema": "graft.experiments/1", "compared": [one, other], "differences": told})
        width = max((len(name) for name, _, _ in told), default=0)
        for name, a, b in told:
            out.say(f"{name:<{width}}  {a}  |  {b}")
        return 0
    wanted = [
        one
        for one in found
        if (not args.series or args.series in (one.get("series"), one.get("entity")))
        and (not args.kind or one["kind"] == args.kind)
        and (not args.finding or one.get("finding") == args.finding)
    ]
    kept = wanted[-args.last :] if args.last > 0 else wanted
    out.result({"schema": "graft.experiments/1", "experiments": kept, "left_out": len(wanted) - len(kept)})
    if len(kept) < len(wanted):
        out.say(f"... {len(wanted) - len(kept):,} older ones left out; --last 0 shows all")
    for one in kept:
        out.say(line(one))
    if not kept:
        out.say("no experiment")
    return 0
