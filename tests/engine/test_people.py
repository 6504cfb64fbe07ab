"""Whoever agrees with others keeps all weight, whoever is contradicted loses it by and by, and nobody can gain by
saying much."""

from __future__ import annotations

import numpy as np
import pytest

from engine.people import BEST, FIRST, MOST_THINGS, WORST, People, accuracies


def test_somebody_whom_nobody_contradicts_stays_where_everybody_begins() -> None:
    assert accuracies([[("ann", True)]] * 500)["ann"] == pytest.approx(FIRST)
    assert People().weight("nobody") == 1.0


def test_one_difference_costs_both_a_little() -> None:
    found = accuracies([[("ann", True), ("bob", False)]])
    assert found["ann"] == found["bob"]
    assert 0.85 < found["ann"] < FIRST


def test_who_is_right_is_found_without_the_truth() -> None:
    """Three people over two hundred things; the shares that they are right are found within a few points."""
    rng, share = np.random.default_rng(0), {"ann": 0.95, "bob": 0.9, "cleo": 0.65}
    truth = rng.random(200) < 0.5
    things = [[(by, bool(one == (rng.random() < right))) for by, right in share.items()] for one in truth]
    found = accuracies(things)
    assert found["cleo"] < found["bob"] < found["ann"]
    for by, right in share.items():
        assert found[by] == pytest.approx(right, abs=0.08)


def test_nobody_is_worse_than_a_coin_or_beyond_doubt() -> None:
    found = accuracies([[("ann", True), ("bob", True), ("liar", False)]] * 300)
    assert found["liar"] == WORST
    assert FIRST < found["ann"] <= BEST


def test_whoever_says_now_this_and_now_that_of_one_cause_counts_less() -> None:
    people = People()
    for k in range(20):
        people.heard("host=a cpu", label=f"l{k}", by="ann", answer="incident" if k % 2 else "false_alarm")
    assert people.weight("ann") < 0.6


def test_unsure_is_no_answer_and_a_label_counts_once() -> None:
    people = People()
    for _ in range(50):
        people.heard("e", label="l1", by="ann", answer="incident")
        people.heard("e", label="l2", by="bob", answer="unsure")
        people.heard("e", label="l3", by="cleo", answer="expected")
    assert people.weight("bob") == 1.0
    assert 0.9 < people.weight("ann") < 1.0


def test_the_memory_is_bounded() -> None:
    people = People()
    for k in range(MOST_THINGS + 100):
        people.heard(f"e{k}", label="l", by="ann", answer="incident")
    assert len(people._things) == MOST_THINGS
