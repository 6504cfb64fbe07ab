"""Security properties of librdkafka reach the Faust worker's client, or are refused by name."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from agents.flows.faust_app import credentials
from agents.flows.kafka_auth import translate
from engine.errors import ConfigError

SASL = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "u",
    "sasl.password": "p",
}


def test_plain() -> None:
    assert translate({}) is None
    assert translate({"security.protocol": "plaintext", "linger.ms": 5, "log.connection.close": False}) is None


def test_sasl() -> None:
    auth = translate(SASL)
    assert auth is not None
    assert (auth.context, auth.mechanism, auth.username, auth.password) == (None, "SCRAM-SHA-512", "u", "p")


def test_tls() -> None:
    auth = translate({**SASL, "security.protocol": "SASL_SSL", "sasl.mechanisms": "PLAIN"})
    assert auth is not None
    assert auth.context is not None
    assert auth.context.verify_mode is ssl.CERT_REQUIRED
    assert auth.context.check_hostname
    unchecked = translate({"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"})
    assert unchecked is not None
    assert unchecked.context is not None
    assert not unchecked.context.check_hostname


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"security.protocol": "TLS"}, "security.protocol"),
        ({**SASL, "sasl.mechanism": "GSSAPI"}, "GSSAPI"),
        ({"security.protocol": "SASL_SSL"}, "GSSAPI"),
        ({**SASL, "sasl.password": ""}, "sasl.password"),
        ({"security.protocol": "SSL", "ssl.cipher.suites": "x"}, "ssl.cipher.suites"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nonexistent"}, "TLS"),
        ({"sasl.oauthbearer.config": "x"}, "sasl.oauthbearer.config"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(properties: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        translate(properties)


def test_the_password_is_not_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        translate({**SASL, "sasl.password": "canary", "sasl.mechanism": "OAUTHBEARER"})
    assert "canary" not in str(caught.value)


def test_faust_takes_it() -> None:
    from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

    found = credentials_to_aiokafka_auth(credentials(translate(SASL)))
    assert (found["security_protocol"], found["sasl_mechanism"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert (found["sasl_plain_username"], found["sasl_plain_password"]) == ("u", "p")
    assert (
        credentials_to_aiokafka_auth(credentials(translate({"security.protocol": "SSL"})))["security_protocol"] == "SSL"
    )
    assert credentials(None) is None
