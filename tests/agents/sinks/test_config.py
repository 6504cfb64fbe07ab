"""What can be set about sinks: the smallest file works, mistakes are one sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.secret import dec_hook
from agents.sinks.config import KINDS, SinkConfig, check, names_of
from agents.sinks.probe import dry
from agents.sinks.table import MAKERS, build
from engine.errors import ConfigError

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def read(*tables: dict[str, Any]) -> list[SinkConfig]:
    return msgspec.convert(list(tables), type=list[SinkConfig], dec_hook=dec_hook)


def test_the_smallest_file_of_the_interface_works() -> None:
    sinks = read({"kind": "alertmanager", "url": "http://localhost:9093"})
    ((_, sink),) = build(sinks, post=dry)
    assert (sink.destination, sink.resend_s) == ("alertmanager", 60.0)


def test_an_alertmanager_on_loopback_needs_no_leave_and_a_webhook_does() -> None:
    build(read({"kind": "alertmanager", "url": "http://127.0.0.1:9093"}), post=dry)
    build(read({"kind": "webhook", "url": "http://127.0.0.1:9900/hook", "allow_private": True}), post=dry)
    for host in ("127.0.0.1", "localhost", "a.localhost", "LOCALHOST.", "①②⑦.0.0.1"):
        with pytest.raises(ConfigError, match="allow_private"):
            build(read({"kind": "webhook", "url": f"http://{host}:9900/hook"}), post=dry)


def test_replicas_are_destinations_of_their_own() -> None:
    made = build(read({"kind": "alertmanager", "url": "http://a:9093", "urls": ["http://b:9093"]}), post=dry)
    assert [sink.destination for _, sink in made] == ["alertmanager", "alertmanager#2"]


def test_every_kind_has_a_maker() -> None:
    assert set(KINDS) == set(MAKERS)


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"kind": "alertmanager"}, "no url"),
        ({"kind": "alertmanager", "url": "localhost:9093"}, "http://"),
        ({"kind": "alertmanager", "url": "ftp://a"}, "http://"),
        ({"kind": "webhook", "url": "http://[::1/canary"}, "cannot be read"),
        ({"kind": "webhook"}, "no url"),
        ({"kind": "alertmanager", "url": "http://u:p@a"}, "user or password"),
        ({"kind": "alertmanager", "url": "http://a", "urls": ["http://a"]}, "twice"),
        ({"kind": "alertmanager", "url": "http://a", "resend_interval_s": 900}, "resend_interval_s"),
        ({"kind": "webhook", "url": "http://a", "secrets": ["canary"]}, "whsec_"),
        ({"kind": "webhook", "url": "http://a", "secrets": ["whsec_canary!"]}, "base64"),
        ({"kind": "webhook", "url": "http://a", "secrets": ["whsec_Y2FuYXJ5"]}, "6 bytes"),
        ({"kind": "webhook", "url": "http://a", "secrets": [WHSEC] * 3}, "at most two"),
        ({"kind": "webhook", "url": "http://a/canary", "per_minute": 0}, "per_minute"),
        ({"kind": "webhook", "url": "http://a", "name": "no spaces"}, "letters"),
        ({"kind": "pagerduty", "routing_key": ""}, "routing_key"),
    ],
)
def test_mistakes(table: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        check(read(table))
    assert str(caught.value).startswith("sinks[0]")
    assert "canary" not in str(caught.value)


def test_unknown_keys_and_kinds_are_errors() -> None:
    for table in ({"kind": "console", "urll": "x"}, {"kind": "carrier-pigeon"}, {"kind": "pagerduty"}):
        with pytest.raises(msgspec.ValidationError):
            read(table)


def test_names() -> None:
    two = read({"kind": "console"}, {"kind": "webhook", "url": "http://a", "name": "console"})
    with pytest.raises(ConfigError, match=r"sinks\[1\] is called 'console', as is sinks\[0\]"):
        check(two)
    assert names_of(read({"kind": "console"}, {"kind": "console", "name": "ops"})) == ("console", "ops")


def test_two_of_a_kind_need_names_or_an_exchange_in_the_file_would_swap_their_queues() -> None:
    hooks = ({"kind": "webhook", "url": "http://a"}, {"kind": "webhook", "url": "http://b"})
    with pytest.raises(ConfigError, match="give each a name of its own"):
        check(read(*hooks))
    check(read(hooks[0], hooks[1] | {"name": "b"}))
