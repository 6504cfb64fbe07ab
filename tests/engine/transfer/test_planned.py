"""A plan that was written down: it comes back equal, or it is refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError, RefusedPlan
from engine.snapshot import State
from engine.transfer import Entry, Plan, plan, read_plan, read_prior
from engine.transfer.match import ADAPT, COLD, NAMED, REUSE
from engine.transfer.strength import STRENGTHS
from tests.engine.transfer.towns import Town, grown, log, shard, source, values

TEXT = st.text(max_size=20)
NUMBER = st.floats(0, 1e6)
DIGEST = st.text("0123456789abcdef", min_size=16, max_size=16)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, ...]:
    names = draw(st.lists(TEXT, unique=True, max_size=5))
    made = []
    for name in names:
        zone = draw(st.sampled_from([REUSE, NAMED, ADAPT, COLD]))
        made.append(
            Entry(
                target=name, series=draw(st.integers(0, 1000)), source=None if zone == COLD else draw(TEXT),
                distance=draw(st.none() | NUMBER), evidence=draw(NUMBER), zone=zone, by=draw(TEXT), because=draw(TEXT),
                phase_s=900 * draw(st.integers(-47, 48)), gain=draw(st.floats(0, 2)),
                step_ratio=draw(st.floats(1e-3, 1e3)),
            )
        )  # fmt: skip
    return tuple(made)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    place = {"topic": draw(st.none() | TEXT), "partition": draw(st.none() | st.integers(0, 99)), "next_offset": 7}
    return Plan(
        source={"environment": draw(st.none() | TEXT), "digest": draw(DIGEST)},
        target={**place, "digest": draw(DIGEST)},
        entries=draw(entries()),
        refused=draw(st.none() | TEXT),
    )


@given(plans())
def test_a_plan_comes_back_equal(made: Plan) -> None:
    again = read_plan(json.loads(json.dumps(made.to_dict(), allow_nan=False)))
    assert again == made
    assert again.id == made.id


@given(plans(), st.data())
def test_a_plan_that_was_changed_is_refused(made: Plan, data: st.DataObject) -> None:
    told = json.loads(json.dumps(made.to_dict()))
    if told["entries"]:
        one = data.draw(st.sampled_from(told["entries"]))
        one["because"] += "!"
    else:
        told["source"]["digest"] = "".join("1" if digit == "0" else "0" for digit in told["source"]["digest"])
    with pytest.raises(RefusedPlan, match="changed since it was made"):
        read_plan(told)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(plans(), JUNK, st.data())
def test_whatever_stands_in_a_plan_is_a_plan_or_one_sentence(made: Plan, junk: Any, data: st.DataObject) -> None:
    told = json.loads(json.dumps(made.to_dict()))
    part = data.draw(st.sampled_from([told, told["source"], told["target"], *told["entries"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = junk
    said, again = "", made
    try:
        again = read_plan(told)
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 400
    assert again.id == made.id


def _change(told: dict[str, Any], **changes: Any) -> None:
    told["entries"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda told: told.update(schema="graft.plan/9"), "it is no plan"),
        (lambda told: told.update(engine="4"), "made by engine 4"),
        (lambda told: told.update(entries=None), "no list of at most"),
        (lambda told: told.update(entries=told["entries"] * 2), "names a class of the target twice"),
        (lambda told: told["source"].update(digest="abc"), "16 hex digits"),
        (lambda told: _change(told, zone="warm"), "must be one of"),
        (lambda told: _change(told, source=None), "borrows from None"),
        (lambda told: _change(told, series=-1), "whole number"),
        (lambda told: _change(told, distance=float("nan")), "number >= 0"),
        (lambda told: _change(told, distance=10**400), "whole number"),
        (lambda told: _change(told, target="x" * 2001), "text of at most"),
        (lambda told: _change(told, components={"scale": 1e9}), "other strengths"),
    ],
)
def test_what_is_wrong_is_named(lender: State, change: Callable[[dict[str, Any]], None], says: str) -> None:
    told = json.loads(json.dumps(plan(lender, grown(Town(seed=2), days=2)).to_dict()))
    change(told)
    with pytest.raises(ConfigError, match=says):
        read_plan(told)


@pytest.fixture(scope="module")
def lender() -> State:
    return source(Town(seed=1))


def test_a_plan_tells_how_strongly_each_component_is_lent_how_it_thaws_and_what_stays_cold(lender: State) -> None:
    names = ("cpu", "load", "latency", "strange")
    target = shard(Town(seed=2, names=names))
    target.process(log(values(Town(seed=2, names=names), 2)))
    told = plan(lender, target.export()).to_dict()
    by_name = {one["target"]: one for one in told["entries"]}
    warm, cold = by_name["cpu"], by_name["strange"]
    assert list(warm["components"].values()) == list(STRENGTHS[warm["zone"]])
    assert warm["stage"] == "live"
    assert warm["thaw"]["trial_s"] == 3600
    assert (cold["components"], cold["thaw"], cold["stage"]) == ({}, None, None)
    assert "too young" in cold["because"]


def test_a_plan_that_was_read_lends_what_it_did_before(lender: State) -> None:
    made = plan(lender, grown(Town(seed=2), days=2))
    again = read_plan(json.loads(json.dumps(made.to_dict())))
    assert read_prior(lender, again).digest == read_prior(lender, made).digest
    with pytest.raises(RefusedPlan, match="made for another source"):
        read_prior(source(Town(seed=9)), again)
