"""Records that somebody else has written: passed over, or read without a word that is not there. Never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.transfer.history import history
from engine.transfer.received import received
from engine.transfer.report import report
from tests.engine.transfer.accounts import record, retune, worth
from tests.engine.transfer.forging import GONE, ODD, changed, places

CPU = 'cpu{host="web-1"}'
PLACE = {"topic": "m", "partition": 0, "offset": 4}
SEED = {
    "schema": "graft.experiment/1", "at_ms": 1, "id": "seeded", "kind": "seed", "entity": None, "series": None,
    "finding": "applied", "because": "source 0 lends.", "environment": "eu", "control": {"partition": 0, "offset": 1},
    "order": {"schema": "graft.order/1", "id": "seed", "kind": "seed", "target": {"topic": "m", "partition": None},
              "params": {"action": "add", "digest": "0" * 16}, "because": "graft apply"},
    "before": {"sources": []}, "after": {"sources": [{"digest": "0" * 16, "environment": "us"}]},
    "applied_at": PLACE, "follows": [PLACE],
}  # fmt: skip
WHOLE: list[dict[str, Any]] = [
    record("host=web-1", "adopted", 1, worth(0, 0, 0)) | {"follows": [PLACE]},
    record("host=web-1", "passed", 24, worth()) | {"follows": [PLACE]},
    record("host=web-2", "refused", 1, worth(0, 1, 3)),
    *retune("host=web-1", CPU, 30),
    {"schema": "graft.order/1", "id": "seed", "at_ms": 0, "kind": "seed", "params": {}, "target": PLACE},
    SEED,
]
PLACES = [(at, place) for at, one in enumerate(WHOLE) for place in places(one)]
FOREIGN: tuple[Any, ...] = (*ODD, GONE, float("nan"), float("inf"), 2**63, "graft.order/1", [[]])


def read(records: list[Any]) -> None:
    """All that is made of records, for all names that they may have."""
    report(records)
    for name in ("host=web-1", CPU, "cpu"):
        try:
            history(records, name)
        except ConfigError:
            continue


def test_what_is_whole_is_received_as_it_is() -> None:
    assert list(received(WHOLE)) == WHOLE


@given(where=st.sampled_from(PLACES), value=st.sampled_from(FOREIGN))
def test_no_field_of_any_record_can_end_a_report_or_a_history(where: tuple[int, tuple[Any, ...]], value: Any) -> None:
    at, place = where
    read(changed(WHOLE, (at, *place), value))


@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: repr(value)[:20])
def test_each_field_of_each_record_may_be_strange(value: Any) -> None:
    for at, place in PLACES:
        read(changed(WHOLE, (at, *place), value))


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SEED, "topic"]), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [*SEED, "worth", "evidence", "limits", "params", "target", "source"][2:]
JUNK = st.fixed_dictionaries(
    {"schema": st.sampled_from(["graft.experiment/1", "graft.order/1"]), "at_ms": st.integers() | PLAIN},
    optional={
        **dict.fromkeys(FIELDS, PLAIN),
        "kind": st.sampled_from(["guard", "worth", "seed"]), "finding": st.sampled_from(["adopted", "settled"]),
        "entity": st.just("host=web-1"),
    },
)  # fmt: skip


@given(junk=st.lists(JUNK | PLAIN, max_size=4))
def test_junk_among_records_ends_nothing(junk: list[Any]) -> None:
    read([*junk, *WHOLE])


def test_an_account_of_another_form_is_none_and_the_decision_is_told() -> None:
    records = [record("host=a", "refused", 1, {"series": 4, "helped": 5}), record("host=a", "settled", 2, worth())]
    told = report(records)
    assert told["trials"] == 1
    assert history(records, "host=a")["events"][0]["worth"] == ""
    assert told["fleets"][0]["not_believed"]["series"] == 4


def test_an_order_stays_that_only_another_shard_has_answered() -> None:
    def of(partition: int) -> dict[str, Any]:
        return {"topic": "m", "partition": partition}

    order = {
        "schema": "graft.order/1", "id": "seed", "at_ms": 5, "kind": "seed", "target": {"topic": "m"}, "params": {},
        "because": "graft apply",
    }  # fmt: skip
    records = [
        record("host=a", "refused", 1) | {"follows": [of(0)]}, record("host=b", "refused", 1) | {"follows": [of(1)]},
        order, SEED | {"order": order, "follows": [], "applied_at": of(1)},
    ]  # fmt: skip
    (mine,) = [event for event in history(records, "host=a")["events"] if event["what"] == "seed"]
    assert "no record says that it was carried out" in mine["text"]
    (theirs,) = [event for event in history(records, "host=b")["events"] if event["what"] == "seed"]
    assert "applied" in theirs["text"]
