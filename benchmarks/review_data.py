"""Made records for the review page: plausible, of any number, the same each time.

Used by benchmarks/review_page.py and by the page's tests. `fill` writes rows as the reader would, without a broker.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from agents.came import Came
from agents.review.filing import FILERS
from agents.review.store import Store
from engine.series import stable_id

START_MS = 1_790_000_000_000
MINUTE_MS = 60_000
METRICS = ("cpu_usage", "mem_used_percent", "disk_io_time", "http_requests", "queue_length", "latency_p99")
ANSWERS = ("incident", "expected", "new_normal", "false_alarm", "unsure")


def series_of(n: int) -> str:
    """The name of series n."""
    host = f"web-{n // len(METRICS) % 400}"
    return f'{METRICS[n % len(METRICS)]}{{host="{host}",region="eu-central-1"}}'


def entity_of(n: int) -> str:
    """Its entity."""
    return f"host=web-{n // len(METRICS) % 400}"


def context(series: str, at_ms: int, *, seed: int = 0, samples: int = 40) -> dict[str, Any]:
    """The last samples before a moment: a wave, and a step in the last five of them."""
    chance = random.Random(seed)
    times = [at_ms - (samples - 1 - k) * MINUTE_MS for k in range(samples)]
    expected = [50 + 8 * math.sin(t / 3.6e6) for t in times]
    value: list[float | None] = [
        one + chance.gauss(0, 1.2) + (22 if k >= samples - 5 else 0) for k, one in enumerate(expected)
    ]
    value[samples // 2] = None
    return {
        "series": series, "t_ms": times, "value": value, "expected": expected,
        "lower": [one - 5 for one in expected], "upper": [one + 5 for one in expected],
    }  # fmt: skip


def contributors(n: int) -> list[dict[str, Any]]:
    """Series that take part in it."""
    base = n - n % len(METRICS)
    order = [n, *(k for k in range(base, base + 3) if k != n)]
    return [
        {"series": series_of(k), "share": round(0.7 / (place + 1), 3), "value": 71.3, "expected": 50.2, "lower": 45.2,
         "upper": 55.2}
        for place, k in enumerate(order)
    ]  # fmt: skip


COMPONENTS = [{"name": "block", "share": 0.41}, {"name": "level", "share": 0.33}, {"name": "season", "share": 0.26}]


def escalation(n: int, state: str = "opened", **more: Any) -> dict[str, Any]:
    """Record `state` of question n."""
    opened_ms = more.get("opened_ms", START_MS + n * MINUTE_MS)
    name = stable_id("escalation", "eu", entity_of(n), opened_ms)
    head = {
        "schema": "graft.escalation/1", "id": stable_id("escalation", name, state), "escalation": name,
        "environment": "eu", "entity": entity_of(n), "series": series_of(n), "opened_ms": opened_ms, "state": state,
        "at_ms": opened_ms, "follows": [{"topic": "metrics", "partition": 0, "offset": n}],
    }  # fmt: skip
    if state == "opened":
        head |= {
            "severity": 2.5 + n % 30 / 10, "confidence": 0.35 + n % 40 / 100, "page": 0.4 + n % 6 / 10,
            "contributors": contributors(n), "components": COMPONENTS, "borrowed": {"level": 0.4, "tail": 0.12},
            "because": f"{entity_of(n)}: {series_of(n)} is 71.3, expected 50.2 (45.2 to 55.2); 2 more series are "
            "unusual with it.",
            "expires_ms": opened_ms + 7_200_000, "context": context(series_of(n), opened_ms, seed=n),
        }  # fmt: skip
    if state in ("asked", "folded"):
        head |= {
            "score": round(5 - n % 50 / 10, 2), "into": None, "due_ms": opened_ms + 7_200_000,
            "at_ms": opened_ms + 1000,
            "rule": "The question expires after 2 h; if its severity passes 6, it pages.",
        }  # fmt: skip
    if state == "answered":
        head |= {
            "answer": ANSWERS[n % len(ANSWERS)], "by": ("ada", "grace")[n % 2], "at_ms": opened_ms + 300_000,
            "label": stable_id("label", name),
        }  # fmt: skip
    return {**head, **more}


def label(n: int, answer: str | None = None, **more: Any) -> dict[str, Any]:
    """The answer to question n."""
    name = escalation(n)["escalation"]
    return {
        "schema": "graft.label/1", "id": stable_id("label", name), "at_ms": START_MS + n * MINUTE_MS + 300_000,
        "environment": "eu", "escalation": name, "series": series_of(n), "entity": entity_of(n),
        "answer": answer or ANSWERS[n % len(ANSWERS)], "from_ms": None, "until_ms": None, "by": ("ada", "grace")[n % 2],
        "reason": "the nightly backup", "target": None, **more,
    }  # fmt: skip


def effect(said: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The experiment record that tells what became of a label."""
    params = {key: said.get(key) for key in ("answer", "by", "reason", "from_ms", "until_ms", "escalation")}
    return {
        "schema": "graft.experiment/1", "id": stable_id("order", said["id"]), "at_ms": said["at_ms"] + 1500,
        "environment": "eu", "entity": said["entity"], "series": said["series"],
        "order": {
            "schema": "graft.order/1", "id": stable_id("order", said["id"]), "kind": "label",
            "component": "calibration",
            "params": params, "target": {"series": said["series"]},
            "because": f"{said['by']} answered {said['answer']}: page later here",
        },
        "before": {"page_gate": 0.0, "series_gate": 0.0, "level": 50.2},
        "after": {"page_gate": 0.4, "series_gate": 0.2, "level": 50.2},
        "effects": [
            {"what": "It takes half as much again to page here.", "entity": said["entity"], "series": None,
             "before": 0.0,
             "after": 0.4},
            {"what": "A sister series follows, by half of that.", "entity": said["entity"], "series": series_of(7),
             "before": 0.0, "after": 0.2},
        ],
        "follows": [{"topic": "metrics", "partition": 0, "offset": 1}], **more,
    }  # fmt: skip


def alert(n: int, state: str = "firing", **more: Any) -> dict[str, Any]:
    """Record `state` of alert n; three alerts in a row are one incident."""
    started_ms = START_MS + n * MINUTE_MS
    is_firing = state == "firing"
    return {
        "schema": "graft.alert/1", "id": stable_id("alert", n, state), "alert": stable_id("alert", n),
        "incident": stable_id("incident", n // 3), "number": n, "state": state, "environment": "eu",
        "entity": entity_of(n // 3 * 3), "series": series_of(n // 3 * 3), "started_ms": started_ms,
        "at_ms": started_ms if is_firing else started_ms + 600_000,
        "ended_ms": None if is_firing else started_ms + 600_000, "severity": 5.5 + n % 10 / 4, "confidence": 0.9,
        "page": 1.4, "value": 71.3, "expected": 50.2, "lower": 45.2, "upper": 55.2,
        "contributors": contributors(n // 3 * 3), "components": COMPONENTS, "borrowed": {}, "links": [],
        "because": f"{entity_of(n // 3 * 3)}: {series_of(n // 3 * 3)} is 71.3, expected 50.2 (45.2 to 55.2)."
        if is_firing else f"{entity_of(n // 3 * 3)} is back to normal.",
        "context": context(series_of(n // 3 * 3), started_ms, seed=n),
        "follows": [{"topic": "metrics", "partition": 0, "offset": n}], **more,
    }  # fmt: skip


def drift(n: int, **more: Any) -> dict[str, Any]:
    """A drift record."""
    return {
        "schema": "graft.drift/1", "id": stable_id("drift", n), "kind": ("level", "absent", "returned", "flat")[n % 4],
        "at_ms": START_MS + n * MINUTE_MS, "environment": "eu", "entity": entity_of(n), "series": series_of(n),
        "before": {"level": 50.0}, "after": {"level": 70.0}, "evidence": {"shift_sd": 6.1},
        "because": f"{series_of(n)} moved from about 50 to about 70 (+6.1 standard deviations) and stayed.",
        "follows": [{"topic": "metrics", "partition": 0, "offset": n}], **more,
    }  # fmt: skip


def retune(n: int, **more: Any) -> dict[str, Any]:
    """The record of a re-tune."""
    return {
        "schema": "graft.experiment/1", "id": stable_id("retune", n), "kind": "retune", "component": "level",
        "action": ("re-level", "re-scale", "re-phase")[n % 3], "finding": ("started", "kept", "reverted")[n % 3],
        "at_ms": START_MS + n * MINUTE_MS, "environment": "eu", "entity": entity_of(n), "series": series_of(n),
        "before": {"level": 50.0, "log_loss": 1.71}, "after": {"level": 70.0, "log_loss": 1.22 + n % 5 / 10},
        "evidence": {"e_value": 41.0, "samples": 180}, "lineage": {"drift": stable_id("drift", n)},
        "because": f"The level of {series_of(n)} was moved after a drift; the trial was "
        f"{('started', 'kept', 'reverted')[n % 3]}.",
        "follows": [{"topic": "metrics", "partition": 0, "offset": n}], **more,
    }  # fmt: skip


def came(topic: str, offset: int, record: Mapping[str, Any] | bytes | None) -> Came:
    """A record as it comes off a topic (without prefix)."""
    data = orjson.dumps(record) if isinstance(record, Mapping) else record
    return Came(topic, 0, offset, START_MS, b"k", data)


def fill(store: Store, records: Iterator[tuple[str, Mapping[str, Any]]], *, seen_s: float) -> int:
    """File records, a few thousand in each transaction; how many."""
    batch, total = [], 0

    def flush() -> None:
        parts = list(batch)
        store.write(
            lambda db: [FILERS[topic](db, came(topic, 0, record), seen_s) for topic, record in parts], timeout_s=600
        )
        batch.clear()

    for topic, record in records:
        batch.append((topic, record))
        total += 1
        if len(batch) >= 2000:
            flush()
    flush()
    return total


def story(*, questions: int, alerts: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """So many open questions (a tenth asked, half folded, some under others) and so many alerts, with what belongs to
    them; ages run up to START_MS + the larger number of minutes."""
    for n in range(questions):
        yield "escalations", escalation(n)
        if n % 10 == 0:
            yield "escalations", escalation(n, "asked")
        elif n % 2:
            into = escalation(n - n % 10)["escalation"] if n % 3 else None
            yield "escalations", escalation(n, "folded", into=into)
    for n in range(questions, questions + max(20, questions // 50)):
        yield "escalations", escalation(n)
        yield "feedback", label(n)
        yield "escalations", escalation(n, "answered")
        yield "experiments", effect(label(n))
    for n in range(alerts):
        yield "alerts", alert(n)
        if n < alerts - 3:
            yield "alerts", alert(n, "resolved")
    for n in range(max(10, alerts // 100)):
        yield "drift", drift(n)
        yield "experiments", retune(n)
