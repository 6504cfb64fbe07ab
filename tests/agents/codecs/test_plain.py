"""JSON records: which member means what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.series import Kind

T = 1_767_225_600_000


@pytest.mark.parametrize("name", ["name", "metric", "series"])
@pytest.mark.parametrize("time", ["timestamp", "ts", "time"])
@pytest.mark.parametrize("labels", ["labels", "tags"])
def test_member_names(name: str, time: str, labels: str, bench: Any) -> None:
    record = json.dumps({name: "up", "value": 1, time: T, labels: {"host": "a", "az": "b"}}).encode()
    assert bench.samples(record) == [('up{az="b",host="a"}', T, 1.0)]


def test_flat_strings_are_labels_where_no_labels_stand(bench: Any) -> None:
    flat = b'{"name": "up", "host": "a", "value": 1, "port": 80, "ok": true, "ts": 1767225600}'
    assert bench.samples(flat) == [('up{host="a"}', T, 1.0)]
    both = b'{"name": "up", "unit": "s", "value": 1, "labels": {"host": "a"}, "ts": 1767225600}'
    assert bench.samples(both) == [('up{host="a"}', T, 1.0)]


def test_label_values_that_are_no_strings(bench: Any) -> None:
    record = (
        b'{"name": "up", "value": 1, "labels": {"port": 80, "tls": true, "none": null, "empty": ""}, "ts": 1767225600}'
    )
    assert bench.samples(record) == [('up{port="80",tls="true"}', T, 1.0)]


def test_label_order_and_spelling_do_not_matter(bench: Any) -> None:
    record = b'{"name":"up","value":1,"ts":1767225600,"labels":{"a":"1","b":"2"}}'
    other = rb'{"ts":1767225600,"labels":{"b":"\u0032","a":"1"},"metric":"up","value":1.0}'
    assert len(set(bench.samples(record, other))) == 1
    assert len(bench.shard.series) == 1


@pytest.mark.parametrize(
    ("raw", "ts_ms"),
    [("1767225600", T), ("1767225600.25", T + 250), ("1767225600123", T + 123), ("1767225600123456", T + 123),
     ("1767225600123999999", T + 123), ('"2026-01-01T00:00:00.5+00:00"', T + 500), ('"2026-01-01 00:00:00"', T),
     ('"2026-01-01T02:00:00+02:00"', T), ("1.7672256e9", T), ("null", T + 7)],
)  # fmt: skip
def test_times(raw: str, ts_ms: int, bench: Any) -> None:
    record = f'{{"name": "up", "value": 1, "ts": {raw}}}'.encode()
    assert bench.samples(record, append_ms=T + 7) == [("up", ts_ms, 1.0)]


def test_kind_comes_from_the_sender_or_from_the_name(bench: Any) -> None:
    bench.samples(
        b'{"name": "a", "kind": "counter", "value": 1, "ts": 1767225600}',
        b'{"name": "b", "kind": "gauge", "value": 1, "ts": 1767225600}',
        b'{"name": "c_total", "value": 1, "ts": 1767225600}',
        b'{"name": "d", "value": 1, "ts": 1767225600}',
    )
    assert [s.kind for s in bench.shard.series] == [Kind.COUNTER, Kind.GAUGE, Kind.COUNTER, Kind.UNKNOWN]


def test_telegraf_single_and_batch(bench: Any) -> None:
    one = b'{"fields":{"usage":1.5,"value":2,"s":"x","b":true},"name":"cpu","tags":{"host":"a"},"timestamp":1767225600}'
    wanted = [('cpu.usage{host="a"}', T, 1.5), ('cpu{host="a"}', T, 2.0)]
    assert bench.samples(one) == wanted
    assert bench.samples(b'{"metrics":[' + one + b"," + one + b"]}") == wanted * 2


@pytest.mark.parametrize(("form", "reason"), [("json", "no_value"), ("telegraf-json", ""), ("telegraf-influx", "line")])
def test_a_format_that_is_set_is_not_guessed(form: str, reason: str, make_bench: Any) -> None:
    bench = make_bench(format=form)
    _, letters = bench.decode(b'{"fields": {"a": 1}, "name": "cpu", "timestamp": 1767225600}')
    assert [letter.reason for letter in letters] == ([reason] if reason else [])


def test_plain_json_is_no_telegraf_json(make_bench: Any) -> None:
    assert make_bench(format="telegraf-json").reason(b'{"name": "up", "value": 1, "ts": 1767225600}') == "format"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "value", "ts", "tags", "labels", "fields", "metrics", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(document=JSON)
def test_any_json_is_samples_or_one_dead_letter(document: object, make_bench: Any) -> None:
    batch, letters = make_bench().decode(json.dumps(document).encode(), append_ms=T)
    assert len(letters) <= 1
    assert len(batch.row) + len(letters) + len(batch.empty) >= 1
    assert batch.dead.tolist() == [0] * len(letters)
