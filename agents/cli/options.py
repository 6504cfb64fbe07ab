"""Arguments that several commands share, and the settings that they lead to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.settings import Loaded, Settings

#: Read when it lies in the current folder and -c is not given.
USUAL_CONFIG = "graft.toml"


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def add_config(parser: argparse.ArgumentParser) -> None:
    """-c."""
    parser.add_argument(
        "-c", "--config", type=Path, metavar="FILE", help=f"configuration (default: {USUAL_CONFIG} here, if it exists)"
    )


def loaded(args: argparse.Namespace, *, must_exist: bool = False) -> Loaded:
    """The settings with their origins: -c, else ./graft.toml, else the defaults, with GRAFT__ variables on top."""
    from agents.settings import read
    from engine.errors import ConfigError

    path: Path | None = args.config
    if path is None and (Path(USUAL_CONFIG).exists()):
        path = Path(USUAL_CONFIG)
    if path is None and must_exist:
        raise ConfigError(f"There is no configuration; name one with -c, or put {USUAL_CONFIG} here.")
    return read(path, env=os.environ)


def settings_of(args: argparse.Namespace, *, must_exist: bool = False) -> Settings:
    """The settings alone."""
    return loaded(args, must_exist=must_exist).settings


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list.

    >>> words("host, disk")
    ('host', 'disk')
    """
    return tuple(word.strip() for word in text.split(",") if word.strip())
