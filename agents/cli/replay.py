"""`graft replay`: the engine over files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from agents.cli.options import add_config, add_json, settings_of, words
from agents.cli.out import Out

_DESCRIPTION = """\
Run the engine over recorded metrics, as fast as it goes. A verdict on a row uses that row and earlier ones only.

Inputs are CSV (plain or .gz) or Parquet (with pyarrow), or folders of them; the header tells the shape:
  timestamp,value                          one series; the entity is the file's name
  timestamp,<metric>,<metric>,...          one series a column; the entity is the file's name
  timestamp,series,value[,<label>,...]     one sample a row; labels make the entity (--entity)
Timestamps are ISO 8601, or epoch numbers in s, ms, us or ns. An empty cell is a missing sample.

Under --out:
  scores.csv         a line per sample, and one per entity and timestamp (with an empty series)
  alerts.jsonl, escalations.jsonl, drift.jsonl, retunes.jsonl
                     the records that would have gone to Kafka
  rejected.jsonl     numbers that no model may see (infinite, beyond 9.2e18) and where they stood
  summary.json       counts, the ledger, rates, time, engine and configuration hash

Rows must be in the order of their times, oldest first; what is older than a row before it is not scored, and where
that is more than a tenth (and no --state-in is given) the exit status is 1.

--labels FILE has records of `graft label`, one a line. What is an incident or expected, from from_ms until until_ms, is
scored and told of, and nothing is learned of it. series and entity are named as scores.csv does.

Each file is a world of its own: its verdicts do not depend on the other files of the run.
"""
FINDINGS, INTERRUPTED = 1, 130
#: One row in so many that came too late to be scored is an answer of its own: the exit status is 1.
UNORDERED = 10
_EPILOG = """\
examples:
  graft replay nyc_taxi.csv --out out
  graft replay january/ --out out --state-out january.state
  graft replay new-site.csv --out out --snapshot eu.snap --plan eu-to-new.json
  graft replay february/ --out out2 --state-in january.state
  graft replay january/ --out out3 --labels outages.jsonl
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="CSV or Parquet file, or a folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--scores",
        choices=("all", "entity", "series", "none"),
        default="all",
        help="lines of scores.csv (default: all)",
    )
    parser.add_argument("--entity", type=words, metavar="LABEL,...", help="long files: labels that make an entity")
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="seed new series from this source snapshot")
    parser.add_argument("--plan", type=Path, metavar="FILE", help="lend only what this plan of `graft plan --out` says")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="labels (JSON lines): windows not to be learned")
    parser.add_argument("--state-in", type=Path, metavar="FILE", help="go on from the state of an earlier replay")
    parser.add_argument("--state-out", type=Path, metavar="FILE", help="write the state at the end as a snapshot")
    add_config(parser)
    add_json(parser)


def main(args: argparse.Namespace, out: Out) -> int:
    """Run it."""
    import time

    from agents.offline.replay import Options, run

    options = Options(
        inputs=args.inputs,
        out=args.out,
        settings=settings_of(args),
        scores=args.scores,
        entity_labels=args.entity,
        snapshot=args.snapshot,
        plan=args.plan,
        labels=args.labels,
        state_in=args.state_in,
        state_out=args.state_out,
    )

    def report(name: str, rows: int, samples: int) -> None:
        out.progress(f"{name}: {rows:,} rows; {samples:,} samples in all")

    summary = run(options, clock_s=time.monotonic, report=report, note=out.note)
    out.clear()
    out.result(summary)
    _show(summary, args.out, out)
    if summary["interrupted"]:
        return INTERRUPTED
    # A state that goes on may well be given files that it knows in part.
    is_unordered = args.state_in is None and UNORDERED * _behind(summary) > summary["rows"]
    return FINDINGS if is_unordered else 0


def _behind(summary: dict[str, Any]) -> int:
    """Rows that are not scored, as they are no later than one before them."""
    return int(summary["ledger"].get("late", 0) + summary["ledger"].get("duplicate", 0))


def _show(summary: dict[str, Any], folder: Path, out: Out) -> None:
    if summary["interrupted"]:
        out.note("stopped early; what follows is what was done until then.")
    if behind := _behind(summary):
        out.note(
            f"{behind:,} of {summary['rows']:,} rows are older than a row before them, or its repeats, and are not "
            "scored. Sort the files by time, oldest first."
        )
    out.say(
        f"{summary['samples']:,} samples of {summary['series']:,} series in {summary['files']:,} files, "
        f"{summary['seconds']:.1f} s ({summary['samples_per_s'] or 0:,} a second)"
    )
    for name in ("alerts", "escalations", "drift", "retunes"):
        out.say(f"{name:<12} {summary[name]:>9,}   {folder / name}.jsonl")
    for name in ("seeded", "missing", "rejected"):
        if summary[name]:
            out.say(f"{name:<12} {summary[name]:>9,}")
    out.say(f"{'results':<12} {folder}")
