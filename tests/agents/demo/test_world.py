"""The made-up world: repeatable, plausible, and hit by incidents only where the script says."""

from __future__ import annotations

import numpy as np
import pytest

from agents.codecs.decoder import Decoder
from agents.demo import incidents
from agents.demo.incidents import MINUTES, SCRIPT, happen, schedule
from agents.demo.wire import messages, on_wire
from agents.demo.world import Fleet, Metric, generate
from engine.config import EngineConfig
from engine.shard import Shard

FLEET = Fleet.of(web=5, svc=7, db=1)


def test_same_seed_same_numbers() -> None:
    one, two, other = (generate(FLEET, seed=seed, minutes=200) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_numbers_are_finite_and_positive() -> None:
    values = generate(FLEET, seed=3, minutes=1440)
    assert values.shape == (1440, FLEET.width)
    assert np.isfinite(values).all()
    assert (values > 0).all()


def test_every_column_has_a_name_of_its_own() -> None:
    names = FLEET.names()
    assert len(names) == FLEET.width == len(set(names))
    entity = FLEET.named("svc-04")
    assert names[entity.column("latency_ms")] == entity.series("latency_ms") == 'latency_ms{service="svc-04"}'


@pytest.mark.parametrize("incident", SCRIPT, ids=lambda one: one.kind)
def test_an_incident_changes_its_own_entity_in_its_own_time(incident: incidents.Incident) -> None:
    before = generate(FLEET, seed=5, minutes=MINUTES)
    after = before.copy()
    happen(after, FLEET, incident)
    changed = before != after
    minutes, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    entity = FLEET.named(incident.entity)
    assert set(columns) <= set(entity.columns)
    assert len(columns) == (1 if incident.metric else len(entity.columns))
    assert minutes[0] >= incident.start_min
    assert minutes[-1] < incident.end_min or incident.kind == incidents.DEPLOY


def test_the_script_is_in_order_and_fits() -> None:
    starts = [one.start_min for one in SCRIPT]
    assert starts == sorted(starts)
    assert all(one.end_min <= MINUTES for one in SCRIPT)
    assert len(FLEET.named("db-01").columns) == 20


def test_schedule_is_slow_around_incidents_and_covers_the_story() -> None:
    due = schedule(MINUTES)
    steps = np.diff(due)
    assert due[0] == 0.0
    assert due[-1] < 1.0
    assert (steps > 0).all()
    assert steps[SCRIPT[0].start_min] > 10 * steps[100]


def test_the_wire_is_read_back_as_what_was_meant() -> None:
    values = generate(FLEET, seed=6, minutes=3)
    sent = on_wire(FLEET, values)
    begin_ms = 1_767_225_600_000
    shard = Shard(EngineConfig(entity_labels=("host", "service")), topic="t", partition=0)
    shard.next_offset = 0
    records = [one.value for minute in range(3) for one in messages(FLEET, sent[minute], begin_ms + minute * 60_000)]
    batch, dead = Decoder(shard).decode(records, np.arange(len(records)), lambda _: -1, len(records))
    assert dead == []
    names = [shard.roster.names[row] for row in batch.row] if shard.roster.names else []
    column = {name: at for at, name in enumerate(FLEET.names())}
    minute = (batch.ts_ms - begin_ms) // 60_000
    meant = np.array([sent[m, column[name]] for m, name in zip(minute, names, strict=True)])
    assert len(batch.row) == values.size
    np.testing.assert_allclose(batch.value, meant, rtol=1e-4)


def test_a_counter_only_grows_on_the_wire() -> None:
    counter = Metric("net.bytes", 100.0, 1.0, counter=True)
    fleet = Fleet.of(web=1, svc=0, db=0)
    entity = fleet.entities[0]._replace(metrics=(counter,), columns=range(1))
    sent = on_wire(Fleet(entities=(entity,)), np.array([[5.0], [2.5], [7.0]]))
    assert sent[:, 0].tolist() == [300.0, 450.0, 870.0]
