"""Laws of the card: it says where a source is from and how it was made, and nothing of any sample, level or label."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from engine.config import ENGINE_VERSION
from engine.errors import ConfigError, GraftError, SnapshotError
from engine.series import Kind, Series
from engine.snapshot import State, digest_of, pack, read_json_column, unpack
from engine.transfer import card, distil, form, golden, merge, plan, read_prior
from engine.transfer.unit import unit_of
from engine.transfer.words import words
from tests.engine.transfer.forging import GONE, ODD, forged, places
from tests.engine.transfer.towns import CONFIG, METRICS, Town, grown, log, shard, source, values

CANARY = 7_654_321.4375
LABEL = "canary-label-value"


@pytest.fixture(scope="module")
def made() -> State:
    return distil(grown(Town(hosts=4)), owner="team blue", licence="CC-BY-4.0")


def changed(source: State, **fields: Any) -> State:
    return State({**source.manifest, "card": {**source.manifest["card"], **fields}}, source.arrays)


def test_what_is_on_it(made: State) -> None:
    told = made.manifest["card"]
    assert told["origin"] == {"environment": "old town", "owner": "team blue", "licence": "CC-BY-4.0"}
    assert [one["name"] for one in told["metrics"]] == sorted(METRICS)
    assert all(one["kind"] == "gauge" and one["step_ms"] == 600_000 and one["series"] == 4 for one in told["metrics"])
    assert all(low <= high for one in told["metrics"] for low, high in one["range"].values())
    assert told["labels"] == {"keys": [{"name": "host", "distinct": 4}], "entity": ["host"]}
    (cut,) = told["lineage"]
    assert cut["parents"] == [digest_of(grown(Town(hosts=4)))]
    assert (cut["made"], cut["topic"], cut["partition"], cut["engine"]) == ("cut", "metrics", 0, ENGINE_VERSION)
    assert cut["next_offset"] == 14 * 144 * 16
    assert (cut["config"], cut["recipe"]) == (CONFIG.hash, told["recipe"]["hash"])
    assert {one["name"] for one in told["recipe"]["golden"]} == {"recipe", "level", "season", "tail", "fold"}
    card.check(unpack(pack(made.manifest, made.arrays)))


def test_no_sample_and_no_value_of_a_label_is_in_the_bytes() -> None:
    """Planted: one far sample, a level in the millions, and labels that nobody may read elsewhere."""
    town = Town(hosts=3, level=CANARY, scale=3.0)
    numbers = values(town, 8 * 144)
    numbers[1000, 1, 2] = CANARY + 5000.0625
    planted = shard(Town(hosts=0))
    for host in range(3):
        for name in town.names:
            labels = {"host": f"secret-{host}", "zone": f'{LABEL}-{host},"x="y"'}
            planted.admit(Series.of(name, labels, Kind.GAUGE))
    planted.process(log(numbers))
    state = planted.export()
    made = distil(state)
    data = pack(made.manifest, made.arrays)
    assert b"secret" not in data
    assert LABEL.encode() not in data
    assert {one["name"]: one["distinct"] for one in made.manifest["card"]["labels"]["keys"]} == {"host": 3, "zone": 3}
    samples = [CANARY, CANARY + 5000.0625, *numbers[::97].ravel(), *state.arrays["series.level.last"]]
    for sample in map(float, samples):
        assert struct.pack("<d", sample) not in data
        assert struct.pack("<f", sample) not in data
        assert repr(round(sample, 2)).encode() not in data
    text = json.dumps(made.manifest["card"])
    assert str(int(CANARY))[:5] not in text


def test_two_cuts_of_one_state_are_the_same_bytes(made: State) -> None:
    again = distil(grown(Town(hosts=4)), owner="team blue", licence="CC-BY-4.0")
    assert pack(again.manifest, again.arrays) == pack(made.manifest, made.arrays)


@pytest.mark.parametrize("text", ["", "  ", "x" * 201, "two\nlines", "\x1b[31m"])
def test_owner_and_licence_are_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match=r"the owner .* wanted one line of 1 to 200 characters"):
        card.origin("eu", text, None)
    with pytest.raises(ConfigError, match="the licence"):
        card.origin("eu", None, text)


@pytest.mark.parametrize("name", ["recipe", "level", "season", "tail", "fold"])
def test_a_golden_vector_that_comes_out_otherwise_refuses_the_source(made: State, name: str) -> None:
    told = copy.deepcopy(made.manifest["card"]["recipe"])
    vector = next(one for one in told["golden"] if one["name"] == name)
    at = next(at for at, one in enumerate(vector["out"]) if one is not None)
    ours = vector["out"][at]
    vector["out"][at] = ours + 0.01
    bent = changed(made, recipe=told)
    wanted = rf"golden vector '{name}' .* differs at \[{at}\]: wanted {ours + 0.01}, got {ours} here"
    for refuse in (read_prior, card.check):
        with pytest.raises(ConfigError, match=wanted):
            refuse(bent)
    assert f"golden vector '{name}'" in plan(bent, grown(Town(seed=2), days=2)).to_dict()["refused"]


def test_what_differs_in_the_last_bits_is_the_same(made: State) -> None:
    told = copy.deepcopy(made.manifest["card"]["recipe"])
    for vector in told["golden"]:
        vector["out"] = [None if one is None else one * (1 + 1e-7) for one in vector["out"]]
    read_prior(changed(made, recipe=told))


def test_no_golden_vector_can_be_left_out_or_have_another_window(made: State) -> None:
    told = made.manifest["card"]["recipe"]
    for golden_vectors in (None, [], told["golden"][1:], [{**one, "in": {}} for one in told["golden"]]):
        with pytest.raises(ConfigError, match="golden vector"):
            golden.check(golden_vectors)
    for out in (None, [], [True] * 14, ["1"] * 14):
        with pytest.raises(ConfigError, match="golden vector 'recipe'"):
            golden.check([{**told["golden"][0], "out": out}, *told["golden"][1:]])


def test_a_reset_gives_no_rate_and_the_window_shows_it() -> None:
    vector = next(one for one in golden.vectors() if one["name"] == "recipe")
    assert vector["out"][:7] == [None, 2.0, 6.0, 1.0, None, 1.0, 3.05]
    assert vector["out"][7:] == vector["in"]["counter"]


def test_a_source_without_a_card_is_to_be_cut_again(made: State) -> None:
    manifest = {key: value for key, value in made.manifest.items() if key != "card"}
    for refuse in (read_prior, card.check):
        with pytest.raises(ConfigError, match=r"has no card, .* cut it again"):
            refuse(State(manifest, made.arrays))


def test_edge_cases_follow_from_the_class_alone(made: State) -> None:
    told = [one for one in made.manifest["card"]["edges"] if one["class"] == "cpu"]
    by_case = {one["case"]: one for one in told}
    assert set(by_case) == {"spike", "step", "flat line", "gap", "hour late"}
    spike, late = by_case["spike"], by_case["hour late"]
    assert spike["severity"][4] > 3.0 > max(spike["severity"][:4] + spike["severity"][5:])
    assert by_case["gap"]["severity"][4:] == [None] * 4
    assert late["window"] != late["expected"]
    bent = copy.deepcopy(made.manifest["card"]["edges"])
    bent[0]["severity"][4] -= 1.0
    with pytest.raises(ConfigError, match="edge case spike of class cpu does not follow"):
        card.check(changed(made, edges=bent))
    with pytest.raises(ConfigError, match="has not the 20 edge cases"):
        card.check(changed(made, edges=made.manifest["card"]["edges"][:-1]))


def test_the_schema_of_metrics_is_that_of_the_arrays(made: State) -> None:
    told = copy.deepcopy(made.manifest["card"]["metrics"])
    told[0] |= {"direction": "up", "unit": "%"}
    card.check(changed(made, metrics=told))
    for field, value in (("kind", "counter"), ("step_ms", 1), ("direction", "left"), ("name", "else")):
        told = copy.deepcopy(made.manifest["card"]["metrics"])
        told[0][field] = value
        with pytest.raises(ConfigError, match="schema of metrics"):
            card.check(changed(made, metrics=told))


def test_a_forged_card_is_refused_in_words_or_harmless(made: State) -> None:
    """Anything anywhere in the manifest: an error of ours or none, never another one."""
    passed = 0
    # Every fourth: of 14 values each place has three or four, and all values come up.
    for place, value in list(product(places(made.manifest), (GONE, *ODD)))[::4]:
        other = forged(made, place, value)
        passed += _is_used(other, card.check) and _is_used(other, lambda one: merge([one, made]))
        _is_used(other, read_prior)
        if _is_used(other, form.check):
            words(made, other)
    assert passed > 20


def _is_used(source: State, use: Callable[[State], object]) -> bool:
    try:
        use(source)
    except GraftError as error:
        assert str(error)  # noqa: PT017 - that it may pass is the point
        return False
    return True


@pytest.mark.parametrize("name", ["features", "shape", "n0", "pairs", "channels", "classes"])
def test_arrays_of_another_form_are_refused(made: State, name: str) -> None:
    without = {key: array for key, array in made.arrays.items() if key != name}
    with pytest.raises(SnapshotError, match=f"lacks the arrays {name}"):
        card.check(State(made.manifest, without))
    with pytest.raises(SnapshotError):
        card.check(State(made.manifest, without | {name: made.arrays[name][..., :-1]}))
    if made.arrays[name].dtype == np.float32:
        with pytest.raises(SnapshotError, match=f"array {name}"):
            card.check(State(made.manifest, without | {name: np.full_like(made.arrays[name], np.nan)}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("ratio", 0.0), ("far", -1.0), ("tail", -0.1), ("series", 0), ("n0", -1.0), ("features", 1e9), ("channels", -1.0)],
)
def test_numbers_that_cannot_be_are_refused(made: State, name: str, value: float) -> None:
    bent = made.arrays[name].copy()
    bent.ravel()[0] = value
    with pytest.raises(SnapshotError, match=f"array {name} of the source holds"):
        card.check(State(made.manifest, {**made.arrays, name: bent}))


def test_the_head_has_room_for_very_many_classes() -> None:
    names = [f"a_long_name_of_a_metric_that_somebody_has_made_{k:05d}_bytes" for k in range(3000)]
    one = source(Town(hosts=1, names=("cpu",)), days=8)
    rows = {name: np.repeat(array, 3000, axis=0) for name, array in one.arrays.items() if name not in _ONCE}
    told = card.metrics(names, rows)
    assert len(told) == card.MOST_CLASSES
    assert len(json.dumps(told)) < 300_000


_ONCE = ("classes", "channels", "pairs", "lagged", "residual")


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("http_request_duration_seconds", "s"), ("http_request_duration_seconds_count", "1"),
        ("http_request_duration_seconds_sum", "s"), ("node_network_receive_bytes_total", "By"),
        ("system.cpu.utilization", "1"), ("system.cpu.time", "s"), ("cpu.usage_idle", "%"),
        ("mem.used_percent", "%"), ("net.bytes_recv", "By"), ("latency_ms", "ms"), ("requests_per_second", "1/s"),
        ("queue_depth", None), ("load1", None), ("", None), ("my_time", None),
    ],
)  # fmt: skip
def test_units_by_the_conventions_of_names(name: str, unit: str | None) -> None:
    assert unit_of(name) == unit


def test_what_a_source_holds_is_still_what_it_lends(made: State) -> None:
    assert read_json_column(read_prior(made).arrays()["classes"]) == sorted(METRICS)
