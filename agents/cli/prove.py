"""`graft plan --prove DIR`: what a seed would be worth here, measured on the user's own recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.cli.options import settings_of, words
from agents.cli.out import Out, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.settings import Settings
    from engine.prior import Prior

#: Entities at most, and starts of each.
MOST, STARTS = 20, 4


def arguments(parser: argparse._ArgumentGroup) -> None:
    """What goes with --prove."""
    parser.add_argument("--starts", type=_count, default=STARTS, metavar="N", help=f"first days an entity ({STARTS})")
    parser.add_argument("--most", type=_count, default=MOST, metavar="N", help=f"entities, evenly picked ({MOST})")
    parser.add_argument("--entity", type=words, metavar="LABEL,...", help="long files: labels that make an entity")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the proof as one page that can be passed on")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no count; a whole number from 1 on is wanted")
    return int(text)


def check(args: argparse.Namespace) -> None:
    """ConfigError for an argument that goes with --prove only, or not with it."""
    from engine.errors import ConfigError

    for name, is_given in (("--out", args.out is not None), ("--part", args.part is not None)):
        if is_given and args.prove is not None:
            raise ConfigError(f"{name} is about a target's plan and does not go with --prove; leave one of them out.")
    for name, is_given in (("--html", args.html is not None), ("--entity", args.entity is not None)):
        if is_given and args.prove is None:
            raise ConfigError(f"{name} goes with --prove DIR only; leave it out.")


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents.offline import recordings
    from agents.offline.proof import proof
    from agents.offline.prove import HOUR_MS, history_ms, prove, targets_of
    from agents.offline.replay import warm_up
    from agents.settings import engine_config
    from engine.errors import ConfigError

    settings = settings_of(args)
    path = args.snapshot or args.named
    prior = None if path is None else _prior(path, settings)
    folder = recordings.read([args.prove], entity_labels=args.entity, most=args.most, report=out.progress)
    if folder.found > len(folder.recordings):
        out.note(f"{len(folder.recordings)} of {folder.found:,} entities take part, evenly picked; more with --most.")
    try:
        targets = targets_of(folder.recordings, starts=args.starts, has_snapshot=prior is not None)
    except ConfigError as error:
        raise ConfigError(f"{args.prove}: {error}") from None
    if len(targets) < len(folder.recordings):
        few = len(folder.recordings) - len(targets)
        out.note(f"{few} of {len(folder.recordings)} entities were recorded too briefly to be judged.")
    warm_up(out.note)

    def report(what: str, done: int, wanted: int) -> None:
        out.progress(f"{what}: {done:,} of {wanted:,} samples")

    proven = prove(
        folder.recordings,
        targets,
        engine_config(settings, counters_from_shape=False),
        prior=prior,
        report=report,
    )
    out.clear()
    told = proof(
        proven.runs,
        [one.name for one in folder.recordings],
        source=None if path is None else path.name,
        entities_found=folder.found,
        history_h=history_ms(folder.recordings, has_snapshot=prior is not None) / HOUR_MS,
        refused=proven.refused,
    )
    if args.html is not None:
        from agents.transfer.proof_page import page

        write_file(args.html, page(told), "name a file with --html")
    out.result(told)
    _show(told, out)
    if args.html is not None:
        out.say(f"page  {args.html}")
    return 1 if told["hurts"] else 0


def _prior(path: Path, settings: Settings) -> Prior:
    from agents.recovery import shardfile
    from engine.transfer import read_prior

    return read_prior(shardfile.read(path, key=settings.state.key))


def _show(told: Mapping[str, Any], out: Out) -> None:
    from agents.transfer.proof_page import AGES, LINES, age_rows, line_rows, share_of, signed

    out.say(told["headline"])
    out.say()
    out.table(age_rows(told), AGES)
    out.say()
    out.table(line_rows(told), LINES)
    harm, guard = told["harm"], told["guard"]
    out.say()
    if harm["worst"] is not None:
        out.say(
            f"change   {signed(harm['mean']['value'])} of the cold errors on the mean; worst "
            f"{signed(harm['worst'])} ({harm['worst_target']}); {share_of(harm['share_hurt'])} of the entities are "
            "hurt by more than 2 %"
        )
    counts = ", ".join(f"{guard[word]} {word}" for word in _WORDS if guard[word])
    out.say(
        f"guard    {share_of(guard['share_adopted'])} of the seeds adopted, {share_of(guard['share_refused'])} refused "
        f"or taken back ({counts})"
    )
    if told["sources_refused"]["times"]:
        out.say(f"sources  refused {told['sources_refused']['times']} times; first: {told['sources_refused']['first']}")
    out.say(_note(told))


_WORDS = ("passed", "adopted", "returned", "refused", "undecided", "no source")


def _note(told: Mapping[str, Any]) -> str:
    if told["left_out"]:
        whose = "what the other entities had taught until its start"
    else:
        whose = f"{told['source']}, which should not have been cut from these entities"
    return (
        f"Each entity is first seen at up to {-(-told['runs'] // told['targets'])} starts, after at least "
        f"{told['history_h']:g} h of history; its seed is {whose}. Medians over the runs; in brackets 90 %, drawn over "
        "entities. A refused seed leaves the alarms to the cold model; its forecasts may be mixed in where they are "
        "better. Pages are not labelled: they may be right."
    )
