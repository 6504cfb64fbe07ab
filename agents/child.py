"""The two processes of `graft run` as programs: one command line, one table of exit statuses, one way to end.

Owns what detector and worker must do alike around their work. Knows nothing of the work.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from agents.log import setup
from agents.settings import Settings, load, secrets_of
from agents.supervisor import DEFECT, OUTSIDE, USAGE
from engine.errors import ConfigError, OutsideError

log = logging.getLogger(__name__)


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The arguments that both have."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    made.add_argument("-c", "--config", type=Path, help="the TOML file; default: the environment alone")
    made.add_argument("--log", choices=("auto", "text", "json"), default="auto", help="format of the logs")
    return made


def run(options: argparse.Namespace, work: Callable[[Settings], None]) -> int:
    """Do the work under its settings; the exit status, which the supervisor reads. Errors are told in one sentence."""
    as_json = {"text": False, "json": True}.get(options.log)
    setup(json=as_json)
    try:
        settings = load(options.config, env=os.environ)
        setup(json=as_json, secrets=secrets_of(settings))
        work(settings)
    except BaseException as error:  # a panic of compiled code is no Exception
        status = status_of(error)
        if status == DEFECT:
            log.exception("A defect of Graft. The process ends; the next start goes on where this one stood.")
        else:
            log.error("%s", error)  # noqa: TRY400 - one sentence is the whole message
        return status
    return 0


def status_of(error: BaseException) -> int:
    """USAGE: it cannot work; OUTSIDE: it will, once broker or disk do their part; DEFECT: ours to mend.

    >>> status_of(ConfigError("no")), status_of(OSError(28, "No space left on device")), status_of(TimeoutError())
    (2, 3, 70)
    """
    if isinstance(error, ConfigError):
        return USAGE
    # An OSError without a number is raised by a library, not by the system.
    is_disk = isinstance(error, sqlite3.OperationalError) or (isinstance(error, OSError) and error.errno is not None)
    return OUTSIDE if is_disk or isinstance(error, OutsideError) else DEFECT


def program(main: Callable[[], int]) -> NoReturn:
    """Run a `main` as a process. Until it has handlers of its own, Ctrl-C ends it as any other signal does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end(main())


def end(status: int) -> NoReturn:
    """End the process at once: threads of Kafka clients may wait for a broker, and all that counts is durable."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
