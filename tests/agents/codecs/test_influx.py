"""The line protocol: escapes, quotes, types, times; and what Telegraf itself wrote."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.batch import LARGEST
from engine.series import Series

T = 1_767_225_600_000
PAYLOADS = Path(__file__).parent / "payloads"


def test_fields_types_and_times(bench: Any) -> None:
    line = b'cpu,cpu=cpu0,host=web-1 usage_idle=98.1,value=-1.5e3,processes=212i,u=3u,ok=f,s="x" 1767225600000000000\n'
    labels = 'cpu="cpu0",host="web-1"'
    assert bench.samples(line) == [
        (f"cpu.usage_idle{{{labels}}}", T, 98.1),
        (f"cpu{{{labels}}}", T, -1500.0),
        (f"cpu.processes{{{labels}}}", T, 212.0),
        (f"cpu.u{{{labels}}}", T, 3.0),
    ]


def test_a_missing_time_is_the_records_own(bench: Any) -> None:
    assert bench.samples(b"up value=1", append_ms=T) == [("up", T, 1.0)]
    assert bench.samples(b"up value=1\r\nup value=2 \n", append_ms=T) == [("up", T, 1.0), ("up", T, 2.0)]
    assert bench.reason(b"up value=1") == "no_time"


@pytest.mark.parametrize("raw", [b"1767225600", b"1767225600000", b"1767225600000000", b"1767225600000000999"])
def test_units_by_magnitude(raw: bytes, bench: Any) -> None:
    assert bench.samples(b"up value=1 " + raw) == [("up", T, 1.0)]


def test_quotes_are_text_outside_of_field_values(bench: Any) -> None:
    line = b'say"x,host="a" text="a, b=c \\" \\\\",n=1 1767225600\nup text="two\nlines",n=2 1767225600'
    _, letters = bench.decode(line)
    assert [letter.reason for letter in letters] == ["labels"]  # a quote in a name would make two identities one
    assert bench.samples(b'x,host="a" text="a, b=c \\" \\\\",n=1 1767225600\nup text="two\nlines",n=2 1767225600') == [
        ('x.n{host="\\"a\\""}', T, 1.0),
        ("up.n", T, 2.0),
    ]


def test_two_orders_of_tags_are_one_series(bench: Any) -> None:
    assert len(set(bench.samples(b"x,a=1,b=2 value=1 1767225600", b"x,b=2,a=1 value=1 1767225600"))) == 1
    assert len(bench.shard.series) == 1


@pytest.mark.parametrize(
    "line",
    [b"x", b"x value", b"x value=", b"x =1", b",a=b value=1", b"x,a value=1", b"x,=b value=1", b"x,a=b=c value=1",
     b"x  value=1", b"x value=1,", b"x value=1 ,y=2", b"x value=1 1767225600 1", b"x value=1 12ab", b"x value=1 1.5",
     b'x value="a"b', b"x,a=b", b"value=1 1767225600"],
)  # fmt: skip
def test_broken_lines_give_nothing(line: bytes, bench: Any) -> None:
    good = b"up value=1 1767225600\n"
    batch, letters = bench.decode(good + line + b"\n" + good, append_ms=T)
    assert [letter.reason for letter in letters] in (["line"], ["format"])
    assert len(batch.row) == 2
    assert [s.text for s in bench.shard.series] == ["up"]


@pytest.mark.parametrize(
    "raw", [b"1_000", b"0x10", b"nan", b"1e", b"e5", b".", b"-", b"1.5i", b"--1", b"tru", b"1f", b"+-1"]
)
def test_broken_values_take_only_themselves_down(raw: bytes, bench: Any) -> None:
    batch, letters = bench.decode(b"x a=1,b=" + raw + b",c=2 1767225600")
    assert [letter.reason for letter in letters] == ["value_type"]
    assert batch.value.tolist() == [1.0, 2.0]


# No quotes and braces in names: rules.py refuses them. No backslash at an end: the protocol cannot write it.
ALPHABET = st.sampled_from("abz09_-./ ,=ß\\'%")
NAME = st.text(ALPHABET, min_size=1, max_size=8).filter(lambda text: not text.endswith("\\") and text[0] != "#")
NUMBER = st.floats(-LARGEST, LARGEST) | st.integers(-int(LARGEST), int(LARGEST))
STRING = st.text(st.sampled_from('ab ,=\\"\n#'), max_size=8)


def escape(text: str, special: str) -> str:
    return re.sub(f"([{special}])", r"\\\1", text)


def field_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "F"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return repr(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(
    name=NAME,
    tags=st.dictionaries(NAME, NAME, max_size=4),
    fields=st.dictionaries(NAME, NUMBER | STRING | st.booleans(), min_size=1, max_size=5),
    ts_ns=st.integers(10**18, 2 * 10**18),
)
def test_what_is_written_comes_back(
    name: str, tags: dict[str, str], fields: dict[str, Any], ts_ns: int, make_bench: Any
) -> None:
    head = escape(name, ", ") + "".join(f",{escape(k, ', =')}={escape(v, ', =')}" for k, v in tags.items())
    line = head + " " + ",".join(f"{escape(k, ', =')}={field_value(v)}" for k, v in fields.items()) + f" {ts_ns}"
    wanted = [
        (Series.of(name if key == "value" else f"{name}.{key}", tags).text, ts_ns // 10**6, float(value) + 0.0)
        for key, value in fields.items()
        if type(value) in (int, float)
    ]
    bench = make_bench()
    assert bench.samples(line.encode(), f"# comment\n{line}\n\n{line}".encode()) == wanted * 3


@pytest.mark.parametrize("kind", ["influx", "influx-uint-sorted"])
def test_recorded_from_telegraf(kind: str, bench: Any) -> None:
    for path in sorted((PAYLOADS / f"telegraf-{kind}").glob("*.bin")):
        record = path.read_bytes()
        inside = re.sub(rb'"(\\.|[^"])*"', b"text", re.split(rb"(?<!\\) ", record, maxsplit=1)[1])
        numbers = re.findall(rb"(?:^|,)(\w+)=(-?[0-9.e+-]+)[iu]?(?=[, ])", inside)
        fields = [(key.decode(), float(value)) for key, value in numbers]
        samples = bench.samples(record)
        assert [(text.split("{")[0].rsplit(".", 1)[1], value) for text, _, value in samples] == [
            (key, value + 0.0) for key, value in fields
        ]
        assert {ts_ms for _, ts_ms, _ in samples} <= {int(record.split()[-1]) // 10**6}
    assert len(bench.shard.series) == 89


def test_recorded_json_from_telegraf(bench: Any) -> None:
    for path in sorted((PAYLOADS / "telegraf-json").glob("*.bin")):
        record = json.loads(path.read_bytes())
        wanted = [
            (Series.of(f"{record['name']}.{key}", record["tags"]).text, record["timestamp"], float(value))
            for key, value in record["fields"].items()
            if type(value) in (int, float) and math.isfinite(value)
        ]
        assert bench.samples(path.read_bytes()) == wanted
    assert len(bench.shard.series) == 89
