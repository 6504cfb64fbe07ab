"""`graft explain`: the whole transfer history of a series or an entity."""

from __future__ import annotations

import argparse

from agents.cli.options import add_config, add_json
from agents.cli.out import Out
from agents.cli.transfer import add_records, records_of

_DESCRIPTION = """\
Everything that was lent to a series or an entity, decided about it and done to it, in order: the trial and its verdict
with evidence and limits, what the seed was worth, orders to seed, re-tunes and labels. It is read from the control and
experiments topics, or from the folder of `graft replay` or `graft demo`, and from nothing else.
"""
_EPILOG = """\
examples:
  graft explain host=web-1 --out-dir out
  graft explain 'cpu{host="web-1"}' -c graft.toml
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("name", metavar="SERIES|ENTITY", help="as alerts and scores.csv show it")
    add_records(parser)
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents.experiments import moment
    from engine.transfer.history import history

    told = history(records_of(args), args.name)
    out.result(told)
    entities = told["entities"]
    out.say(f"{told['name']}" + (f" (of {', '.join(entities)})" if entities and entities != [told["name"]] else ""))
    if told["left_out"]:
        out.say(f"... {told['left_out']:,} older events left out")
    if not told["events"]:
        out.say("nothing was lent to it, decided about it or done to it")
    for event in told["events"]:
        about = event["series"] or (event["entity"] if len(entities) > 1 else "")
        out.say(f"{moment(event['at_ms'])}  {event['what']:<10}  {f'{about}: ' if about else ''}{event['text']}")
        for line in (event.get("worth"), *event.get("class_worth", ())):
            if line:
                out.say(f"{'':<34}{line}")
    return 0
