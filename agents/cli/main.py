"""The command `graft`: one table of commands, each loaded when it is called.

Owns the exit status and the one sentence of an error. Imports nothing but the standard library and the error types, so
that `graft --help` answers at once; a command's module is imported only when its name is on the command line.

Exit status: 0 done; 1 done, with findings; 2 usage or configuration; 3 the world outside; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

from agents.cli.out import Out
from engine.errors import ConfigError, GraftError, OutsideError, RefusedPlan

DONE, FINDINGS, USAGE, OUTSIDE, INTERRUPTED, DEFECT = 0, 1, 2, 3, 130, 70


class Command(NamedTuple):
    """A command's summary for the list, and the module with `arguments(parser)` and `main(args, out) -> status`."""

    summary: str
    module: str


COMMANDS = {
    "demo": Command("see it at work: an embedded broker, incidents with ground truth, a scoreboard", "demo"),
    "run": Command("watch the topics of your Kafka", "run"),
    "replay": Command("run the engine over files", "replay"),
    "snapshot": Command("cut, show, compare and check snapshots", "snapshot"),
    "plan": Command("what a snapshot would lend to another environment, before it happens", "plan"),
    "apply": Command("carry out a plan on workers that run, or withdraw what was lent", "apply"),
    "transfer": Command("what a seed was worth, measured: the report", "transfer"),
    "explain": Command("the transfer history of a series or an entity", "explain"),
    "experiments": Command("what was tried on the models, and what came of it", "experiments"),
    "label": Command("answer an escalation, or mark a window of a series", "label"),
    "review": Command("the review page: questions, alerts, series, fleet, experiments", "review"),
    "unlearn": Command("show that what is un-learned is as if it had never been learned", "unlearn"),
    "check": Command("will this configuration work here?", "check"),
    "alert": Command("test a sink; list what it did not take, and send it again", "alert"),
    "bench": Command("throughput, latency and memory on this machine, beside the bare limit", "bench"),
}

_EPILOG = """\
exit status:
  0 done   1 done, with findings   2 usage or configuration   3 the world outside (broker, disk)

examples:
  graft demo                          nothing else needed
  graft replay metrics.csv --out out  your own CSV
  graft run -c graft.toml             your own Kafka

graft COMMAND --help tells more.
"""


class _Parser(argparse.ArgumentParser):
    """argparse with one sentence instead of the whole usage when something is wrong."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message[0].upper()}{message[1:].rstrip('.')}. {self.prog} --help shows how it is called.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    wants_debug = "--debug" in arguments
    try:
        return _run(arguments)
    except GraftError as error:
        return _fail(error, _status(error), wants_debug)
    except KeyboardInterrupt:
        print("\ngraft: stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`graft ... | head`): nobody is left to tell, and flushing at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(OutsideError(f"{where}{error.strerror or error}."), OUTSIDE, wants_debug)
    except Exception as error:  # noqa: BLE001 - the last net: a traceback is for --debug
        text = f"this is a defect of Graft: {type(error).__name__}: {error}. Run it again with --debug and report it."
        return _fail(text, DEFECT, wants_debug)


def _run(arguments: list[str]) -> int:
    parser = build_parser(arguments)
    args = parser.parse_args(arguments)
    if args.version:
        print(f"graft {_version()}")
        return DONE
    if args.command is None:
        parser.print_help()
        return DONE
    out = Out(json=getattr(args, "json", False))
    module = import_module(f"agents.cli.{COMMANDS[args.command].module}")
    return int(module.main(args, out))


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that the arguments name gets its own arguments."""
    parser = _Parser(
        prog="graft",
        description="Anomaly detection for metrics in Kafka: models that learn online, start warm from another "
        "environment, and ask when they are unsure.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="show the version and stop")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", parser_class=_Parser)
    named = next((word for word in arguments if not word.startswith("-")), None)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == named:
            one.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
            import_module(f"agents.cli.{command.module}").arguments(one)
    parser.set_defaults(command=None)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("graft")
    except PackageNotFoundError:
        return "from a source tree that is not installed"


def _status(error: GraftError) -> int:
    if isinstance(error, RefusedPlan):
        return FINDINGS
    return OUTSIDE if isinstance(error, OutsideError) else USAGE


def _fail(error: GraftError | str, status: int, wants_debug: bool) -> int:
    if wants_debug:
        traceback.print_exc()
    print(f"graft: {error}", file=sys.stderr)
    return status
