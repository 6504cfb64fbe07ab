"""`graft transfer report`: what was lent, to whom, and what it was worth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.cli.options import add_config, add_json, settings_of
from agents.cli.out import Out, write_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agents.settings import Settings

_DESCRIPTION = """\
Per fleet, source and metric class: how many series the seed has helped, left equal and hurt, how long the cold version
needed to catch up, who was refused and why, and the pages that the version which was not believed would have sent.

It is measured, not estimated: beside each entity on trial a second version runs for a day, so that the seeded and the
cold one forecast the same values. The records come from the folder of `graft replay` or `graft demo`, or from the
experiments topic, which is read to its end. --state adds what is on trial at this moment.
"""
_EPILOG = """\
examples:
  graft transfer report --out-dir out
  graft transfer report --out-dir out --state new-site.state --html report.html
  graft transfer report -c graft.toml --json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = "What transfer has brought.", _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(parser))
    raw = argparse.RawDescriptionHelpFormatter
    one = actions.add_parser("report", help="what was lent and what it was worth", formatter_class=raw)
    one.description, one.epilog = _DESCRIPTION, _EPILOG
    add_records(one)
    one.add_argument("--state", type=Path, metavar="FILE", help="a state of a replay or a checkpoint: what is on trial")
    one.add_argument("--html", type=Path, metavar="FILE", help="write it as one page with pictures as well")
    add_config(one)
    add_json(one)


def add_records(parser: argparse.ArgumentParser) -> None:
    """--out-dir: where the records are, if not in Kafka."""
    parser.add_argument(
        "--out-dir", type=Path, metavar="DIR", help="results of a replay or a demo (default: the topics in Kafka)"
    )


def records_of(args: argparse.Namespace) -> list[Mapping[str, Any]]:
    """The records that the arguments name."""
    from agents.transfer import sources

    if args.out_dir is not None:
        return sources.of_folder(args.out_dir)
    return sources.of_topics(settings_of(args, must_exist=True))


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from engine.transfer.report import report

    records = records_of(args)
    if args.state is not None:
        records += _standing(args.state, settings_of(args))
    told = report(records)
    if args.html is not None:
        from agents.transfer.page import page

        write_file(args.html, page(told), "name a file with --html")
    out.result(told)
    _show(told, out)
    if args.html is not None:
        out.say(f"page  {args.html}")
    return 0


def _standing(path: Path, settings: Settings) -> list[Mapping[str, Any]]:
    from agents.offline.replay_file import split
    from agents.recovery import shardfile
    from agents.settings import engine_config
    from engine.shard import Shard

    config = engine_config(settings)
    parts = shardfile.parts(shardfile.read(path, key=settings.state.key))
    return [one.value for state in parts.values() for one in Shard.restore(split(state)[0], config).standing()]


def _show(told: Mapping[str, Any], out: Out) -> None:
    out.say(told["headline"])
    for fleet in told["fleets"]:
        of, entities = fleet["believed"], fleet["entities"]
        out.say()
        counts = ", ".join(f"{count} {word}" for word, count in entities.items() if word != "all" and count)
        out.say(f"{fleet['environment']}: {entities['all']} entities ({counts})")
        for word, shares in of["shares"].items():
            if shares is not None:
                low, high = shares["interval"]
                out.say(f"  {word:<8} {100 * shares['share']:5.1f} %  (95 %: {100 * low:.0f} to {100 * high:.0f})")
        _show_measures(fleet, out)
        parts = fleet["heat_map"]["components"]
        rows = [_row(one, parts) for one in fleet["classes"]]
        if rows:
            out.say()
            head = ("class", "series", "helped", "equal", "hurt", "gain", "errors x", "parity h")
            out.table(rows, (*head, *parts))
        for one in fleet["evictions"]:
            out.say(f"  {one['outcome']:<8} {one['entity']} (of {one['source']}): {one['reason']}")


def _row(one: Mapping[str, Any], parts: Sequence[str]) -> tuple[object, ...]:
    parity = _text(one["parity_h"], "> 24" if one["series"] else "-")
    counts = (one[word] for word in ("series", "helped", "equal", "hurt"))
    lent = (_text(one["borrowed"][part]) for part in parts)
    return one["class"], *counts, _text(one["gain"]), _text(one["error_ratio"]), parity, *lent


def _show_measures(fleet: Mapping[str, Any], out: Out) -> None:
    from engine.transfer.report import early_text, hours_text, refused_text

    of, pages = fleet["believed"], fleet["pages"]
    if of["series"]:
        parity = "had not caught up in a day" if of["parity_h"] is None else f"had caught up after {of['parity_h']:g} h"
        out.say(f"  worth    {hours_text(of)} of learning{early_text(of)}; half of the cold versions {parity}")
        out.say(f"  errors   x {_text(of['error_ratio'])}; gain {_text(of['gain'])} nats a sample")
    out.say(
        f"  pages    that the other version would have sent: {pages['cold_would_have_sent']} cold, where the "
        f"seeded one is believed; {pages['seeded_would_have_sent']} seeded, where it is not "
        "(upper bound of false pages avoided)"
    )
    if text := refused_text(fleet):
        out.say(f"  refused  {text}")


def _text(value: float | None, nothing: str = "-") -> str:
    return nothing if value is None else f"{value:.2f}"
