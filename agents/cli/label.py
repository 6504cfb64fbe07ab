"""`graft label`: a person's answer, from the shell."""

from __future__ import annotations

import argparse
from pathlib import Path

from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out

_DESCRIPTION = """\
Answer an escalation, or say what a stretch of a series was. The engine learns from it: how loud that entity and series
have to be before they page again, and what is normal now.

answers:
  incident      it was real: be a little louder next time
  expected      it was unusual, and known (a deploy, a load test): be quieter at this hour, while it comes daily
  new_normal    this is how it is from now on
  false_alarm   nothing was wrong: be quieter
  unsure        nobody knows

The first answer to an escalation counts; somebody else may override it by naming that answer's label.

The label goes to the feedback topic. Without Kafka, --state changes a state file of `graft replay`, and --state-dir
the checkpoints of a worker that is stopped.
"""
_EPILOG = """\
examples:
  graft label --escalation 4059f1912ffa80ae2b64d1d69dc63656 --answer false_alarm --reason "backup"
  graft label --series 'cpu{host="web-1"}' --from "2026-01-31 10:00" --until "2026-01-31 11:30" --answer incident
  graft label --escalation 4059f1912ffa80ae2b64d1d69dc63656 --answer incident --override 9c1f0d2e4b6a8857
  graft label --escalation 4059f1912ffa80ae2b64d1d69dc63656 --answer incident --sign-key '${file:ann.key}'
  graft label --state web.state --series latency --answer new_normal
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    about = parser.add_argument_group("what it is about")
    about.add_argument("--escalation", metavar="ID", help="the escalation that asked")
    about.add_argument("--series", metavar="SERIES", help="as alerts and scores show it")
    about.add_argument("--target", type=_target, metavar="TOPIC:N", help="the shard (default: looked up in state.dir)")
    about.add_argument("--from", dest="since", metavar="TIME", help="start of the stretch: ISO 8601 or epoch")
    about.add_argument("--until", metavar="TIME", help="end of the stretch")
    answers = ("incident", "expected", "new_normal", "false_alarm", "unsure")
    parser.add_argument("--answer", required=True, choices=answers, metavar="ANSWER", help=", ".join(answers))
    parser.add_argument("--by", default="", help="who says so (default: the user's name)")
    parser.add_argument("--reason", default="", help="why, for those who read it later")
    parser.add_argument("--override", metavar="LABEL", help="the label of somebody else that this one replaces")
    parser.add_argument(
        "--sign-key", metavar="REFERENCE", help="sign with this key: ${env:NAME} or ${file:PATH} (see review.keys)"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--state", type=Path, metavar="FILE", help="apply it to this state file")
    where.add_argument("--state-dir", type=Path, metavar="DIR", help="apply it to the checkpoints of a stopped worker")
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    import os
    import time

    from agents import configfile, label
    from agents.offline.files import moment_ms

    settings = settings_of(args)
    since_ms = moment_ms(args.since) if args.since else None
    until_ms = moment_ms(args.until) if args.until else None
    target = args.target
    if args.series and not (args.escalation or target or args.state or args.state_dir):
        target = label.target_of(args.series, settings)
    record = label.record(
        answer=args.answer,
        at_ms=int(time.time() * 1000),
        escalation=args.escalation,
        series=args.series,
        target=target,
        from_ms=since_ms,
        until_ms=until_ms,
        by=args.by or _user(),
        reason=args.reason,
        environment=settings.environment,
        overrides=args.override,
        key=configfile.secret(args.sign_key, "--sign-key", os.environ) if args.sign_key else None,
    )
    if args.state or args.state_dir:
        if args.state:
            applied = label.apply_to_file(record, args.state, settings)
        else:
            applied = label.apply_to_folder(record, args.state_dir, settings)
        out.result({"label": record, "applied": {one.name: one.changes for one in applied}})
        out.say(f"label {record['id']} applied to {', '.join(one.name for one in applied)}")
        return 0
    topic = label.send(record, settings)
    out.result({"label": record, "topic": topic})
    out.say(f"label {record['id']} is in {topic}")
    return 0


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _target(text: str) -> dict[str, object]:
    topic, colon, partition = text.rpartition(":")
    if not (colon and topic and partition.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; write TOPIC:PARTITION, as metrics:0")
    return {"topic": topic, "partition": int(partition)}
