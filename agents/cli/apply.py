"""`graft apply`: carry out a seeding plan on workers that run, or withdraw what was lent."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out

if TYPE_CHECKING:
    from agents.settings import Settings
    from engine.prior import Prior
    from engine.transfer import Plan

_DESCRIPTION = """\
Carry out a plan of `graft plan --out` on workers that run: what the snapshot lends goes to the state topic in pieces,
and one order of kind `seed` to the control topic. Each shard applies it between two batches; entities that begin from
then on try what is lent beside their cold version, and adopt it after an hour if it is alike. Entities that have begun
stay as they are. A worker that is killed, and one that takes a partition over, come back with the same sources.

It then waits for the shards' answers on the experiments topic. The order stays: a shard that is busy, or down, obeys it
when it comes back. Applying the same again changes nothing. --withdraw ends the trials of a source and begins none;
what has adopted it keeps it.

Exit status 1: the plan was refused, a shard refused it, or not all shards have answered in time.
"""
_EPILOG = """\
examples:
  graft plan --snapshot us.snap --target eu.state --out us-to-eu.json
  graft apply us-to-eu.json --snapshot us.snap -c graft.toml --dry-run
  graft apply us-to-eu.json --snapshot us.snap -c graft.toml
  graft apply --withdraw 4059f1912ffa80ae -c graft.toml
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("plan", type=Path, metavar="PLAN", nargs="?", help="a plan, as `graft plan --out` writes it")
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="the source snapshot that the plan was made with")
    parser.add_argument("--withdraw", type=_digest, metavar="DIGEST", help="lend what has this digest no more")
    parser.add_argument("--topic", metavar="TOPIC", help="only the shards of this input (default: of all)")
    parser.add_argument("--partition", type=_whole, metavar="N", help="only this partition")
    parser.add_argument(
        "--wait", type=_seconds, default=60.0, metavar="S", help="wait so long for answers (default: 60)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the order and send nothing; needs no Kafka")
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    import time

    from agents import seeding
    from engine.errors import RefusedPlan
    from engine.seeding import ADD, WITHDRAW

    settings = settings_of(args, must_exist=not args.dry_run)
    _check_use(args)
    target = {k: v for k, v in (("topic", args.topic), ("partition", args.partition)) if v is not None}
    if "partition" in target and "topic" not in target and len(settings.inputs) == 1:
        target["topic"] = settings.inputs[0].topic
    now: dict[str, Any] = {"target": target, "at_ms": int(time.time() * 1000), "environment": settings.environment}
    if args.withdraw:
        order, data = seeding.order_of(WITHDRAW, args.withdraw, plan={}, **now), b""
    else:
        try:
            made, prior, data = _prepared(args.plan, args.snapshot, settings)
        except RefusedPlan as error:
            out.result({"order": None, "refused": str(error)})
            raise
        order = seeding.order_of(ADD, prior.digest, plan={"id": made.id, "source": made.source}, **now)
        order["params"] |= seeding.described(prior, data)
    if args.dry_run:
        out.result({"order": order, "sent": False})
        out.say(_pretty(order))
        return 0
    return _carry_out(args, settings, order, data, out)


def _check_use(args: argparse.Namespace) -> None:
    from engine.errors import ConfigError

    if args.withdraw and (args.plan or args.snapshot):
        raise ConfigError("--withdraw goes without a plan and a snapshot: the digest says what is meant.")
    if not args.withdraw and not (args.plan and args.snapshot):
        raise ConfigError("graft apply needs a plan and its snapshot: graft apply PLAN --snapshot SNAPSHOT.")


def _prepared(path: Path, snapshot: Path, settings: Settings) -> tuple[Plan, Prior, bytes]:
    """The plan, what it lends, and that as bytes; RefusedPlan if it must not be carried out."""
    from agents.recovery import seed_topic, shardfile
    from engine.errors import RefusedPlan
    from engine.transfer import read_prior

    made = shardfile.read_plan_file(path)
    prior = read_prior(shardfile.read(snapshot, key=settings.state.key), made)
    if not prior.summary()["classes"]:
        raise RefusedPlan(f"{path} lends nothing: all classes stay cold.")
    return made, prior, seed_topic.packed(prior, shardfile.key_bytes(settings.state.key))


def _carry_out(args: argparse.Namespace, settings: Settings, order: dict[str, Any], data: bytes, out: Out) -> int:
    from agents import seeding

    meant = seeding.shards(settings, args.topic, args.partition)
    answers = seeding.Answers(settings, meant.experiments)
    try:
        if data:
            order["params"]["begin"] = seeding.publish(order["params"]["digest"], data, settings)
        offset = seeding.send(order, settings)
        out.progress("the order is sent")

        def progress(count: int) -> None:
            out.progress(f"{count} of {len(meant.places)} shards have answered")

        found = answers.wait(order, offset, meant.places, args.wait, progress)
    finally:
        answers.close()
    out.clear()
    rows = [_row(place, found.get(place)) for place in meant.places]
    out.result({
        "order": order, "sent": True, "control_offset": offset, "answers": list(found.values()),
        "unanswered": [{"topic": topic, "partition": partition} for topic, partition in meant.places
                       if (topic, partition) not in found],
    })  # fmt: skip
    out.say(f"order {order['id']}: {order['params']['action']} {order['params']['digest']}")
    out.table(rows, ("shard", "answer", "at offset", "sources before", "after", "because"))
    if args.wait and len(found) < len(meant.places):
        out.note(
            f"{len(meant.places) - len(found)} shards have not answered within {args.wait:g} s. The order stays: they "
            "obey it when they have caught up with their logs, or when a worker has taken them."
        )
    is_done = len(found) == len(meant.places) or not args.wait
    return 0 if is_done and all(one["finding"] != "refused" for one in found.values()) else 1


def _row(place: tuple[str, int], answer: dict[str, Any] | None) -> list[str]:
    name = f"{place[0]}[{place[1]}]"
    if answer is None:
        return [name, "none yet", "-", "-", "-", "-"]
    before, after = (_digests(answer.get(when)) for when in ("before", "after"))
    return [name, str(answer["finding"]), str(answer["applied_at"]["offset"]), before, after, str(answer["because"])]


def _digests(told: Any) -> str:
    """The sources that lend."""
    return " ".join(one["digest"] for one in told["sources"] if not one["withdrawn"]) or "-"


def _pretty(order: dict[str, Any]) -> str:
    import json

    return json.dumps(order, indent=2, ensure_ascii=False)


def _digest(text: str) -> str:
    from engine.snapshot import DIGEST

    if not DIGEST.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no digest; 16 hex digits, as `graft apply` and experiments show")
    return text


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no partition; write a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write seconds, 0 to 86400")
    return seconds
