"""The score: records against ground truth, case by case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.demo import useful
from agents.demo.incidents import DEPLOY, OUTAGE, WOBBLE, Incident
from agents.demo.scoreboard import Heard, Score, score
from agents.demo.words import of_record

BEGIN_MS = 1_767_225_600_000
SCRIPT = (
    Incident(OUTAGE, "db", None, 100, 110, 10, ""),
    Incident(DEPLOY, "web", "mem", 200, 300, 0, ""),
    Incident(WOBBLE, "svc", "lat", 400, 450, 10, ""),
)
KEYS = {"db": "host=db", "web": "host=web", "svc": "service=svc"}


def alert(entity: str, minute: int, *, incident: str = "", state: str = "firing") -> Heard:
    record = {"entity": entity, "at_ms": BEGIN_MS + minute * 60_000, "state": state, "because": "odd"}
    return Heard("alerts", {**record, "incident": incident or f"{entity}{minute}"}, 0.05)


def question(entity: str, minute: int) -> Heard:
    record = {"entity": entity, "at_ms": BEGIN_MS + minute * 60_000, "state": "asked", "escalation": "q1"}
    return Heard("escalations", record, 0.02)


def experiment(kind: str, entity: str, minute: int, **params: Any) -> Heard:
    order = {"kind": kind, "params": params}
    record = {"entity": entity, "at_ms": BEGIN_MS + minute * 60_000, "order": order, "finding": "kept"}
    return Heard("experiments", record, None)


GOOD = [
    alert("host=db", 101),
    alert("host=web", 201),
    experiment("retune", "host=web", 220),
    question("service=svc", 420),
    experiment("label", "service=svc", 421, escalation="q1"),
]


def of(heard: list[Heard], until_min: float = 500) -> Score:
    return score(heard, begin_ms=BEGIN_MS, keys=KEYS, until_min=until_min, script=SCRIPT)


def test_all_as_it_should_be() -> None:
    found = of(GOOD)
    assert found.is_good
    assert (found.found, found.asked, found.answered, found.adapted) == (3, 1, 1, 1)
    assert found.delay_s_median == 20 * 60
    assert found.p99_ms == 50.0


def test_a_trial_that_has_proved_nothing_is_no_adaptation() -> None:
    heard = [Heard(one.topic, {**one.value, "finding": "reverted"}, one.delay_s) for one in GOOD]
    assert of(heard).adapted == 0


def test_how_long_a_person_takes_is_no_delay_of_ours() -> None:
    closed = Heard("escalations", {**question("service=svc", 420).value, "state": "answered"}, 30.0)
    found = of([*GOOD, closed])
    assert (found.p99_ms, found.asked) == (50.0, 1)


def test_what_was_not_yet_injected_does_not_count() -> None:
    assert len(of(GOOD[:1], until_min=150).lines) == 1
    assert of(GOOD[:1], until_min=150).is_good


@pytest.mark.parametrize(
    ("extra", "false"),
    [
        (alert("host=db", 50), 1),
        (alert("host=db", 121), 1),
        (alert("host=other", 105), 1),
        (alert("host=db", 115), 1),
        (alert("host=db", 115, incident="host=db101"), 0),
        (alert("host=db", 50, state="resolved"), 0),
        (alert("host=web", 205), 1),
        (alert("service=svc", 421), 1),
    ],
    ids=["before", "after", "elsewhere", "second", "same-incident", "resolved", "deploy-second", "wobble"],
)
def test_pages_in_vain(extra: Heard, false: int) -> None:
    assert len(of([*GOOD, extra]).false_pages) == false


def test_missed() -> None:
    assert of([]).found == 0
    assert of(GOOD[1:]).found == 2


def test_a_deploy_counts_only_if_it_is_quiet_after_the_order() -> None:
    late = [GOOD[0], experiment("retune", "host=web", 220), alert("host=web", 250), *GOOD[3:]]
    assert of(late).adapted == 0


def test_useful_is_the_end_of_the_last_hour_that_was_off() -> None:
    assert useful.useful_s(np.array([1.0, 1.0])) == 0.0
    assert useful.useful_s(np.array([5.0, 1.2, 3.0, 1.1])) == 3 * 3600
    assert useful.useful_s(np.array([1.0, 2.6])) is None
    assert useful.useful_s(np.array([1.0, np.nan])) is None


def test_an_hourly_score_is_in_units_of_the_final_one() -> None:
    errors = np.full((120, 2), 2.0)
    errors[60:] = 1.0
    errors[:60, 1] = np.nan
    assert useful.hourly(errors, np.array([1.0, 1.0])).tolist() == [2.0, 1.0]


def test_words_for_every_record() -> None:
    opened = Heard("escalations", {**question("service=svc", 420).value, "state": "opened"}, 0.02)
    said = [of_record(one, BEGIN_MS) for one in [*GOOD[:3], opened, *GOOD[4:]]]
    assert of_record(GOOD[3], BEGIN_MS) is None
    assert [one.mark if one else None for one in said] == ["PAGE", "PAGE", "re-tune", "ask", "answer"]
    assert of_record(Heard("drift", {"kind": "absent", "at_ms": BEGIN_MS}, None), BEGIN_MS) is None
