"""Which labels may count: whose they are, of when and of what, and how many of one person.

Owns what can be said of a label without the shard: environment, times, signature, rate. What is wrong is a BadSample,
so that the label becomes a dead letter with its reason. Knows no formula; what a label does is `engine.feedback`.

Not obvious: the rate counts the label's own time, which runs forward for each person and never ahead of when the label
came; without keys anybody may write under any name, and only the bound on people holds. And a label that comes again
(the same id) is not counted again: a producer that retries is no flood.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any

from agents import signing
from agents.secret import Secret
from engine.errors import BadSample

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
#: Labels of one person that count, an hour.
MOST_AN_HOUR = 100
#: Clocks of people and brokers differ by so much.
AHEAD_MS = 300_000
#: A window has to come so near to what the escalation is about.
NEAR_MS = DAY_MS
#: People and labels that are remembered.
MOST_PEOPLE, MOST_LABELS = 1000, 10_000


class LabelGate:
    """environment: whose labels count; None: any. keys: of people by name; none: labels need no signature."""

    def __init__(self, *, environment: str | None = None, keys: Mapping[str, Secret] | None = None) -> None:
        self._environment = environment
        self._keys = dict(keys or {})
        self._times: OrderedDict[str, deque[int]] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()

    def check(self, label: Mapping[str, Any], *, now_ms: int) -> None:
        """BadSample with the reason. now_ms: when it came; the rate is counted."""
        self._check_environment(label)
        self._check_signature(label)
        _check_times(label, now_ms)
        self._check_rate(label)

    def _check_environment(self, label: Mapping[str, Any]) -> None:
        named = label.get("environment")
        if self._environment is not None and named not in (None, self._environment):
            raise BadSample("environment", f"environment is {str(named)[:80]!r}; this is {self._environment}")

    def _check_signature(self, label: Mapping[str, Any]) -> None:
        if not self._keys:
            return
        by = label.get("by")
        if label.get(signing.FIELD) is None:
            raise BadSample("unsigned", f"the label of {str(by)[:80]!r} has no signature; review.keys asks for one")
        key = self._keys.get(by) if isinstance(by, str) else None
        if key is None:
            raise BadSample("forged", f"{str(by)[:80]!r} has no key in review.keys")
        if not signing.is_signed(label, key):
            raise BadSample("forged", f"the signature is not that of {by}")

    def _check_rate(self, label: Mapping[str, Any]) -> None:
        name, by, at_ms = label.get("id"), label.get("by"), label["at_ms"]
        if not isinstance(name, str) or not isinstance(by, str):
            # The label is refused for it elsewhere, with a better sentence.
            return
        if name in self._seen:
            return
        times = self._times.setdefault(by, deque(maxlen=MOST_AN_HOUR))
        self._times.move_to_end(by)
        if times:
            at_ms = max(at_ms, times[-1])
        if len(times) == MOST_AN_HOUR and at_ms - times[0] < HOUR_MS:
            raise BadSample("rate", f"{by} has said {MOST_AN_HOUR} things within an hour; that is all that counts")
        times.append(at_ms)
        self._seen[name] = None
        while len(self._times) > MOST_PEOPLE:
            self._times.popitem(last=False)
        while len(self._seen) > MOST_LABELS:
            self._seen.popitem(last=False)


def _check_times(label: Mapping[str, Any], now_ms: int) -> None:
    at_ms = label.get("at_ms")
    if type(at_ms) is not int or not 0 <= at_ms <= now_ms + AHEAD_MS:
        raise BadSample("label", f"at_ms is {str(at_ms)[:40]}; wanted the time of the answer in ms, not after {now_ms}")
    until_ms = label.get("until_ms")
    if type(until_ms) is int and until_ms > now_ms + AHEAD_MS:
        raise BadSample("window", f"until_ms is {until_ms}, which is after now ({now_ms}); nobody has seen that yet")


def check_window(label: Mapping[str, Any], *, opened_ms: int, due_ms: int) -> None:
    """BadSample if the label's window lies elsewhere than what it answers."""
    from_ms, until_ms = label.get("from_ms"), label.get("until_ms")
    begins_late = type(from_ms) is int and from_ms > due_ms + NEAR_MS
    ends_early = type(until_ms) is int and until_ms < opened_ms - NEAR_MS
    if begins_late or ends_early:
        raise BadSample("window", f"the window {from_ms} to {until_ms} is more than a day from what it answers")
