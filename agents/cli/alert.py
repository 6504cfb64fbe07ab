"""`graft alert test | parked | resend`: the way to the incident tools, before the night and after it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out

if TYPE_CHECKING:
    import sqlite3

    from agents.settings import Settings

_TEST = """\
Send a test alert and its resolve to the sinks of the configuration, through the same code as real ones, and show what
was sent and what came back. Exit status 1: a sink did not take it.
"""
_PARKED = """\
List the alerts that were given up: a tool refused them, or took none for give_up_s. Exit status 1: there are some.
"""
_RESEND = """\
Put parked alerts back in the queue, when the cause is mended. A worker that runs sends them within half a minute, else
the next one does. Exit status 1: nothing was parked.
"""
_EPILOG = """\
examples:
  graft alert test -c graft.toml
  graft alert test -c graft.toml --sink pagerduty --dry-run
  graft alert parked -c graft.toml
  graft alert resend -c graft.toml --sink pagerduty
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = "Test the way to the incident tools, and mend what went wrong on it.", _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    for name, short, text in (
        ("test", "send a trigger and a resolve", _TEST),
        ("parked", "list the alerts that were given up", _PARKED),
        ("resend", "put them back in the queue", _RESEND),
    ):
        action = actions.add_parser(name, help=short, formatter_class=argparse.RawDescriptionHelpFormatter)
        action.description, action.epilog = text, _EPILOG
        action.add_argument("--sink", metavar="NAME", help="one sink, by its name (default: all)")
        if name == "test":
            action.add_argument("--dry-run", action="store_true", help="show the requests, send nothing")
        add_config(action)
        add_json(action)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    return {"test": _test, "parked": _parked, "resend": _resend}[args.action](args, out)


def _test(args: argparse.Namespace, out: Out) -> int:
    import asyncio
    import time

    from agents.sinks.config import names_of
    from agents.sinks.probe import dry, send_test

    settings = settings_of(args, must_exist=True)
    names = names_of(settings.sinks)
    chosen = [one for one, name in zip(settings.sinks, names, strict=True) if args.sink in (None, name)]
    _wanted(chosen, args.sink, names)
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


def _parked(args: argparse.Namespace, out: Out) -> int:
    from agents.notify import again
    from agents.sinks.notice import rfc3339

    settings = settings_of(args, must_exist=True)
    names = _destinations(settings, args.sink)
    found = [one for db in _outboxes(settings) for name in names for one in again.parked(db, name)]
    head = ("sink", "incident", "id", "state", "since", "detail")
    rows = [(*one[:4], rfc3339(int(one.since_s * 1000)), one.detail) for one in found]
    out.result({"parked": [dict(zip(head, row, strict=True)) for row in rows]})
    if rows:
        out.table(rows, head)
    else:
        out.say("nothing is parked")
    return 1 if rows else 0


def _resend(args: argparse.Namespace, out: Out) -> int:
    import time

    from agents.notify import again

    settings = settings_of(args, must_exist=True)
    requeued = dict.fromkeys(_destinations(settings, args.sink), 0)
    for db in _outboxes(settings):
        for name in requeued:
            requeued[name] += again.requeue(db, name, now_s=time.time())
    requeued = {name: count for name, count in requeued.items() if count}
    out.result({"requeued": requeued})
    for name, count in requeued.items():
        out.say(f"{name}: {count} put back in the queue")
    if not requeued:
        out.say("nothing was parked")
    return 0 if requeued else 1


def _destinations(settings: Settings, sink: str | None) -> list[str]:
    """Those of one sink (each replica is one), or all."""
    from agents.sinks.probe import dry
    from agents.sinks.table import build

    names = [one.destination for _, one in build(settings.sinks, post=dry)]
    chosen = [name for name in names if sink in (None, name, name.partition("#")[0])]
    _wanted(chosen, sink, names)
    return chosen


def _outboxes(settings: Settings) -> Iterator[sqlite3.Connection]:
    """Each of the state directory, open as long as it is looked at; a worker may have it open too."""
    from contextlib import closing
    from pathlib import Path

    from agents.notify import outbox_file

    for path in outbox_file.all_in(Path(settings.state.dir)):
        with closing(outbox_file.connect(path)) as db:
            yield db


def _wanted(chosen: Sequence[object], sink: str | None, names: Sequence[str]) -> None:
    from engine.errors import ConfigError

    if not chosen:
        raise ConfigError(f"There is no sink {sink or ''!r}; the configuration has {', '.join(names) or 'none'}.")
