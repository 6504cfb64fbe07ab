"""Commands that the documents show: each is taken by the parser that it is meant for."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from agents.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parent.parent
COMMAND = re.compile(r"^ +(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?((?:graft|make|python -m) .+?)(?:  .*)?$", re.MULTILINE)


def epilogs(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Of a parser and of those below it."""
    yield parser.epilog or ""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from epilogs(one)


def shown() -> set[str]:
    """Every command of README.md and of the examples that --help shows."""
    texts = [(ROOT / "README.md").read_text(), *(text for name in COMMANDS for text in epilogs(build_parser([name])))]
    return {shlex.join(shlex.split(line, comments=True)) for text in texts for line in COMMAND.findall(text)}


def test_enough_are_found() -> None:
    assert {"make demo", "graft run -c graft.toml", "python -m benchmarks.nab"} <= shown()
    assert len(shown()) > 25


@pytest.mark.parametrize("line", sorted(shown()))
def test_a_command_that_is_shown_is_taken(line: str) -> None:
    program, *arguments = shlex.split(line)
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif program == "python":
        assert find_spec(arguments[1]) is not None
    elif arguments[:1] != ["COMMAND"]:
        assert build_parser(arguments).parse_args(arguments).command == arguments[0]


def test_a_folder_is_not_given_where_a_file_is_wanted() -> None:
    """`--from` takes a file, `--from-dir` the state.dir of a worker; the parser knows no difference."""
    assert [line for line in shown() if re.search(r"--from /var/lib/graft( |$)", line)] == []
