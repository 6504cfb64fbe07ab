"""first_hours_cost: equal things cost the same, twins cost while they live and nothing after. Times are not judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import first_hours_cost as cost

ALONE, LENT = "0", "3"


@pytest.fixture(scope="module", params=[False, True], ids=["wide", "lone"])
def life(request: pytest.FixtureRequest) -> list[cost.Round]:
    fleet = cost.fleet(2, 3, is_lone=request.param, hours=cost.HOURS)
    assert fleet.entities == (6 if request.param else 2)
    return cost.live(fleet, cost.HOURS)


def test_each_hour_is_a_round_of_one_stage(life: list[cost.Round]) -> None:
    assert [one.hour for one in life] == list(range(-1, cost.HOURS))
    found = cost.figures([life])
    assert set(found) == {str(count) for count in cost.SOURCES}
    for stages in found.values():
        counts = [one["rounds"] for name, one in stages.items() if name != "first_day"]
        assert sum(counts) == len(life)
        assert all(counts)


def test_memory_is_colds_without_sources_and_after_twins_and_more_while_they_live(life: list[cost.Round]) -> None:
    found = cost.figures([life])
    assert {found[ALONE][stage]["memory"] for stage in cost.STAGES} == {1.0}
    for count in ("1", LENT):
        hour, after = found[count]["hour"], found[count]["after"]
        assert (after["memory"], after["twins"]) == (1.0, 0.0)
        assert hour["memory"] > 1.0 + 0.9 * int(count)
        assert 0.0 < hour["twins"] <= int(count)
    assert found[LENT]["day"]["memory"] < found[LENT]["hour"]["memory"]


def told(hour: int, cold_s: float, lent_s: float) -> cost.Round:
    return cost.Round(hour, {cost.COLD: cold_s, "1": lent_s}, {cost.COLD: 10, "1": 20}, {cost.COLD: 0.0, "1": 1.0})


def test_a_ratio_is_the_median_of_rounds_and_the_day_is_one_of_sums() -> None:
    hours = range(-1, cost.HOURS)
    same = cost.figures([[told(hour, 2.0, 2.0) for hour in hours]])["1"]
    assert {one["time"] for one in same.values()} == {1.0}
    # One dear hour: the median does not see it, the whole does.
    dear = [told(hour, 1.0, 77.0 if hour == 5 else 2.0) for hour in hours]
    found = cost.figures([dear, dear[:3]])["1"]
    assert found["day"]["time"] == 2.0
    assert found["first_day"]["time"] == pytest.approx((24 * 2.0 + 77.0) / 25)
    assert (found["hour"]["rounds"], found["day"]["rounds"]) == (2, 22)


def test_batches_are_all_samples_in_order_of_time() -> None:
    values = np.arange(3 * 4000.0).reshape(-1, 3)
    batches = cost._batches(values, 10, 3990)
    assert np.array_equal(np.concatenate([one.value for one in batches]), values[10:3990].ravel())
    assert (np.diff(np.concatenate([one.ts_ms for one in batches])) >= 0).all()
    assert (np.diff(np.concatenate([one.offset for one in batches])) == 1).all()
