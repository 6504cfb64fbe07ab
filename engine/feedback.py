"""Feedback: from a person's answer to an order. Owns the vocabulary of answers and what makes one valid.

A label names an escalation (then its series and its shard come from there) or a series; an order without a shard is
carried out by whichever shard knows the series, at a barrier, like any other. What the order does is `engine.answers`;
all that it needs is in the order (how much the person counts, what page was told, which answer is overridden), so that
a replay of the log of orders needs neither the questions nor the people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import BadSample
from engine.series import stable_id
from engine.windows import span_of

ANSWERS = {
    "incident": "it was real: page a little earlier here, and un-learn its window",
    "expected": "planned or known: page later at this hour, while it comes daily, and do not learn its window",
    "new_normal": "this is how it is from now on: move the level",
    "false_alarm": "nothing was wrong: page later here",
    "unsure": "no effect",
}
SCHEMA = "graft.label/1"
#: A window that is longer than a week, or before 1970 or beyond 2^53 ms, is a slip of the pen.
LONGEST_MS, LAST_MS = 7 * 86_400_000, 1 << 53
#: Longest name of a person, and longest reason; the order that echoes them has to fit a record.
MOST_NAME, MOST_REASON = 200, 4000


def check(label: Mapping[str, Any]) -> None:
    """BadSample (`label`) with the field that is wrong, what came and what was wanted."""
    if label.get("schema") != SCHEMA:
        raise BadSample("label", f"schema is {label.get('schema')!r}; it must be {SCHEMA!r}.")
    if not isinstance(label.get("answer"), str) or label["answer"] not in ANSWERS:
        raise BadSample("label", f"answer is {label.get('answer')!r}; it must be one of {', '.join(ANSWERS)}.")
    if not isinstance(label.get("id"), str) or not 0 < len(label["id"]) <= 200:
        raise BadSample("label", "id is missing or no string of 1 to 200 characters; it makes an answer count once.")
    if not label.get("escalation") and not label.get("series"):
        raise BadSample("label", "neither escalation nor series is given; an answer must be about something.")
    target, follows = label.get("target"), label.get("follows")
    if target is not None and not _is_target(target):
        raise BadSample("label", f"target is {target!r}; it must be an object with topic and partition, or absent.")
    if follows is not None and not isinstance(follows, list):
        raise BadSample("label", f"follows is {follows!r}; it must be a list of positions, or absent.")
    for name in ("escalation", "series", "entity"):
        if label.get(name) is not None and not isinstance(label[name], str):
            raise BadSample("label", f"{name} is {label[name]!r}; it must be a text.")
    if not isinstance(label.get("by"), str) or not 0 < len(label["by"]) <= MOST_NAME:
        raise BadSample("label", f"by is missing or no name of at most {MOST_NAME} characters; whose answer is it?")
    reason = label.get("reason")
    if reason is not None and (not isinstance(reason, str) or len(reason) > MOST_REASON):
        raise BadSample("label", f"reason is no text of at most {MOST_REASON} characters.")
    _check_window(label)


def _check_window(label: Mapping[str, Any]) -> None:
    """BadSample (`window`)."""
    begin, end = label.get("from_ms"), label.get("until_ms")
    for name, one in (("from_ms", begin), ("until_ms", end)):
        if one is not None and (type(one) is not int or not 0 <= one < LAST_MS):
            raise BadSample("window", f"{name} is {str(one)[:40]!r}; it must be a time in milliseconds since 1970.")
    if begin is not None and end is not None:
        if end - begin > LONGEST_MS:
            raise BadSample("window", f"the window is {end - begin} ms long; at most {LONGEST_MS}, a week.")
        try:
            span_of({"from_ms": begin, "until_ms": end})
        except BadSample as error:
            raise BadSample("window", error.detail) from None


def _is_target(target: object) -> bool:
    if not isinstance(target, Mapping):
        return False
    topic, partition = target.get("topic"), target.get("partition")
    return (topic is None or isinstance(topic, str)) and (
        partition is None or (isinstance(partition, int) and not isinstance(partition, bool))
    )


def order_for(
    label: Mapping[str, Any],
    escalation: Mapping[str, Any] | None,
    *,
    weight: float = 1.0,
    undone: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The `graft.order/1` that carries an answer to its shard.

    escalation: the open `graft.escalation/1` that the label names, or None for a label with a target of its own.
    weight: what its author counts, in [0, 1]. undone: of an answer that this one overrides: answer, weight and window.
    Raises BadSample (`label`, `window`) for anything malformed, for another series than the escalation's, or about
    nothing.
    """
    check(label)
    target = dict(label.get("target") or {})
    series, entity = label.get("series"), label.get("entity")
    if escalation is not None:
        origin = escalation["follows"][0]
        if series and series != escalation["series"]:
            about = escalation["series"]
            raise BadSample("label", f"series is {series!r}, but escalation {label['escalation']} is about {about!r}.")
        series, entity = escalation["series"], escalation["entity"]
        target = {"topic": origin["topic"], "partition": origin["partition"]}
    elif not series:
        raise BadSample("label", f"escalation {label['escalation']} is not open, and no series is given instead.")
    told = {name: (escalation or {}).get(name) for name in ("page", "opened_ms")}
    params = {
        **{name: label.get(name) for name in ("answer", "by", "reason", "from_ms", "until_ms", "escalation")},
        "weight": weight,
        **{name: value for name, value in told.items() if _is_number(value)},
        **({"undone": dict(undone)} if undone else {}),
    }
    return {
        "schema": "graft.order/1",
        "id": stable_id("order", label["id"]),
        "at_ms": label.get("at_ms"),
        "environment": label.get("environment"),
        "kind": "label",
        "target": {**target, "series": series, "entity": entity},
        "component": "calibration",
        "params": params,
        "because": f"{label['by']} answered {label['answer']}: {ANSWERS[label['answer']]}",
        "follows": list(label.get("follows") or []),
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
