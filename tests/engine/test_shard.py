"""Laws of the fold: cuts do not matter, replay is a straight run, what is refused changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.batch import Batch
from engine.errors import BadSample, SnapshotError
from engine.series import Kind, Series
from engine.shard import Shard, Verdicts
from engine.snapshot import State, pack, unpack
from tests.engine.logs import CONFIG, START_MS, admit, cold, cut, disturbed, fleet_log

FIELDS = ("expected", "lower", "upper", "severity", "confidence", "page", "decision", "outcome")


def run(
    batches: list[Batch], shard: Shard | None = None, hosts: int = 3, metrics: int = 4
) -> tuple[Shard, list[Verdicts]]:
    shard = shard or cold()
    admit(shard, hosts, metrics)
    return shard, [shard.process(batch) for batch in batches]


def told(verdicts: list[Verdicts]) -> list[object]:
    return [record for part in verdicts for record in part.records]


def assert_same_state(left: Shard, right: Shard) -> None:
    a, b = left.export(), right.export()
    assert a.manifest == b.manifest
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        assert array.tobytes() == b.arrays[name].tobytes(), name


def log(ticks: int = 120, seed: int = 0) -> Batch:
    return disturbed(fleet_log(admit(cold(), 3, 4), ticks, seed), 1300, 1330, 40.0)


@given(st.lists(st.integers(0, 1500), max_size=12), st.integers(0, 3))
def test_cuts_of_the_log_do_not_matter(cuts: list[int], seed: int) -> None:
    whole = log(seed=seed)
    one, at_once = run([whole])
    many, in_parts = run(cut(whole, cuts))
    assert_same_state(one, many)
    assert told(at_once) == told(in_parts)
    for field in FIELDS:
        parts = np.concatenate([getattr(part, field) for part in in_parts])
        assert getattr(at_once[0], field).tobytes() == parts.tobytes(), field
    for field in at_once[0].ticks._fields:
        if field != "at":
            parts = np.concatenate([getattr(part.ticks, field) for part in in_parts])
            assert getattr(at_once[0].ticks, field).tobytes() == parts.tobytes(), field


@given(st.lists(st.integers(0, 1500), max_size=6))
def test_when_a_decoder_admits_a_series_does_not_matter(cuts: list[int]) -> None:
    """A decoder admits the new series of a whole batch before the batch is folded."""
    rng = np.random.default_rng(5)
    whole = log()
    late = whole.row.astype(np.int64) * 90 > whole.offset  # series that begin one after the other
    whole = Batch(*(column[~late] for column in whole[:4]), whole.next_offset)
    names = [Series.of(f"m{j}", {"host": f"h{e}"}, Kind.GAUGE) for e in range(3) for j in range(4)]
    states = []
    for pieces in ([whole], cut(whole, cuts), cut(whole, rng.integers(0, 1400, 40).tolist())):
        shard = cold()
        for piece in pieces:
            first = {int(row): None for row in piece.row}
            rows = {row: shard.admit(names[row]) for row in first}
            shard.process(piece._replace(row=np.array([rows[int(row)] for row in piece.row], np.int32)))
        states.append(shard)
    for other in states[1:]:
        assert_same_state(states[0], other)


def as_decoded(metrics: int, ticks: int, cuts: list[int]) -> tuple[Shard, bytes]:
    """One host, admitted batch by batch as a decoder does it; its state and the severity of its ticks."""
    shard, severity = cold(), []
    for part in cut(fleet_log(np.arange(metrics).reshape(1, metrics), ticks, 3), cuts):
        names = [Series.of(f"m{row}", {"host": "wide"}, Kind.GAUGE) for row in part.row]
        rows = np.array([shard.admit(name) for name in names], np.int32)
        severity.append(shard.process(part._replace(row=rows)).ticks.severity)
    return shard, np.concatenate(severity).tobytes()


@settings(max_examples=20)
@example([40])
@example(list(range(100)))
@given(st.lists(st.integers(0, 150), max_size=6))
def test_cuts_do_not_matter_for_a_host_of_several_blocks(cuts: list[int]) -> None:
    whole, at_once = as_decoded(50, 40, [])
    parts, in_parts = as_decoded(50, 40, cuts)
    assert_same_state(whole, parts)
    assert at_once == in_parts


@given(st.integers(1, 1400))
def test_a_restored_shard_goes_on_bit_for_bit(at: int) -> None:
    whole = log()
    straight, _ = run([whole])
    first, second = cut(whole, [at])
    half, _ = run([first])
    again = Shard.restore(unpack(pack(*half.export())), CONFIG)
    assert_same_state(half, again)
    run([second], again)
    assert_same_state(straight, again)


@given(st.integers(1, 1400), st.integers(1, 1400))
def test_a_log_that_is_read_twice_changes_nothing(a: int, b: int) -> None:
    whole = log()
    straight, _ = run([whole])
    begin, end = min(a, b), max(a, b)
    first, second = cut(whole, [end])
    again, _ = run([first])
    again.process(cut(whole, [begin])[1]) if begin < end else again.process(second)
    assert_same_state(straight, again)


def test_a_batch_without_samples_that_is_read_twice_changes_nothing() -> None:
    shard = cold()
    row = admit(shard, 1, 1)[0]
    dead = Batch.of([], [], [], [], 3)._replace(dead=np.arange(3))
    shard.process(dead)
    shard.process(Batch.of(row, [START_MS], [1.0], [3], 4))
    before = shard.export().manifest
    assert (before["next_offset"], before["ledger"]["dead_letter"]) == (4, 3)
    shard.process(dead)
    assert shard.export().manifest == before
    assert shard.ledger.total == 4


def test_refused_samples_change_nothing_but_the_ledger() -> None:
    whole = log()
    plain, _ = run([whole])
    end = whole.next_offset
    late = Batch.of([0, 1, 2], [START_MS] * 3, [1e9, -1e9, np.nan], end + np.arange(3), end + 3)
    same, verdicts = run([whole, late])
    assert [int(x) for x in verdicts[1].outcome] == [3, 3, 3]
    a, b = plain.export(), same.export()
    for name, array in a.arrays.items():
        assert array.tobytes() == b.arrays[name].tobytes(), name
    assert same.ledger["late"] == plain.ledger["late"] + 3


def test_the_ledger_accounts_for_each_offset_once() -> None:
    whole = log()
    keep = np.isin(whole.offset, [10, 11, 500], invert=True)
    holes = Batch(*(c[keep] for c in whole[:4]), whole.next_offset, np.array([10, 12]), np.array([11]))
    shard, _ = run([holes])
    assert shard.ledger.total == shard.next_offset == whole.next_offset
    assert (shard.ledger["dead_letter"], shard.ledger["empty"], shard.ledger["skipped"]) == (2, 1, 1)
    shard.mark_gap(whole.next_offset, whole.next_offset + 50)
    assert shard.ledger.total == shard.next_offset
    assert shard.ledger["gap"] == 50


def test_a_full_shard_refuses_new_series_by_name() -> None:
    shard = cold(CONFIG.__class__(max_series=2))
    admit(shard, 1, 2)
    with pytest.raises(BadSample, match=r"limits\.max_series") as refusal:
        shard.admit(Series.of("third", {"host": "h0"}))
    assert refusal.value.reason == "cardinality"
    assert shard.admit(Series.of("m0", {"host": "h0"})) == 0


def test_an_outage_is_one_alert_with_an_end() -> None:
    rows = admit(cold(), 1, 8)
    quiet = fleet_log(rows, 1500, 1)
    n = len(quiet.row)
    broken = disturbed(quiet, n - 4000, n - 3920, 30.0)
    shard, verdicts = run([broken], hosts=1, metrics=8)
    alerts = [record.value for record in told(verdicts) if record.topic == "alerts"]
    near = [a for a in alerts if abs(a["started_ms"] - int(broken.ts_ms[n - 4000])) < 5 * 60_000]
    assert [a["state"] for a in near] == ["firing", "resolved"]
    assert near[0]["alert"] == near[1]["alert"]
    assert near[0]["incident"] == near[1]["incident"]
    assert near[0]["id"] != near[1]["id"]
    assert len(near[0]["contributors"]) >= 3
    assert near[0]["contributors"][0]["upper"] < near[0]["contributors"][0]["value"]
    assert [a["number"] for a in alerts] == list(range(1, len(alerts) + 1))
    assert shard.counters()["firing"] == 0


def test_a_lone_series_is_its_own_entity() -> None:
    """The verdict on its sample is the entity's, once two samples have made a tick possible."""
    rows = admit(cold(), 1, 1)
    shard, (verdict,) = run([fleet_log(rows, 400)], hosts=1, metrics=1)
    assert shard.entity_count == 1
    by_time = dict(zip(verdict.ticks.ts_ms.tolist(), verdict.ticks.severity.tolist(), strict=True))
    batch = fleet_log(rows, 400)
    learned = np.flatnonzero(verdict.outcome == 0)[5:]
    assert len(learned) > 300
    for at in learned:
        assert verdict.severity[at] == pytest.approx(by_time[int(batch.ts_ms[at])])
    assert np.isfinite(verdict.page[learned[-1]])


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(SnapshotError, match="no checkpoint"):
        Shard.restore(State({"kind": "source"}, {}), CONFIG)


def test_kind_of_counters_is_found_from_their_shape() -> None:
    shard = cold(CONFIG.__class__())
    counter, gauge = (shard.admit(Series.of(name, {"host": "a"})) for name in ("bytes", "load"))
    for k in range(40):
        ts = START_MS + 10_000 * k
        value = [1000.0 * k if k < 30 else 1000.0 * (k - 30), float(k % 7)]
        shard.process(Batch.of([counter, gauge], [ts, ts], value, [2 * k, 2 * k + 1], 2 * k + 2))
    recipe = shard.roster.rows.recipe
    assert (recipe.kind[counter], recipe.kind[gauge]) == (Kind.COUNTER, Kind.GAUGE)
    # A thousand in ten seconds is a rate of 100, also after the reset.
    assert shard.roster.rows.level.mean[counter] == pytest.approx(100.0)
