"""`graft alert test`: a trigger and a resolve to a sink, before the night it is needed."""

from __future__ import annotations

import argparse

from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out

_DESCRIPTION = """\
Send a test alert and its resolve to the sinks of the configuration, through the same code as real ones, and show what
was sent and what came back. Exit status 1: a sink did not take it.
"""
_EPILOG = """\
examples:
  graft alert test -c graft.toml
  graft alert test -c graft.toml --sink pagerduty --dry-run
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = "Test the way to the incident tools.", _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    test = actions.add_parser(
        "test", help="send a trigger and a resolve", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    test.description, test.epilog = _DESCRIPTION, _EPILOG
    test.add_argument("--sink", metavar="NAME", help="one sink, by its name (default: all)")
    test.add_argument("--dry-run", action="store_true", help="show the requests, send nothing")
    add_config(test)
    add_json(test)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    import asyncio
    import time

    from agents.sinks.config import names_of
    from agents.sinks.probe import dry, send_test
    from engine.errors import ConfigError

    settings = settings_of(args, must_exist=True)
    names = names_of(settings.sinks)
    chosen = [one for one, name in zip(settings.sinks, names, strict=True) if args.sink in (None, name)]
    if not chosen:
        raise ConfigError(f"There is no sink {args.sink or ''!r}; the configuration has {', '.join(names) or 'none'}.")
    results = []
    for sink in chosen:
        post = dry if args.dry_run else None
        sent = send_test(sink, environment=settings.environment, now_s=time.time(), post=post)
        results += asyncio.run(sent)
    good = all(one.ok for one in results)
    out.result({"ok": good, "sent": not args.dry_run, "exchanges": [one._asdict() for one in results]})
    for one in results:
        out.say(
            f"{'ok  ' if one.ok else 'BAD '} {one.destination} {one.state}: {one.status or ''} {one.detail}".rstrip()
        )
        if one.url:
            out.say(f"     POST {one.url}")
        if args.dry_run and one.body:
            out.say(f"     {one.body}")
    return 0 if good else 1
