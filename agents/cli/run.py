"""`graft run`: a worker on the user's Kafka."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from agents.cli.options import USUAL_CONFIG, add_config, settings_of
from agents.cli.out import Out

_DESCRIPTION = """\
Watch the topics of your Kafka: detect, alert, learn, and ask when unsure.

Two processes are started and watched: the detector (reads the topics, scores, learns, keeps the checkpoints) and the
worker (notifies incident tools, answers drift, applies labels, serves /metrics). Each can be run alone with --only,
for instance under systemd or in pods of their own. A process that dies is started again, later each time (30 s
at most): for as long as it takes while the world outside is the reason (a broker that is away), but more than eight
crashes in ten minutes end it all. SIGTERM and Ctrl-C stop both after a checkpoint; a second Ctrl-C does not wait.
After Ctrl-C other workers of the group take over at once; after SIGTERM (a restart) in 30 s, unless this one is back
or kafka.leave_on_stop is set.

With --dry-run, nothing is sent to an incident tool: the requests are printed, with their exact bodies.
"""
_EPILOG = """\
examples:
  graft run -c graft.toml --dry-run
  graft run -c graft.toml
  GRAFT__KAFKA__BOOTSTRAP=kafka:9092 graft run -c graft.toml --only detector
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("--only", choices=("detector", "worker"), help="run one of the two processes")
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent to incident tools")
    parser.add_argument(
        "--start",
        choices=("earliest", "latest"),
        default="earliest",
        help="where a partition without a checkpoint begins: at the oldest record, from which the models learn the "
        "history (default), or at the newest",
    )
    parser.add_argument("--log", choices=("auto", "text", "json"), default="auto", help="format of the logs")
    add_config(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents import supervisor
    from agents.log import setup
    from agents.settings import require_inputs, secrets_of

    settings = settings_of(args, must_exist=True)
    require_inputs(settings)
    setup(json={"text": False, "json": True}.get(args.log), secrets=secrets_of(settings))
    path = (args.config or Path(USUAL_CONFIG)).resolve()
    topics = ", ".join(one.topic for one in settings.inputs)
    out.note(f"watching {topics} at {settings.kafka.bootstrap}; state in {Path(settings.state.dir).resolve()}")
    worker = [*(["--dry-run"] if args.dry_run else []), "--log", args.log]
    extra = {"detector": ["--start", args.start, "--log", args.log], "worker": worker}
    found = supervisor.parts(config=path, only=args.only, extra=extra, env=os.environ)
    began_ms = time.time() * 1000
    status = supervisor.Supervisor(found).run()
    out.note(_summary(Path(settings.state.dir), began_ms))
    return status


def _summary(folder: Path, began_ms: float) -> str:
    """What the detectors have done since then, from their progress files."""
    from agents.progress import read_all

    lives = [one for one in read_all(folder) if one.started_ms >= began_ms]
    records = sum(one.counters.get("records", 0) for one in lives)
    alerts = sum(one.sent.get("alerts", 0) for one in lives)
    dead = sum(sum(one.dead.values()) for one in lives)
    return f"stopped: {records:,} records read, {alerts:,} alert records written, {dead:,} dead letters"
