"""One entity through one method, one method of one set through the measures: the work of `benchmarks.quality`.

Owns the files in between, `DIR/SET/METHOD/ENTITY.npz` with `t` (epoch seconds), `severity`, `confidence` and `page`,
one value a row, history included, NaN where there is no answer. What is measured is read back from them, so anyone
who has them can score them again. Everything here can run in another process.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import quality_measures as measures
from benchmarks import quality_nab as nab
from benchmarks.quality_measures import Pages
from benchmarks.quality_methods import COLD, Answer, alarm_level, answer, timed
from benchmarks.quality_sets import NAB, Entity, entity
from benchmarks.series_data import Array

#: How far the baselines of a prefix may be off: sums over other lengths are rounded otherwise. Graft has no such leave.
ROUNDING = 1e-6


class Job(NamedTuple):
    """One method on one entity."""

    data: Path
    out: Path
    set_name: str
    method: str
    name: str

    @property
    def file(self) -> Path:
        """Where its answer is."""
        # A file of NAB is named by its stem, as `graft replay` names the entity.
        return self.out / self.set_name / self.method / f"{Path(self.name).name.removesuffix('.csv')}.npz"


class Ran(NamedTuple):
    """What a job took: rows that the method saw, and seconds of a processor."""

    job: Job
    rows: int
    seconds: float


def run(job: Job) -> Ran:
    """Write the answer of a method to each row of an entity. Its stream is all that the method sees."""
    stream = entity(job.data, job.set_name, job.name).stream
    found, seconds = timed(job.method, stream)
    job.file.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: column.astype(np.float32) for name, column in found._asdict().items()}
    np.savez(job.file, t=stream.ts_ms // 1000, **columns)
    seen = len(stream.ts_ms) - (stream.history if job.method == COLD else 0)
    return Ran(job, seen, seconds)


def read(job: Job) -> Answer:
    """The answer that `run` wrote; what is no number scores as nothing."""
    with np.load(job.file, allow_pickle=False) as file:
        return numbers(Answer(*(file[name].astype(np.float64) for name in Answer._fields)))


def numbers(found: Answer) -> Answer:
    """What is no number as nothing."""
    return Answer(*(np.nan_to_num(column, nan=0.0, posinf=1e9, neginf=0.0) for column in found))


def prefix_difference(job: Job) -> float:
    """Largest difference between the answers to a prefix and to the whole, cut into other batches; 0: causal.

    A row with an answer in one of them only is an infinite difference.
    """
    one = entity(job.data, job.set_name, job.name)
    rows = one.scored_from + (len(one.stream.ts_ms) - one.scored_from) // 3 + 1
    found = answer(job.method, one.stream.first(rows), chunk_rows=1237)
    worst = 0.0
    with np.load(job.file, allow_pickle=False) as file:
        for name, column in found._asdict().items():
            whole, part = file[name][:rows].astype(np.float64), column.astype(np.float32).astype(np.float64)
            if not np.array_equal(np.isnan(whole), np.isnan(part)):
                return float("inf")
            off = np.abs(whole - part) / np.maximum(np.abs(whole), 1.0)
            worst = max(worst, float(np.nanmax(off, initial=0.0)))
    return worst


class Scored(NamedTuple):
    """One method on a set, per entity (e,): vus_pr, ap, rate over the promised one; and what it would page.

    normal: rows without a label; runs: lengths of the stretches of alarms on them. curve: at common thresholds, each
    page over its own point in the history; plain: as they are; at_one: at 1.
    """

    names: list[str]
    vus_pr: Array
    ap: Array
    rate: Array
    normal: Array
    runs: list[Array]
    curve: Pages
    plain: Pages
    at_one: Pages


def score(jobs: list[Job]) -> Scored:
    """Score one method on the entities of one set, from the files that `run` wrote."""
    entities = [entity(job.data, job.set_name, job.name) for job in jobs]
    return score_answers(jobs[0].method, [(one, read(job)) for one, job in zip(entities, jobs, strict=True)])


def score_answers(method: str, answers: list[tuple[Entity, Answer]]) -> Scored:
    """Score one method on some entities. The only place where labels meet answers."""
    single: list[tuple[float, float, float]] = []
    rows: list[tuple[Array, int]] = []
    runs: list[Array] = []
    curves: tuple[list[Array], list[Array]] = ([], [])
    for one, found in answers:
        stream, begin = one.stream, one.scored_from
        label, severity = one.label[begin:], found.severity[begin:]
        window = measures.buffer_rows(stream.values[begin:, 0])
        alarms = severity >= alarm_level(method, found.severity, stream.history)
        runs.append(measures.runs_of(alarms, label))
        single.append((
            measures.vus_pr(label, severity, window),
            measures.average_precision(label, severity),
            measures.rate_ratio(alarms, label),
        ))  # fmt: skip
        rows.append((label, stream.rows_a_day))
        known = 0 if method == COLD else stream.history
        curves[0].append(measures.comparable(found.page, known)[begin:])
        curves[1].append(found.page[begin:])
    curve, plain = (_paged(rows, pages, measures.common_thresholds(pages)) for pages in curves)
    at_one = _paged(rows, curves[1], np.ones(1))
    normal = np.array([np.count_nonzero(label <= 0) for label, _ in rows])
    return Scored([one.name for one, _ in answers], *np.array(single).T, normal, runs, curve, plain, at_one)


def _paged(rows: list[tuple[Array, int]], pages: list[Array], thresholds: Array) -> Pages:
    """Silence lasts an hour."""
    return measures.joined([
        measures.pages_at(label, page, thresholds, silence=max(a_day // 24, 1), rows_a_day=a_day)
        for (label, a_day), page in zip(rows, pages, strict=True)
    ])  # fmt: skip


def score_nab(jobs: list[Job]) -> dict[str, Any]:
    """NAB's score of one method on all files: of the page with a quiet period, as it is, and of the severity."""
    kinds: dict[str, list[nab.Steps]] = {"": [], "_plain": [], "_severity": []}
    rows: list[tuple[Array, int]] = []
    pages: list[Array] = []
    for job in jobs:
        one, found = entity(job.data, NAB, job.name), read(job)
        kinds[""].append(nab.steps(one, nab.quiet(found.page)))
        kinds["_plain"].append(nab.steps(one, found.page))
        kinds["_severity"].append(nab.steps(one, nab.quiet(found.severity)))
        rows.append((one.label[one.scored_from :], one.stream.rows_a_day))
        pages.append(found.page[one.scored_from :])
    told: dict[str, Any] = {"files": len(jobs)}
    for kind, files in kinds.items():
        told |= {f"standard{kind}": nab.standard(files), f"cv5{kind}": nab.cross_validated(files)}
    at_one = _paged(rows, pages, np.ones(1))
    told["false_pages_day"] = float(at_one.false.sum() / at_one.days.sum())
    told["recall_at_page"] = float(at_one.found.sum() / max(at_one.events.sum(), 1))
    return told


def score_published(jobs: list[Job]) -> dict[str, dict[str, float]]:
    """NAB's score of other detectors from NAB/results, as they are, where their files are there for all of ours."""
    found = {}
    for folder in sorted((jobs[0].data / NAB / "results").glob("*/")):
        paths = [folder / Path(job.name).parent / f"{folder.name}_{Path(job.name).name}" for job in jobs]
        if all(path.exists() for path in paths):
            files = [
                nab.steps(entity(job.data, NAB, job.name), _column(path)) for job, path in zip(jobs, paths, strict=True)
            ]
            found[folder.name] = {"standard": nab.standard(files), "cv5": nab.cross_validated(files)}
    return found


def _column(path: Path) -> Array:
    with path.open(newline="") as file:
        return np.array([float(row["anomaly_score"]) for row in csv.DictReader(file)])
