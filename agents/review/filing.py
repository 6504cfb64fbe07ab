"""Filing: one record of a topic into the rows of the page's file. Called inside the writer's transaction.

Owns what the page needs of each schema, and the checks of it: anybody may write to a topic, so a field that becomes an
identity, a time or a number is checked here, once. Texts are cut to what a page can show; they are escaped where they
are shown. Knows neither Kafka nor HTTP.

Not obvious: every statement may be carried out twice, and in another order, with the same end: a reader that was
killed goes on from its position, but a topic that was made anew is read from its beginning. So states of a question
have a rank and never go back, and what a record lacks is taken from the row that is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from agents.came import Came, parsed
from agents.label import ANSWERS
from agents.review.schema import packed
from engine.errors import BadSample
from engine.series import stable_id

#: Longest identity; ours are 32. Longest name and sentence that a page shows whole.
ID_CAP, NAME_CAP, TEXT_CAP = 255, 2000, 2000
#: The last moment that is believed (year 5138): what lies beyond is not a time.
LAST_MS = 100_000_000_000_000
#: rank of a question by the state of its record.
RANKS = {"asked": 0, "opened": 1, "folded": 2, "answered": 3, "expired": 3}


def escalation(db: sqlite3.Connection, came: Came, seen_s: float) -> None:
    """A record of graft.escalations."""
    record = parsed(came, schema="graft.escalation/1")
    name, state = _id(record, "escalation"), record.get("state")
    if state not in RANKS:
        raise BadSample("field", f"state is {_short(state)}; wanted one of {', '.join(RANKS)}")
    at_ms = _moment(record, "at_ms", wanted=True)
    opened_ms = _moment(record, "opened_ms") or at_ms
    is_closed, is_desk = RANKS[state] == 3, state in ("asked", "folded")
    # Of whether a page was right nobody has told before it is asked, so that record tells all.
    is_whole = state == "opened" or (state == "asked" and record.get("about") == "alert")
    score = number(record.get("score"))
    answer = record.get("answer") if record.get("answer") in ANSWERS else None
    row = {
        "id": name, **_who(record), "component": _component(record), "status": state, "rank": RANKS[state],
        "score": score, "worth": -1.0 if score is None else score, "is_desk": is_desk,
        "into_id": _optional_id(record.get("into")) if state == "folded" else None,
        "due_ms": _moment(record, "due_ms") or _moment(record, "expires_ms"), "rule": text(record.get("rule")),
        "opened_ms": opened_ms, "at_ms": at_ms, "severity": number(record.get("severity")),
        "confidence": number(record.get("confidence")), "page": number(record.get("page")),
        "because": text(record.get("because")) if is_whole else None,
        "answer": answer if state == "answered" else None,
        "person": text(record.get("by")) if state == "answered" else None,
        "label": _optional_id(record.get("label")) if state == "answered" else None,
        "opened": packed(record) if is_whole else None,
        "closed": packed(record) if is_closed else None, "seen_s": seen_s,
    }  # fmt: skip
    db.execute(_QUESTION, row)
    _name(db, record, at_ms)
    _shard(db, record)


#: A closed question stays closed; of two desk records the later counts; `answered` counts over `expired`, and a later
#: answer (a second person's) over an earlier one.
_QUESTION = """
INSERT INTO questions VALUES (
    :id, :environment, :entity, :series, :metric, :component, :rank, :status, :worth, :score, :into_id, :due_ms, :rule,
    :opened_ms, :at_ms, :severity, :confidence, :page, :because, :answer, :person, :label, :opened, :closed, :seen_s)
ON CONFLICT (id) DO UPDATE SET
    environment = coalesce(environment, excluded.environment), entity = coalesce(entity, excluded.entity),
    series = coalesce(series, excluded.series), metric = coalesce(metric, excluded.metric),
    component = coalesce(component, excluded.component),
    rank = CASE WHEN rank = 3 OR excluded.rank = 3 THEN 3 WHEN :is_desk AND excluded.at_ms >= at_ms THEN excluded.rank
        WHEN status = 'opened' THEN excluded.rank ELSE rank END,
    status = CASE WHEN status = 'answered' THEN status WHEN excluded.rank = 3 THEN excluded.status
        WHEN rank = 3 THEN status WHEN :is_desk AND excluded.at_ms >= at_ms THEN excluded.status
        WHEN status = 'opened' THEN excluded.status ELSE status END,
    worth = CASE WHEN :is_desk THEN excluded.worth ELSE worth END,
    score = CASE WHEN :is_desk THEN excluded.score ELSE score END,
    into_id = CASE WHEN :is_desk AND excluded.at_ms >= at_ms THEN excluded.into_id ELSE into_id END,
    due_ms = CASE WHEN :is_desk OR due_ms IS NULL THEN coalesce(excluded.due_ms, due_ms) ELSE due_ms END,
    rule = coalesce(excluded.rule, rule), opened_ms = min(opened_ms, excluded.opened_ms),
    at_ms = max(at_ms, excluded.at_ms), severity = coalesce(severity, excluded.severity),
    confidence = coalesce(confidence, excluded.confidence), page = coalesce(page, excluded.page),
    because = coalesce(excluded.because, because),
    answer = CASE WHEN answer IS NULL OR excluded.at_ms >= at_ms THEN coalesce(excluded.answer, answer) ELSE answer END,
    person = CASE WHEN answer IS NULL OR excluded.at_ms >= at_ms THEN coalesce(excluded.person, person) ELSE person END,
    label = CASE WHEN answer IS NULL OR excluded.at_ms >= at_ms THEN coalesce(excluded.label, label) ELSE label END,
    opened = coalesce(opened, excluded.opened),
    closed = CASE WHEN closed IS NULL OR (excluded.status = 'answered' AND excluded.at_ms >= at_ms)
        THEN coalesce(excluded.closed, closed) ELSE closed END,
    seen_s = excluded.seen_s
"""


def alert(db: sqlite3.Connection, came: Came, seen_s: float) -> None:
    """A record of graft.alerts; the incident that it belongs to is made anew from all of its alerts."""
    record = parsed(came, schema="graft.alert/1")
    state, incident = record.get("state"), _id(record, "incident")
    if state not in ("firing", "resolved"):
        raise BadSample("field", f"state is {_short(state)}; wanted firing or resolved")
    is_firing, started_ms = state == "firing", _moment(record, "started_ms", wanted=True)
    row = {
        "id": _id(record, "alert" if record.get("alert") is not None else "id"), "incident": incident, **_who(record),
        "state": state, "started_ms": started_ms, "ended_ms": None if is_firing else _moment(record, "ended_ms"),
        "severity": number(record.get("severity")), "confidence": number(record.get("confidence")),
        "because": text(record.get("because")) if is_firing else None,
        "firing": packed(record) if is_firing else None,
        # What it began with stands in the other record.
        "resolved": None if is_firing else packed({k: v for k, v in record.items() if k != "context"}),
        "seen_s": seen_s,
    }  # fmt: skip
    db.execute(_ALERT, row)
    db.execute(_INCIDENT, (incident,))
    _name(db, record, started_ms)
    _shard(db, record)


_ALERT = """
INSERT INTO alerts VALUES (:id, :incident, :environment, :entity, :series, :state, :started_ms, :ended_ms, :severity,
    :confidence, :because, :firing, :resolved, :seen_s)
ON CONFLICT (id) DO UPDATE SET
    state = CASE WHEN state = 'resolved' THEN state ELSE excluded.state END,
    started_ms = min(started_ms, excluded.started_ms), ended_ms = coalesce(ended_ms, excluded.ended_ms),
    severity = max(coalesce(severity, 0), coalesce(excluded.severity, 0)),
    because = coalesce(excluded.because, because),
    firing = coalesce(firing, excluded.firing), resolved = coalesce(resolved, excluded.resolved),
    seen_s = excluded.seen_s
"""
_INCIDENT = """
INSERT OR REPLACE INTO incidents SELECT incident, min(environment), min(entity),
    (SELECT series FROM alerts b WHERE b.incident = a.incident ORDER BY started_ms LIMIT 1),
    CASE WHEN sum(state = 'firing') > 0 THEN 'firing' ELSE 'resolved' END, min(started_ms),
    CASE WHEN sum(state = 'firing') > 0 THEN NULL ELSE max(ended_ms) END, count(*), max(severity),
    (SELECT because FROM alerts b WHERE b.incident = a.incident AND because IS NOT NULL ORDER BY started_ms LIMIT 1)
FROM alerts a WHERE incident = ? GROUP BY incident
"""


def label(db: sqlite3.Connection, came: Came, seen_s: float) -> None:
    """A record of graft.feedback."""
    record = parsed(came, schema="graft.label/1")
    answer = record.get("answer")
    if answer not in ANSWERS:
        raise BadSample("field", f"answer is {_short(answer)}; wanted one of {', '.join(ANSWERS)}")
    name, who = _id(record, "id"), _who(record)
    row = {
        "id": name, "escalation": _optional_id(record.get("escalation")), "entity": who["entity"],
        "series": who["series"], "answer": answer, "person": text(record.get("by")),
        "reason": text(record.get("reason")), "at_ms": _moment(record, "at_ms") or came.timestamp_ms,
        "from_ms": _moment(record, "from_ms"), "until_ms": _moment(record, "until_ms"),
        "overrides": _optional_id(record.get("overrides")),
        "is_signed": int(isinstance(record.get("signature"), str)), "order_id": stable_id("order", name),
        "seen_s": seen_s,
    }  # fmt: skip
    db.execute(
        "INSERT INTO labels VALUES (:id, :escalation, :entity, :series, :answer, :person, :reason, :at_ms, :from_ms, "
        ":until_ms, :overrides, :is_signed, :order_id, :seen_s) ON CONFLICT (id) DO NOTHING",
        row,
    )


def drift(db: sqlite3.Connection, came: Came, seen_s: float) -> None:
    """A record of graft.drift."""
    record = parsed(came, schema="graft.drift/1")
    at_ms, who = _moment(record, "at_ms", wanted=True), _who(record)
    db.execute(
        "INSERT INTO drifts VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            _id(record, "id"), text(record.get("kind")), who["entity"], who["series"], at_ms,
            text(record.get("because")), packed(record), seen_s,
        ),
    )  # fmt: skip
    _name(db, record, at_ms)
    _shard(db, record)


def order(db: sqlite3.Connection, came: Came, seen_s: float) -> None:
    """A record of graft.control. One of a kind that this page does not know is shown all the same."""
    record = parsed(came, schema="graft.order/1")
    target = record.get("target")
    who = _who(target if isinstance(target, Mapping) else {})
    db.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            _id(record, "id"), text(record.get("kind")), text(record.get("component")), who["entity"], who["series"],
            _moment(record, "at_ms") or came.timestamp_ms, text(record.get("because")), packed(record), seen_s,
        ),
    )  # fmt: skip


def experiment(db: sqlite3.Connection, came: Came, seen_s: float) -> None:
    """A record of graft.experiments. A later one of the same id (a trial that has ended) replaces the first."""
    if came.value is None:
        return  # a tombstone of a compacted topic
    record = parsed(came, schema="graft.experiment/1")
    obeyed = _inner(record, "order")
    params = _inner(obeyed, "params")
    at_ms, who = _moment(record, "at_ms") or came.timestamp_ms, _who(record)
    evidence = record.get("escalation") or params.get("escalation")
    row = (
        _id(record, "id"), text(record.get("kind") or obeyed.get("kind")) or "other",
        text(record.get("component") or obeyed.get("component")), text(record.get("action") or params.get("action")),
        text(record.get("finding")), who["entity"], who["series"], at_ms, _optional_id(evidence),
        _optional_id(record.get("label") or params.get("label")), text(record.get("because") or obeyed.get("because")),
        packed(record), seen_s,
    )  # fmt: skip
    db.execute("INSERT OR REPLACE INTO experiments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    _name(db, record, at_ms)
    _shard(db, record)


#: Topic (without prefix) -> what files its records.
FILERS: dict[str, Callable[[sqlite3.Connection, Came, float], None]] = {
    "escalations": escalation,
    "alerts": alert,
    "feedback": label,
    "drift": drift,
    "control": order,
    "experiments": experiment,
}


def number(value: object) -> float | None:
    """A finite number, or None.

    >>> number(3), number(True), number("3"), number(10**400)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e300 else None


def text(value: object) -> str | None:
    """A text of at most TEXT_CAP characters, or None."""
    return value[:TEXT_CAP] if isinstance(value, str) and value else None


def metric_of(series: str | None) -> str | None:
    """The metric of a series as records name it.

    >>> metric_of('cpu{host="web-1"}')
    'cpu'
    """
    return series.partition("{")[0] if series else None


def _who(record: Mapping[str, Any]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in ("environment", "entity", "series"):
        value = record.get(name)
        found[name] = value if isinstance(value, str) and 0 < len(value) <= NAME_CAP else None
    return {**found, "metric": metric_of(found["series"])}


def _component(record: Mapping[str, Any]) -> str | None:
    """The kind of evidence that weighed most."""
    found = record.get("components")
    first = found[0] if isinstance(found, list) and found else None
    return text(first.get("name")) if isinstance(first, Mapping) else None


def _inner(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}


def _id(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= ID_CAP or not value.isprintable():
        raise BadSample("field", f"{name} is {_short(value)}; wanted 1 to {ID_CAP} printable characters")
    return value


def _optional_id(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= ID_CAP and value.isprintable() else None


def _moment(record: Mapping[str, Any], name: str, *, wanted: bool = False) -> Any:
    """Epoch milliseconds; None where there are none that can be believed and they need not be there."""
    value = record.get(name)
    if type(value) is int and 0 <= value < LAST_MS:
        return value
    if wanted:
        raise BadSample("field", f"{name} is {_short(value)}; wanted epoch milliseconds, a whole number")
    return None


def _name(db: sqlite3.Connection, record: Mapping[str, Any], at_ms: int) -> None:
    """What can be searched for."""
    who = _who(record)
    rows = [(kind, who[kind], who["entity"], at_ms) for kind in ("series", "entity") if who[kind]]
    contributors = record.get("contributors")
    for one in contributors[:40] if isinstance(contributors, list) else []:
        series = one.get("series") if isinstance(one, Mapping) else None
        if isinstance(series, str) and 0 < len(series) <= NAME_CAP:
            rows.append(("series", series, who["entity"], at_ms))
    db.executemany(
        "INSERT INTO names VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET at_ms = max(at_ms, excluded.at_ms), "
        "entity = coalesce(entity, excluded.entity)",
        rows,
    )


def _shard(db: sqlite3.Connection, record: Mapping[str, Any]) -> None:
    """The shards that records follow from: their states are what the page looks for on the state topic."""
    follows = record.get("follows")
    first = follows[0] if isinstance(follows, list) and follows else None
    if isinstance(first, Mapping):
        topic, partition = first.get("topic"), first.get("partition")
        if isinstance(topic, str) and 0 < len(topic) < 250 and type(partition) is int and 0 <= partition < 100_000:
            db.execute("INSERT INTO shards VALUES (?, ?) ON CONFLICT DO NOTHING", (topic, partition))


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:79] + "…"
