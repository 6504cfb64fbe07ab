"""One target through all its deployments: the work of `benchmarks.first_hours` that other processes do.

Owns the order of lines and starts, what each of them is handed, and the files of `--dump`. Knows no pooled number.
The only place where answers meet labels is `first_hours_measures.run_of`, which is called here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import first_hours_anchors as anchors
from benchmarks.first_hours_anchors import Anchor
from benchmarks.first_hours_cases import Case, Meeting, Subject, rows_of
from benchmarks.first_hours_lines import LINES, SOURCED, Answer, Handed, Watched, answer, fold, newborn, watch
from benchmarks.first_hours_measures import Run, run_of
from engine.snapshot import State
from engine.transfer import plan
from engine.transfer.match import COLD


class Watching(NamedTuple):
    """What is known of an entity that has been watched all along."""

    watched: Watched
    anchor: Anchor | None


class Offer(NamedTuple):
    """What one entity may hand over, by number of start; checkpoints only where a copy may be wanted."""

    checkpoints: list[State]
    sources: list[State | None]
    anchor: Anchor | None

    def source(self, k: int) -> State | None:
        """Its source at the k-th start, or the last that it has had."""
        return self.sources[min(k, len(self.sources) - 1)] if self.sources else None

    def checkpoint(self, k: int) -> State | None:
        """The same of its whole state."""
        return self.checkpoints[min(k, len(self.checkpoints) - 1)] if self.checkpoints else None


class Deployment(NamedTuple):
    """A target with all that it may be handed. zones: sources for which a plan is made after a day.

    usual: the threshold that an anchor without any source takes; dump: where answers are kept, or None.
    """

    subject: Subject
    meeting: Meeting
    cases: list[Case]
    offers: dict[int, Offer]
    zones: dict[int, str]
    usual: float
    dump: Path | None


class Done(NamedTuple):
    """runs: case -> line -> one a start; plans: (zone, does it keep most classes cold)."""

    target: int
    runs: dict[str, dict[str, list[Run]]]
    plans: list[tuple[str, bool]]


def watch_one(subject: Subject) -> Watching:
    """Both the engine and the anchor, all along."""
    return Watching(watch(subject), anchors.watch(subject))


def deploy(job: Deployment) -> Done:
    """All lines of all cases from all starts."""
    cases = [case for case in job.cases if case.zone in job.meeting.sources]
    runs: dict[str, dict[str, list[Run]]] = {case.name: {} for case in cases}
    for k, start in enumerate(job.subject.starts):
        said: dict[tuple[str, str], Answer] = {}
        for case in cases:
            # The longest of a zone first would save nothing: all cases of a set are cut from one answer.
            _deploy_once(job, case, k, start, said, runs[case.name])
    return Done(job.meeting.target, runs, _plans(job))


def _deploy_once(
    job: Deployment,
    case: Case,
    k: int,
    start: int,
    said: dict[tuple[str, str], Answer],
    runs: dict[str, list[Run]],
) -> None:
    """One case from one start. said: answers by line and zone, which several cases share."""
    subject, hours = job.subject, max(one.hours for one in job.cases)
    of = job.meeting.sources[case.zone]
    handed = _handed(job, of, k)
    for line in LINES:
        key = (line, case.zone if line in SOURCED else "")
        if key not in said:
            said[key] = answer(line, subject, start, hours, handed)
    own, copied = (job.offers[j].anchor for j in (job.meeting.target, of[0]))
    for line in anchors.LINES if own is not None else ():
        key = (f"{own.name}-{line}", case.zone if line == "naive" else "") if own else ("", "")
        if key not in said:
            assert own is not None
            page, point = anchors.page(line, subject, start, hours, k, own, copied, job.usual)
            said[key] = _anchored(page / point, len(subject.names))
    rows = rows_of(subject.record, case.hours)
    warm = said["warm", ""].expected
    for (line, zone), one in said.items():
        if zone in ("", case.zone):
            run = run_of(job.meeting.target, subject.record, start, rows, (one.expected, one.severity, one.page), warm)
            runs.setdefault(line, []).append(run)
            if job.dump is not None:
                _keep(job.dump / case.name / line, subject, start, rows, one)


def _handed(job: Deployment, of: list[int], k: int) -> Handed:
    own = job.offers[job.meeting.target].checkpoint(k)
    assert own is not None, "a target is watched from its first start on"
    lent, wrong = (
        [source for j in numbers if (source := job.offers[j].source(k)) is not None]
        for numbers in (of, [job.meeting.wrong])
    )
    return Handed(own, job.offers[of[0]].checkpoint(k), lent, wrong)


def _anchored(page: np.ndarray, width: int) -> Answer:
    """An anchor has no forecast and no severity."""
    nothing = np.full(len(page), np.nan)
    return Answer(np.full((len(page), width), np.nan), nothing, nothing, page)


def _plans(job: Deployment) -> list[tuple[str, bool]]:
    """What a plan says of each source once the target has been seen for a day, from its last start."""
    subject = job.subject
    if not job.zones:
        return []
    start = subject.starts[-1]
    shard = newborn(subject)
    fold(shard, subject, start, start + subject.record.rows_a_day)
    seen = shard.export()
    found = []
    for j, zone in job.zones.items():
        source = job.offers[j].source(len(subject.starts) - 1)
        if source is not None:
            entries = plan(source, seen).entries
            found.append((zone, sum(entry.zone == COLD for entry in entries) > len(entries) / 2))
    return found


def _keep(folder: Path, subject: Subject, start: int, rows: int, one: Answer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    columns = {name: getattr(one, name)[:rows].astype(np.float32) for name in ("severity", "confidence", "page")}
    t = subject.record.ts_ms[start : start + rows] // 1000
    np.savez(folder / f"{subject.record.name}-{start}.npz", t=t, **columns)
