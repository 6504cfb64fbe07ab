"""NAB's score, against the rules written out for one threshold at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks import quality_nab as nab
from benchmarks.quality_sets import Entity, Stream


def file_of(rows: int, events: list[tuple[int, int]]) -> Entity:
    """A file with windows [begin, end)."""
    stream = Stream(np.zeros((rows, 1)), 300_000 * np.arange(rows), 0, 288)
    return Entity("one", stream, np.array(events, int).reshape(-1, 2), min(int(0.15 * rows), 750))


def worth(x: float) -> float:
    """NAB's scaled sigmoid."""
    return -1.0 if x > 3.0 else 2.0 / (1.0 + math.exp(5.0 * x)) - 1.0


def slow_total(entity: Entity, score: Any, threshold: float) -> float:
    """The total of one file at one threshold, rule by rule."""
    detected = [at for at in range(entity.scored_from, len(score)) if score[at] >= threshold]
    total = 0.0
    for begin, end in entity.events:
        if end <= entity.scored_from:
            continue
        own = [worth(-(end - at) / (end - begin)) / worth(-1.0) for at in detected if begin <= at < end]
        total += max(own) if own else -1.0
    for at in detected:
        if any(begin <= at < end for begin, end in entity.events):
            continue
        past = [(begin, end) for begin, end in entity.events if end <= at]
        total += 0.11 * (worth((at - past[-1][1] + 1) / (past[-1][1] - past[-1][0] - 1)) if past else -1.0)
    return total


@pytest.mark.parametrize("seed", range(6))
def test_the_total_at_each_threshold_is_that_of_the_rules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    files = [file_of(100, [(5, 12), (40, 60), (70, 75)]), file_of(80, []), file_of(60, [(0, 30)])]
    scores = [rng.integers(0, 6, len(one.stream.ts_ms)).astype(float) for one in files]
    at, total = nab.curve([nab.steps(one, score) for one, score in zip(files, scores, strict=True)])
    assert at[0] == np.inf
    for threshold, found in zip(at, total, strict=True):
        slow = sum(slow_total(one, score, threshold) for one, score in zip(files, scores, strict=True))
        assert found == pytest.approx(slow, abs=1e-9)


def test_the_ends_of_the_scale() -> None:
    entity = file_of(200, [(100, 120)])
    early, silent = np.zeros(200), np.zeros(200)
    early[100] = 1.0
    assert nab.standard([nab.steps(entity, early)]) == pytest.approx(100.0)
    assert nab.curve([nab.steps(entity, silent)])[1][0] == -1.0
    # Silence is 0, and a detection of everything is worth less.
    assert nab.standard([nab.steps(entity, silent)]) == pytest.approx(0.0)


def test_a_threshold_from_other_files_is_no_better_than_the_best_one() -> None:
    rng = np.random.default_rng(0)
    files = [nab.steps(file_of(300, [(150, 170)]), rng.random(300)) for _ in range(10)]
    assert nab.cross_validated(files) <= nab.standard(files)


def test_a_quiet_period_keeps_what_rises_and_sees_no_later_row() -> None:
    score = np.random.default_rng(1).random(500)
    kept = nab.quiet(score, rows=50)
    assert np.array_equal(nab.quiet(score[:300], rows=50), kept[:300])
    assert np.isin(kept, [0.0, *score]).all()
    assert kept[0] == score[0]
