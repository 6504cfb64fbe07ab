"""Trials of re-tunes: kept on proof, reverted without, rolled back when the setting before is right after all.

Laws: cuts of batches do not matter while trials go on; a snapshot in the middle of one goes on as a straight run; what
is rolled back is what there was, bit for bit; parts of a split state keep their own trials.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import parcel, retuning, shadows
from engine.batch import Batch
from engine.components import level
from engine.retune import Tuner
from engine.shard import Shard
from engine.snapshot import pack, unpack
from tests.engine.components.feed import MINUTE_MS, assert_plain_json, log_of, of, tuned
from tests.engine.logs import CONFIG, START_MS, admit, cold, cut

SERIES = 'm0{host="h0"}'
AT = 3200


def story(change: str, *, seed: int = 0, ticks: int = 3700) -> tuple[Shard, Batch]:
    """A host of two metrics; from AT on the first is other than it was."""
    rng = np.random.default_rng(seed)
    values = 20.0 + rng.normal(size=(ticks, 2))
    if change == "level":
        values[AT:, 0] += 6.0
    elif change == "gain":
        values[AT:, 0] *= 2.0
    elif change == "scale":
        values[AT:, 0] = 20.0 + (values[AT:, 0] - 20.0) * 3.0
    elif change == "outage":
        values[AT : AT + 120, 0] += 6.0
    shard = cold()
    return shard, log_of(admit(shard, 1, 2)[0], values)


def findings(told: list[Any]) -> list[tuple[str, str]]:
    """(action, finding) of the first metric since the change, in order."""
    return [
        (v["action"], v["finding"])
        for v in of(told, "experiments")
        if v["at_ms"] >= START_MS + AT * MINUTE_MS and v["series"] == SERIES
    ]


@pytest.mark.parametrize(
    ("change", "action"), [("level", "relevel"), ("gain", "regain"), ("scale", "rescale")]
)  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_a_change_is_named_tried_and_kept(change: str, action: str, seed: int) -> None:
    shard, batch = story(change, seed=seed)
    told, _ = tuned(shard, batch, Tuner())
    found = findings(told)
    assert [finding for _, finding in found[:2]] == ["started", "kept"]
    assert found[1][0] == action
    kept = next(v for v in of(told, "experiments") if v["finding"] == "kept" and v["series"] == SERIES)
    assert kept["evidence"]["proof_new"] >= shadows.PROOF_NEW
    assert kept["lineage"] == [kept["order"]["id"]]
    rows, before = shard.roster.rows.level, kept["before"]["sd"]
    mean, wider = rows.mean[0], level.scale(rows, 0) / before
    assert mean == pytest.approx({"level": 26.0, "gain": 40.0, "scale": 20.0}[change], abs=1.5)
    assert wider == pytest.approx({"level": 1.0, "gain": 2.0, "scale": 3.0}[change], rel=0.4)
    assert_plain_json(told)


def test_what_did_not_change_is_left_alone() -> None:
    kept = 0
    for seed in range(3):
        shard, batch = story("nothing", seed=seed)
        told, _ = tuned(shard, batch, Tuner())
        kept += sum(finding == "kept" for _, finding in findings(told))
    assert kept == 0


def test_when_an_outage_is_over_what_was_before_comes_back() -> None:
    shard, batch = story("outage")
    told, _ = tuned(shard, batch, Tuner())
    found = [finding for _, finding in findings(told)]
    assert found[:2] == ["started", "kept"]
    assert "rolled_back" in found
    assert shard.roster.rows.level.mean[0] == pytest.approx(20.0, abs=0.5)


def order(action: str, shard: Shard, **params: Any) -> dict[str, Any]:
    known = retuning.look(shard.roster, 0)
    del known["sigma"]
    return {
        "schema": "graft.order/1", "id": f"{action}-{sorted(params.items())}", "kind": "retune", "component": "level",
        "target": {"topic": "metrics", "partition": 0, "series": SERIES, "entity": "host=h0"},
        "params": {"action": action, **known, **params}, "because": "a test", "follows": [],
    }  # fmt: skip


def halves(ticks: int = 3300) -> tuple[Shard, Batch, Batch]:
    shard, batch = story("nothing", ticks=ticks)
    first, second = cut(batch, [2 * AT])
    shard.process(first)
    return shard, first, second


@pytest.mark.parametrize(
    ("action", "params"),
    [("relevel", {"shift": 5.0}), ("regain", {"factor": 2.0}), ("rescale", {"factor": 2.0}), ("rephase", {"slots": 8})],
)
def test_a_wrong_re_tune_is_reverted_and_leaves_nothing(action: str, params: dict[str, Any]) -> None:
    shard, _, second = halves(ticks=AT + 400)
    other = Shard.restore(shard.export(), CONFIG)
    (started,) = shard.apply(order(action, shard, **params), control_partition=0, next_offset=1)
    assert started.value["finding"] == "started"
    told = shard.process(second).records
    other.process(second)
    assert findings(told) in ([(action, "reverted")], [])
    if findings(told):
        ours, theirs = shard.export(), other.export()
        assert not len(shard.shadows)
        for name, array in theirs.arrays.items():
            assert np.array_equal(array, ours.arrays[name], equal_nan=array.dtype.kind == "f"), name


@pytest.mark.parametrize("cuts", [[2 * AT + 1, 2 * AT + 7, 2 * AT + 40], list(range(2 * AT, 2 * AT + 400, 3))])
def test_cuts_and_a_restart_in_a_trial_change_nothing(cuts: list[int]) -> None:
    shard, _, second = halves(ticks=AT + 400)
    moved = Batch(second.row, second.ts_ms, np.where(second.row == 0, second.value + 5.0, second.value), *second[3:])
    shard.apply(order("relevel", shard, shift=5.0), control_partition=0, next_offset=1)
    start = shard.export()
    straight = Shard.restore(start, CONFIG)
    told = straight.process(moved).records
    assert ("relevel", "kept") in findings(told)
    pieces, again = Shard.restore(start, CONFIG), []
    for part in cut(moved, cuts):
        again += pieces.process(part).records
        state = pieces.export()
        pieces = Shard.restore(type(state)(*unpack(pack(state.manifest, state.arrays))), CONFIG)
    assert [one.value for one in again] == [one.value for one in told]
    ours, theirs = pieces.export(), straight.export()
    assert ours.manifest == theirs.manifest
    for name, array in theirs.arrays.items():
        assert array.tobytes() == ours.arrays[name].tobytes(), name


def test_what_is_rolled_back_is_what_was_saved_bit_for_bit() -> None:
    shard, _, second = halves(ticks=AT + 900)
    value = second.value.copy()
    value[(second.row == 0) & (second.ts_ms < START_MS + (AT + 60) * MINUTE_MS)] += 5.0
    shard.apply(order("relevel", shard, shift=5.0), control_partition=0, next_offset=1)
    saved: dict[str, Any] = {}
    for part in cut(second._replace(value=value), list(range(2 * AT, 2 * AT + 1800, 2))):
        kept = [one.saved for one in shard.shadows.trials.values() if one.saved is not None]
        saved = kept[0] if kept else saved
        told = [v["finding"] for v in of(shard.process(part).records, "experiments")]
        if "rolled_back" in told:
            break
    else:
        pytest.fail("it was never rolled back")
    for column, array in saved["season"].items():
        if column in ("profile", "steady", "visits"):
            now = getattr(shard.roster.rows.season, column)[:, 0]
            assert np.array_equal(now, array[0]), column
    assert "rolled back" in refusal(shard, order("relevel", shard, shift=4.0))


def refusal(shard: Shard, wanted: dict[str, Any]) -> str:
    (told,) = shard.apply(wanted, control_partition=0, next_offset=99)
    assert told.value["finding"] == "refused"
    return str(told.value["because"])


def test_one_trial_of_a_component_at_a_time_and_so_many_of_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    shard, _, _ = halves()
    shard.apply(order("relevel", shard, shift=5.0), control_partition=0, next_offset=1)
    assert "one at a time" in refusal(shard, order("regain", shard, factor=2.0))
    shard.apply(order("rephase", shard, slots=4), control_partition=0, next_offset=3)
    monkeypatch.setattr(shadows, "MOST", 2)
    assert "has to wait" in refusal(shard, order("rescale", shard, factor=2.0))


def test_a_trial_that_turns_out_another_takes_no_place_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    shard, _, second = halves(ticks=AT + 100)
    shard.apply(order("relevel", shard, shift=5.0), control_partition=0, next_offset=1)
    shard.apply(order("rescale", shard, factor=3.0), control_partition=0, next_offset=2)
    known = shadows.diagnosis.diagnose

    def noisier(*arguments: Any, **named: Any) -> Any:
        return known(*arguments, **named)._replace(kind="scale", number=2.0)

    monkeypatch.setattr(shadows.diagnosis, "diagnose", noisier)
    moved = second._replace(value=np.where(second.row == 0, second.value + 5.0, second.value))
    told = findings(shard.process(moved).records)
    assert ("relevel", "kept") in told
    # Each trial has come to something, or goes on.
    ended = {action for action, finding in told if finding in ("reverted", "kept", "rolled_back")}
    assert ended | {one.action for one in shard.shadows.trials.values()} == {"relevel", "rescale"}


def test_a_person_may_order_without_a_trial() -> None:
    shard, _, _ = halves()
    (told,) = shard.apply(order("relevel", shard, shift=5.0, trial=False), control_partition=0, next_offset=1)
    assert told.value["finding"] == "applied"
    assert shard.roster.rows.level.mean[0] == pytest.approx(25.0, abs=0.2)
    assert not len(shard.shadows)


def test_the_parts_of_a_state_have_their_own_trials() -> None:
    shard = cold()
    rows = admit(shard, 2, 1)[:, 0]
    shard.process(log_of(rows, 20.0 + np.random.default_rng(0).normal(size=(300, 2))))
    for host in ("h0", "h1"):
        target = {"topic": "metrics", "partition": 0, "series": f'm0{{host="{host}"}}', "entity": f"host={host}"}
        shard.apply(
            order("relevel", shard, shift=5.0) | {"id": host, "target": target}, control_partition=0, next_offset=1
        )
    whole = shard.export()
    part, rest = parcel.split(whole, ["host=h1"])
    assert list(Shard.restore(part, CONFIG).shadows.trials) == [('m0{host="h1"}', "level")]
    assert list(Shard.restore(rest, CONFIG).shadows.trials) == [(SERIES, "level")]
    joined = Shard.restore(parcel.merge(rest, part), CONFIG)
    assert {series for series, _ in joined.shadows.trials} == {SERIES, 'm0{host="h1"}'}
