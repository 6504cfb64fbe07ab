"""Verdict: what confidence means, and which word follows from the three numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.verdict import ALERT, CEILING, ESCALATE, LONG, QUIET, SURE, confidence, decide
from tests.engine.components.feed import plain

sure, word = plain(confidence), plain(decide)
pages = st.floats(0.0, 100.0)
shares = st.floats(0.0, 1.0)


@given(st.floats(0.0, 12.0), pages | st.just(np.nan), shares, st.floats(0, 1e6), shares)
def test_confidence_is_a_probability(severity: float, page: float, agree: float, ticks: float, quality: float) -> None:
    assert 0.0 <= sure(severity, page, agree, ticks, quality) <= 1.0


@given(pages, shares, shares, st.floats(0, 1e6))
def test_more_agreement_never_makes_a_page_less_sure(page: float, one: float, two: float, ticks: float) -> None:
    low, high = sorted((one, two))
    if page >= 1.0:
        assert sure(3.0, page, low, ticks, 1.0) <= sure(3.0, page, high, ticks, 1.0) + 1e-12


def test_a_young_or_half_silent_entity_is_not_sure_of_a_page() -> None:
    old = sure(6.0, 2.0, 0.8, 1e5, 1.0)
    assert old > SURE
    assert sure(6.0, 2.0, 0.8, 10.0, 1.0) < SURE
    assert sure(6.0, 2.0, 0.8, 1e5, 0.1) < old


def test_before_there_is_any_answer_confidence_is_that_of_a_coin() -> None:
    assert sure(np.nan, np.nan, 0.0, 0.0, 1.0) == 0.5
    assert sure(0.1, 0.1, 0.0, 0.0, 1.0) == 0.5


@given(st.floats(0.0, 12.0), st.floats(0.0, 0.999))
def test_quiet_is_surer_the_more_normal_a_tick_is(severity: float, page: float) -> None:
    assert sure(severity, page, 0.0, 1e4, 1.0) <= sure(0.0, page, 0.0, 1e4, 1.0) + 1e-12


@pytest.mark.parametrize(
    ("page", "confident", "severe_ticks", "wanted"),
    [
        (np.nan, 0.5, 0, QUIET),
        (0.999, 1.0, 0, QUIET),
        (1.0, SURE, 0, ALERT),
        (1.0, SURE - 0.01, 0, ESCALATE),
        (CEILING, 0.0, 0, ALERT),
        (0.2, 0.9, LONG - 1, QUIET),
        (0.2, 0.9, LONG, ESCALATE),
        (0.2, 0.9, LONG + 1, QUIET),
        (1.0, 0.9, LONG, ALERT),
    ],
)
def test_the_word_that_follows(page: float, confident: float, severe_ticks: int, wanted: int) -> None:
    assert word(page, confident, severe_ticks) == wanted
