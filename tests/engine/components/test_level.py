"""Level: moments, bounded steps, flat series, and distances that are news or none."""

from __future__ import annotations

import numpy as np
import pytest

from engine.columns import allocate_one
from engine.components import level
from engine.shard import Shard
from tests.engine.components.feed import entity_run, plain

scale, score, learn = plain(level.scale), plain(level.score), plain(level.learn)


def fresh() -> level.Level:
    return allocate_one(level.Level, level.COLUMNS, 1)


def fed(values: np.ndarray) -> level.Level:
    columns = fresh()
    for value in values:
        learn(columns, 0, float(value), scale(columns, 0))
    return columns


def news(columns: level.Level, value: float) -> tuple[float, float]:
    z, novelty = score(columns, 0, value, scale(columns, 0))
    return float(z), float(novelty)


def test_young_moments_are_those_of_numpy() -> None:
    """While the rate is 1 / (n + 1) the moments weigh all samples alike."""
    values = np.random.default_rng(0).normal(3.0, 2.0, size=3000)
    columns = fed(values)
    assert columns.mean[0] == pytest.approx(values.mean(), abs=1e-9)
    assert columns.var[0] == pytest.approx(values.var(), rel=1e-9)
    assert columns.step[0] == pytest.approx((np.diff(values) ** 2).mean(), rel=0.02)


def test_a_young_scale_leans_on_the_step() -> None:
    """A slow wave looks still at first; three steps are the prior's guess of its sd."""
    values = np.cumsum(np.random.default_rng(1).normal(size=30)) * 0.1
    columns = fed(values)
    assert scale(columns, 0) > 1.5 * np.sqrt(columns.var[0])
    assert np.isnan(scale(fed(values[:1]), 0))


@pytest.mark.parametrize("spike", [1e3, 1e9, 1e15, -1e15])
def test_one_sample_moves_the_mean_by_a_bounded_step(spike: float) -> None:
    values = np.random.default_rng(2).normal(size=1000)
    columns = fed(values)
    mean, sd = float(columns.mean[0]), scale(columns, 0)
    learn(columns, 0, spike, sd)
    assert abs(columns.mean[0] - mean) <= level.WINSOR * sd / np.sqrt(1000.0)
    # It adds four variances at most.
    assert scale(columns, 0) <= np.sqrt(5.0) * sd
    # The size of the spike beyond the bound does not matter.
    other = fed(values)
    learn(other, 0, np.sign(spike) * 1e6, sd)
    assert columns.mean[0] == pytest.approx(other.mean[0])


def test_a_flat_series_has_a_scale_and_may_wake_up() -> None:
    columns = fed(np.full(500, 40.0))
    assert scale(columns, 0) == pytest.approx(1e-3 * 40.0)
    assert news(columns, 40.0) == (0.0, 0.0)
    z, novelty = news(columns, 41.0)
    assert z == level.CLIP
    assert novelty > 0
    woken = fed(np.concatenate([np.full(500, 40.0), np.random.default_rng(3).normal(40.0, 1.0, size=3000)]))
    assert 0.5 < scale(woken, 0) < 2.0


def test_the_first_far_value_is_news_and_the_hundredth_is_not() -> None:
    calm = np.random.default_rng(4).normal(size=12_000)
    quiet, bursty = fed(calm), fed(np.where(np.arange(12_000) % 110 == 109, calm + 60.0, calm))
    _, first = news(quiet, 40.0 * scale(quiet, 0))
    _, again = news(bursty, 40.0 * scale(bursty, 0))
    assert first > 5.0
    assert again < 0.5 * first


@pytest.mark.parametrize("every", [2, 5])
def test_a_series_that_bursts_from_nought_is_learned(every: int) -> None:
    """Bytes a second of an idle disk: 0, 5000, 0, 5000; no burst makes it young for ever."""
    for first in range(2):
        columns = fed(np.where(np.arange(400) % every == first, 5000.0, 0.0))
        assert columns.count[0] > 380
        assert 500.0 < scale(columns, 0) < 20_000.0
        assert columns.mean[0] == pytest.approx(5000.0 / every, rel=0.25)


def test_z_is_clipped_and_novelty_begins_where_the_clip_does() -> None:
    columns = fed(np.random.default_rng(5).normal(size=2000))
    sd, mean = scale(columns, 0), float(columns.mean[0])
    assert news(columns, mean + 2.0 * sd) == (pytest.approx(2.0), 0.0)
    z, novelty = news(columns, mean + (level.CLIP + 1e-6) * sd)
    assert z == level.CLIP
    assert novelty == pytest.approx(0.0, abs=1e-5)


def test_a_relevelled_series_goes_on_from_its_new_place() -> None:
    columns = fed(np.random.default_rng(6).normal(size=2000))
    before = scale(columns, 0)
    level.relevel(columns, 0, 7.0, before)
    assert (columns.mean[0], scale(columns, 0)) == (7.0, pytest.approx(before))
    level.relevel(columns, 0, 7.0, 3.0)
    assert scale(columns, 0) == pytest.approx(3.0)
    assert abs(news(columns, 7.5)[0]) < 1.0


def test_distil_knows_no_unit_and_no_level() -> None:
    values = np.random.default_rng(7).normal(size=2000)
    one, other = level.distil(fed(values), 0), level.distil(fed(1e6 + 1000.0 * values), 0)
    assert other == {key: pytest.approx(value, rel=1e-4) for key, value in one.items()}


def test_compiled_moments_are_those_of_the_plain_twin() -> None:
    values = np.random.default_rng(8).normal(size=(500, 1))
    shard, _ = entity_run(values)
    columns = fed(values[:, 0])
    own = level_of(shard)
    for name in ("count", "mean", "var", "step", "last"):
        assert getattr(own, name)[0] == pytest.approx(getattr(columns, name)[0], rel=1e-12), name


def level_of(shard: Shard) -> level.Level:
    return shard.roster.rows.level


def test_ten_extreme_samples_do_not_blind_a_calm_series() -> None:
    """A sentinel value that comes for ten minutes: each is bounded by 50 sd of a series that does not burst."""
    columns = fed(np.random.default_rng(3).normal(size=20_000))
    sd = scale(columns, 0)
    for _ in range(10):
        learn(columns, 0, 1e9, scale(columns, 0))
    assert scale(columns, 0) < 2.0 * sd


def lent(values: np.ndarray, *, ratio: float, rows: float = 5000.0) -> level.Level:
    """A series that has borrowed a ratio, looked at every fifteen samples."""
    columns = fresh()
    level.seed(columns, 0, ratio=ratio, step=0.0, far=0.01, rows=rows)
    for at, value in enumerate(values):
        if at % 15 == 0:
            plain(level.thaw)(columns, 0)
        learn(columns, 0, float(value), scale(columns, 0))
    return columns


def slow(samples: int, *, ratio: float, seed: int = 0) -> np.ndarray:
    """A stationary series whose variance is `ratio` squared steps."""
    rng = np.random.default_rng(seed)
    keeps, values = 1.0 - 0.5 / ratio, [rng.normal()]
    for step in rng.normal(0.0, np.sqrt(1.0 - keeps**2), samples - 1):
        values.append(keeps * values[-1] + step)
    return 50.0 + np.array(values)


@pytest.mark.parametrize("ratio", [0.5, 3.0, 20.0, 300.0])
def test_what_is_lent_by_a_sibling_keeps_its_weight(ratio: float) -> None:
    kept = [lent(slow(1500, ratio=ratio, seed=seed), ratio=ratio).prior_rows[0] for seed in range(20)]
    assert np.mean(np.array(kept) == 5000.0) >= 0.9


@pytest.mark.parametrize(("ratio", "said"), [(0.5, 300.0), (20.0, 0.5), (3.0, 100.0)])
def test_what_the_series_contradicts_thaws_and_goes(ratio: float, said: float) -> None:
    columns = lent(slow(1500, ratio=ratio), ratio=said)
    assert columns.prior_rows[0] == level.PRIOR_ROWS
    assert columns.prior_ratio[0] == level.PRIOR_RATIO


def test_a_flat_series_that_bursts_is_not_measured_by_a_strangers_ratio() -> None:
    """A source that walks by tiny steps has a ratio of millions; of one step that would make a scale of years."""
    values = np.full(1500, 0.5)
    values[750:780:4] = 0.7
    columns = lent(values, ratio=2e5)
    assert scale(columns, 0) < 3.0 * scale(fed(values), 0)


def test_a_step_of_thawing_is_half_exactly_and_can_be_taken_back() -> None:
    columns = fed(slow(130, ratio=0.5))
    columns.prior_rows[0], columns.prior_ratio[0] = 4321.5, 300.0
    before = [column.copy() for column in columns]
    plain(level.thaw)(columns, 0)
    assert columns.prior_rows[0] == 0.5 * np.float32(4321.5)
    columns.prior_rows[0] *= 2.0
    assert all(np.array_equal(now, was, equal_nan=True) for now, was in zip(columns, before, strict=True))
