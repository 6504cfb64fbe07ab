"""The kinds of sinks, as a visible table: from configuration to destinations.

Owns the making of sinks. A new kind is its file, its struct in config.py and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agents.sinks import config
from agents.sinks.alertmanager import Alertmanager
from agents.sinks.config import Posts, SinkConfig, kind_of, names_of, urls_of
from agents.sinks.console import Console, to_stderr
from agents.sinks.guard import RefusedError, check_host, host_of
from agents.sinks.notice import Post, Sink, Write
from agents.sinks.pagerduty import PagerDuty
from agents.sinks.webhook import Webhook
from engine.errors import ConfigError

#: Each maker gives one sink per destination: one failing replica must not hold up the other.
Maker = Callable[[Any, str, Post, Write], list[Sink]]

MAKERS: dict[str, Maker] = {
    "alertmanager": lambda sink, name, post, _: [
        Alertmanager(destination=_replica(name, index), url=url, config=sink, post=post)
        for index, url in enumerate(urls_of(sink))
    ],
    "pagerduty": lambda sink, name, post, _: [PagerDuty(destination=name, config=sink, post=post)],
    "webhook": lambda sink, name, post, _: [Webhook(destination=name, config=sink, post=post)],
    "console": lambda _, name, __, write: [Console(destination=name, write=write)],
}


def _replica(name: str, index: int) -> str:
    return name if index == 0 else f"{name}#{index + 1}"


def build(sinks: Sequence[SinkConfig], *, post: Post, write: Write = to_stderr) -> list[tuple[SinkConfig, Sink]]:
    """Every destination with the settings that it came from. ConfigError for what can never work."""
    config.check(sinks)
    made: list[tuple[SinkConfig, Sink]] = []
    for index, (sink, name) in enumerate(zip(sinks, names_of(sinks), strict=True)):
        _check_addresses(sink, f"sinks[{index}].url")
        made.extend((sink, one) for one in MAKERS[kind_of(sink)](sink, name, post, write))
    return made


def _check_addresses(sink: SinkConfig, where: str) -> None:
    """Addresses written as such can be judged at once; names are judged when they resolve."""
    for url in urls_of(sink):
        try:
            check_host(host_of(url), allow_private=isinstance(sink, Posts) and sink.allow_private)
        except (RefusedError, ValueError) as error:
            raise ConfigError(f"{where}: {error}.") from None
