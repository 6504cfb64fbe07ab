"""What the sinks send, field by field; PagerDuty against what a real Alertmanager sends it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.secret import Secret
from agents.sinks import alertmanager, console, pagerduty, webhook
from agents.sinks.config import AlertmanagerSink, PagerDutySink, WebhookSink
from agents.sinks.delivery import Answer, Outcome
from agents.sinks.notice import FIRING, RESOLVED, Notice, rfc3339

PAYLOADS = Path(__file__).parent / "payloads"
NOW_MS = 1_767_225_660_000
PD = PagerDutySink(routing_key=Secret("0" * 32))
Make = Callable[..., dict[str, Any]]


async def unused(_request: Any) -> Answer:
    return Answer(Outcome.DELIVERED, 200)


def notice(make: Make, state: str = FIRING, **fields: Any) -> Notice:
    first, record = make(FIRING), make(state, **fields)
    return Notice(record["id"], record["incident"], state, first, record)


# Alertmanager


def test_alertmanager_labels_are_identity_only(alert_record: Make) -> None:
    labels = alertmanager.labels(notice(alert_record))
    assert labels == {
        "alertname": "GraftAnomaly", "environment": "prod", "entity": "host=web-1,rack=r 3", "metric": "cpu.usage_idle",
        "severity": "critical", "incident": "0123456789abcdef0123456789abcdef", "host": "web-1", "rack": "r 3",
    }  # fmt: skip
    later = notice(alert_record, RESOLVED, severity=1.0, series="other", value=1.0, entity="host=web-1,rack=r 3")
    assert alertmanager.labels(later) == labels, "another label would be another alert, and this one would never end"


def test_alertmanager_times(alert_record: Make) -> None:
    firing = alertmanager.postable(notice(alert_record), now_ms=NOW_MS, ahead_ms=240_000)
    assert (firing["startsAt"], firing["endsAt"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T00:05:00.000Z")
    ended = alertmanager.postable(notice(alert_record, RESOLVED), now_ms=NOW_MS + 600_000, ahead_ms=240_000)
    assert (ended["startsAt"], ended["endsAt"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T00:05:00.000Z")
    assert firing["generatorURL"] == "https://graphs.example/d/1"


def test_alertmanager_never_ends_before_it_starts(alert_record: Make) -> None:
    future = notice(alert_record, RESOLVED, ended_ms=5)
    alert = alertmanager.postable(future, now_ms=1000, ahead_ms=1)
    assert alert["startsAt"] <= alert["endsAt"] == "1970-01-01T00:00:01.000Z"


def test_alertmanager_annotations(alert_record: Make) -> None:
    notes = alertmanager.notes(notice(alert_record))
    assert notes["summary"] == "cpu.usage_idle of web-1 is 93, expected 30 to 52."
    assert (notes["value"], notes["severity_score"], notes["borrowed"]) == ("93", "9.25", "level 40%")
    assert notes["contributors"].splitlines()[1] == 'mem.used{host="web-1"} is absent'
    assert "late" not in notes


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=5))
def test_alertmanager_label_names_are_always_old_prometheus_names(pairs: dict[str, str]) -> None:
    entity = ",".join(f"{key}={value}" for key, value in pairs.items())
    record = {"entity": entity, "incident": "i"}
    for name, value in alertmanager.labels(Notice("a", "i", FIRING, record, record)).items():
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name)
        assert value


def test_alertmanager_authorization_is_masked(alert_record: Make) -> None:
    config = AlertmanagerSink(url="http://am:9093/", user="u", password=Secret("pw"))
    sink = alertmanager.Alertmanager(destination="a", url=config.url, config=config, post=unused)
    request = sink.request([notice(alert_record)], now_s=NOW_MS / 1000)
    assert request.url == "http://am:9093/api/v2/alerts"
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"u:pw").decode()
    assert request.secrets == (Secret("pw"),)


# PagerDuty


def shape(value: Any) -> Any:
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else type(value).__name__


@pytest.mark.parametrize(("name", "state"), [("trigger", FIRING), ("resolve", RESOLVED)])
def test_pagerduty_against_a_real_sender(alert_record: Make, name: str, state: str) -> None:
    theirs = orjson.loads((PAYLOADS / f"pagerduty-from-alertmanager-{name}.json").read_bytes())
    ours = pagerduty.event(
        notice(alert_record, state), PagerDutySink(routing_key=Secret("0" * 32), client_url="http://g")
    )
    assert ours["event_action"] == theirs["event_action"] == name
    assert set(theirs) <= set(ours)
    assert set(theirs["payload"]) <= set(ours["payload"])
    for key in theirs:
        if key != "payload":
            assert type(ours[key]) is type(theirs[key]), key
    allowed = {"routing_key", "event_action", "dedup_key", "payload", "client", "client_url", "links", "images"}
    assert set(ours) <= allowed
    assert set(ours["payload"]) <= {
        "summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details",
    }  # fmt: skip
    assert ours["payload"]["severity"] in {"critical", "error", "warning", "info"}


def test_pagerduty_one_key_for_both(alert_record: Make) -> None:
    keys = {pagerduty.event(notice(alert_record, state), PD)["dedup_key"] for state in (FIRING, RESOLVED)}
    assert keys == {"0123456789abcdef0123456789abcdef"}


def test_pagerduty_details(alert_record: Make) -> None:
    details = pagerduty.event(notice(alert_record), PD)["payload"]["custom_details"]
    assert (details["expected"], details["lower"], details["upper"]) == (41.0, 30.0, 52.0)
    assert details["borrowed"] == ["level 40%"]
    assert details["contributors"][0]["share"] == 0.8
    assert "components" not in details["contributors"][0]


@pytest.mark.parametrize("size", [10, 2_000, 400_000])
def test_pagerduty_limits(alert_record: Make, size: int) -> None:
    record = alert_record(
        because="x" * size, entity="e" * size, series="s" * size + "{}", incident="k" * 300,
        contributors=[{"series": "c" * size, "share": 1.0}] * 50,
    )  # fmt: skip
    event = pagerduty.event(Notice("a", record["incident"], FIRING, record, record), PD)
    assert len(orjson.dumps(event)) <= 512 * 1024
    assert len(event["payload"]["summary"]) <= 1024
    assert len(event["dedup_key"]) <= 255


# Webhook

KEY = base64.b64encode(bytes(range(32))).decode()


def test_webhook_vector_of_the_standard() -> None:
    """https://github.com/standard-webhooks/standard-webhooks, the vector of its libraries."""
    headers = webhook.signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}',
        [Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    )  # fmt: skip
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_webhook_two_secrets_while_rotating(alert_record: Make) -> None:
    new, old = Secret("whsec_" + KEY), Secret("whsec_" + base64.b64encode(b"o" * 24).decode())
    sink = webhook.Webhook(destination="w", config=WebhookSink(url="http://h/", secrets=(new, old)), post=unused)
    request = sink.request(notice(alert_record), now_s=1700.9)
    first, second = request.headers["webhook-signature"].split(" ")
    content = b"a1-firing.1700." + request.body
    expected = base64.b64encode(hmac.new(bytes(range(32)), content, hashlib.sha256).digest()).decode()
    assert first == "v1," + expected
    assert second != first
    assert orjson.loads(request.body) == alert_record()


def test_webhook_id_and_body_stay_over_retries(alert_record: Make) -> None:
    sink = webhook.Webhook(destination="w", config=WebhookSink(url="http://h/"), post=unused)
    one, two = (sink.request(notice(alert_record)._replace(late=late), now_s=late * 99.0) for late in (False, True))
    assert (one.body, one.headers["webhook-id"]) == (two.body, two.headers["webhook-id"])
    assert "webhook-signature" not in one.headers
    assert (one.headers.get("graft-late"), two.headers.get("graft-late")) == (None, "true")


# Console and words


def test_console_line_cannot_steer_the_terminal(alert_record: Make) -> None:
    line = console.line(notice(alert_record, because="\x1b[31mred\n", entity="a\x07b"))
    assert line.isprintable()
    assert line.startswith("FIRING critical host=web-1,rack=r 3: \\x1b[31mred\\n [severity=9.25 confidence=0.97 ")


@pytest.mark.parametrize(
    ("severity", "word"),
    [
        (12, "critical"),
        (8, "critical"),
        (7.9, "error"),
        (5, "error"),
        (4, "warning"),
        (None, "warning"),
        ("9", "warning"),
    ],
)
def test_levels(alert_record: Make, severity: Any, word: str) -> None:
    record = alert_record(severity=severity)
    assert Notice("a", "i", FIRING, record, record).level == word


@given(st.integers())
def test_every_time_has_a_text(moment_ms: int) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", rfc3339(moment_ms))


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "severity", "confidence", "value", "lower", "contributors", "components", "borrowed", "because", "links", "series",
    "entity", "environment", "ended_ms",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), JUNK))
def test_junk_in_any_field_never_stops_a_sink(fields: dict[str, Any]) -> None:
    record = {"id": "a", "incident": "i", "state": RESOLVED, "started_ms": 5, **fields}
    one = Notice("a", "i", RESOLVED, record, record)
    orjson.dumps(alertmanager.postable(one, now_ms=10, ahead_ms=10))
    orjson.dumps(pagerduty.event(one, PD))
    assert console.line(one).isprintable()
