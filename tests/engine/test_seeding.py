"""Sources that come and go while a shard runs: each law of the fold holds around such an order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Batch
from engine.components import guard
from engine.errors import BadSample, ConfigError, SnapshotError
from engine.parcel import merge, split
from engine.prior import Prior
from engine.seeding import MOST_SOURCES, sources_of
from engine.shard import Shard
from engine.snapshot import State, pack, unpack
from engine.transfer import read_prior
from tests.engine.components.feed import assert_plain_json
from tests.engine.transfer.towns import CONFIG, HOSTILE, UNGUARDED, Town, log, shard, source, values

HERE = Town(seed=5, level=150.0, scale=3.0)
TICKS, SERIES = 90, 12
#: Host 2 begins at this tick; the order comes at that offset, when hosts 0 and 1 have been there for three hours.
BEGIN, ORDER_AT = 24, 8 * 18
OLD, NEW = ("host=secret-0", "host=secret-1"), "host=secret-2"


@pytest.fixture(scope="module")
def alike() -> Prior:
    return read_prior(source(Town(seed=1)))


@pytest.fixture(scope="module")
def hostile() -> Prior:
    return read_prior(source(HOSTILE))


def other(prior: Prior, k: int) -> Prior:
    """One that lends nearly the same."""
    arrays = prior.arrays()
    return Prior({**arrays, "sigma": arrays["sigma"] + np.float32(k)})


def story() -> Batch:
    """Two hosts from the beginning, a third from BEGIN on."""
    whole = log(values(HERE, TICKS))
    kept = ~((whole.row >= 8) & (whole.offset // SERIES < BEGIN))
    n = int(kept.sum())
    return Batch.of(whole.row[kept], whole.ts_ms[kept], whole.value[kept], np.arange(n), n)


def order(prior: Prior | str, action: str = "add", **changes: Any) -> dict[str, Any]:
    digest = prior if isinstance(prior, str) else prior.digest
    params = {"action": action, "digest": digest}
    return {"schema": "graft.order/1", "id": "one", "kind": "seed", "target": {}, "params": params} | changes


Step = tuple[int, dict[str, Any], Prior | str | None]


def run(
    steps: Sequence[Step], cuts: Sequence[int] = (), *, restored: bool = False, prior: Any = None, until: int = 1 << 40
) -> tuple[Shard, list[Any], list[Any]]:
    """Fold the story with each order at its offset; (shard, records, closed ticks). restored: stored at each cut."""
    one, batch, records, ticks = shard(HERE, prior=prior), story(), list[Any](), list[Any]()
    orders = {at: [(order, lent) for place, order, lent in steps if place == at] for at, _, _ in steps}
    end = min(batch.next_offset, until)
    for stop in sorted({*(c for c in (*cuts, *orders) if c < end), end}):
        told = one.process(_until(batch.since(max(one.next_offset, 0)), stop))
        records += told.records
        ticks.append(told.ticks)
        if restored:
            one = again(one)
        for number, (each, lent) in enumerate(orders.get(stop, [])):
            records += one.apply(each, control_partition=0, next_offset=100 + number, lent=lent)
            if restored:
                one = again(one)
    return one, records, ticks


def _until(batch: Batch, stop: int) -> Batch:
    n = int((batch.offset < stop).sum())
    return Batch.of(batch.row[:n], batch.ts_ms[:n], batch.value[:n], batch.offset[:n], stop)


def again(one: Shard) -> Shard:
    state = one.export()
    return Shard.restore(unpack(pack(state.manifest, state.arrays)), CONFIG)


def bits(one: Shard | State) -> bytes:
    state = one.export() if isinstance(one, Shard) else one
    return pack(state.manifest, state.arrays)


def findings(records: Sequence[Any]) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {}
    for one in records:
        if one.topic == "experiments":
            found.setdefault(one.value["entity"], []).append(one.value["finding"])
    return found


def source_of(one: Shard, entity: str) -> int:
    return int(one.roster.ents.seed.source[one.roster.entity_of(entity)])


def of_old(ticks: Sequence[Any]) -> np.ndarray:
    """Severity of the hosts that were there from the beginning."""
    entity, severity = (np.concatenate([getattr(one, name) for one in ticks]) for name in ("entity", "severity"))
    return np.asarray(severity[entity < len(OLD)])


def test_who_begins_after_the_order_adopts_what_it_lends_and_who_had_begun_stays_cold(alike: Prior) -> None:
    one, records, ticks = run([(ORDER_AT, order(alike), alike)])
    assert findings(records) == {None: ["applied"], NEW: ["adopted"]}
    assert [source_of(one, entity) for entity in (*OLD, NEW)] == [guard.NEVER, guard.NEVER, 0]
    (record,) = [one for one in records if one.value.get("kind") == "seed"]
    value = record.value
    assert_plain_json([record])
    assert value["before"] == {"sources": []}
    assert [(s["digest"], s["adopted"], s["withdrawn"]) for s in value["after"]["sources"]] == [
        (alike.digest, 0, False)
    ]
    assert value["applied_at"]["offset"] == ORDER_AT
    assert value["control"] == {"partition": 0, "offset": 99}
    _, _, cold = run([])
    assert [len(of_old(told)) for told in (ticks, cold)] == [2 * (TICKS - 1)] * 2
    np.testing.assert_array_equal(of_old(ticks), of_old(cold))


@settings(max_examples=12)
@given(cuts=st.lists(st.integers(1, 900), max_size=8), checkpoint=st.integers(1, ORDER_AT), restored=st.booleans())
def test_neither_cuts_nor_a_restart_from_an_older_checkpoint_change_a_bit(
    alike: Prior, hostile: Prior, cuts: list[int], checkpoint: int, restored: bool
) -> None:
    withdrawal = order(hostile, "withdraw", id="three")
    steps: list[Step] = [
        (ORDER_AT, order(hostile), hostile), (ORDER_AT, order(alike, id="two"), alike), (400, withdrawal, None),
    ]  # fmt: skip
    whole, told, _ = run(steps)
    parts, parts_told, _ = run(steps, cuts, restored=restored)
    assert bits(parts) == bits(whole)
    assert sorted(str(one) for one in parts_told) == sorted(str(one) for one in told)
    # From a checkpoint before the orders the same log leads to the same bits.
    early, _, _ = run(steps, until=checkpoint)
    later, batch = again(early), story()
    for at, each, lent in steps:
        if at > later.next_offset:
            later.process(_until(batch.since(later.next_offset), at))
        later.apply(each, control_partition=0, next_offset=100 + (at == ORDER_AT and each["id"] == "two"), lent=lent)
    later.process(batch.since(later.next_offset))
    assert bits(later) == bits(whole)


def test_after_the_barrier_nothing_but_the_state_is_needed(alike: Prior) -> None:
    """A worker that comes later has no pieces: what was lent is in the state."""
    whole, _, _ = run([(ORDER_AT, order(alike), alike)])
    early, _, _ = run([(ORDER_AT, order(alike), alike)], until=ORDER_AT + 1)
    moved = again(early)
    moved.process(story().since(moved.next_offset))
    assert bits(moved) == bits(whole)


def test_the_same_twice_is_an_answer_and_changes_nothing(alike: Prior) -> None:
    one, _, _ = run([(ORDER_AT, order(alike), alike)])
    before = bits(one)
    for number, lent in enumerate((alike, None, "gone")):
        (record,) = one.apply(order(alike), control_partition=0, next_offset=100, lent=lent)
        assert record.value["finding"] == "unchanged", number
        assert record.value["before"] == record.value["after"]
    assert bits(one) == before


def test_answers_to_one_order_from_many_shards_have_names_of_their_own(alike: Prior) -> None:
    keys = set()
    for partition in range(3):
        one = Shard(CONFIG, topic="metrics", partition=partition)
        for offset in (4, 5):
            (record,) = one.apply(order(alike), control_partition=0, next_offset=offset, lent=alike)
            keys.add(record.key)
    assert len(keys) == 6


def test_a_withdrawal_ends_trials_as_if_nothing_had_been_lent(alike: Prior) -> None:
    """The host that was on trial goes on as a cold one, bit for bit."""
    trial_at = story().offset[np.searchsorted(story().ts_ms, story().ts_ms[0] + (BEGIN + 3) * 600_000)]
    steps: list[Step] = [(ORDER_AT, order(alike), alike), (int(trial_at), order(alike, "withdraw"), None)]
    one, records, _ = run(steps)
    cold, _, _ = run([])
    assert findings(records) == {None: ["applied", "applied"], NEW: ["settled"]}
    order_record, settled = records[-2:]
    assert "1 trials end, 0 entities keep" in order_record.value["because"]
    assert settled.value["worth"]["hours"] > 0, "what it came to is not lost"
    assert settled.value["follows"] == [{"topic": "metrics", "partition": 0, "offset": int(trial_at) - 1}]
    assert order_record.value["before"]["sources"][0]["trying"] == 1
    assert len(one.twins) == 0
    ours, theirs = one.export().arrays, cold.export().arrays
    differs = {name for name in theirs if ours[name].tobytes() != theirs[name].tobytes()}
    assert differs <= {"entity.seed.since_ms"}
    assert ours["withdrawn"].tolist() == [0]


def test_who_has_adopted_keeps_it_after_a_withdrawal_and_nobody_else_gets_it(alike: Prior) -> None:
    one, _, _ = run([(ORDER_AT, order(alike), alike)])
    assert source_of(one, NEW) == 0
    (record,) = one.apply(order(alike, "withdraw"), control_partition=0, next_offset=101)
    assert "0 trials end, 1 entities keep" in record.value["because"]
    assert len(one.twins.rosters[0].entities) == 1, "its cold version may still come back"
    one = again(one)
    assert one.twins.withdrawn == {0}
    extra, at = _fresh_host(one), one.next_offset
    one.process(Batch.of(extra, [one.clock_ms + 1] * 4, [1.0] * 4, range(at, at + 4), at + 4))
    assert one.twins.rosters[0].entity_of("host=fresh") < 0
    # And lent again, it is tried again.
    (record,) = one.apply(order(alike), control_partition=0, next_offset=102)
    assert (record.value["finding"], one.twins.withdrawn) == ("applied", set())
    assert one.export().arrays.keys().isdisjoint({"withdrawn"})


def _fresh_host(one: Shard) -> list[int]:
    from engine.series import Kind, Series

    return [one.admit(Series.of(name, {"host": "fresh"}, Kind.GAUGE)) for name in HERE.names]


def test_a_second_source_joins_the_one_of_the_configuration(alike: Prior, hostile: Prior) -> None:
    """The numbers by which entities know their sources stay, and the new host tries both."""
    one, records, _ = run([(ORDER_AT, order(alike), alike)], prior=hostile)
    assert findings(records)[OLD[0]] == ["refused", "settled"]
    assert findings(records)[NEW] == ["adopted"]
    assert source_of(one, NEW) == 1
    assert [told["adopted"] for told in sources_of(one)] == [0, 1]


def test_there_are_at_most_so_many_sources_and_a_withdrawn_one_makes_room(alike: Prior) -> None:
    one, _, _ = run([(ORDER_AT, order(alike), alike)])
    for k in range(1, MOST_SOURCES):
        one.apply(order(other(alike, k)), control_partition=0, next_offset=k, lent=other(alike, k))
    more = other(alike, 99)
    before = bits(one)
    (record,) = one.apply(order(more), control_partition=0, next_offset=MOST_SOURCES - 1, lent=more)
    assert record.value["finding"] == "refused"
    assert "8 sources, the most there may be" in record.value["because"]
    assert bits(one) == before
    # Number 0 is in use and is not given to another; number 3 is.
    for k in (0, 3):
        gone = one.roster.priors[k]
        one.apply(order(gone, "withdraw"), control_partition=0, next_offset=50)
    (record,) = one.apply(order(more), control_partition=0, next_offset=51, lent=more)
    assert record.value["finding"] == "applied"
    one = again(one)
    assert one.roster.priors[3].digest == more.digest
    assert one.twins.withdrawn == {0}
    assert source_of(one, NEW) == 0


@pytest.mark.parametrize(
    ("lent", "because"),
    [("2 of the 3 pieces", "2 of the 3 pieces"), (None, "did not come"), ("hostile", "has the digest")],
)
def test_what_cannot_be_had_is_refused_and_works_later(
    alike: Prior, hostile: Prior, lent: str | None, because: str
) -> None:
    one = shard(HERE)
    came = hostile if lent == "hostile" else lent
    (record,) = one.apply(order(alike), control_partition=0, next_offset=1, lent=came)
    assert record.value["finding"] == "refused"
    assert because in record.value["because"]
    assert one.roster.priors == ()
    (record,) = one.apply(order(alike), control_partition=0, next_offset=2, lent=alike)
    assert record.value["finding"] == "applied"


def test_where_seeds_are_believed_at_once_orders_are_refused(alike: Prior) -> None:
    one = shard(HERE, config=UNGUARDED)
    (record,) = one.apply(order(alike), control_partition=0, next_offset=1, lent=alike)
    assert record.value["finding"] == "refused"


@pytest.mark.parametrize(
    "bad",
    [
        {"params": None}, {"params": []}, {"params": {}}, {"params": {"action": "add"}}, {"id": "x" * 201},
        {"params": {"action": "grow", "digest": "0" * 16}}, {"params": {"action": "add", "digest": "0" * 15}},
        {"params": {"action": ["add"], "digest": "0" * 16}}, {"params": {"action": "add", "digest": "0" * 16 + "\n"}},
    ],
)  # fmt: skip
def test_what_is_no_seed_order_is_bad(alike: Prior, bad: dict[str, Any]) -> None:
    one = shard(HERE)
    before = one.export().arrays
    with pytest.raises(BadSample) as refusal:
        one.apply(order(alike) | bad, control_partition=0, next_offset=1, lent=alike)
    assert refusal.value.reason == "order"
    assert one.export().arrays.keys() == before.keys()
    assert one.control_offsets == {0: 1}


def test_a_parcel_finds_its_sources_under_other_numbers(alike: Prior, hostile: Prior) -> None:
    """Adopted and on trial, both with the second source there and the first here."""
    middle = ORDER_AT + 8 * (BEGIN - 18) + SERIES * 3
    for until, adopted in ((1 << 40, 1), (middle, guard.NEVER)):
        there, _, _ = run([(ORDER_AT, order(alike), alike)], prior=hostile, until=until)
        assert source_of(there, NEW) == adopted
        parcel, _ = split(there.export(), {NEW})
        keeper = Shard(CONFIG, topic="metrics", partition=1, prior=[alike, other(alike, 1), hostile])
        keeper.next_offset = 0
        together = Shard.restore(merge(keeper.export(), parcel), CONFIG)
        assert source_of(together, NEW) == (0 if adopted == 1 else adopted)
        assert [len(one.entities) for one in together.twins.rosters] == [1, 0, int(adopted != 1)]
        row = together.row_of(there.roster.names[8])
        assert together.roster.borrowed(row) == there.roster.borrowed(8)
    knows_one_only = Shard(CONFIG, topic="metrics", partition=1, prior=[alike])
    with pytest.raises(ConfigError, match="sources that the keeper does not have"):
        merge(knows_one_only.export(), parcel)


def test_a_withdrawal_goes_along_with_a_split(alike: Prior) -> None:
    one, _, _ = run([(ORDER_AT, order(alike), alike)])
    one.apply(order(alike, "withdraw"), control_partition=0, next_offset=7)
    parcel, kept = split(one.export(), {NEW})
    for part in (parcel, kept, merge(kept, parcel)):
        assert Shard.restore(part, CONFIG).twins.withdrawn == {0}


def test_a_state_that_withdraws_what_is_not_there_is_refused(alike: Prior) -> None:
    state = shard(HERE, prior=alike).export()
    with pytest.raises(SnapshotError, match="withdrawn"):
        Shard.restore(State(state.manifest, {**state.arrays, "withdrawn": np.array([1], np.int16)}), CONFIG)


def test_trials_that_a_merge_brings_back_can_be_withdrawn_again(alike: Prior) -> None:
    middle = ORDER_AT + 8 * (BEGIN - 18) + SERIES * 3
    there, _, _ = run([(ORDER_AT, order(alike), alike)], until=middle)
    parcel, _ = split(there.export(), {NEW})
    keeper = Shard(CONFIG, topic="metrics", partition=1, prior=alike)
    keeper.next_offset = 5
    keeper.apply(order(alike, "withdraw"), control_partition=0, next_offset=1)
    together = Shard.restore(merge(keeper.export(), parcel), CONFIG)
    assert (len(together.twins), together.twins.withdrawn) == (1, {0})
    told = together.apply(order(alike, "withdraw"), control_partition=0, next_offset=2)
    assert told[0].value["finding"] == "applied"
    assert len(together.twins) == 0
    (record,) = together.apply(order(alike, "withdraw"), control_partition=0, next_offset=3)
    assert record.value["finding"] == "unchanged"


def test_a_part_without_trials_has_no_next_look(alike: Prior) -> None:
    """Or what begins there later would be looked at when those would have been that are gone."""
    middle = ORDER_AT + 8 * (BEGIN - 18) + SERIES * 3
    there, _, _ = run([(ORDER_AT, order(alike), alike)], until=middle)
    assert there.twins.look_ms > 0
    parcel, kept = split(there.export(), {NEW})
    straight = Shard.restore(kept, CONFIG)
    assert straight.twins.look_ms == -1
    extra, at = _fresh_host(straight), straight.next_offset
    later = again(straight)
    assert [_fresh_host(later)] == [extra]
    for one in (straight, later):
        ts_ms = one.clock_ms + 1 + np.repeat(np.arange(40) * 60_000, 4)
        one.process(Batch.of(extra * 40, ts_ms, np.arange(160.0), range(at, at + 160), at + 160))
    assert bits(straight) == bits(later)
    assert Shard.restore(merge(kept, parcel), CONFIG).twins.look_ms == there.twins.look_ms


def test_the_answer_of_a_shard_that_saw_no_sample_follows_nothing(alike: Prior) -> None:
    (record,) = Shard(CONFIG, topic="metrics", partition=0).apply(
        order(alike), control_partition=0, next_offset=1, lent=alike
    )
    assert record.value["follows"] == []


def test_what_is_still_borrowed_is_told_of_many_series_as_of_each(alike: Prior) -> None:
    middle = ORDER_AT + 8 * (BEGIN - 18) + SERIES * 3
    one, _, _ = run([(ORDER_AT, order(alike), alike)], until=middle)
    twins = one.twins.rosters[0]
    singly = [twins.borrowed(row) for row in range(4)]
    assert singly[0]
    assert twins.borrowed_of([0, -1, 3]) == [singly[0], {}, singly[3]]
