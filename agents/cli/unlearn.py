"""`graft unlearn`: shows that what is un-learned is as if it had never been learned."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from agents.cli.options import add_config, add_json, settings_of, words
from agents.cli.out import Out

_DESCRIPTION = """\
Check un-learning on your own files, bit for bit.

Each file is folded three times: as it is, with the outage in it; once more from a snapshot before the window, with the
window marked, which is what a running worker does after `graft label --answer incident --from T --until T`; and from
its first row on, by a shard that was told of the window in time. The last two states have to be equal, in every bit of
every array. Then what the window had taught is shown. Nothing is written.

Exit status 1 if they are not equal.
"""
_EPILOG = """\
examples:
  graft unlearn --check nyc_taxi.csv --from "2014-11-02 00:00" --until "2014-11-02 06:00"
  graft unlearn --check fleet.csv --entity host=web-1 --from 1767225600 --until 1767229200
"""
FINDINGS = 1


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("--check", nargs="+", type=Path, required=True, metavar="FILE", help="CSV or Parquet files")
    parser.add_argument("--from", dest="since", required=True, metavar="TIME", help="start of the window")
    parser.add_argument("--until", required=True, metavar="TIME", help="its end: ISO 8601 or epoch")
    parser.add_argument("--entity", metavar="ENTITY", help="as alerts name it (default: the only one of the file)")
    parser.add_argument("--labels", type=words, metavar="LABEL,...", help="long files: labels that make an entity")
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    from agents.offline.files import moment_ms
    from agents.offline.replay import warm_up
    from agents.offline.unlearn import check
    from engine.errors import BadSample, ConfigError
    from engine.windows import span_of

    settings = settings_of(args)
    try:
        begin, end = span_of({"from_ms": moment_ms(args.since), "until_ms": moment_ms(args.until)})
    except BadSample as error:
        raise ConfigError(f"--from and --until: {error.detail}") from None
    warm_up(out.note)
    found = [
        check(path, begin=begin, end=end, entity=args.entity, labels=args.labels, settings=settings)
        for path in args.check
    ]
    out.result({"files": found, "equal": all(one["equal"] for one in found)})
    for one in found:
        _show(one, out)
    return 0 if all(one["equal"] for one in found) else FINDINGS


def _show(one: dict[str, Any], out: Out) -> None:
    out.say(
        f"{one['file']}: {one['window']['samples']:,} samples of {one['entity']} in the window, rows "
        f"{one['from_offset']:,} to {one['until_offset']:,} folded again"
    )
    if one["left_out"]:
        out.say(f"{one['left_out']} of {one['orders']} re-tunes left out: they answer what the window had taught")
    if one["equal"]:
        out.say("un-learned equals marked beforehand, bit for bit")
    for line in one["differences"]:
        out.say(f"not equal: {line}")
    out.say(f"the window had taught {one['arrays_taught']} arrays something; level and scale with it and without:")
    rows = [
        (each["series"], *(f"{each[what][name]:.6g}" for what in ("learned", "unlearned") for name in ("level", "sd")))
        for each in one["taught"]
    ]
    out.table(rows, ("series", "level", "sd", "level without", "sd without"))
