"""`graft review`: the review page."""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out

_DESCRIPTION = """\
Serve the review page: open questions with all that is known about them, answered by a key; alerts and incidents with
their life; series with their band; what is still young or on trial, and why; re-tunes and their effects; snapshots.

It reads the topics by itself (no consumer group) into one SQLite file and keeps nothing else; any number of pages may
run, each with its own file. While the broker is away it shows what it has, and keeps answers until they can be sent.

It listens on loopback. Any other address needs a token (review.token in the configuration), which people log in with;
put TLS in front of it there.
"""
_EPILOG = """\
examples:
  graft review -c graft.toml                        http://127.0.0.1:8081/
  graft review -c graft.toml --listen 127.0.0.1:0 --json
  GRAFT_TOKEN=... graft review -c graft.toml --listen 0.0.0.0:8081     with review.token = "${env:GRAFT_TOKEN}"
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("--listen", metavar="HOST:PORT", help="where to listen (default: review.listen)")
    parser.add_argument("--db", type=Path, metavar="FILE", help="the page's file (default: review.db in state.dir)")
    parser.add_argument("--log", choices=("auto", "text", "json"), default="auto", help="format of the logs")
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents.log import setup
    from agents.review.serve import serve
    from agents.settings import check_listen, secrets_of
    from engine.errors import ConfigError

    settings = settings_of(args, must_exist=True)
    setup(json={"text": False, "json": True}.get(args.log), secrets=secrets_of(settings))
    listen = args.listen or settings.review.listen
    try:
        check_listen(listen, settings.review.token, "review.token")
    except ValueError as error:
        raise ConfigError(f"{error}.") from None

    def ready(address: str) -> None:
        out.result({"listen": address, "url": f"http://{address}/"})
        out.say(f"http://{address}/")
        out.flush()

    out.note(serve(settings, listen=listen, db=args.db or Path(settings.state.dir) / "review.db", ready=ready))
    return 0
