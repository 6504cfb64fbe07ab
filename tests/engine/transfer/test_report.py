"""The report, from records whose answer is known; and that it counts nothing twice and nothing that is not there."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.transfer.report import SCHEMA, measured, refused_text, report, sign_test, wilson, worth_h
from engine.transfer.trial import trials
from tests.engine.transfer.accounts import record, worth

PASSED = [record("host=a", "adopted", 1, worth(0, 0, 0)), record("host=a", "passed", 24, worth())]
TAKEN_BACK = [
    record("host=b", "adopted", 1),
    record("host=b", "returned", 5, worth(0, 4, 0, gains=(-0.5, -0.3))),
    record("host=b", "settled", 24, worth(0, 1, 3, gains=(-0.4, -0.3, -0.2, 0.0, 0.0))),
]
REFUSED = [
    record("host=c", "refused", 1, worth(0, 0, 0, gains=()), unlike=2.5),
    record("host=c", "settled", 24, worth(4, 0, 0, alone=(7, 0))),
]


def fleet_of(*records: dict[str, Any]) -> dict[str, Any]:
    told = report(records)
    assert told["schema"] == SCHEMA
    (fleet,) = told["fleets"]
    return dict(fleet)


def test_a_known_fleet() -> None:
    fleet = fleet_of(*PASSED, *TAKEN_BACK, *REFUSED)
    entities, believed = fleet["entities"], fleet["believed"]
    assert entities == {
        "all": 3, "passed": 1, "adopted": 0, "returned": 1, "refused": 1, "standing": 0, "settled": 0,
    }  # fmt: skip
    assert [believed[word] for word in ("series", "helped", "equal", "hurt")] == [8, 3, 2, 3]
    assert believed["shares"]["helped"]["share"] == pytest.approx(0.375)
    assert believed["parity_h"] == 6.0
    assert (believed["entities_better"], believed["entities_worse"]) == (1, 1)
    assert fleet["not_believed"]["helped"] == 4
    assert refused_text(fleet).startswith(
        "Where the seed is not believed it would have forecast 4 of 4 series better and 0 worse (+0.22 nats a sample)."
    )
    assert refused_text(fleet_of(*PASSED)) == ""
    assert fleet["pages"]["cold_would_have_sent"] == 4
    assert fleet["pages"]["seeded_would_have_sent"] == 7
    evictions = {one["entity"]: one for one in fleet["evictions"]}
    assert evictions.keys() == {"host=b", "host=c"}
    assert evictions["host=c"]["reason"].startswith("unlikeness of the metrics 2.50 (limit 1.00)")
    assert evictions["host=c"]["gain"] == pytest.approx(0.22)
    assert fleet["headline"] == (
        "eu: Of 8 series of 2 seeded entities, 38 % forecast better than a cold start did beside them, 38 % worse; the "
        "seed was worth about 75 min of learning; of 3 entities 1 refused and 1 taken back."
    )


def test_hours_are_where_the_gain_is_gone_for_good() -> None:
    rows = worth(gains=(0.6, 0.3, 0.25, 0.05, 0.0))["by_age"]
    assert worth_h(rows) == pytest.approx(9.0)  # the middle of 6 to 12 h, where the gain is just the margin
    assert worth_h(worth(gains=(0.6, 0.0, 0.3, 0.0, 0.0))["by_age"]) == pytest.approx(8.2, abs=0.1)
    assert worth_h(worth(gains=(0.6,) * 5)["by_age"]) == 24.0
    assert measured(trials([record("a", "passed", 24, worth(gains=(0.6,) * 5))]))["is_worth_open"]
    assert worth_h(worth(gains=(-0.6,) * 5)["by_age"]) == 0.0
    assert worth_h([]) is None


def test_a_seed_that_was_worse_at_first_is_said_to_be() -> None:
    fleet = fleet_of(record("host=a", "passed", 24, worth(gains=(-0.4, -0.2, 0.0, 0.3, 0.7))))
    assert fleet["believed"]["behind_h"] == 3.0
    assert "worth more than 24 h of learning, after 3 h in which it forecast worse;" in fleet["headline"]
    fleet = fleet_of(record("host=a", "passed", 24, worth(gains=(0.1, -0.2, 0.0, 0.0, 0.0))))
    assert fleet["believed"]["behind_h"] == 0.0


def test_the_heat_map_shows_what_was_lent_at_first_and_gained_at_last() -> None:
    early = worth()
    early["classes"][0]["borrowed"] = {"scale": 0.99, "structure": 0.9}
    fleet = fleet_of(record("host=a", "adopted", 1, early), record("host=a", "passed", 24, worth()))
    (one,) = fleet["classes"]
    assert one["borrowed"] == {"scale": 0.99, "season": 0.0, "structure": 0.9, "tail": 0.0}
    assert one["gain"] == pytest.approx(0.22)
    assert fleet["heat_map"]["components"] == list(one["borrowed"])
    assert "cannot be told apart" in fleet["heat_map"]["shows"]


def test_fleets_and_sources_are_told_apart() -> None:
    told = report([
        record("host=a", "passed", 24, worth(), environment="eu", source="us"),
        record("host=a", "passed", 24, worth(), environment="asia", source="us"),
        record("host=b", "refused", 1, environment="asia", source="mars"),
    ])  # fmt: skip
    assert [fleet["environment"] for fleet in told["fleets"]] == ["asia", "eu"]
    sources = {one["source"]: one["entities"]["refused"] for one in told["fleets"][0]["sources"]}
    assert sources == {"us": 0, "mars": 1}


def test_records_count_once_and_in_order_of_time_whatever_their_order() -> None:
    records = [*PASSED, *TAKEN_BACK, *REFUSED]
    assert report([*records, *reversed(records)]) == report(records)


def test_a_worth_of_another_source_is_not_taken_for_its_own() -> None:
    other = record("host=a", "standing", 30, worth(0, 0, 9), number=1)
    (trial,) = trials([record("host=a", "adopted", 2, worth(), number=0), other])
    assert trial.worth["helped"] == 3


def test_a_second_trial_is_another() -> None:
    again = [record("host=a", "adopted", 50, worth()), record("host=a", "passed", 74, worth())]
    assert [one.outcome for one in trials([*PASSED, *again])] == ["passed", "passed"]
    assert fleet_of(*PASSED, *again)["entities"]["all"] == 2


def test_other_records_and_damaged_ones_are_passed_over() -> None:
    strange = [
        {"schema": "graft.experiment/1", "order": {"kind": "retune"}, "id": "x", "at_ms": 1, "entity": "host=a"},
        {"kind": "guard"}, {"kind": "guard", "finding": "eaten", "entity": "e", "at_ms": 3},
        {"kind": "guard", "finding": "passed", "entity": "e", "at_ms": "soon"},
    ]  # fmt: skip
    assert report(strange)["trials"] == 0
    assert report([])["headline"] == "Nothing was lent, so nothing was measured."
    # One from before there were accounts.
    old = record("host=a", "passed", 24)
    del old["worth"], old["limits"]
    assert fleet_of(old)["believed"]["series"] == 0


def test_a_long_list_is_cut_and_said_to_be() -> None:
    many = [record(f"host={at}", "refused", 1, worth(metric=f"metric {at}")) for at in range(250)]
    fleet = fleet_of(*many)
    assert (len(fleet["evictions"]), fleet["evictions_left_out"]) == (200, 50)
    assert (len(fleet["classes"]), fleet["classes_left_out"]) == (40, 210)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20))
def test_shares_are_of_all_series_that_were_measured(counts: list[tuple[int, int, int]]) -> None:
    records = [record(f"host={at}", "passed", 24, worth(*one)) for at, one in enumerate(counts)]
    fleet = fleet_of(*records)
    of = fleet["believed"]
    assert of["helped"] + of["equal"] + of["hurt"] == of["series"] == sum(map(sum, counts))
    assert sum(one["series"] for one in fleet["classes"]) == of["series"]
    if of["series"]:
        assert sum(one["share"] for one in of["shares"].values()) == pytest.approx(1.0, abs=1e-3)
        for one in of["shares"].values():
            low, high = one["interval"]
            assert 0.0 <= low <= one["share"] + 0.006
            assert one["share"] - 0.006 <= high <= 1.0


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_test_is_the_binomial_one(better: int, worse: int) -> None:
    n = better + worse
    if n == 0:
        assert sign_test(better, worse) is None
        return
    exact = min(1.0, 2 * sum(math.comb(n, k) for k in range(min(better, worse) + 1)) / 2**n)
    assert sign_test(better, worse) == pytest.approx(exact, rel=6e-3)


def test_an_interval_of_one_entity_is_wide() -> None:
    low, high = wilson(1.0, 1) or (0, 0)
    assert low < 0.3
    assert high == 1.0
    assert wilson(0.5, 0) is None
