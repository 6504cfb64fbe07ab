"""A question instead of a page: opened, lapsed by itself, answered.

The log is a lone metric with a slow moderate wobble: severe in sum, sharp nowhere.
"""

from __future__ import annotations

import numpy as np
import pytest

from engine import alerts, feedback
from engine.batch import Batch
from engine.records import Record
from engine.shard import Shard
from engine.verdict import ESCALATE
from tests.engine.components.feed import MINUTE_MS, assert_plain_json, entity_run, log_of, of
from tests.engine.logs import START_MS, admit, cold, cut

WOBBLE, LONG = 1800, 20


def wobble(seed: int = 0, ticks: int = 2400, metrics: int = 1) -> np.ndarray:
    """Values (ticks, metrics) of sd 1; the first rises by six and falls again within twenty minutes."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(ticks, metrics)) + rng.normal(size=(ticks, 1)) + 10.0 * np.arange(metrics)
    values[WOBBLE : WOBBLE + LONG, 0] += 6.0 * np.sin(np.arange(LONG) * np.pi / LONG)
    return values


@pytest.mark.parametrize("seed", range(4))
def test_a_wobble_is_a_question_and_no_page_and_lapses(seed: int) -> None:
    shard, verdict = entity_run(wobble(seed))
    near = [v for v in of(verdict.records, "escalations") if v["opened_ms"] >= START_MS + WOBBLE * MINUTE_MS]
    opened, expired = near[:2]
    assert (opened["state"], expired["state"]) == ("opened", "expired")
    assert opened["escalation"] == expired["escalation"]
    assert opened["id"] != expired["id"]
    assert opened["severity"] > 2.0
    assert opened["because"].startswith("host=h0: m0")
    assert opened["contributors"][0]["series"] == opened["series"] == 'm0{host="h0"}'
    waited = alerts.PENDING_TICKS * MINUTE_MS
    assert abs(expired["at_ms"] - opened["at_ms"] - waited) <= 2 * MINUTE_MS
    assert abs(opened["expires_ms"] - opened["at_ms"] - waited) <= 2 * MINUTE_MS
    started = [v["started_ms"] for v in of(verdict.records, "alerts", "firing")]
    assert not [at for at in started if WOBBLE <= (at - START_MS) / MINUTE_MS <= WOBBLE + 2 * LONG]
    assert shard.counters()["pending"] == 0
    assert_plain_json(verdict.records)


def upto_question(seed: int = 0) -> tuple[Shard, list[Batch], list[Record]]:
    """Everything up to the tick at which the question is asked."""
    shard = cold()
    batch = log_of(admit(shard, 1, 1)[0], wobble(seed))
    parts = cut(batch, list(range(WOBBLE, WOBBLE + 3 * LONG)))
    told: list[Record] = []
    for k, part in enumerate(parts):
        verdict = shard.process(part)
        told.extend(verdict.records)
        if k > 0 and (verdict.decision == ESCALATE).any():
            return shard, parts[k + 1 :], told
    raise AssertionError("no question was asked")


@pytest.mark.parametrize(("answer", "sign"), [("false_alarm", -1), ("incident", 1)])
def test_an_answer_closes_the_question_and_moves_the_pages_after_it(answer: str, sign: int) -> None:
    shard, rest, told = upto_question()
    plain, rest_too, _ = upto_question()
    question = told[-1].value
    assert question["state"] == "opened"
    label = {
        "schema": "graft.label/1", "id": "a", "at_ms": 1, "escalation": question["escalation"], "answer": answer,
        "by": "anna",
    }  # fmt: skip
    shard.apply(feedback.order_for(label, question), control_partition=0, next_offset=1)
    assert shard.counters()["pending"] == 0
    after = np.concatenate([shard.process(part).ticks.page for part in rest[:30]])
    same = np.concatenate([plain.process(part).ticks.page for part in rest_too[:30]])
    assert (np.sign(after - same) == sign).all()


def test_a_question_of_an_entity_that_vanishes_lapses_as_well() -> None:
    """Its ticks no longer close, so nothing but the clock can end it."""
    shard = cold()
    rows = admit(shard, 3, 1)[:, 0]
    rng = np.random.default_rng(1)
    values = np.column_stack([wobble(0)[:, 0], rng.normal(size=(2400, 2))])
    batch = log_of(rows, values)
    stopped, _, told = upto_question()
    end = told[-1].value["at_ms"]
    gone = (batch.row == 0) & (batch.ts_ms > end + MINUTE_MS)
    keep = ~gone
    whole = batch._replace(
        row=batch.row[keep], ts_ms=batch.ts_ms[keep], value=batch.value[keep], offset=batch.offset[keep]
    )
    records = shard.process(whole).records
    # It may become the alert of an absence, or lapse; it may not stay open.
    assert stopped.counters()["pending"] == 1
    assert of(records, "escalations", "opened")
    assert shard.counters()["pending"] == 0
