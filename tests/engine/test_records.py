"""Records: the fields that people hold on to, ids from the log alone, and nothing but plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batch import Batch
from engine.records import Record
from engine.retune import Tuner
from engine.shard import Shard
from tests.engine.components.feed import MINUTE_MS, assert_plain_json, entity_run, log_of, of, tuned, without
from tests.engine.logs import START_MS, admit, cold, cut

HEAD = {"schema", "id", "at_ms", "environment", "entity", "series", "follows"}
KEYS = {
    "alerts": HEAD
    | {
        "alert", "incident", "number", "state", "started_ms", "ended_ms", "severity", "confidence", "page", "value",
        "expected", "lower", "upper", "contributors", "components", "borrowed", "because", "links",
    },
    "escalations": HEAD
    | {
        "escalation", "state", "severity", "confidence", "page", "because", "contributors", "components", "borrowed",
        "expires_ms",
    },
    "drift": HEAD | {"kind", "before", "after", "evidence", "because"},
    "experiments": HEAD | {"order", "before", "after", "applied_at"},
}  # fmt: skip
SCHEMAS = {
    "alerts": "graft.alert/1",
    "escalations": "graft.escalation/1",
    "drift": "graft.drift/1",
    "experiments": "graft.experiment/1",
}


def eventful(*, larger: float = 1.0) -> tuple[Shard, Batch]:
    """Three hosts: an outage, a wobble, a deploy, a metric that stops and one that no longer moves."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3600, 6)) + 10.0 * np.arange(6)
    values[1500:1530, 0:2] += 25.0 * larger
    values[1800:1820, 2] += 7.0 * np.sin(np.arange(20) * np.pi / 20)
    values[3000:, 4] += 6.0 * larger
    values[700:800, 1] = values[700, 1]
    shard = cold()
    rows = admit(shard, 1, 2)[0].tolist() + [int(row) for row in admit(shard, 5, 1)[1:, 0]]
    batch = log_of(np.array(rows), values)
    return shard, without(batch, (batch.row == rows[5]) & (batch.ts_ms > START_MS + 3300 * MINUTE_MS))


@pytest.fixture(scope="module")
def told() -> list[Record]:
    shard, batch = eventful()
    records, _ = tuned(shard, batch, Tuner())
    return [*records, *shard.mark_gap(shard.next_offset, shard.next_offset + 10)]


def test_all_sorts_of_records_were_told(told: list[Record]) -> None:
    found = {(r.topic, r.value.get("state", r.value.get("kind"))) for r in told}
    assert found >= {
        ("alerts", "firing"), ("alerts", "resolved"), ("escalations", "opened"), ("escalations", "expired"),
        ("drift", "level"), ("drift", "absent"), ("drift", "flat"), ("drift", "gap"), ("experiments", "retune"),
    }  # fmt: skip


def test_each_record_has_the_fields_that_were_promised(told: list[Record]) -> None:
    for record in told:
        value = record.value
        # What becomes of a trial is decided; only an order is applied.
        wanted = KEYS[record.topic] - ({"applied_at"} if "decided_at" in value else set())
        assert wanted <= value.keys(), record
        assert value["schema"] == SCHEMAS[record.topic]
        assert isinstance(record.key, str)
        assert record.key
        assert all(origin.keys() == {"topic", "partition", "offset"} for origin in value["follows"])
        assert START_MS <= value["at_ms"] <= START_MS + 3700 * MINUTE_MS


def test_records_are_plain_data_without_nan(told: list[Record]) -> None:
    assert_plain_json(told)


def test_ids_are_unique_and_alerts_are_numbered(told: list[Record]) -> None:
    ids = [r.value["id"] for r in told]
    assert len(ids) == len(set(ids))
    assert [v["number"] for v in of(told, "alerts")] == list(range(1, len(of(told, "alerts")) + 1))
    assert all(r.key == r.value["incident"] for r in told if r.topic == "alerts")


def test_sentences_name_the_series_and_the_numbers(told: list[Record]) -> None:
    first = of(told, "alerts", "firing")[0]
    assert first["entity"] == "host=h0"
    assert first["because"].startswith("host=h0: m")
    assert "expected" in first["because"]
    shares = [one["share"] for one in first["contributors"]]
    assert shares == sorted(shares, reverse=True)
    assert 0.0 < sum(shares) <= 1.001
    assert sum(one["share"] for one in first["components"]) == pytest.approx(1.0, abs=1e-3)


def test_an_end_is_told_of_the_series_that_the_beginning_named(told: list[Record]) -> None:
    begun = {one["alert"]: one for one in of(told, "alerts", "firing")}
    ended = of(told, "alerts", "resolved")
    assert ended
    for one in ended:
        series = [part["series"] for part in one["contributors"]]
        assert series == [part["series"] for part in begun[one["alert"]]["contributors"]][:3]
        assert one["series"] == begun[one["alert"]]["series"]


@pytest.mark.parametrize("unit", [1e-7, 1e9])
def test_numbers_are_told_whatever_their_unit(unit: float) -> None:
    """Six decimals of ten microseconds, in seconds, would be one digit."""
    values = np.random.default_rng(0).normal(size=(1200, 3)) + 100.0
    values[1000:1010] += 25.0
    (plain, *_), (scaled, *_) = (of(entity_run(values * by)[1].records, "alerts", "firing") for by in (1.0, unit))
    for name in ("value", "expected", "lower", "upper"):
        assert scaled[name] / unit == pytest.approx(plain[name], rel=1e-4)


def names_of(records: list[Record]) -> list[tuple[str, str, Any]]:
    return [(r.topic, r.key, r.value["id"]) for r in records]


@settings(max_examples=12)
@given(st.lists(st.integers(0, 15_000), max_size=8))
def test_ids_do_not_depend_on_the_cuts(cuts: list[int]) -> None:
    shard, batch = eventful()
    other, _ = eventful()
    whole = shard.process(batch).records
    parts = [record for part in cut(batch, cuts) for record in other.process(part).records]
    assert names_of(whole) == names_of(parts)
    assert whole == parts


def test_ids_do_not_depend_on_the_scores() -> None:
    """A storm twice as high is the same incident with the same names."""

    def outage(records: list[Record]) -> list[str]:
        return [v["id"] for v in of(records, "alerts") if v["entity"] == "host=h0"]

    names, severities = [], []
    for larger in (1.0, 2.0):
        shard, batch = eventful(larger=larger)
        records = shard.process(batch).records
        names.append(outage(records))
        severities.append([v["contributors"][0]["value"] for v in of(records, "alerts", "firing")])
    assert names[0] == names[1]
    assert severities[0] != severities[1]
