"""B1-B45 of the list of bad inputs, as far as a decoder can carry them: each a named row.

Law: no crash, at most one dead letter a record, and the samples of all other series are the same, bit for bit and in
the same rows, as in a run without the bad record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

NOW_MS = 1_767_225_600_000
LABEL_OK = b'{"name": "x", "value": 1, "timestamp": 1767225600, "labels": {"host": "%s"}}'
VALUE = b'{"name": "x", "value": %s, "timestamp": 1767225600}'
TIME = b'{"name": "x", "value": 1, "timestamp": %s}'


class Case(NamedTuple):
    """reason: of the one dead letter, "" for none. samples: how many the record still gives."""

    record: bytes | None
    reason: str
    samples: int = 0


CASES = {
    "B01 empty": Case(b"", "empty"),
    "B01 blank": Case(b" \n\t", "empty"),
    "B02 open brace": Case(b"{", "json"),
    "B02 cut in half": Case(b'{"name": "x", "val', "json"),
    "B02 two objects": Case(VALUE % b"1" + VALUE % b"2", "json"),
    "B03 depth bomb": Case(b"[" * 100_000, "depth"),
    "B03 depth bomb, closed": Case(b"[" * 100_000 + b"]" * 100_000, "depth"),
    "B03 depth bomb as value": Case(VALUE % (b"[" * 1_000 + b"]" * 1_000), "value_type"),
    "B04 bad UTF-8": Case(b'{"name": "x\xff", "value": 1}', "utf8"),
    "B04 bad UTF-8 in a tag": Case(b"x,host=\xff value=1 1767225600000000000", "utf8"),
    "B04 lone surrogate": Case(rb'{"name": "x\ud800", "value": 1, "ts": 1767225600}', "utf8"),
    "B05 byte order mark": Case(b"\xef\xbb\xbf" + VALUE % b"1", "", 1),
    "B05 byte order mark on a line": Case(b"\xef\xbb\xbfx value=1 1767225600000000000", "", 1),
    "B05 byte order marks only": Case(b"\xef\xbb\xbf" * 80_000, "format"),
    "B06 NaN": Case(VALUE % b"NaN", "json"),
    "B06 NaN in a line": Case(b"x value=NaN 1767225600000000000", "value_type"),
    "B07 Infinity": Case(VALUE % b"Infinity", "json"),
    "B07 -Infinity": Case(VALUE % b"-Infinity", "json"),
    "B07 inf in a line": Case(b"x value=-inf 1767225600000000000", "value_type"),
    "B08 1e999": Case(VALUE % b"1e999", "json"),
    "B08 1e999 in a line": Case(b"x value=1e999 1767225600000000000", "value_range"),
    "B09 -0.0": Case(VALUE % b"-0.0", "", 1),
    "B10 1e308": Case(VALUE % b"1e308", "value_range"),
    "B10 1e20": Case(VALUE % b"1e20", "value_range"),
    "B10 9.2e18": Case(VALUE % b"9.2e18", "", 1),
    "B10 the largest float": Case(VALUE % b"1.7976931348623157e308", "", 1),
    "B10 no limit": Case(VALUE % b"9223372036854771712", "", 1),
    "B10 no limit in a line": Case(b"x limit=9223372036854771712i,used=1i 1767225600000000000", "", 1),
    "B10 no limit in Telegraf JSON": Case(
        b'{"fields": {"limit": 18446744073709551615, "used": 1}, "name": "x", "timestamp": 1767225600}', "", 1
    ),
    "B11 denormal": Case(VALUE % b"5e-324", "", 1),
    "B12 30-digit integer": Case(VALUE % (b"9" * 30), "value_range"),
    "B12 5,000-digit integer": Case(VALUE % (b"9" * 5_000), "json"),
    "B12 30-digit integer in a line": Case(b"x value=" + b"9" * 30 + b"i 1767225600000000000", "value_type"),
    "B12 20-digit integer in a line": Case(b"x value=" + b"9" * 20 + b"i 1767225600000000000", "value_range"),
    "B13 boolean": Case(VALUE % b"true", "value_type"),
    "B14 string number": Case(VALUE % b'"1.5"', "value_type"),
    "B15 null value": Case(VALUE % b"null", "", 1),
    "B17 missing value": Case(b'{"name": "x", "timestamp": 1767225600}', "no_value"),
    "B17 missing name": Case(b'{"value": 1, "timestamp": 1767225600}', "no_name"),
    "B18 extra field": Case(b'{"name": "x", "value": 1, "ts": 1767225600, "extra": {"a": [1, null]}}', "", 1),
    "B19 duplicate key": Case(b'{"name": "x", "value": 7, "value": 1, "ts": 1767225600}', "", 1),
    "B20 array at top": Case(b"[" + VALUE % b"1" + b"," + VALUE % b"2" + b"]", "", 2),
    "B20 array, one of three bad": Case(b"[%s,%s,%s]" % (VALUE % b"1", VALUE % b'"2"', VALUE % b"3"), "value_type", 2),
    "B20 array, all bad": Case(b"[1, null, [], {}]", "json"),
    "B20 empty array": Case(b"[]", ""),
    "B21 ts missing, record has none": Case(b'{"name": "x", "value": 1}', "no_time"),
    "B22 ts negative": Case(TIME % b"-1767225600", "time_range"),
    "B23 ts string": Case(TIME % b'"1767225600"', "time_type"),
    "B23 ts boolean": Case(TIME % b"true", "time_type"),
    "B23 ts object": Case(TIME % b"{}", "time_type"),
    "B23 ts ISO 8601": Case(TIME % b'"2026-01-01T00:00:00Z"', "", 1),
    "B24 seconds for milliseconds": Case(TIME % b"1767225600", "", 1),
    "B25 ts 2^63": Case(TIME % b"9223372036854775808", "time_range"),
    "B25 ts 2^64": Case(TIME % b"18446744073709551616", "time_range"),
    "B25 ts 1e300": Case(TIME % b"1e300", "time_range"),
    "B25 ts zero": Case(TIME % b"0", "time_range"),
    "B25 ts 2^63 in a line": Case(b"x value=1 9223372036854775808", "time_range"),
    "B34 label of 10 KiB": Case(LABEL_OK % (b"h" * 10_240), "label_size"),
    "B34 label of 10 KiB in a line": Case(b"x,host=" + b"h" * 10_240 + b" value=1 1767225600000000000", "label_size"),
    "B34 100 labels": Case(
        b"x," + b",".join(b"k%d=v" % i for i in range(100)) + b" value=1 1767225600000000000", "labels"
    ),
    "B35 label with newline": Case(LABEL_OK % rb"a\nb", "", 1),
    "B35 label with NUL": Case(LABEL_OK % rb"a\u0000b", "labels"),
    "B35 label with NUL in a line": Case(b"x,host=a\x00b value=1 1767225600000000000", "labels"),
    "B35 label with RTL override": Case(LABEL_OK % rb"a\u202eb", "labels"),
    "B35 label with quote": Case(LABEL_OK % rb"a\"b", "", 1),
    "B35 label with $(...)": Case(LABEL_OK % b"$(reboot)", "", 1),
    "B35 label with ../": Case(LABEL_OK % b"../../etc/passwd", "", 1),
    "B35 name that imitates labels": Case(rb'{"name": "x{host=\"a\"}", "value": 1, "ts": 1767225600}', "labels"),
    "B35 labels of the wrong kind": Case(b'{"name": "x", "value": 1, "ts": 1767225600, "labels": [1]}', "labels"),
    "B35 a label that is an object": Case(LABEL_OK.replace(b'"%s"', b"{}"), "labels"),
    "B35 a tag key twice": Case(b"x,host=a,host=b value=1 1767225600000000000", "labels"),
    "B36 record of 300 KiB": Case(LABEL_OK % (b"h" * 300 * 1024), "oversize"),
    "B37 record of 5 MiB": Case(b"[" + b" " * (5 << 20) + b"]", "oversize"),
    "B38 tombstone": Case(None, ""),
    "B40 corrupt bytes": Case(bytes(range(256)), "format"),
    "B40 protobuf": Case(b"\x0a\x0b\x08\x96\x01 a=b", "format"),
    "B40 magic byte": Case(b"\x00\x00\x00\x00\x07x", "format"),
    "B45 one field of four bad": Case(b"x a=1,b=abc,c=2i,d=3 1767225600000000000", "value_type", 3),
    "B45 one line of three bad": Case(b"x value=1 1767225600\nx value= 1\nx value=3 1767225601\n", "line", 2),
    "B45 strings only": Case(b'x text="a b, c=d",ok=t 1767225600000000000', ""),
    "B45 comment only": Case(b"# nothing here", ""),
    "B45 unclosed quote": Case(b'x text="abc 1767225600000000000', "line"),
    "B45 unsigned below zero": Case(b"x value=-1u 1767225600000000000", "value_type"),
    "B45 Telegraf JSON without numbers": Case(b'{"fields": {"a": "b", "c": true, "d": null}, "name": "x"}', "no_time"),
    "B45 Telegraf JSON, tags no object": Case(
        b'{"fields": {"a": 1}, "name": "x", "tags": 1, "timestamp": 1767225600}', "labels"
    ),
}


def good(host: int, at: int) -> bytes:
    ts_ms = NOW_MS + 10_000 * at
    if host % 3 == 0:
        return b"cpu,host=h%d idle=%d.25,user=%di %d000000" % (host, host, at, ts_ms)
    if host % 3 == 1:
        return b'{"name": "up", "value": %d.5, "timestamp": %d, "labels": {"host": "h%d"}}' % (at, ts_ms, host)
    return b'{"fields":{"a":%d,"b":0.5},"name":"mem","tags":{"host":"h%d"},"timestamp":%d}' % (at, host, ts_ms // 1000)


@pytest.mark.parametrize("name", CASES)
def test_each_is_one_dead_letter_at_most_and_touches_nothing_else(name: str, make_bench: Callable[..., Any]) -> None:
    case = CASES[name]
    bench, clean = make_bench(), make_bench()
    for at in range(4):
        before = [good(host, at) for host in range(6)]
        batch, letters = bench.decode(*before[:3], case.record, *before[3:])
        wanted, none = clean.decode(*before)
        assert none == []
        bad_offset = at * 7 + 3
        assert [(letter.index, letter.reason) for letter in letters] == ([(3, case.reason)] if case.reason else [])
        assert batch.dead.tolist() == ([bad_offset] if case.reason else [])
        assert batch.empty.tolist() == ([bad_offset] if not case.reason and not case.samples else [])
        assert int((batch.offset == bad_offset).sum()) == case.samples
        others = batch.offset != bad_offset
        texts, clean_texts = [s.text for s in bench.shard.series], [s.text for s in clean.shard.series]
        assert [texts[row] for row in batch.row[others]] == [clean_texts[row] for row in wanted.row]
        assert batch.ts_ms[others].tobytes() == wanted.ts_ms.tobytes()
        assert batch.value[others].tobytes() == wanted.value.tobytes()
        assert batch.next_offset == at * 7 + 7
        assert len(texts) - len(clean_texts) == len({t for t in texts if t.startswith("x")})
        if case.reason and not case.samples:
            assert texts == clean_texts


def test_a_time_a_year_ahead_is_refused_only_where_the_record_has_a_time(bench: Any) -> None:
    record = b'{"name": "x", "value": 1, "timestamp": %d}' % (NOW_MS + 365 * 86_400_000)
    assert bench.reason(record, append_ms=NOW_MS) == "time_future"
    assert bench.shard.series == []
    assert len(bench.samples(record, append_ms=-1)) == 1


def test_five_minutes_ahead_is_the_limit(bench: Any) -> None:
    record = b"x value=1 %d"
    assert len(bench.samples(record % (NOW_MS + 300_000), append_ms=NOW_MS)) == 1
    assert bench.reason(record % (NOW_MS + 300_001), append_ms=NOW_MS) == "time_future"


def test_a_full_shard_is_one_dead_letter_and_the_known_series_go_on(make_bench: Callable[..., Any]) -> None:
    bench = make_bench(max_series=2)
    batch, letters = bench.decode(b"x a=1,b=2,c=3,d=4 1767225600", b"x a=5,c=6 1767225601", b"x b=7 1767225602")
    assert [(letter.index, letter.reason) for letter in letters] == [(0, "cardinality"), (1, "cardinality")]
    assert "1 more" in letters[0].detail
    assert batch.value.tolist() == [1, 2, 5, 7]
    assert batch.dead.tolist() == [0, 1]


def test_minus_zero_is_zero_and_null_is_nan(bench: Any) -> None:
    batch, _ = bench.decode(VALUE % b"-0.0", VALUE % b"-0", b"x value=-0 1767225600", VALUE % b"null")
    assert np.signbit(batch.value[:3]).tolist() == [False] * 3
    assert np.isnan(batch.value[3])
