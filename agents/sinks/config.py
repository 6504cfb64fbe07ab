"""What can be set about a sink: one struct per kind, told apart by `kind`.

Owns names, defaults and the checks that need nothing but the values. Knows no HTTP and opens nothing; imports nothing
heavy, because every `graft` command that reads the configuration imports it.

Not obvious: `allow_private` is true for an Alertmanager alone. It is a server of one's own, nearly always on a private
address, and takes no redirect and no secret; a webhook or PagerDuty URL on a private address must be asked for.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from agents.secret import MASK, Secret
from engine.errors import ConfigError

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Common(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What every sink has.

    name: how logs and metrics call it; default: its kind. per_minute: how many requests it may get (burst: the same).
    max_alert_age_s: an older alert is sent, marked late, only if it still burns. give_up_s: how long an alert is tried.
    """

    name: str = ""
    per_minute: float = 120.0
    max_alert_age_s: float = 900.0
    give_up_s: float = 86_400.0
    connect_timeout_s: float = 5.0
    total_timeout_s: float = 10.0


class Posts(Common, kw_only=True, frozen=True):
    """What every sink has that calls a URL. allow_private: the URL may lead to loopback or a private network."""

    url: str = ""
    allow_private: bool = False


class AlertmanagerSink(Posts, tag_field="kind", tag="alertmanager", kw_only=True, frozen=True):
    """Alertmanager v2. `url` or `urls`: the base of every replica of a cluster, never a load balancer before them."""

    urls: tuple[str, ...] = ()
    allow_private: bool = True
    resend_interval_s: float = 60.0
    user: str = ""
    password: Secret = Secret("")


class PagerDutySink(Posts, tag_field="kind", tag="pagerduty", kw_only=True, frozen=True):
    """PagerDuty Events v2. routing_key: the integration key of a service; `url` for a regional or other endpoint."""

    routing_key: Secret
    url: str = PAGERDUTY_URL
    client_url: str = ""


class WebhookSink(Posts, tag_field="kind", tag="webhook", kw_only=True, frozen=True):
    """Any HTTP endpoint: the alert record as JSON, signed as Standard Webhooks say when `secrets` are given.

    secrets: `whsec_` and base64, as the standard writes them; the first signs, a second signs too during a rotation.
    """

    secrets: tuple[Secret, ...] = ()


class ConsoleSink(Common, tag_field="kind", tag="console", kw_only=True, frozen=True):
    """One line per alert on standard error."""


SinkConfig = AlertmanagerSink | PagerDutySink | WebhookSink | ConsoleSink

KINDS: dict[str, type[Common]] = {
    "alertmanager": AlertmanagerSink,
    "pagerduty": PagerDutySink,
    "webhook": WebhookSink,
    "console": ConsoleSink,
}


def kind_of(sink: SinkConfig) -> str:
    """The word that the configuration uses.

    >>> kind_of(ConsoleSink())
    'console'
    """
    return str(sink.__struct_config__.tag)


def urls_of(sink: SinkConfig) -> tuple[str, ...]:
    """Every URL that the sink will call, in order; none for a console."""
    one = (sink.url,) if isinstance(sink, Posts) and sink.url else ()
    return one + sink.urls if isinstance(sink, AlertmanagerSink) else one


def names_of(sinks: Sequence[SinkConfig]) -> tuple[str, ...]:
    """One name per sink: its own, else its kind. Never its place in the file: alerts wait under the name.

    >>> names_of([ConsoleSink(), ConsoleSink(name="ops")])
    ('console', 'ops')
    """
    return tuple(sink.name or kind_of(sink) for sink in sinks)


def check(sinks: Sequence[SinkConfig]) -> None:
    """Raise ConfigError for what the types cannot say: missing and odd URLs, secrets, names, times."""
    names = names_of(sinks)
    for index, (sink, name) in enumerate(zip(sinks, names, strict=True)):
        where = f"sinks[{index}]"
        if names.index(name) != index:
            raise ConfigError(
                f"{where} is called {name!r}, as is sinks[{names.index(name)}]; give each a name of its own, "
                "under which its alerts wait."
            )
        _check_common(sink, name, where)
        if isinstance(sink, Posts):
            _check_urls(sink, where)
        if isinstance(sink, PagerDutySink) and not sink.routing_key:
            raise ConfigError(f"{where}.routing_key is empty; give the integration key as ${{env:NAME}}.")
        if isinstance(sink, WebhookSink):
            _check_secrets(sink, where)


def _check_common(sink: SinkConfig, name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigError(f"{where}.name is {name!r}; use 1 to 64 of letters, digits, '_', '.', '-'.")
    for field in ("per_minute", "max_alert_age_s", "give_up_s", "connect_timeout_s", "total_timeout_s"):
        value = getattr(sink, field)
        if not value > 0:
            raise ConfigError(f"{where}.{field} is {value}; it must be > 0.")
    if isinstance(sink, AlertmanagerSink) and not 1 <= sink.resend_interval_s <= 300:
        raise ConfigError(
            f"{where}.resend_interval_s is {sink.resend_interval_s}; it must lie in [1, 300], because an Alertmanager "
            "ends by itself what it has not heard of for four intervals."
        )


def _check_urls(sink: AlertmanagerSink | PagerDutySink | WebhookSink, where: str) -> None:
    urls = urls_of(sink)
    if not urls:
        raise ConfigError(f"{where} has no url; give the base address, such as http://localhost:9093.")
    for url in urls:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise ConfigError(f"{where}.url cannot be read: {error}.") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"{where}.url must begin with http:// or https:// and name a host.")
        if parts.username or parts.password:
            raise ConfigError(f"{where}.url carries a user or password; use the fields for them, with ${{env:NAME}}.")
    if len(set(urls)) < len(urls):
        raise ConfigError(f"{where} names one url twice; each replica once.")


def masked_url(url: str) -> str:
    """A URL for people: without its path and query, which are often a token, and without a user.

    >>> masked_url("https://u:p@hooks.example:8443/services/T0/SECRET?token=abc"), masked_url("http://manager:9093/")
    ('https://hooks.example:8443/***', 'http://manager:9093/')
    """
    parts = urlsplit(url)
    tail = "/" + MASK if parts.path.strip("/") or parts.query or parts.fragment else parts.path
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{tail}"


def _check_secrets(sink: WebhookSink, where: str) -> None:
    if len(sink.secrets) > 2:
        raise ConfigError(f"{where}.secrets has {len(sink.secrets)} entries; at most two, the new and the old.")
    for secret in sink.secrets:
        try:
            webhook_key(secret)
        except ValueError as error:
            raise ConfigError(
                f"{where}.secrets has an entry that {error}; write whsec_ and base64 of 24 to 64 bytes, "
                'as `echo "whsec_$(openssl rand -base64 32)"` makes it.'
            ) from None


def webhook_key(secret: Secret) -> bytes:
    """The bytes of a Standard Webhooks secret; ValueError says what is wrong with it."""
    text = secret.reveal()
    if not text.startswith("whsec_"):
        raise ValueError("does not begin with whsec_")
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise ValueError("is not base64 after whsec_") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"holds {len(key)} bytes")
    return key
