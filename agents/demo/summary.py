"""Summary: the scoreboard for people, the object for scripts, and the files that stay.

Owns the names of the keys of `graft demo --json` (interface.md) and the three next steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.demo.useful import NEAR
from agents.demo.words import clock, duration

if TYPE_CHECKING:
    from agents.demo.scoreboard import Score
    from agents.demo.story import Story

NEXT = (
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


def as_text(story: Story, score: Score, files: Sequence[Path], *, took_s: float, is_cut: bool) -> str:
    """The scoreboard."""
    told = as_json(story, score, took_s=took_s, seed=0)
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
        *(f"  {'next' if at == 0 else '    '}   {command:<36} {why}" for at, (command, why) in enumerate(NEXT)),
    ]
    return "\n".join(lines)


def _totals(told: dict[str, Any], score: Score, took_s: float) -> list[str]:
    delay = "-" if score.delay_s_median is None else duration(score.delay_s_median)
    p99 = "-" if score.p99_ms is None else f"{score.p99_ms:.0f} ms"
    near = f"(event time until forecasts stay within {NEAR:g}x of their final error)"
    rows = (
        ("injected", "found", "false_pages", "escalated", "answered", "adapted"),
        ("samples", "lag_records", "dead_letters", "pages", "cold_found", "cold_false_pages"),
    )
    return [
        *("  " + "   ".join(f"{key.replace('_', ' ')} {told[key]:,}" for key in row) for row in rows),
        f"  median delay {delay} of event time   p99 sample to alert {p99}   took {took_s:.0f} s",
        f"  useful after {duration(told['seeded_useful_s'])} seeded, {duration(told['cold_useful_s'])} cold {near}",
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
