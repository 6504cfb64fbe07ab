"""Records: what a shard tells the world, as plain data with ids that depend on the log only.

Owns the shapes of `graft.alert/1`, `graft.escalation/1`, `graft.drift/1` and their sentences for people. Knows no
topic prefix and no encoding.

Rule: an id is made from what a record is about (environment, entity or series, start of the episode), never from a
score, so that a replay tells the same thing under the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine import diagnosis, likeness
from engine import events as events_of
from engine.alerts import FIRING_TICKS, PENDING_TICKS
from engine.components import entity as channels
from engine.components import guard, recent, season
from engine.events import Events
from engine.evidence import PROOF
from engine.series import stable_id

if TYPE_CHECKING:
    from engine.shard import Shard
    from engine.twins import Finding


class Record(NamedTuple):
    """topic: alerts, escalations, drift or experiments, without prefix; key: Kafka key; value: plain data."""

    topic: str
    key: str
    value: dict[str, Any]


def of_event(shard: Shard, events: Events, k: int, offset: int) -> list[Record]:
    """The records of one event of the fold."""
    kind = int(events.kind[k])
    if kind in (events_of.ALERTED, events_of.RESOLVED):
        return [_alert(shard, events, k, offset, is_firing=kind == events_of.ALERTED)]
    if kind in (events_of.ASKED, events_of.LAPSED):
        return [_escalation(shard, events, k, offset, state="opened" if kind == events_of.ASKED else "expired")]
    return _drift(shard, events, k, offset)


def gap(shard: Shard, from_offset: int, to_offset: int) -> Record:
    """Records of the input were lost before they could be read."""
    subject = f"{shard.topic}-{shard.partition}"
    lost = to_offset - from_offset
    value = {
        "schema": "graft.drift/1",
        "id": stable_id("gap", shard.config.environment, subject, from_offset),
        "kind": "gap",
        "at_ms": shard.clock_ms,
        "environment": shard.config.environment,
        "entity": None,
        "series": None,
        "before": {"offset": from_offset},
        "after": {"offset": to_offset},
        "evidence": {"records": lost},
        "because": f"{lost} records of {subject} were gone before they could be read; retention is too short.",
        "follows": [{"topic": shard.topic, "partition": shard.partition, "offset": to_offset}],
    }
    return Record("drift", subject, value)


def experiment(
    shard: Shard, name: str, entity: str | None, series: str | None, told: dict[str, Any], offset: int
) -> Record:  # fmt: skip
    """What was done or decided. told: its own fields; offset: of the newest record that it follows, -1: of none."""
    head = {
        "schema": "graft.experiment/1",
        "id": name,
        "at_ms": shard.clock_ms,
        "environment": shard.config.environment,
        "entity": entity,
        "series": series,
    }
    follows = [{"topic": shard.topic, "partition": shard.partition, "offset": offset}] if offset >= 0 else []
    return Record("experiments", name, {**head, **told, "follows": follows})


def of_finding(shard: Shard, finding: Finding, offset: int) -> Record:
    """What has become of what was lent to an entity: adopted, refused, returned or passed (kind `guard`).

    Of kind `worth` where nothing was decided: the trial of what is not believed is over, or it was asked for in
    between. All carry what was measured.
    """
    entity, environment = shard.roster.entities[finding.e], shard.config.environment
    source = shard.roster.priors[finding.source].summary().get("environment")
    sentence = {
        "adopted": f"{entity} is like {source} and goes on with what that has lent; its cold version stays beside it.",
        "refused": f"{entity} is unlike {source}; it stays as it began, cold.",
        "returned": f"{entity} is no longer like {source}; it goes on with its cold version.",
        "passed": f"{entity} has been like {source} for a day; its cold version is given up.",
        "standing": f"{entity} is on trial with what {source} lends.",
        "settled": f"{entity} has gone without what {source} lends; the version with it is given up.",
    }[finding.what]
    is_decided = finding.what not in ("settled", "standing")
    # One id for each source: of what was not decided there may be several at once.
    about = (entity, finding.what) if is_decided else (entity, finding.what, finding.source)
    name = stable_id("guard", environment, *about, shard.clock_ms)
    if finding.proof >= PROOF and finding.what == "settled":
        sentence = f"what {source} lends was shown to forecast {entity} worse; the version with it is given up."
    proof = round(min(finding.proof, MOST_PROOF), 4)
    evidence = {"unlike": round(finding.unlike, 4), "loud": round(finding.loud, 4)}
    limit = likeness.limit(finding.age_ms, is_taken=finding.what not in {"adopted", "refused"})
    told = {
        "kind": "guard" if is_decided else "worth",
        "finding": finding.what,
        "source": {"number": finding.source, "environment": source},
        "evidence": evidence if is_decided else {"proof": proof},
        "limits": limit._asdict() if is_decided else {"proof": PROOF},
        "worth": finding.worth,
        "because": sentence,
    }
    return experiment(shard, name, entity, None, told, offset)


def _head(
    shard: Shard, events: Events, k: int, offset: int, schema: str, entity: str, series: str | None
) -> dict[str, Any]:
    return {
        "schema": schema,
        "at_ms": int(events.ts_ms[k]),
        "environment": shard.config.environment,
        "entity": entity,
        "series": series,
        "follows": [{"topic": shard.topic, "partition": shard.partition, "offset": offset}],
    }


def _alert(shard: Shard, events: Events, k: int, offset: int, *, is_firing: bool) -> Record:
    entity = shard.roster.entities[int(events.who[k])]
    environment = shard.config.environment
    started, incident = int(events.times[k, 0]), int(events.times[k, 1])
    key = stable_id("incident", environment, entity, incident)
    shard.alert_number += 1
    contributors = _contributors(shard, events, k)
    first = contributors[0] if contributors else {}
    value = _head(shard, events, k, offset, "graft.alert/1", entity, first.get("series"))
    value |= {
        "id": stable_id("alert", environment, entity, started, "firing" if is_firing else "resolved"),
        "alert": stable_id("alert", environment, entity, started),
        "incident": key,
        "number": shard.alert_number,
        "state": "firing" if is_firing else "resolved",
        "started_ms": started,
        "ended_ms": None if is_firing else int(events.ts_ms[k]),
        "severity": _number(events.numbers[k, 0] if is_firing else events.numbers[k, 3]),
        "confidence": _number(events.numbers[k, 1]),
        "page": _number(events.numbers[k, 2]),
        **{name: first.get(name) for name in ("value", "expected", "lower", "upper")},
        "contributors": contributors,
        "components": _components(events, k),
        "borrowed": shard.roster.borrowed(int(events.rows[k, 0])),
        "because": _because(shard, events, k, contributors, is_firing),
        "context": _context(shard, int(events.rows[k, 0])),
        "links": [],
    }
    return Record("alerts", key, value)


def _escalation(shard: Shard, events: Events, k: int, offset: int, *, state: str) -> Record:
    entity = shard.roster.entities[int(events.who[k])]
    asked = int(events.times[k, 2])
    contributors = _contributors(shard, events, k)
    series = contributors[0]["series"] if contributors else entity
    escalation = stable_id("escalation", shard.config.environment, entity, asked)
    value = _head(shard, events, k, offset, "graft.escalation/1", entity, series)
    value |= {
        "id": stable_id("escalation", shard.config.environment, entity, asked, state),
        "escalation": escalation,
        "state": state,
        "opened_ms": asked,
        "severity": _number(events.numbers[k, 0]),
        "confidence": _number(events.numbers[k, 1]),
        "page": _number(events.numbers[k, 2]),
        "contributors": contributors,
        "components": _components(events, k),
        "borrowed": shard.roster.borrowed(int(events.rows[k, 0])),
        "because": _because(shard, events, k, contributors, True)
        if state == "opened"
        else f"{entity}: {_LAPSES[int(events.numbers[k, 5])]}",
        "context": _context(shard, int(events.rows[k, 0])),
        "expires_ms": asked + int(shard.roster.ents.entity.step_ms[int(events.who[k])] * PENDING_TICKS),
    }
    return Record("escalations", series, value)


def _context(shard: Shard, row: int) -> dict[str, Any] | None:
    """The last values of the series that an alert or question names first, and where they usually are at that time.

    The band is of the time of the day, not of the last value: one that follows an outage would call it normal.
    """
    if row < 0:
        return None
    roster = shard.roster
    times, values = recent.window(roster.rows.recent, row, int(roster.rows.presence.last_ms[row]))
    usual = diagnosis.setting_of(roster, row, is_before=bool(roster.rows.change.run[row]))
    expected = usual.expects(diagnosis.slots_of(times, shard.config.utc_offset_ms))
    band = guard.BAND * usual.sd * usual.sigma
    return {
        "series": roster.names[row],
        "t_ms": times.tolist(),
        "value": [_number(one) for one in values],
        "expected": [_number(one) for one in expected],
        "lower": [_number(one - band) for one in expected],
        "upper": [_number(one + band) for one in expected],
    }


#: The largest e-value that is told; more is as sure.
MOST_PROOF = 1e6
_DRIFT_KINDS = {
    events_of.DRIFTED: "level",
    events_of.SPREAD: "scale",
    events_of.ABSENT: "absent",
    events_of.RETURNED: "returned",
    events_of.FLAT: "flat",
}


def _drift(shard: Shard, events: Events, k: int, offset: int) -> list[Record]:
    row = int(events.who[k])
    series, kind = shard.roster.names[row], _DRIFT_KINDS[int(events.kind[k])]
    entity = shard.roster.entities[int(shard.roster.rows.link.entity[row])]
    value = _head(shard, events, k, offset, "graft.drift/1", entity, series)
    if kind in ("level", "scale"):
        change = _change(shard, events, k, series)
        if change is None:
            return []
        kind, before, after, evidence, because = change
    else:
        before, after, evidence, because = _drift_numbers(events, k, kind, series)
    value |= {
        "id": stable_id("drift", shard.config.environment, series, kind, int(events.ts_ms[k])),
        "kind": kind,
        "before": before,
        "after": after,
        "evidence": evidence,
        "because": because,
    }
    return [Record("drift", series, value)]


def _change(
    shard: Shard, events: Events, k: int, series: str
) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], str] | None:
    """(kind, before, after, evidence, sentence) of a series that has changed, whichever test has noticed it.

    None where the test has seen something that no change explains, such as a burst.
    """
    row, numbers = int(events.who[k]), events.numbers[k]
    is_level = int(events.kind[k]) == events_of.DRIFTED
    known = diagnosis.setting_of(shard.roster, row, is_before=is_level or bool(shard.roster.rows.change.run[row]))
    found = diagnosis.diagnose(
        shard.roster, row, known, last_ms=int(events.ts_ms[k]), offset_ms=shard.config.utc_offset_ms
    )  # fmt: skip
    if found.kind == diagnosis.NONE and not is_level:
        return None
    seen = diagnosis.told(found)
    kind = found.kind if found.kind != diagnosis.NONE else diagnosis.LEVEL
    if is_level:
        a, b = float(numbers[0]), float(numbers[1])
    else:
        a, b = found.middle, found.middle + found.numbers.get(diagnosis.LEVEL, 0.0)
    before = {
        "level": a,
        "mean": known.mean,
        "sd": known.sd,
        "season_level": known.level,
        "sigma": known.sigma,
        "persistence": known.persistence,
    }
    after = {"level": b}
    shift = (b - a) / known.sd
    sentence = f"{series} is noisier than it was."
    if is_level or kind == diagnosis.LEVEL:
        sentence = f"{series} moved from about {a:.4g} to about {b:.4g} ({shift:+.1f} standard deviations) and stayed."
    number = found.numbers.get(kind)
    if kind != diagnosis.LEVEL and number is not None:
        after = {**after, _NUMBER[kind]: number}
        sentence += " " + _WORDS[kind].format(number, 24.0 * number / season.SLOTS)
    return kind, before, after, {"shift_sd": shift, **seen}, sentence


#: What the number of a kind of change is called, and said to be; {0}: the number, {1}: as slots of the day, in hours.
_NUMBER = {"gain": "factor", "scale": "factor", "phase": "slots"}
_WORDS = {
    "gain": "All of it is {0:.3g} times what it was, noise included.",
    "scale": "Its noise is {0:.3g} times what it was.",
    "phase": "Its day comes {1:+.2g} h later.",
}


def _drift_numbers(
    events: Events, k: int, kind: str, series: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]:
    a, b = float(events.numbers[k, 0]), float(events.numbers[k, 1])
    last = int(events.times[k, 0])
    if kind == "absent":
        sentence = f"{series} has stopped: it came every {a / 1000:.4g} s, the last time at {last} ms."
        return {"step_ms": a}, {"last_ms": last}, {"longest_gap_steps": b}, sentence
    if kind == "returned":
        return {"last_ms": last}, {"at_ms": int(events.ts_ms[k])}, {}, f"{series} is back."
    return {}, {"value": a}, {}, f"{series} has been {a:.6g} for longer than ever before."


def _contributors(shard: Shard, events: Events, k: int) -> list[dict[str, Any]]:
    found = []
    for place in range(events.rows.shape[1]):
        row = int(events.rows[k, place])
        if row < 0 or (place > 0 and events.shares[k, place] < 0.01):
            break
        value, expected, lower, upper = (_number(x) for x in events.values[k, place])
        found.append(
            {
                "series": shard.roster.names[row],
                "share": _number(events.shares[k, place]),
                "value": value,
                "expected": expected,
                "lower": lower,
                "upper": upper,
            }
        )
    return found


def _components(events: Events, k: int) -> list[dict[str, Any]]:
    """Channels in order of how far each is above its own median; the presence cause stands alone."""
    if events.numbers[k, 4] == 1.0:
        return [{"name": "presence", "share": 1.0}]
    shares = events.channels[k].astype(np.float64)
    total = float(shares.sum()) or 1.0
    order = np.argsort(-shares, kind="stable")
    return [{"name": channels.NAMES[c], "share": round(float(shares[c]) / total, 4)} for c in order]


_ENDS = {
    events_of.CALMED: "is back to normal.",
    events_of.LASTED: f"has been unusual for {FIRING_TICKS} ticks; it still is, but is no longer told as an alert.",
    events_of.GONE: "has not been heard of for a day.",
}


_LAPSES = {
    events_of.CALMED: "the time for an answer is over.",
    events_of.GONE: "it has not been heard of for a day.",
    events_of.OVERTAKEN: "an alert has overtaken the question.",
}


def _because(shard: Shard, events: Events, k: int, contributors: list[dict[str, Any]], is_firing: bool) -> str:
    entity = shard.roster.entities[int(events.who[k])]
    if not is_firing:
        return f"{entity} {_ENDS[int(events.numbers[k, 5])]}"
    if not contributors:
        return f"{entity} behaves unusually."
    first = contributors[0]
    if events.numbers[k, 4] == 1.0:
        return f"{entity}: {first['series']} has stopped sending."
    text = f"{entity}: {first['series']} is {_text(first['value'])}, expected {_text(first['expected'])}"
    if first["lower"] is not None:
        text += f" ({_text(first['lower'])} to {_text(first['upper'])})"
    others = len(contributors) - 1
    return text + (f"; {others} more series are unusual with it." if others else ".")


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _number(value: Any) -> float | None:
    """Nine digits; None for no answer: a record never carries NaN."""
    number = float(value)
    return float(f"{number:.9g}") if np.isfinite(number) else None
