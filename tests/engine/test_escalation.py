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
from tests.engine.components.feed import MINUTE_MS, assert_plain_json, entity_run, log_of, of, without
from tests.engine.logs import CONFIG, START_MS, admit, cold, cut

WOBBLE, LONG = 1800, 40


def wobble(seed: int = 0, ticks: int = 2400, metrics: int = 1) -> np.ndarray:
    """Values (ticks, metrics) of sd 1; the first rises by six and falls again within forty minutes."""
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


def test_a_question_ends_under_the_key_that_it_was_asked_under() -> None:
    """Keys are order and partition: else the end might be read before the question."""
    swell = 6.0 * np.sin(np.arange(2 * LONG) * np.pi / (2 * LONG))
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2400, 120)) + np.repeat(rng.normal(size=(2400, 60)), 2, axis=1)
    values[WOBBLE : WOBBLE + 2 * LONG] += swell[:, None]
    shard = cold()
    asked: dict[str, list[Record]] = {}
    for record in shard.process(log_of(admit(shard, 60, 2).ravel(), values)).records:
        if record.topic == "escalations":
            asked.setdefault(record.value["escalation"], []).append(record)
    closed = [pair for pair in asked.values() if len(pair) == 2]
    assert len(closed) >= 5
    for opened, expired in closed:
        assert (opened.value["state"], expired.value["state"]) == ("opened", "expired")
        assert opened.key == expired.key == opened.value["series"] == expired.value["series"]
        assert expired.value["contributors"][0]["series"] == opened.key


def test_a_question_ends_under_its_key_after_a_restart_too() -> None:
    shard, rest, told = upto_question()
    assert shard.roster.ents.life.about[0, 0] == shard.row_of(told[-1].key)
    again = Shard.restore(shard.export(), CONFIG)
    whole, parts = ([record for part in rest for record in one.process(part).records] for one in (shard, again))
    assert whole == parts
    assert whole[0].value["state"] == "expired"


def test_a_question_of_a_host_that_went_away_lapses_after_a_day() -> None:
    """One that comes at odd times: its absence is no alert but a question, and no tick of its own can end it."""
    rng = np.random.default_rng(4)
    shard = cold()
    batch = log_of(admit(shard, 3, 1)[:, 0], rng.normal(size=(3000, 3)))
    at = (batch.ts_ms - START_MS) // MINUTE_MS
    told = shard.process(without(batch, (batch.row == 2) & ((rng.random(len(at)) < 0.8) | (at >= 800)))).records
    opened, expired = of(told, "escalations")
    assert (opened["state"], opened["entity"]) == ("opened", "host=h2")
    assert "has stopped sending" in opened["because"]
    assert (expired["state"], expired["escalation"]) == ("expired", opened["escalation"])
    (absent,) = of(told, "drift", "absent")
    assert 1440 * MINUTE_MS <= expired["at_ms"] - absent["after"]["last_ms"] <= 1442 * MINUTE_MS
    assert of(told, "alerts") == []
    assert shard.counters()["pending"] == 0


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
