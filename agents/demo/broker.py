"""Broker and topics of the demo: the embedded one, or the user's own under a prefix that nobody else has.

Owns topic names and partition counts, and the settings file that `graft run` is started with.
"""

from __future__ import annotations

import secrets
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from agents.embedded import EmbeddedBroker
from agents.topics import TopicPlan, ensure_topics, topic_plans

PARTITIONS = 2
#: So rare must a page for nothing be that a fleet of this size goes through the whole script without one.
FALSE_PAGES_PER_ENTITY_DAY = 0.02
#: Event time runs a hundred times faster than the wall, and the budget of questions is one of event time.
QUESTIONS_PER_HOUR = 4


#: librdkafka says nothing but what is critical: the embedded broker ends before the last client does.
QUIET = {"log_level": 2}


class Places(NamedTuple):
    """Where everything is. hosts, services: input topics (Telegraf, JSON); prefix of what Graft writes."""

    bootstrap: str
    hosts: str
    services: str
    prefix: str
    is_embedded: bool

    @property
    def inputs(self) -> tuple[str, str]:
        """The topics that the detector watches."""
        return self.hosts, self.services


def open_places(stack: ExitStack, bootstrap: str | None) -> Places:
    """Start the embedded broker (ended with the stack), or make topics of our own at `bootstrap`."""
    if bootstrap:
        prefix = f"graft-demo-{secrets.token_hex(3)}."
        places = Places(bootstrap, f"{prefix}hosts", f"{prefix}services", prefix, False)
        plans = [*topic_plans(prefix), *(TopicPlan(topic, PARTITIONS) for topic in places.inputs)]
        ensure_topics({"bootstrap.servers": bootstrap}, plans)
        return places
    topics = {"hosts": PARTITIONS, "services": PARTITIONS} | {plan.name: plan.partitions for plan in topic_plans()}
    broker = stack.enter_context(EmbeddedBroker(topics))
    return Places(broker.bootstrap, "hosts", "services", "graft.", True)


def free_port() -> int:
    """A TCP port on loopback that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def config_text(
    places: Places, *, state_dir: Path, seed: Path, hook: str, listen: str, alertmanager: str | None
) -> str:
    """The TOML of this run, as a user would write it."""
    # Event time is days ago and runs fast: no alert may count as late, and an hour's pages come within a second.
    pace = "max_alert_age_s = 1e9\nper_minute = 6000"
    sinks = [f'[[sinks]]\nkind = "webhook"\nurl = "{hook}"\nallow_private = true\n{pace}']
    if alertmanager:
        sinks.append(f'[[sinks]]\nkind = "alertmanager"\nurl = "{alertmanager}"\n{pace}')
    inputs = [
        f'[[inputs]]\ntopic = "{topic}"\nformat = "auto"\nentity_labels = ["host", "service"]'
        for topic in places.inputs
    ]
    parts = [
        'environment = "demo"',
        f'[kafka]\nbootstrap = "{places.bootstrap}"\ngroup = "{places.prefix}demo"',
        *inputs,
        f'[state]\ndir = "{state_dir}"\nsnapshot_interval_s = 5',
        f'[seed]\nsnapshot = "{seed}"',
        f'[topics]\nprefix = "{places.prefix}"',
        f"[alerting]\nfalse_pages_per_entity_day = {FALSE_PAGES_PER_ENTITY_DAY}",
        f"[review]\nquestions_per_hour = {QUESTIONS_PER_HOUR}",
        *sinks,
        f'[web]\nlisten = "{listen}"',
    ]
    return "\n\n".join(parts) + "\n"
