"""The user's librdkafka security properties in the words of the Faust worker's client (aiokafka).

Owns the translation, and the refusal of what has none: one sentence at start, instead of a client that connects
without what was asked for. The detector and the notifier use librdkafka itself and need none of this.
"""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.errors import ConfigError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
#: Properties of security that are understood here; any other that begins alike is refused.
_KNOWN = frozenset({
    "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password", "ssl.ca.location",
    "ssl.certificate.location", "ssl.key.location", "ssl.key.password", "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
})  # fmt: skip
_PREFIXES = ("ssl.", "sasl.", "security.", "https.")
#: Compressions that aiokafka reads only with a package that not everybody has.
_NEEDS_CRAMJAM = ("snappy", "lz4", "zstd")


class Auth(NamedTuple):
    """For Faust's credentials. context: of TLS, or None. mechanism empty: no SASL."""

    context: ssl.SSLContext | None
    mechanism: str
    username: str
    password: str


def translate(properties: Mapping[str, Any]) -> Auth | None:
    """None for a plain connection. ConfigError for what the worker's client cannot do."""
    texts = {key: _text(value) for key, value in properties.items()}
    protocol = texts.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in PROTOCOLS:
        raise ConfigError(f"kafka.properties has security.protocol = {protocol}; wanted one of {', '.join(PROTOCOLS)}.")
    _refuse_unknown(texts)
    _check_compression(texts)
    if protocol == "PLAINTEXT":
        return None
    context = _context(texts) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return Auth(context, "", "", "")
    mechanism = (texts.get("sasl.mechanism") or texts.get("sasl.mechanisms") or "GSSAPI").upper()
    if mechanism not in MECHANISMS:
        raise ConfigError(
            f"kafka.properties has sasl.mechanism = {mechanism}, which the Faust worker cannot speak; use one of "
            f"{', '.join(MECHANISMS)}, or run only the detector with `graft run --only detector`."
        )
    return Auth(context, mechanism, _wanted(texts, "sasl.username"), _wanted(texts, "sasl.password"))


def _refuse_unknown(texts: Mapping[str, str]) -> None:
    for key in texts:
        if key.startswith(_PREFIXES) and key not in _KNOWN:
            raise ConfigError(
                f"kafka.properties has {key}, which the Faust worker's client does not know; it understands "
                f"{', '.join(sorted(_KNOWN))}. Leave it out, or run only the detector with --only detector."
            )


def _check_compression(texts: Mapping[str, str]) -> None:
    codec = texts.get("compression.type") or texts.get("compression.codec") or "none"
    if codec in _NEEDS_CRAMJAM and importlib.util.find_spec("cramjam") is None:
        raise ConfigError(
            f"kafka.properties has compression.type = {codec}, which the Faust worker reads only with the package "
            "cramjam; install it, or use gzip or none."
        )


def _context(texts: Mapping[str, str]) -> ssl.SSLContext:
    authority = texts.get("ssl.ca.location")
    try:
        context = ssl.create_default_context(cafile=authority if authority not in (None, "", "probe") else None)
        if certificate := texts.get("ssl.certificate.location"):
            key = texts.get("ssl.key.location")
            context.load_cert_chain(certificate, key or None, texts.get("ssl.key.password") or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"kafka.properties: the files for TLS cannot be used: {error}.") from None
    if texts.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if texts.get("enable.ssl.certificate.verification", "true").lower() in ("false", "0", "f", "no"):
        # Reached only with kafka.insecure = true (agents/clients.py).
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _wanted(texts: Mapping[str, str], key: str) -> str:
    if not texts.get(key):
        raise ConfigError(f"kafka.properties has SASL, but no {key}; give it as ${{env:NAME}}.")
    return texts[key]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
