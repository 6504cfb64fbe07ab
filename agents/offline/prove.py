"""Prove: what a seed would have been worth to the entities of a recording. Pure but for the report of progress.

Owns the protocol: each entity in turn is a target that is first seen at several starts and judged for a day. Three
lines answer each sample before they learn from it:

cold     a shard that has seen nothing
seeded   the same with what a source lends, guarded as usual
warm     the shard that has seen the target all along

The source is the one that was given, or is distilled at each start from one shard that has folded all other entities
up to then. Law: cold and seeded use nothing of the target before the start, and nobody uses anything after a sample.

Not obvious: a source that is not healthy at a start is the last healthy one of an earlier start; where there is none,
the run goes without and its seeded line is a cold one. Drift is not answered by a re-tune: nobody gives orders here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from agents.offline.files import CHUNK_SAMPLES, ENTITY
from agents.offline.proof import NO_SOURCE, UNDECIDED, Answers, Run, run_of
from agents.offline.recordings import Recording
from engine.batch import Batch
from engine.columns import Array
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.prior import Prior
from engine.records import Record
from engine.series import Kind
from engine.shard import Shard
from engine.transfer import distil, read_prior
from engine.transfer.health import AGE_SAMPLES
from engine.transfer.trial import SETTLED, STANDING, trials

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
#: How long a target is judged from its start on, and how far two starts are apart at least.
WINDOW_MS, APART_MS = DAY_MS, 6 * HOUR_MS
#: A source needs AGE_SAMPLES behind its median series; some of them are missing.
SPARE = 1.1

#: Says how far it is: what is being done, samples done, samples in all.
Report = Callable[[str, int, int], None]


class Target(NamedTuple):
    """An entity that is judged: its number among the recordings, and when it is first seen."""

    number: int
    starts_ms: list[int]


class Proven(NamedTuple):
    """All runs, and why sources were refused (a sentence each, in order, as often as it happened)."""

    runs: list[Run]
    refused: list[str]


def history_ms(recordings: Sequence[Recording], *, has_snapshot: bool) -> int:
    """Time before the first start: a day, or longer until others are a healthy source."""
    if has_snapshot:
        return DAY_MS
    steps = np.array([one.step_ms for one in recordings])
    step_ms = float(np.median(steps[np.isfinite(steps)])) if np.isfinite(steps).any() else 0.0
    return max(DAY_MS, round(SPARE * AGE_SAMPLES * step_ms))


def targets_of(recordings: Sequence[Recording], *, starts: int, has_snapshot: bool) -> list[Target]:
    """Entities that were recorded for long enough, each with at most so many starts, evenly placed.

    ConfigError where there are fewer than two entities, or none was recorded for long enough.
    """
    if len(recordings) < 2:
        raise ConfigError(
            f"there are {len(recordings)} entities in the recordings; at least 2 are wanted, as each is judged with "
            "what the others know. One file an entity, or long files with labels (--entity)."
        )
    need_ms = history_ms(recordings, has_snapshot=has_snapshot)
    first_ms = np.array([one.ts_ms[0] for one in recordings])
    found = []
    for number, one in enumerate(recordings):
        others = np.delete(first_ms, number)
        begin = int(max(first_ms[number], first_ms[number] if has_snapshot else np.median(others))) + need_ms
        end = int(one.ts_ms[-1] + np.nan_to_num(one.step_ms)) - WINDOW_MS
        if end >= begin:
            count = min(starts, 1 + (end - begin) // APART_MS)
            found.append(Target(number, np.linspace(begin, end, count).astype(np.int64).tolist()))
    if not found:
        longest = max(float(one.ts_ms[-1] - one.ts_ms[0]) for one in recordings) / DAY_MS
        why = "" if need_ms == DAY_MS else f" ({AGE_SAMPLES:,.0f} samples a series make a source)"
        raise ConfigError(
            f"the longest recording lasts {longest:.1f} days; wanted are {(need_ms + WINDOW_MS) / DAY_MS:.1f} days in "
            f"which an entity and others were recorded together: {need_ms / DAY_MS:.1f} of history{why} and one to "
            "judge. Record for longer, or more often."
        )
    return found


def prove(
    recordings: Sequence[Recording],
    targets: Sequence[Target],
    config: EngineConfig,
    *,
    prior: Prior | None = None,
    report: Report | None = None,
) -> Proven:
    """All runs of all targets. prior: of the source that was given; None: of the other entities."""
    series = sum(len(one.series) for one in recordings)
    config = replace(
        config, entity_labels=(ENTITY,), counters_from_shape=False, guard_seeds=True,
        max_series=max(config.max_series, series),
    )  # fmt: skip
    runs: list[Run] = []
    refused: list[str] = []
    gauge = _Gauge(report, _work(recordings, targets, has_snapshot=prior is not None))
    for target in targets:
        own = recordings[target.number]
        others = [one for number, one in enumerate(recordings) if number != target.number]
        gauge.what = f"{own.name}: what the others know"
        if prior is not None:
            lent: list[Prior | None] = [prior] * len(target.starts_ms)
        else:
            lent = _sources(others, target.starts_ms, config, gauge, refused)
        gauge.what = f"{own.name}: warm"
        end_ms = target.starts_ms[-1] + WINDOW_MS
        warm = _fold(_newborn([own], config), own, int(own.ts_ms[0]), end_ms, gauge)
        truth = _truth(own)
        for start_ms, source in zip(target.starts_ms, lent, strict=True):
            gauge.what = f"{own.name}: cold and seeded"
            runs.append(_run(target.number, own, truth, start_ms, source, warm, config, gauge))
    return Proven(runs, refused)


class _Gauge:
    """Counts samples, and says how far it is."""

    def __init__(self, report: Report | None, wanted: int) -> None:
        self.what, self._report, self._done, self._wanted = "", report, 0, wanted

    def add(self, samples: int) -> None:
        """So many more are done."""
        self._done += samples
        if self._report is not None:
            self._report(self.what, self._done, max(self._wanted, self._done))


def _work(recordings: Sequence[Recording], targets: Sequence[Target], *, has_snapshot: bool) -> int:
    """Samples that will be folded."""
    total = 0
    for target in targets:
        own, last_ms = recordings[target.number], target.starts_ms[-1]
        total += _count(own, int(own.ts_ms[0]), last_ms + WINDOW_MS)
        total += 2 * sum(_count(own, start_ms, start_ms + WINDOW_MS) for start_ms in target.starts_ms)
        if not has_snapshot:
            others = (one for number, one in enumerate(recordings) if number != target.number)
            total += sum(int(np.searchsorted(one.ts_ms, last_ms)) for one in others)
    return total


def _count(one: Recording, begin_ms: int, end_ms: int) -> int:
    first, last = np.searchsorted(one.ts_ms, [begin_ms, end_ms])
    return int(last - first)


def _sources(
    others: Sequence[Recording], starts_ms: Sequence[int], config: EngineConfig, gauge: _Gauge, refused: list[str]
) -> list[Prior | None]:
    """What others lend at each start: the newest healthy source that they have been until then."""
    shard, begin_ms = _newborn(others, config), min(int(one.ts_ms[0]) for one in others)
    newest: Prior | None = None
    found = []
    for start_ms in starts_ms:
        for batch in _batches(shard, others, begin_ms, start_ms):
            shard.process(batch)
            gauge.add(len(batch.row))
        begin_ms = start_ms
        try:
            newest = read_prior(distil(shard.export()))
        except ConfigError as error:
            refused.append(str(error))
        found.append(newest)
    return found


class _Told(NamedTuple):
    """expected (n,): of each sample. page_ms, closed_by (k,): ticks that page, and the sample which showed that."""

    expected: Array
    page_ms: Array
    closed_by: Array
    records: list[Record]


def _run(
    number: int,
    own: Recording,
    truth: Array,
    start_ms: int,
    source: Prior | None,
    warm: _Told,
    config: EngineConfig,
    gauge: _Gauge,
) -> Run:
    """One start of one target, all lines."""
    end_ms = start_ms + WINDOW_MS
    first, last = np.searchsorted(own.ts_ms, [start_ms, end_ms])
    cold = _fold(_newborn([own], config), own, start_ms, end_ms, gauge)
    seeded = _fold(_newborn([own], config, source), own, start_ms, end_ms, gauge)
    in_time = (warm.page_ms >= start_ms) & (warm.closed_by < last)
    answers = {
        "cold": Answers(cold.expected, cold.page_ms),
        "seeded": Answers(seeded.expected, seeded.page_ms),
        "warm": Answers(warm.expected[first:last], warm.page_ms[in_time]),
    }
    age_h = (own.ts_ms[first:last] - start_ms) / HOUR_MS
    outcome = NO_SOURCE if source is None else _outcome(seeded.records)
    return run_of(number, start_ms, age_h, own.at[first:last], truth[first:last], answers, outcome)


def _outcome(told: Sequence[Record]) -> str:
    """What has become of the seed within the day, in one word of `engine.transfer.trial`."""
    found = trials(record.value for record in told if record.topic == "experiments")
    return UNDECIDED if not found or found[-1].outcome in (STANDING, SETTLED) else found[-1].outcome


def _newborn(of: Sequence[Recording], config: EngineConfig, prior: Prior | None = None) -> Shard:
    """A shard that waits for these entities."""
    shard = Shard(config, topic="recording", partition=0, prior=prior)
    shard.next_offset = 0
    for one in of:
        for series in one.series:
            shard.admit(series)
    return shard


def _fold(shard: Shard, own: Recording, begin_ms: int, end_ms: int, gauge: _Gauge) -> _Told:
    """Fold one entity from one time to another. closed_by counts from the first sample that is folded."""
    expected: list[Array] = [np.empty(0, np.float32)]
    page_ms: list[Array] = [np.empty(0, np.int64)]
    closed_by: list[Array] = [np.empty(0, np.int64)]
    records: list[Record] = []
    done = 0
    for batch in _batches(shard, [own], begin_ms, end_ms):
        verdicts = shard.process(batch)
        expected.append(verdicts.expected)
        is_page = verdicts.ticks.page >= 1.0
        page_ms.append(verdicts.ticks.ts_ms[is_page])
        closed_by.append(verdicts.ticks.at[is_page] + done)
        records += verdicts.records
        done += len(batch.row)
        gauge.add(len(batch.row))
    return _Told(np.concatenate(expected), np.concatenate(page_ms), np.concatenate(closed_by), records)


def _batches(shard: Shard, of: Sequence[Recording], begin_ms: int, end_ms: int) -> Iterator[Batch]:
    """Samples of [begin, end) of these entities in order of time, about CHUNK_SAMPLES a batch."""
    rows = [np.array([shard.admit(series) for series in one.series], np.int32) for one in of]
    total = sum(_count(one, begin_ms, end_ms) for one in of)
    if not total:
        return
    span_ms = max(int((end_ms - begin_ms) * CHUNK_SAMPLES / total), 1)
    for from_ms in range(begin_ms, end_ms, span_ms):
        pieces = [slice(*np.searchsorted(one.ts_ms, [from_ms, min(from_ms + span_ms, end_ms)])) for one in of]
        both = list(zip(of, pieces, strict=True))
        ts_ms = np.concatenate([one.ts_ms[piece] for one, piece in both])
        order = np.argsort(ts_ms, kind="stable")
        row = np.concatenate([known[one.at[piece]] for known, (one, piece) in zip(rows, both, strict=True)])[order]
        value = np.concatenate([one.value[piece] for one, piece in both])[order]
        offset = shard.next_offset + np.arange(len(order))
        if len(order):
            yield Batch.of(row, ts_ms[order], value, offset, int(offset[-1]) + 1)


def _truth(own: Recording) -> Array:
    """What is expected of each sample (n,): its value, or a counter's rate a second since the sample before."""
    truth = own.value.copy()
    for number, series in enumerate(own.series):
        if series.kind is Kind.COUNTER:
            mine = np.flatnonzero((own.at == number) & np.isfinite(own.value))
            truth[mine] = np.nan
            gone_s, grown = np.diff(own.ts_ms[mine]) / 1000.0, np.diff(own.value[mine])
            is_rate = (gone_s > 0) & (grown >= 0)
            truth[mine[1:][is_rate]] = grown[is_rate] / gone_s[is_rate]
    return truth
