"""Many trials at once: what is found of an entity depends on no other, and who gives up twins keeps all of the rest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import choosing, exchange, likeness
from engine import state as layout
from engine.account import accounts
from engine.batch import Batch
from engine.columns import allocate_one
from engine.components import worth
from engine.keeping import keep
from engine.pairs import Pairs
from engine.parcel import split
from engine.prior import Prior
from engine.roster import Roster
from engine.series import Kind, Series
from engine.shard import Shard
from engine.snapshot import State, pack
from tests.engine.transfer.towns import CONFIG, HOSTILE, METRICS, START_MS, Town, log, shard, values

HERE = Town(seed=5, level=150.0, scale=3.0, hosts=6)
DAY_MS = 86_400_000
HEAD = {"kind": "checkpoint"}


@pytest.fixture
def young(alike: Prior, hostile: Prior) -> Shard:
    """Six hosts after nearly an hour, the odd ones of them restless, with two sources on trial."""
    numbers = values(HERE, 5)
    numbers[:, 1::2] += np.random.default_rng(0).normal(0, 60, numbers[:, 1::2].shape)
    told = Shard(CONFIG, topic="metrics", partition=0, prior=[alike, hostile])
    told.next_offset = 0
    told.roster.admit_all_like(shard(HERE).roster, np.arange(HERE.hosts * 4))
    told.process(log(numbers))
    assert len(told.twins) == 2 * HERE.hosts
    return told


@pytest.mark.parametrize("believed", [False, True])
def test_what_is_decided_of_one_is_decided_of_it_in_any_company(young: Shard, *, believed: bool) -> None:
    own, twins = young.roster, young.twins.rosters
    own.rows.level.count[: len(own.names)] = np.where(np.arange(len(own.names)) % 5 == 4, 3.0, likeness.KNOWN)
    pairs, es = [Pairs.of(own, one) for one in twins], np.arange(HERE.hosts)
    if believed:
        own.ents.seed.source[es] = 0
    age_ms = np.linspace(3_600_000, DAY_MS, HERE.hosts).astype(np.int64)
    together = choosing.decide(own, twins, pairs, es, age_ms, DAY_MS)
    assert len(set(together.what.tolist())) > 1
    for e in es.tolist():
        alone = choosing.decide(own, twins, pairs, es[[e]], age_ms[[e]], DAY_MS)
        assert [column[e : e + 1].tobytes() for column in together] == [column.tobytes() for column in alone]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_an_account_is_the_same_in_any_company(widths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = sum(widths), len(widths)
    sums, pages = allocate_one(worth.Forecasts, worth.FORECASTS, n), allocate_one(worth.Pages, worth.PAGES, m)
    sums.samples[:] = rng.choice((0, 3, 60), sums.samples.shape)
    for column in sums[:4]:
        column[:] = rng.exponential(size=column.shape) * sums.samples
    pages.number[:] = rng.integers(0, 9, pages.number.shape)
    rows, of = rng.permutation(n), np.repeat(np.arange(m), widths)
    classes = [f"m{k}" for k in rng.integers(0, 60, n)]
    borrowed = [{"scale": float(share)} if share > 0.3 else {} for share in rng.random(n)]
    together = accounts(sums, rows, of, classes, borrowed, pages, np.arange(m), hours=[*range(m)])
    for e in range(m):
        at = np.flatnonzero(of == e)
        mine = [classes[k] for k in at], [borrowed[k] for k in at]
        alone = accounts(sums, rows[at], np.zeros(len(at), np.int64), *mine, pages, np.array([e]), hours=[e])
        assert alone == [together[e]]


@given(st.sets(st.integers(0, 5), max_size=5))
@settings(max_examples=12, deadline=None)
def test_a_roster_without_some_is_what_a_split_leaves_and_goes_on_as_that(gone: set[int]) -> None:
    numbers = values(HOSTILE._replace(hosts=6), 30)
    here = shard(HERE)
    # A host that begins later, and one that never does.
    numbers[:9, 3], numbers[:, 4] = np.nan, np.nan
    batch = log(numbers)
    seen = ~np.isnan(batch.value)
    batch = batch._replace(row=batch.row[seen], ts_ms=batch.ts_ms[seen], value=batch.value[seen])
    here.process(batch._replace(offset=np.arange(int(seen.sum())), next_offset=int(seen.sum())))
    roster = here.roster
    names = [roster.entities[e] for e in sorted(gone)]
    _, left = split(State({}, roster.export()), names)
    is_kept = ~np.isin(np.arange(6), sorted(gone))
    kept = keep(roster, is_kept)
    assert kept.entities.tolist() == np.flatnonzero(is_kept).tolist()
    assert pack(HEAD, roster.export()) == pack(HEAD, left.arrays)
    restored = Roster.restore(left.arrays, CONFIG)
    assert roster.is_all_placed() == restored.is_all_placed()
    assert roster.nbytes() == restored.nbytes()
    for one in (roster, restored):
        fresh = one.admit_all_like(shard(Town(hosts=7)).roster, np.arange(26, 28))
        one.place(fresh)
    assert pack(HEAD, roster.export()) == pack(HEAD, restored.export())


def test_all_that_a_version_has_learned_changes_places_and_nothing_else() -> None:
    """A component that is left out of the list would stay behind without a word."""
    stays = {"link", "presence", "guard", "open", "life", "seed"}
    assert exchange._LEARNED | stays == {*layout.SERIES, *layout.ENTITY}
    assert not exchange._LEARNED & stays


def test_bets_are_settled_at_each_look_in_any_company(alike: Prior) -> None:
    """Also at the look at which an entity begins, whether another with a twin was there before or not.

    The new host speaks first, so that the sample that a look waits for is the same.
    """
    whole = Shard(CONFIG, topic="metrics", partition=0, prior=[alike])
    whole.next_offset = 0
    hosts = {"new": METRICS, "old": METRICS, "x": ("one",), "y": ("one",), "z": ("one",)}
    rows = {
        host: [whole.admit(Series.of(name, {"host": host}, Kind.GAUGE)) for name in names]
        for host, names in hosts.items()
    }
    names, numbers = whole.roster.names, np.random.default_rng(0).normal(100.0, 3.0, (100, len(whole.roster.names)))

    def feed(one: Shard, minutes: range, hosts: str) -> None:
        """What the hosts say, the new one from the 34th minute on."""
        said = [(minute, row) for minute in minutes for host in hosts.split() if host != "new" or minute >= 33
                for row in rows[host]]  # fmt: skip
        minute, row = np.array(said).T
        here = [one.roster.row_of(names[at]) for at in row]
        one.process(Batch.of(here, START_MS + minute * 60_000, numbers[minute, row], minute, int(minute[-1]) + 1))

    feed(whole, range(40), "new old x y z")
    part = Shard.restore(split(whole.export(), {"host=old"})[1], CONFIG)
    feed(whole, range(40, 100), "new old x y z")
    feed(part, range(40, 100), "new x y z")
    bets = []
    for one in (whole, part):
        twin = one.twins.rosters[0].entity_of("host=new")
        bets.append([column[twin].tolist() for column in one.twins._trial(0).evidence])
    assert bets[0] == bets[1]
    assert np.any(bets[0][1])
