"""Laws of the proof: a likely seed helps, an unlikely one does no harm, and nobody looks ahead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from agents.offline import recordings
from agents.offline.proof import HOURS, LINES, NO_SOURCE, OUTCOMES, UNDECIDED, Answers, Run, pages_sent, proof, run_of
from agents.offline.prove import DAY_MS, HOUR_MS, WINDOW_MS, Target, history_ms, prove, targets_of
from agents.offline.recordings import Recording
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.series import Kind, Series

STEP_MS, BEGIN_MS = 300_000, 1_767_225_600_000
DAY_ROWS = DAY_MS // STEP_MS
CONFIG = EngineConfig()


def entity(name: str, values: np.ndarray, *, begin_ms: int = BEGIN_MS, step_ms: int = STEP_MS) -> Recording:
    """A recording of (rows, d) values."""
    rows, width = values.shape
    series = tuple(Series.of(f"m{k}", {"entity": name}, Kind.GAUGE) for k in range(width))
    ts_ms = begin_ms + step_ms * np.arange(rows, dtype=np.int64)
    at = np.tile(np.arange(width, dtype=np.int32), rows)
    return Recording(name, series, np.repeat(ts_ms, width), at, values.ravel())


def alike(name: str, seed: int, *, days: float = 7.0, width: int = 3) -> Recording:
    """A strong shape of the day that all entities share, at levels of their own."""
    rng, rows = np.random.default_rng([1, seed]), round(days * DAY_ROWS)
    hour = 24.0 * np.arange(rows) / DAY_ROWS
    day = np.sin(2 * np.pi * hour / 24) + 0.6 * np.sin(4 * np.pi * (hour - 3) / 24)
    level = 10.0 ** rng.uniform(1.0, 3.0, width)
    return entity(name, level * (1 + 0.3 * day[:, None] + 0.03 * rng.normal(size=(rows, width))))


def unlike(name: str, kind: int, *, days: float = 7.0, width: int = 3) -> Recording:
    """Each entity another kind of noise, from one that hardly moves between two samples to one that jumps about."""
    rng, rows = np.random.default_rng([2, kind]), round(days * DAY_ROWS)
    noise = rng.normal(size=(rows, width))
    if kind % 2:
        keep, walk = 0.995, np.zeros(width)
        for at in range(rows):
            walk = keep * walk + np.sqrt(1 - keep**2) * noise[at]
            noise[at] = walk
    return entity(name, 100.0 * (1 + (0.02 if kind % 2 else 0.4) * noise))


def told_of(found: Sequence[Recording], **options: object) -> dict[str, object]:
    targets = targets_of(found, starts=2, has_snapshot=False)
    proven = prove(found, targets, CONFIG, **options)  # type: ignore[arg-type]
    names = [one.name for one in found]
    return proof(proven.runs, names, source=None, entities_found=len(found), history_h=91.7, refused=proven.refused)


@pytest.fixture(scope="module")
def twins() -> dict[str, object]:
    return told_of([alike(f"web-{k}", k) for k in range(4)])


def test_a_seed_of_alike_entities_is_worth_something(twins: dict) -> None:
    assert twins["seeded_minus_cold"]["high"] < 0
    assert twins["harm"]["mean"]["high"] < 0
    assert twins["warm_is_better"]
    assert twins["gap_closed"] > 0
    assert twins["guard"]["share_adopted"] > 0.5
    assert "would have helped" in twins["headline"]
    assert not twins["hurts"]


def test_a_seed_of_unlike_entities_is_refused_and_does_no_harm() -> None:
    told = told_of([unlike(f"box-{k}", k) for k in range(2)])
    assert told["guard"]["share_refused"] == 1.0
    assert abs(told["harm"]["mean"]["value"]) < 0.02
    assert not told["hurts"]


def test_what_comes_after_a_window_changes_none_of_its_numbers() -> None:
    whole = [alike("a", 1), alike("b", 2, width=2)]
    start_ms = BEGIN_MS + 4 * DAY_MS + 7 * HOUR_MS
    targets = [Target(0, [start_ms])]
    cut = [_before(one, start_ms + WINDOW_MS) for one in whole]
    (first,) = prove(whole, targets, CONFIG).runs
    (second,) = prove(cut, targets, CONFIG).runs
    assert _same(first, second)


def test_what_others_do_after_a_start_and_the_target_did_before_reach_no_seed() -> None:
    start_ms = BEGIN_MS + 4 * DAY_MS
    target, other = alike("a", 1), alike("b", 2)
    was = target.ts_ms < start_ms
    changed = target._replace(value=np.where(was, target.value[::-1] * 3.0, target.value))
    later = other._replace(value=np.where(other.ts_ms < start_ms, other.value, -1000.0))
    runs = [
        prove([one, two], [Target(0, [start_ms])], CONFIG).runs[0] for one, two in ((target, other), (changed, later))
    ]
    # Each is told beside the warm line, which has changed; of the other it says the same as before.
    change = [run.ratio["seeded"] / run.ratio["cold"] for run in runs]
    assert runs[0].ratio["cold"] != runs[1].ratio["cold"]
    assert [runs[0].pages[line] for line in ("cold", "seeded")] == [runs[1].pages[line] for line in ("cold", "seeded")]
    assert runs[0].outcome == runs[1].outcome
    assert change[0] == pytest.approx(change[1], rel=1e-9)
    assert change[0] != pytest.approx(1.0, rel=1e-3)


def _before(one: Recording, end_ms: int) -> Recording:
    kept = one.ts_ms < end_ms
    return one._replace(ts_ms=one.ts_ms[kept], at=one.at[kept], value=one.value[kept])


def _same(one: Run, other: Run) -> bool:
    arrays = all(
        np.array_equal(getattr(one, name)[line], getattr(other, name)[line], equal_nan=True)
        for name in ("bands", "hourly")
        for line in ("cold", "seeded")
    )
    return arrays and (one.ratio, one.pages, one.outcome) == (other.ratio, other.pages, other.outcome)


def test_a_sick_source_lends_nothing_and_is_told() -> None:
    holes = alike("holes", 1)
    holes = holes._replace(value=np.where(np.arange(len(holes.value)) % 5 < 2, np.nan, holes.value))
    told = told_of([alike("fine", 2), holes])
    fine = next(one for one in told["by_target"] if one["entity"] == "fine")  # type: ignore[attr-defined]
    assert fine["outcomes"] == {"no source": 2}
    assert fine["change"] == 0.0
    assert told["sources_refused"]["times"] == 2  # type: ignore[index]
    assert "missing_share" in told["sources_refused"]["first"]  # type: ignore[index]


def test_too_few_and_too_short_are_told_with_what_is_wanted() -> None:
    with pytest.raises(ConfigError, match=r"there are 1 entities.*at least 2"):
        targets_of([alike("a", 1, days=2)], starts=4, has_snapshot=False)
    short = [alike("a", 1, days=4), alike("b", 2, days=4)]
    with pytest.raises(ConfigError, match=r"lasts 4\.0 days; wanted are 4\.8 days.*3\.8 of history.*1,000 samples"):
        targets_of(short, starts=4, has_snapshot=False)
    assert [len(one.starts_ms) for one in targets_of(short, starts=4, has_snapshot=True)] == [4, 4]
    assert history_ms(short, has_snapshot=True) == DAY_MS


def test_entities_that_never_meet_are_no_targets_of_each_other() -> None:
    early, late = alike("a", 1), alike("b", 2)
    late = late._replace(ts_ms=late.ts_ms + 30 * DAY_MS)
    (target,) = targets_of([early, late], starts=4, has_snapshot=False)
    assert target.number == 1
    assert target.starts_ms[0] == BEGIN_MS + 30 * DAY_MS + history_ms([early, late], has_snapshot=False)


def test_starts_lie_evenly_and_leave_a_day() -> None:
    found = [alike("a", 1, days=9), alike("b", 2, days=9)]
    for target in targets_of(found, starts=3, has_snapshot=True):
        assert target.starts_ms == [BEGIN_MS + DAY_MS, BEGIN_MS + 9 * DAY_MS // 2, BEGIN_MS + 8 * DAY_MS]


def test_a_run_is_compared_by_hand() -> None:
    at, age_h = np.tile([0, 1], 24), np.repeat(np.arange(24.0), 2)
    truth = np.where(at == 0, age_h % 2, 7.0)  # the second does not move
    warm, cold, seeded = truth + 1.0, truth + np.where(age_h < 12, 4.0, 1.0), truth - 2.0
    answers = {
        line: Answers(one, np.array([0, 10, HOUR_MS])) for line, one in zip(LINES, (cold, seeded, warm), strict=True)
    }
    run = run_of(0, 0, age_h, at, truth, answers, UNDECIDED)
    floor = 0.01 * 0.5
    assert run.ratio["seeded"] == pytest.approx((2 + floor) / (1 + floor))
    assert run.bands["cold"] == pytest.approx([(4 + floor) / (1 + floor)] * 4 + [1.0])
    assert run.hourly["cold"][[11, 12]] == pytest.approx([(4 + floor) / (1 + floor), 1.0])
    assert run.pages == dict.fromkeys(LINES, 2)
    told = proof([run], ["a"], source="eu.snap", entities_found=1, history_h=24.0)
    assert told["hours_to_parity"] == {"cold": 12.0, "seeded": 24.0}
    assert told["by_age"][4]["cold"] == {"value": 1.0, "low": 1.0, "high": 1.0}


def a_run(target: int, cold: float, seeded: float, outcome: str = UNDECIDED) -> Run:
    both = {"cold": cold, "seeded": seeded}
    bands, hourly = ({line: np.full(n, one) for line, one in both.items()} for n in (5, HOURS))
    return Run(target, 0, both, bands, hourly, dict.fromkeys(LINES, 0), outcome)


def test_harm_is_told_and_is_a_finding() -> None:
    told = proof([a_run(k, 1.2, 1.3 + 0.1 * k) for k in range(3)], list("abc"), source=None, entities_found=9,
                 history_h=24.0)  # fmt: skip
    assert told["hurts"]
    assert told["harm"]["worst_target"] == "c"
    assert told["harm"]["share_hurt"] == 1.0
    assert told["headline"].startswith("A seed would have hurt")
    assert told["gap_closed"] < 0


def test_without_a_sure_gap_none_is_claimed() -> None:
    told = proof([a_run(k, cold, 0.9) for k, cold in enumerate((0.9, 1.0, 1.3))], list("abc"), source=None,
                 entities_found=3, history_h=24.0)  # fmt: skip
    assert told["gap_closed"] is None
    assert told["headline"].startswith("No claim is made: a model that has watched all along is not surely better")


def test_a_cold_model_that_is_better_than_a_warm_one_is_told() -> None:
    told = proof([a_run(k, 0.8, 0.8) for k in range(3)], list("abc"), source=None, entities_found=3, history_h=24.0)
    assert "has watched all along is worse here than a cold one" in told["headline"]


def test_where_nothing_was_lent_nothing_is_said_of_seeds() -> None:
    runs = [a_run(k, 1.2, 1.2, NO_SOURCE) for k in range(2)]
    told = proof(runs, list("ab"), source=None, entities_found=2, history_h=24.0, refused=["it is sick."])
    assert told["headline"].startswith("Nothing was lent")
    assert told["headline"].endswith("it is sick.")
    assert told["guard"]["share_adopted"] is None


def test_nothing_that_moves_is_no_number() -> None:
    nan = float("nan")
    told = proof([a_run(k, nan, nan) for k in range(2)], list("ab"), source=None, entities_found=2, history_h=24.0)
    assert told["harm"]["mean"] == {"value": None, "low": None, "high": None}
    assert told["hours_to_parity"] == {"cold": None, "seeded": None}
    assert not told["hurts"]
    assert "Nothing moved" in told["headline"]


def test_every_outcome_is_counted_once(twins: dict) -> None:
    guard = twins["guard"]
    assert sum(guard[word] for word in OUTCOMES) == twins["runs"] == 8


def test_a_page_silences_an_hour() -> None:
    assert pages_sent(np.array([], np.int64)) == 0
    assert pages_sent(np.array([5, HOUR_MS, HOUR_MS + 5])) == 2


def test_long_files_become_entities_across_files(tmp_path: Path) -> None:
    for name, begin in (("one", 0), ("two", 600)):
        rows = [f"{begin + 60 * k},{metric},{k},{host},eu\n" for k in range(10) for metric in ("cpu", "io_total")
                for host in ("a", "b")]  # fmt: skip
        (tmp_path / f"{name}.csv").write_text("timestamp,series,value,host,zone\n" + "".join(rows))
    (tmp_path / "wide.csv").write_text("timestamp,cpu\n0,1\n60,\n120,3\n")
    folder = recordings.read([tmp_path], entity_labels=("host",), most=20, report=lambda _: None)
    assert [one.name for one in folder.recordings] == ["host=a", "host=b", "wide"]
    first, _, wide = folder.recordings
    assert [one.text for one in first.series] == [
        'cpu{entity="host=a",zone="eu"}', 'io_total{entity="host=a",zone="eu"}',
    ]  # fmt: skip
    assert first.series[1].kind is Kind.COUNTER
    assert first.ts_ms.tolist() == sorted(first.ts_ms.tolist())
    assert len(first.ts_ms) == 40
    assert first.step_ms == 60_000
    assert np.isnan(wide.value).tolist() == [False, True, False]
    fewer = recordings.read([tmp_path], entity_labels=("host",), most=2, report=lambda _: None)
    assert ([one.name for one in fewer.recordings], fewer.found) == (["host=a", "wide"], 3)
