"""Everything a user can set, typed and checked at start; the one TOML file of `graft run`.

Owns: the keys, their defaults and their rules. How a file is read is configfile.py's, what a sink needs is
sinks/config.py's. Imports neither Kafka nor numpy, so that `graft check` answers at once.

Not obvious: messages of `__post_init__` are completed with the dotted key by the reader, so they begin with the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from agents import clients, configfile
from agents.secret import Secret
from agents.sinks import config as sinks_config
from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.config import EngineConfig

#: What `inputs.format` may be; auto looks at the bytes of each record.
FORMATS = ("auto", "json", "telegraf-influx", "telegraf-json")

#: Addresses that only this machine can reach.
LOOPBACK = ("127.0.0.1", "::1", "localhost")
#: People with a key of their own.
MOST_KEYS = 1000

#: Kafka's own rule for topic names.
_TOPIC = re.compile(r"^[A-Za-z0-9._-]{1,249}$")

#: Properties whose value must come through a reference.
SECRET_PROPERTIES = (
    "sasl.password",
    "sasl.oauthbearer.client.secret",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
)


def address(listen: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`; ValueError with a sentence otherwise.

    >>> address("[::1]:8080")
    ('::1', 8080)
    """
    host, colon, port = listen.rpartition(":")
    _wanted(colon and port.isdecimal(), f"listen is {listen!r}; it must be host:port, as 127.0.0.1:8080")
    return host.strip("[]"), int(port)


def check_listen(listen: str, token: Secret | None, key: str) -> None:
    """ValueError where others could reach an address without a token. key: what it would be set as."""
    host, port = address(listen)
    _wanted(0 <= port <= 65535, f"listen has port {port}; it must lie in [0, 65535]")
    _wanted(
        host in LOOPBACK or token,
        f"listen is {listen}, which others can reach, but there is no {key}; set one or use 127.0.0.1",
    )


def _wanted(condition: object, otherwise: str) -> None:
    """ValueError, to which the reader adds the dotted key."""
    if not condition:
        raise ValueError(otherwise)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options that all tables share."""


class Kafka(Table, frozen=True, kw_only=True):
    """bootstrap: host:port,... of the brokers. properties: any librdkafka property, verbatim.

    insecure: allow properties that switch certificate checks off. leave_on_stop: leave the group at SIGTERM as well, as
    suits workers that are not started again within 30 s; else only Ctrl-C leaves it, and a restart moves no partition.
    """

    bootstrap: str = "localhost:9092"
    group: str = "graft"
    properties: dict[str, Any] = {}
    insecure: bool = False
    leave_on_stop: bool = False

    def __post_init__(self) -> None:
        _wanted(self.bootstrap.strip(), "bootstrap is empty; write host:port of one broker or more")
        _wanted(self.group.strip(), "group is empty; write a name for the consumer group")
        for key, value in self.properties.items():
            _check_property(key, value)


class Input(Table, frozen=True, kw_only=True):
    """One topic to watch. entity_labels: the labels that name the thing a series measures."""

    topic: str
    format: str = "auto"
    entity_labels: tuple[str, ...] = ("host",)

    def __post_init__(self) -> None:
        _wanted(_TOPIC.match(self.topic), f"topic is {self.topic!r}; Kafka allows letters, digits, . _ - only")
        _wanted(self.format in FORMATS, f"format is {self.format!r}; it must be one of {', '.join(FORMATS)}")
        _wanted(all(self.entity_labels), "entity_labels has an empty name")


class State(Table, frozen=True, kw_only=True):
    """dir: where snapshots and the outbox live. key: signs snapshots (HMAC); snapshots without it are then refused.

    upload_interval_s: how often a shard's state goes to the state topic too, for workers without this folder; 0: never.
    keep_history: earlier hours of which the last snapshot stays, besides the newest three and one of the day before; a
    window that began before the oldest cannot be un-learned. Each takes the room of a state.
    """

    dir: str = "graft-state"
    snapshot_interval_s: float = 30.0
    upload_interval_s: float = 60.0
    keep_history: int = 4
    key: Secret | None = None

    def __post_init__(self) -> None:
        _wanted(self.dir, "dir is empty; name a directory")
        _wanted(
            0 < self.snapshot_interval_s <= 3600,
            f"snapshot_interval_s is {self.snapshot_interval_s:g}; it must lie in (0, 3600]. After a crash at most "
            "this much of the log is read again",
        )
        _wanted(
            0 <= self.keep_history <= 168,
            f"keep_history is {self.keep_history}; it must lie in [0, 168]. Each hour takes the room of a state",
        )
        _wanted(
            0 <= self.upload_interval_s <= 86_400,
            f"upload_interval_s is {self.upload_interval_s:g}; it must lie in [0, 86400]. 0 uploads no states",
        )


class Seed(Table, frozen=True, kw_only=True):
    """snapshot: a source snapshot to start new series from; absent: cold."""

    snapshot: str | None = None


class Topics(Table, frozen=True, kw_only=True):
    """prefix of all topics that Graft writes."""

    prefix: str = "graft."

    def __post_init__(self) -> None:
        _wanted(_TOPIC.match(self.prefix), f"prefix is {self.prefix!r}; Kafka allows letters, digits, . _ - only")


class Alerting(Table, frozen=True, kw_only=True):
    """false_pages_per_entity_day: how often a normal entity may page; 0.1 is once in ten days."""

    false_pages_per_entity_day: float = 0.1

    def __post_init__(self) -> None:
        rate = self.false_pages_per_entity_day
        _wanted(0 < rate <= 1000, f"false_pages_per_entity_day is {rate:g}; it must lie in (0, 1000]")


class Review(Table, frozen=True, kw_only=True):
    """questions_per_hour: how many questions people are willing to answer. team_label: the label of a series that names
    its team; each team then has that many. ask_about_pages: whether a page was right is a question, too. keys: of
    people by name; with any, answers without a signature that fits are refused.

    Of `graft review`: listen: host:port of the page. token: what people log in with; wanted for any address but
    loopback. hosts: further names by which browsers may call it. undo_s: how long an answer can be taken back before it
    leaves.
    """

    questions_per_hour: float = 4.0
    team_label: str = ""
    ask_about_pages: bool = True
    keys: dict[str, Secret] = {}
    listen: str = "127.0.0.1:8081"
    token: Secret | None = None
    hosts: tuple[str, ...] = ()
    undo_s: float = 4.0

    def __post_init__(self) -> None:
        rate = self.questions_per_hour
        _wanted(0 <= rate <= 3600, f"questions_per_hour is {rate:g}; it must lie in [0, 3600]")
        check_listen(self.listen, self.token, "review.token")
        _wanted(0 <= self.undo_s <= 60, f"undo_s is {self.undo_s:g}; it must lie in [0, 60]")
        _wanted(len(self.keys) <= MOST_KEYS, f"keys has {len(self.keys)} people; at most {MOST_KEYS}")
        for name, key in self.keys.items():
            _wanted(name.strip() and key, f"keys.{name} is empty; write ${{env:X}} or ${{file:PATH}} of its key")


class Web(Table, frozen=True, kw_only=True):
    """listen: host:port of /metrics and the probes. token: bearer token; wanted for any address but loopback."""

    listen: str = "127.0.0.1:8080"
    token: Secret | None = None

    def __post_init__(self) -> None:
        check_listen(self.listen, self.token, "web.token")


class Limits(Table, frozen=True, kw_only=True):
    """max_series: rows of one shard (one partition). max_record_bytes: larger records go to the dead-letter topic."""

    max_series: int = 100_000
    max_record_bytes: int = 256 * 1024

    def __post_init__(self) -> None:
        _wanted(self.max_series >= 1, f"max_series is {self.max_series}; it must be >= 1")
        _wanted(self.max_record_bytes >= 64, f"max_record_bytes is {self.max_record_bytes}; it must be >= 64")


class Settings(Table, frozen=True, kw_only=True):
    """The whole file. environment names what this Graft watches; it is part of every id.

    utc_offset_minutes: where the day of the learned daily profile begins.
    """

    environment: str = "default"
    utc_offset_minutes: int = 0
    kafka: Kafka = Kafka()
    inputs: tuple[Input, ...] = ()
    state: State = State()
    seed: Seed = Seed()
    topics: Topics = Topics()
    alerting: Alerting = Alerting()
    review: Review = Review()
    sinks: tuple[sinks_config.SinkConfig, ...] = ()
    web: Web = Web()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        _wanted(self.environment.strip(), "environment is empty; name what this Graft watches")
        _wanted(
            -1440 < self.utc_offset_minutes < 1440,
            f"utc_offset_minutes is {self.utc_offset_minutes}; it must lie within a day",
        )
        topics = [one.topic for one in self.inputs]
        twice = sorted({topic for topic in topics if topics.count(topic) > 1})
        _wanted(not twice, f"inputs names topic {twice[0] if twice else ''} twice; one table per topic")
        for topic in topics:
            _wanted(
                topic.removeprefix(self.topics.prefix) not in OUR_TOPICS or not topic.startswith(self.topics.prefix),
                f"inputs names {topic}, which Graft writes itself; Graft must not watch its own output",
            )


#: Topics that Graft writes, without prefix.
OUR_TOPICS = ("alerts", "escalations", "feedback", "drift", "control", "experiments", "state", "dlq")


class Effective(NamedTuple):
    """One line of `graft check`: secrets are *** already."""

    key: str
    value: Any
    origin: str


class Loaded(NamedTuple):
    """Settings, with the origin of each key that is not a default."""

    settings: Settings
    origins: dict[str, configfile.Origin]

    def effective(self) -> list[Effective]:
        """Every key with its value and origin, in the order of the structs; never a secret."""
        return [self._line(key, value) for key, value in _walk(self.settings, "")]

    def _line(self, key: str, value: Any) -> Effective:
        origin = _origin_of(key, self.origins)
        if isinstance(value, Secret) and not value:
            return Effective(key, "", origin.text)
        hidden = isinstance(value, Secret) or origin.hidden or (isinstance(value, list) and Secret in map(type, value))
        return Effective(key, "***" if hidden else _without_tokens(key, value), origin.text)


def load(path: str | Path | None, *, env: Mapping[str, str]) -> Settings:
    """Settings of one file (None: defaults and environment only). ConfigError names key, value and what was wanted."""
    return read(path, env=env).settings


def read(path: str | Path | None, *, env: Mapping[str, str]) -> Loaded:
    """As `load`, with the origins."""
    settings, origins = configfile.read(Path(path) if path is not None else None, Settings, env=env)
    sinks_config.check(settings.sinks)
    kafka_properties(settings)
    return Loaded(settings, origins)


def engine_config(settings: Settings, source: Input | None = None, *, counters_from_shape: bool = True) -> EngineConfig:
    """What the engine has to know, for the shards of one input (None: the first, or the defaults)."""
    from engine.config import EngineConfig

    chosen = source or (settings.inputs[0] if settings.inputs else Input(topic="none"))
    return EngineConfig(
        environment=settings.environment,
        entity_labels=chosen.entity_labels,
        false_pages_per_entity_day=settings.alerting.false_pages_per_entity_day,
        max_series=settings.limits.max_series,
        counters_from_shape=counters_from_shape,
        utc_offset_minutes=settings.utc_offset_minutes,
    )


def config_hash(settings: Settings) -> str:
    """16 hex digits of all that affects state: equal hashes fold equal logs to equal states. No secret enters."""
    parts = [f"{one.topic} {one.format} {engine_config(settings, one).hash}" for one in settings.inputs]
    text = "\n".join([engine_config(settings).hash, *sorted(parts), str(settings.limits.max_record_bytes)])
    return sha256(text.encode()).hexdigest()[:16]


def kafka_properties(settings: Settings) -> dict[str, str]:
    """The user's librdkafka properties with bootstrap.servers, secrets revealed; never log the result."""
    return clients.checked(
        {**settings.kafka.properties, "bootstrap.servers": settings.kafka.bootstrap}, insecure=settings.kafka.insecure
    )


def secrets_of(settings: Settings) -> tuple[Secret, ...]:
    """Everything that came through a reference, for the masks of the logs."""
    found = [one for _, value in _walk(settings, "") for one in (value if isinstance(value, list) else [value])]
    revealed = [Secret(str(one)) if isinstance(one, configfile.Resolved) else one for one in found]
    return tuple(one for one in revealed if isinstance(one, Secret) and one)


def require_inputs(settings: Settings) -> tuple[Input, ...]:
    """The inputs, or ConfigError when there is nothing to watch."""
    if not settings.inputs:
        raise ConfigError('The configuration has no input; add [[inputs]] with topic = "metrics".')
    return settings.inputs


def _check_property(key: str, value: Any) -> None:
    """What librdkafka is not told: which properties Graft owns is clients.py's, asked when the file is read."""
    _wanted(isinstance(value, (str, int, float)), f"properties has {key} of type {type(value).__name__}; write a text")
    _wanted(key not in ("bootstrap.servers", "metadata.broker.list"), f"properties has {key}; write kafka.bootstrap")
    if key in SECRET_PROPERTIES:
        _wanted(isinstance(value, configfile.Resolved), f"properties has {key} written out; write ${{env:NAME}}")


def _walk(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        field = value.__struct_config__.tag_field
        if field:
            yield f"{prefix}{field}", value.__struct_config__.tag
        for inner in msgspec.structs.fields(value):
            yield from _walk_member(getattr(value, inner.name), f"{prefix}{inner.encode_name}")
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield f"{prefix}{key}", one
    else:
        for index, one in enumerate(value):
            yield from _walk(one, f"{prefix}{index}.")


def _walk_member(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    tables = isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], msgspec.Struct)
    if isinstance(value, (msgspec.Struct, dict)) or tables:
        yield from _walk(value, f"{key}.")
    else:
        yield key, list(value) if isinstance(value, tuple) else value


def _without_tokens(key: str, value: Any) -> Any:
    """The value as it may be shown: of a sink's URL, the path is often a token."""
    if not key.startswith("sinks.") or not key.endswith((".url", ".urls")):
        return value
    masked = sinks_config.masked_url
    return [masked(one) for one in value] if isinstance(value, list) else value and masked(value)


def _origin_of(key: str, origins: Mapping[str, configfile.Origin]) -> configfile.Origin:
    """The key's own origin, or hidden when one of its entries is (a list of secrets)."""
    if key in origins:
        return origins[key]
    inner = [origin for one, origin in origins.items() if one.startswith(f"{key}.")]
    return inner[0] if inner else configfile.Origin("default")
