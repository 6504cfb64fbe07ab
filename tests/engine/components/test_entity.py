"""Entity: pages of what is normal, as seldom as was asked for; distributions that begin somewhere and are handed on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.components import entity, tail
from engine.components.factory import FACTORY, factory
from engine.shard import Shard
from tests.engine.components.feed import entity_run, log_of, of
from tests.engine.logs import CONFIG, START_MS, admit, fleet_log

HOSTS, METRICS, TICKS = 40, 3, 4000


def pages_a_day(per_day: float, *, seasonal: bool) -> float:
    shard = Shard(replace(CONFIG, false_pages_per_entity_day=per_day), topic="metrics", partition=0)
    shard.next_offset = 0
    rows = admit(shard, HOSTS, METRICS)
    noise = np.random.default_rng(0).normal(size=(TICKS, rows.size))
    batch = fleet_log(rows, TICKS, 9) if seasonal else log_of(rows.ravel(), noise)
    fired = len(of(shard.process(batch).records, "alerts", "firing"))
    return fired / (HOSTS * TICKS / 1440)


@pytest.mark.parametrize("seasonal", [False, True], ids=["noise", "daily curves"])
@pytest.mark.parametrize("per_day", [0.1, 1.0])
def test_normal_entities_page_at_most_thrice_as_often_as_asked(per_day: float, seasonal: bool) -> None:
    """Over 111 entity days, the first of life among them."""
    assert pages_a_day(per_day, seasonal=seasonal) <= 3.0 * per_day


def test_the_factory_is_a_histogram_each_of_as_many_ticks_as_it_says() -> None:
    counts = factory()
    assert counts.shape == (entity.HISTOGRAMS, tail.BINS)
    np.testing.assert_allclose(counts.sum(axis=1), [row[-1] for row in FACTORY], rtol=1e-3)
    assert (counts >= 0).all()


def test_distil_and_seed_hand_on_the_distributions() -> None:
    shard = Shard(CONFIG, topic="metrics", partition=0)
    shard.next_offset = 0
    rows = admit(shard, 2, METRICS)
    shard.process(log_of(rows[0], np.random.default_rng(1).normal(size=(8000, METRICS))))
    own = shard.roster.ents.entity
    shares = entity.distil(own, 0)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-6)
    entity.seed(own, 1, shares=shares, rows=500.0)
    wanted = [500.0 if k <= entity.PRESENT else row[-1] for k, row in enumerate(FACTORY)]
    np.testing.assert_allclose(own.counts[1].sum(axis=1), wanted, rtol=1e-4)
    np.testing.assert_allclose(own.mass[1], wanted)
    for k in range(entity.HISTOGRAMS):
        mine, theirs = (tail.read(own.counts[e], own.mass[e], k, 0.02)[0] for e in (0, 1))
        assert theirs == pytest.approx(mine, abs=0.3)


def nights(days: int, *, of_which: list[bool], jitter_min: int = 0, also_at: int | None = None) -> list[float]:
    """Days at which a lone series pages that has a job of twenty minutes at two in each night that is marked."""
    rng, minute = np.random.default_rng(0), np.arange(1440 * days)
    values = 50 + 5 * np.sin(2 * np.pi * minute / 1440) + rng.normal(size=len(minute))
    for day in np.flatnonzero(of_which):
        begin = day * 1440 + 122 + (int(rng.integers(-jitter_min, jitter_min)) if jitter_min else 0)
        values[begin : begin + 20] += 40 * rng.uniform(0.8, 1.2)
    if also_at is not None:
        values[also_at : also_at + 20] += 40
    _, verdict = entity_run(values[:, None])
    return [(one["started_ms"] - START_MS) / 86_400_000 for one in of(verdict.records, "alerts", "firing")]


@pytest.mark.parametrize("jitter_min", [0, 15])
def test_what_happens_every_night_pages_for_the_first_nights_only(jitter_min: int) -> None:
    days = 21
    paged = nights(days, of_which=[True] * days, jitter_min=jitter_min, also_at=20 * 1440 + 900)
    at_night = [at for at in paged if at % 1 < 0.15]
    assert len([at for at in at_night if at > 4]) <= (3 if jitter_min else 0)
    # At another time of the day the same is news.
    assert any(20.6 < at < 20.66 for at in paged)


def test_a_habit_ends_some_days_after_it_was_given_up() -> None:
    of_which = [True] * 10 + [False] * 14 + [True]
    assert any(24.05 < at < 24.15 for at in nights(25, of_which=of_which))


@pytest.mark.parametrize("seed", range(3))
def test_the_same_outage_on_the_next_day_pages_again(seed: int) -> None:
    """What may excuse has to be older than a day: a lone series, half an hour at noon, where it is highest."""
    rng, days = np.random.default_rng(seed), 13
    minute = np.arange(1440 * days)
    values = 100 + 30 * np.sin(2 * np.pi * (minute / 1440 - 0.25)) + rng.normal(size=len(minute))
    noons = [10 * 1440 + 720, 11 * 1440 + 720]
    for noon in noons:
        values[noon : noon + 30] = 70.0
    _, verdict = entity_run(values[:, None])
    begun = [(one["started_ms"] - START_MS) // 60_000 for one in of(verdict.records, "alerts", "firing")]
    assert all(any(0 <= at - noon <= 3 for at in begun) for noon in noons)


def test_a_service_that_flaps_for_an_afternoon_pages_for_its_outage() -> None:
    values = 50 + np.random.default_rng(1).normal(size=(15_400, 4))
    for at in range(14_400, 14_900, 90):
        values[at : at + 3] = 0.0
    values[15_090:] = 0.0
    _, verdict = entity_run(values)
    begun = [(one["started_ms"] - START_MS) // 60_000 for one in of(verdict.records, "alerts", "firing")]
    assert any(0 <= at - 15_090 <= 3 for at in begun)


def test_an_entity_that_borrows_an_age_is_not_alone() -> None:
    """The first tick says how many series move, however old the entity is said to be."""
    shard = Shard(CONFIG, topic="metrics", partition=0)
    shard.next_offset = 0
    rows = admit(shard, 1, 6)[0]
    shard.roster.ents.entity.ticks[0] = 32.0
    shard.process(log_of(rows, np.random.default_rng(2).normal(size=(4, 6))))
    assert shard.roster.ents.entity.moving[0] > 4.0
