"""Signed webhook: the alert record as it is, with the headers of Standard Webhooks.

Owns the signature. `webhook-id` stays the same over every retry, so the receiver can drop what it has seen;
`webhook-timestamp` is the time of the try, so that a recorded request cannot be played back next week.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from agents.secret import Secret
from agents.sinks.config import WebhookSink, webhook_key
from agents.sinks.delivery import Answer
from agents.sinks.notice import Notice, Post, Request, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One URL."""

    destination: str
    config: WebhookSink
    post: Post
    batch: int = 1
    resend_s: float | None = None

    async def send(self, notices: Sequence[Notice], *, now_s: float) -> Answer:
        """One record; any 2xx is the yes."""
        return await self.post(self.request(notices[0], now_s=now_s))

    def request(self, notice: Notice, *, now_s: float) -> Request:
        """The POST of this record."""
        body = orjson.dumps(notice.record)
        headers = signed(notice.id, int(now_s), body, self.config.secrets)
        if notice.late:
            # Not in the body: that must not change between two tries of one id.
            headers["graft-late"] = "true"
        return request(self.config, self.config.url, body, secrets=self.config.secrets, headers=headers)


def signed(message_id: str, timestamp_s: int, body: bytes, secrets: Sequence[Secret]) -> dict[str, str]:
    """The three headers; no signature without a secret, one per secret during a rotation.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    content = f"{message_id}.{timestamp_s}.".encode() + body
    headers = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s)}
    signatures = [_signature(content, secret) for secret in secrets]
    return {**headers, "webhook-signature": " ".join(signatures)} if signatures else headers


def _signature(content: bytes, secret: Secret) -> str:
    digest = hmac.new(webhook_key(secret), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
