"""Summary: the scoreboard for people, the object for scripts, and the files that stay.

Owns the names of the keys of `graft demo --json` (interface.md) and the three next steps. What the seed was worth is
the report of the records that the demo's own detector has written, as `graft transfer report` would make it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.demo.useful import NEAR
from agents.demo.words import clock, duration
from engine.transfer.report import early_text, hours_text, report

if TYPE_CHECKING:
    from agents.demo.scoreboard import Score
    from agents.demo.story import Story

NEXT = (
    ("graft transfer report --out-dir {folder}", "what was lent, and what it was worth; --html FILE for pictures"),
    ("graft replay my.csv --out out", "how would it have done on my own data?"),
    ("graft check -c graft.toml", "will it work on my own Kafka? (ten lines of TOML, see README)"),
    ("graft run -c graft.toml --dry-run", "what would it send? Nothing leaves this machine."),
)


def as_json(story: Story, score: Score, *, took_s: float, seed: int) -> dict[str, Any]:
    """One object; delays and times to useful in event seconds."""
    seeded_s, cold_s = story.usefulness()
    cold = story.cold_score()
    return {
        "injected": len(score.lines),
        "found": score.found,
        "false_pages": len(score.false_pages),
        "escalated": score.asked,
        "answered": score.answered,
        "adapted": score.adapted,
        "delay_s_median": score.delay_s_median,
        "seeded_useful_s": seeded_s,
        "cold_useful_s": cold_s,
        "samples": story.feeder.samples,
        "p99_ms": score.p99_ms,
        "pages": story.moment().pages,
        "cold_found": cold.found,
        "cold_false_pages": len(cold.false_pages),
        "transfer": transfer(story),
        "records": story.feeder.records,
        "dead_letters": story.ears.dead_letters,
        "dead_letter_reasons": story.ears.reasons,
        "lag_records": story.lag(),
        "seed": seed,
        "took_s": round(took_s, 1),
        "incidents": [
            {
                "kind": line.incident.kind, "entity": line.entity, "start_min": line.incident.start_min,
                "found": line.is_found, "pages": line.pages, "verdict": line.verdict,
            }
            for line in score.lines
        ],
        "false": [{"minute": at, "entity": entity, "because": because} for at, entity, because in score.false_pages],
    }  # fmt: skip


def transfer(story: Story) -> dict[str, Any] | None:
    """The demo's fleet in the report of its own records; None if nothing has been decided yet."""
    told = report(one.value for one in story.ears.heard() if one.topic == "experiments")
    return dict(told["fleets"][0]) if told["fleets"] else None


def transfer_lines(fleet: dict[str, Any] | None) -> list[str]:
    """Two lines for people.

    >>> transfer_lines(None)
    ['  seed    nothing was decided about it yet']
    """
    if fleet is None:
        return ["  seed    nothing was decided about it yet"]
    of, entities, pages = fleet["believed"], fleet["entities"], fleet["pages"]
    out = f"{entities['refused']} refused, {entities['returned']} taken back of {entities['all']}"
    sent = f"{pages['cold_would_have_sent']} pages that the cold version alone would have sent"
    if not of["series"]:
        return [f"  seed    nothing is measured yet; {out}"]
    better = f"{of['helped']} forecast better than their cold twin, {of['equal']} as well, {of['hurt']} worse"
    return [
        f"  seed    worth {hours_text(of)} of learning{early_text(of)}; of {of['series']} series {better}",
        f"          errors x {of['error_ratio'] or 1.0:.2f}; {out}; {sent}",
    ]


def as_text(story: Story, score: Score, files: Sequence[Path], *, took_s: float, is_cut: bool) -> str:
    """The scoreboard."""
    told = as_json(story, score, took_s=took_s, seed=0)
    folder = str(files[0].parent) if files else "graft-demo"
    steps = [(command.format(folder=folder), why) for command, why in NEXT]
    lines = [
        "",
        f"stopped at {clock(story.feeder.minute)}; until then:" if is_cut else "the script is through:",
        *(
            f"  {'found ' if line.is_found else 'MISSED'}  {line.incident.kind:<12} {line.entity:<17} {line.verdict}"
            for line in score.lines
        ),
        *(f"  FALSE   {clock(at)}  {entity}: {because}" for at, entity, because in score.false_pages),
        "",
        *_totals(told, score, took_s),
        "",
        f"  wrote  {'  '.join(map(str, files))}",
        *(f"  {'next' if at == 0 else '    '}   {command:<36} {why}" for at, (command, why) in enumerate(steps)),
    ]
    return "\n".join(lines)


def _totals(told: dict[str, Any], score: Score, took_s: float) -> list[str]:
    delay = "-" if score.delay_s_median is None else duration(score.delay_s_median)
    p99 = "-" if score.p99_ms is None else f"{score.p99_ms:.0f} ms"
    near = f"(event time until bands stay within {NEAR:g}x of their final score)"
    rows = (
        ("injected", "found", "false_pages", "escalated", "answered", "adapted"),
        ("samples", "lag_records", "dead_letters", "pages", "cold_found", "cold_false_pages"),
    )
    return [
        *("  " + "   ".join(f"{key.replace('_', ' ')} {told[key]:,}" for key in row) for row in rows),
        f"  median delay {delay} of event time   p99 sample to alert {p99}   took {took_s:.0f} s",
        f"  useful after {duration(told['seeded_useful_s'])} seeded, {duration(told['cold_useful_s'])} cold {near}",
        *transfer_lines(told["transfer"]),
    ]


def write_files(folder: Path, story: Story) -> list[Path]:
    """Everything that was heard, by topic, as one JSON object a line."""
    written = []
    heard = story.ears.heard()
    for topic in ("alerts", "escalations", "drift", "experiments"):
        path = folder / f"{topic}.jsonl"
        path.write_text("".join(json.dumps(one.value) + "\n" for one in heard if one.topic == topic))
        written.append(path)
    return written
