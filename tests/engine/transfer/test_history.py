"""The history of a name: complete, in order, in words; and what a name may mean."""

from __future__ import annotations

import pytest

from engine.errors import ConfigError
from engine.transfer.history import history
from tests.engine.transfer.accounts import record, retune, worth

CPU, DISK = 'cpu{host="web-1"}', 'disk{dc="1",host="web-1"}'
MEASURED = (
    "the seeded version forecast 3 better, 1 as well, 0 worse (+0.22 nats a sample, errors x 0.50); the cold one had "
    "caught up after 6 h"
)
RECORDS = [
    *retune("host=web-1", CPU, 30),
    record("host=web-1", "passed", 24, worth()),
    record("host=web-1", "adopted", 1, worth(0, 0, 0)),
    record("host=web-10", "refused", 1, worth(0, 1, 3, metric="mem"), unlike=3.0),
    {"schema": "graft.order/1", "id": "seed", "at_ms": 0, "kind": "seed", "target": {"topic": None, "partition": None},
     "because": "seed eu from us"},
    {"schema": "graft.order/1", "id": "lost", "at_ms": 5, "kind": "label", "because": "anna answered false_alarm",
     "target": {"series": DISK, "entity": "host=web-1"}},
]  # fmt: skip


def what(name: str) -> list[str]:
    return [event["what"] for event in history(RECORDS, name)["events"]]


def test_an_entity_has_all_that_is_about_it_or_its_series() -> None:
    told = history(RECORDS, "host=web-1")
    assert [event["what"] for event in told["events"]] == ["seed", "label", "adopted", "passed", "retune"]
    seed, label, adopted, passed, tuned = told["events"]
    assert seed["text"] == "seed eu from us (ordered; no record says that it was carried out)"
    assert "no record says" in label["text"]
    assert adopted["text"].endswith(
        "Evidence: unlikeness of the metrics 0.40 (limit 1.00), ln of the evidence beside the source's 0.10 "
        "(limit 1.65)."
    )
    assert passed["worth"] == (
        f"After 24.0 h, 4 series measured: {MEASURED}. Alone, the seeded version would have sent 0 pages, the cold one "
        "2."
    )
    assert tuned["text"] == "the level has moved [level 1 -> 5]"


def test_a_seed_order_is_told_by_its_answer_and_to_its_own_shard() -> None:
    def of(place: str) -> dict[str, object]:
        return {"topic": place, "partition": 0}

    order = {
        "schema": "graft.order/1", "id": "apply", "at_ms": 7, "kind": "seed", "target": of("m"),
        "params": {"action": "add", "digest": "abc"}, "because": "graft apply",
    }  # fmt: skip
    answer = {
        "schema": "graft.experiment/1", "id": "other", "at_ms": 8, "kind": "seed", "entity": None, "series": None,
        "finding": "applied", "because": "source 0 lends from here on.", "order": order, "follows": [of("m")],
        "before": {"sources": []}, "after": {"sources": [{"digest": "abc", "environment": "us"}]},
    }  # fmt: skip
    here, there = (
        [{**record("host=a", "adopted", 1), "follows": [of(place)]}, order, answer] for place in ("m", "elsewhere")
    )
    seed, _ = history(here, "host=a")["events"]
    assert (seed["what"], seed["text"]) == (
        "seed", "graft apply: applied; add us (abc): source 0 lends from here on.",
    )  # fmt: skip
    assert [event["what"] for event in history(there, "host=a")["events"]] == ["adopted"]


def test_a_series_has_its_own_orders_and_its_entity_s_decisions() -> None:
    assert what(CPU) == ["seed", "adopted", "passed", "retune"]
    assert what(DISK) == ["seed", "label", "adopted", "passed"]
    passed = history(RECORDS, CPU)["events"][2]
    assert passed["class_worth"] == [f"cpu: {MEASURED}"]
    # Never ordered anything, and in no record by name: its labels tell whose it is, exactly.
    assert history(RECORDS, 'net{host="web-10"}')["entities"] == ["host=web-10"]
    assert what('net{host="web-10"}') == ["seed", "refused"]


def test_a_bare_metric_is_looked_up_in_the_accounts() -> None:
    assert history(RECORDS, "mem")["entities"] == ["host=web-10"]
    assert what("mem") == ["seed", "refused"]


def test_an_unknown_name_is_an_error_with_those_that_are_near() -> None:
    with pytest.raises(ConfigError, match=r"No record is about 'host=web-2'; near it are .*host=web-1"):
        history(RECORDS, "host=web-2")
    with pytest.raises(ConfigError, match="Nothing was ever lent"):
        history([], "host=web-1")
    with pytest.raises(ConfigError):
        history(RECORDS, 'cpu{host="web-2"}')


def test_damaged_records_are_passed_over() -> None:
    strange = [{"schema": "graft.experiment/1", "id": "a"}, {"at_ms": 3}, {"schema": "graft.drift/1", "at_ms": 4}]
    assert what("host=web-1") == [event["what"] for event in history([*RECORDS, *strange], "host=web-1")["events"]]
