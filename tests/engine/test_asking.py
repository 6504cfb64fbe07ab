"""What a question is worth grows with doubt and with what it would decide, and falls with what is known; junk is
unknown and never an error."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.asking import Shape, doubt, is_same, likeness, shape_of, worth

SHARES = st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1), max_size=4)


def shape(entity: str = "host=a", metric: str = "cpu", page: float | None = 1.0, sure: float | None = 0.5) -> Shape:
    return Shape(entity, metric, {metric: 1.0}, page, sure)


def test_doubt_is_most_at_a_coin_and_at_the_threshold() -> None:
    assert doubt(shape()) == 1.0
    for farther, nearer in ((2.0, 1.3), (0.3, 0.8)):
        assert doubt(shape(page=farther)) < doubt(shape(page=nearer)) < 1.0
    for farther, nearer in ((0.95, 0.7), (0.05, 0.3)):
        assert doubt(shape(sure=farther)) < doubt(shape(sure=nearer)) < 1.0
    assert doubt(shape(sure=0.5)) == doubt(shape(sure=None))


@given(SHARES, SHARES)
def test_likeness_is_a_share_and_mutual(a: dict[str, float], b: dict[str, float]) -> None:
    assert 0.0 <= likeness(a, b) <= 1.0
    assert likeness(a, b) == pytest.approx(likeness(b, a))
    if sum(a.values()) > 1e-3:
        assert likeness(a, a) == pytest.approx(1.0)


def test_worth_follows_what_is_decided_and_what_is_known() -> None:
    one, sister, stranger = shape(), shape("host=b"), shape("host=b", "disk")
    alone = worth(one, [], [])
    assert worth(one, [(stranger, 9)], [stranger]) == alone
    assert alone < worth(one, [(sister, 1)], []) < worth(one, [(one, 1)], []) < worth(one, [(sister, 5)], [])
    assert alone > worth(one, [], [sister]) > worth(one, [], [one])


def test_sisters_need_the_same_first_metric() -> None:
    own = shape()
    assert is_same(own, shape("host=b"))
    assert not is_same(own, shape("host=b", "disk"))
    assert is_same(own, shape("host=a", "disk")._replace(shares={"cpu": 0.6, "disk": 0.7}))


@pytest.mark.parametrize(
    "junk",
    [
        {}, {"contributors": 5}, {"contributors": [1, None, {}]}, {"contributors": [{"series": 7, "share": 1}]},
        {"contributors": [{"series": "m", "share": "much"}]}, {"contributors": [{"series": "m", "share": -1}]},
        {"series": ["m"], "page": "x", "confidence": True}, {"page": 10**400}, {"page": float("nan"), "confidence": 7},
    ],
)  # fmt: skip
def test_junk_is_unknown(junk: dict[str, Any]) -> None:
    found = shape_of(junk)
    assert sum(found.shares.values()) > 0.0
    assert 0.0 < doubt(found) <= 1.0
    assert worth(found, [(found, 1)], [found]) > 0.0
