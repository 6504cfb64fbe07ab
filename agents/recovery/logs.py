"""Logs by name: which log a topic is now, as far as the broker tells.

A topic that was deleted and made again under its name begins at offset 0 once more; a state that remembers offset 5,000
of the former one would skip 5,000 records without a word. The topic id tells the two apart (Kafka 2.8 and newer).

Not obvious: asking needs the right to describe the topic. Where that is missing nothing is known, and the check is left
to the ends of the log (positions.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.clients import CLIENT_LOG, admin_config
from agents.recovery.held import Place
from agents.recovery.positions import LogName

WAIT_S = 5.0


class LogNames:
    """Asked once, at start: ids do not change under a running consumer without an error that stops it."""

    def __init__(self, properties: Mapping[str, Any], topics: Sequence[str], *, insecure: bool = False) -> None:
        from confluent_kafka import KafkaException, TopicCollection
        from confluent_kafka.admin import AdminClient

        admin = AdminClient(admin_config(properties, insecure=insecure), logger=CLIENT_LOG)
        self._cluster_id: str | None = None
        self._topic_ids: dict[str, str] = {}
        try:
            self._cluster_id = admin.list_topics(timeout=WAIT_S).cluster_id
            described = admin.describe_topics(TopicCollection(list(topics)), request_timeout=WAIT_S)
        except KafkaException:
            return
        for topic, future in described.items():
            try:
                self._topic_ids[topic] = str(future.result().topic_id)
            except KafkaException:
                continue

    def topic_id(self, topic: str) -> str | None:
        """The id of a topic; None where the broker does not say."""
        return self._topic_ids.get(topic)

    def name_of(self, place: Place) -> LogName:
        """Which log this partition is of."""
        return LogName(self._cluster_id, self.topic_id(place.topic))
