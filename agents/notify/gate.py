"""Gate: may this destination be called now? Circuit breaker, token bucket and the tool's own Retry-After.

Owns the state of one destination and its table. Opens no socket and reads no clock: a test walks through a day of
outage in a millisecond.

Not obvious: an answer says two things. Any answer that is not worth a retry, even a 400, proves that the tool is
alive, so it closes the breaker, whatever it meant for the alert.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agents.sinks.delivery import Answer, Outcome

#: Failures in a row that open the breaker, and how often an open one lets one request through to look.
BREAKER_FAILURES, BREAKER_PROBE_S = 5, 30.0


class Circuit(StrEnum):
    """Closed lets everything through, open nothing, half-open one request to look."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Signal(StrEnum):
    """TRIP is the failure that makes BREAKER_FAILURES in a row; DUE is the time of the next look."""

    SUCCESS = "success"
    FAILURE = "failure"
    TRIP = "trip"
    DUE = "due"


NEXT: dict[tuple[Circuit, Signal], Circuit] = {
    (Circuit.CLOSED, Signal.SUCCESS): Circuit.CLOSED,
    (Circuit.CLOSED, Signal.FAILURE): Circuit.CLOSED,
    (Circuit.CLOSED, Signal.TRIP): Circuit.OPEN,
    (Circuit.CLOSED, Signal.DUE): Circuit.CLOSED,
    (Circuit.OPEN, Signal.SUCCESS): Circuit.CLOSED,  # an answer to a request from before it opened
    (Circuit.OPEN, Signal.FAILURE): Circuit.OPEN,
    (Circuit.OPEN, Signal.TRIP): Circuit.OPEN,
    (Circuit.OPEN, Signal.DUE): Circuit.HALF_OPEN,
    (Circuit.HALF_OPEN, Signal.SUCCESS): Circuit.CLOSED,
    (Circuit.HALF_OPEN, Signal.FAILURE): Circuit.OPEN,
    (Circuit.HALF_OPEN, Signal.TRIP): Circuit.OPEN,
    (Circuit.HALF_OPEN, Signal.DUE): Circuit.HALF_OPEN,
}


@dataclass(slots=True, kw_only=True)
class Gate:
    """May this destination be called now? Breaker, token bucket and the tool's own Retry-After in one; mutable.

    per_minute: requests it may get; as many may come at once after a quiet minute.
    """

    per_minute: float
    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    look_s: float = 0.0
    held_until_s: float = 0.0
    tokens: float = -1.0
    filled_s: float = 0.0

    def ready_s(self, now_s: float) -> float:
        """The moment from which one more request may go out; now or earlier: go."""
        self._fill(now_s)
        missing = max(0.0, 1.0 - self.tokens) * 60.0 / self.per_minute
        opened = self.look_s if self.circuit is Circuit.OPEN else now_s
        return max(now_s + missing, self.held_until_s, opened)

    def taken(self, now_s: float) -> None:
        """One request goes out now."""
        self._fill(now_s)
        self.tokens -= 1.0
        if self.circuit is Circuit.OPEN and now_s >= self.look_s:
            self.circuit = NEXT[self.circuit, Signal.DUE]

    def answered(self, answer: Answer, now_s: float) -> None:
        """Learn from an answer."""
        if answer.outcome is not Outcome.RETRY:
            self.failures = 0
            self.circuit = NEXT[self.circuit, Signal.SUCCESS]
            return
        self.failures += 1
        signal = Signal.TRIP if self.failures >= BREAKER_FAILURES else Signal.FAILURE
        self.circuit = NEXT[self.circuit, signal]
        self.look_s = now_s + BREAKER_PROBE_S
        self.held_until_s = max(self.held_until_s, now_s + (answer.retry_after_s or 0.0))

    def _fill(self, now_s: float) -> None:
        # At least one token fits, else a rate below one a minute could never send.
        most = max(1.0, self.per_minute)
        if self.tokens < 0 and self.filled_s == 0.0:
            self.tokens = most
        else:
            # A clock that steps back must not take tokens away.
            self.tokens = min(most, self.tokens + max(0.0, now_s - self.filled_s) * self.per_minute / 60.0)
        self.filled_s = now_s
