"""The fast path says what the slow path says, bit for bit, whatever comes and however the log is cut."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.codecs import speculation

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT is set: there is no fast path"
)

T = 1_767_225_600_000
APPEND = [T + 5_000_000] * 17 + [-1, T + 1_500_000]


def record(kind: int, series: int, at: int, value: str) -> bytes:
    """One record in one of several shapes; value is spelled as given."""
    ts_ms = T + 10_000 * at
    if kind == 0:
        return (
            f'{{"name":"m{series}","value":{value},"timestamp":{ts_ms},"labels":{{"host":"h{series % 3}"}}}}'.encode()
        )
    if kind == 1:
        return f'{{"ts": {ts_ms // 1000}, "host": "h{series}", "metric": "flat", "n": 7, "value": {value}}}\n'.encode()
    if kind == 2:
        return f"cpu,host=h{series} usage={value} {ts_ms}000000\n".encode()
    if kind == 3:
        fields = [f"a={value}", f"b={at}i", f"c={at}u", f's="x\\" {at}"', "ok=true"]
        random.Random(at * 31 + series).shuffle(fields)
        return f"mem,host=h\\ {series},x=\\=y {','.join(fields)} {ts_ms}000000".encode()
    if kind == 4:
        inside = ",".join(record(0, series + k, at, value).decode() for k in range(4))
        return f"[{inside}]".encode()
    if kind == 5:
        fields = f'"a":{value},"b":{at},"s":"x{at % 2}","n":null'
        tags = f'"tags":{{"host":"h{series}","p":"1"}}'
        return f'{{"fields":{{{fields}}},"name":"disk",{tags},"timestamp":{ts_ms}}}'.encode()
    if kind == 6:
        return b"\n".join(record(2, series + k, at, value) for k in range(3))
    if kind == 7:
        zone, text = TIMES[at % len(TIMES)], datetime.fromtimestamp(ts_ms / 1000, UTC).isoformat()[:19]
        return f'{{"name":"iso{series}","time":"{text}{zone}","value":{value},"since":"2026-01-01T00:00:00Z"}}'.encode()
    return (
        f'{{"time": {ts_ms / 1000!r}, "value": {value}, "value": 5, "series": "twice{series}", "port": {at}}}'.encode()
    )


TIMES = ["Z", ".5Z", ".123", "+01:00", "-00:30", ".123456789Z", ".1234+02:00", "", "+0100", "z", "+24:00", " Z", ",5Z"]
KINDS = 9
SPELLINGS = (
    *(
        "1",
        "-2.5",
        "0",
        "-0.0",
        "1e3",
        "0.1",
        "5e-324",
        "1e308",
        "1e999",
        "NaN",
        "null",
        "true",
        '"1"',
        "01",
        "1.",
        ".5",
    ),
    *("+1", "-", "12345678901234567890", "1e", "2E+2", "8.5e22", "1e-7", "0.30000000000000004", "98.12345678901234"),
    *("999999999999999", "1000000000000001", "123456789.12345678", "9007199254740993", "1e+-1"),
    *("9223372036854771712", "-9223372036854775808", "18446744073709551615", "1767225600123456789", "1e19", "-2e18"),
    *("9223372036854710272", "9223372036854710784", "1.7976931348623157e308", "18446744073709551616"),
)


def mutated(raw: bytes, rng: random.Random) -> bytes:
    """The bytes with one to three small changes."""
    out = bytearray(raw)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(out) + 1)
        way = rng.randrange(4)
        if way == 0 and out:
            del out[min(at, len(out) - 1)]
        elif way == 1:
            out.insert(at, rng.choice(b'0123456789.eE+-,"{}[]: =\\\nitu\xff'))
        elif way == 2 and out:
            out[min(at, len(out) - 1)] = rng.choice(b'0123456789.e-,"{}= \\i')
        elif out:
            out[at:at] = out[at : at + rng.randrange(1, 20)]
    return bytes(out)


def stream(seed: int, count: int, mutations: float) -> list[bytes | None]:
    rng = random.Random(seed)
    values: list[bytes | None] = []
    for i in range(count):
        kind = rng.randrange(KINDS) if rng.random() < 0.3 else (i // 40) % KINDS
        value = rng.choice(SPELLINGS) if rng.random() < 0.15 else repr(round(rng.gauss(50, 20), rng.randrange(17)))
        raw = record(kind, i % 5, i // 5, value)
        values.append(None if rng.random() < 0.01 else mutated(raw, rng) if rng.random() < mutations else raw)
    return values


def run(
    values: list[bytes | None], bench: Any, cuts: list[int]
) -> tuple[list[bytes], list[tuple[int, str, str]], list[str]]:
    """All columns as bytes, all dead letters, all series, for a log that is cut as given."""
    columns: list[list[np.ndarray[Any, Any]]] = [[] for _ in range(6)]
    letters = []
    for begin, end in zip([0, *cuts], [*cuts, len(values)], strict=True):
        own_ms = np.array([APPEND[i % len(APPEND)] for i in range(begin, end)], np.int64)
        batch, some = bench.decoder.decode(values[begin:end], np.arange(begin, end), own_ms, end)
        for column, part in zip(
            columns, (batch.row, batch.ts_ms, batch.value, batch.offset, batch.dead, batch.empty), strict=True
        ):
            column.append(part)
        letters += [(letter.index + begin, letter.reason, letter.detail) for letter in some]
    series = [one.text for one in bench.shard.series]
    return [np.concatenate(column).tobytes() for column in columns], letters, series


@pytest.mark.parametrize("form", ["auto", "json", "telegraf-json", "telegraf-influx"])
@pytest.mark.parametrize("mutations", [0.0, 0.05, 0.7])
def test_fast_is_slow(form: str, mutations: float, make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(6):
        monkeypatch.setattr(speculation, "MAX_POOR_RUNS", seed % 2 * 5)  # 0: it is tried on each record
        values = stream(seed, 1500, mutations)
        fast, slow = make_bench(format=form), make_bench(format=form, speculate=False)
        assert run(values, fast, [700, 701, 1100]) == run(values, slow, [])
        if mutations < 0.5 and form == "auto":
            assert fast.decoder._fast.hits > (50 if seed % 2 else 600)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(0, 300), max_size=8))
def test_cuts_do_not_matter(seed: int, cuts: list[int], make_bench: Any) -> None:
    values = stream(seed, 300, 0.1)
    assert run(values, make_bench(), sorted(cuts)) == run(values, make_bench(), [])


def test_a_memory_that_is_full_forgets_and_learns_again(make_bench: Any) -> None:
    values = stream(3, 2000, 0.02)
    small, slow = make_bench(max_known_bytes=2_000), make_bench(speculate=False)
    assert run(values, small, list(range(50, 2000, 50))) == run(values, slow, [])
    assert small.decoder._fast.used_bytes < 4_000


def test_limits_of_series_and_values_hold_at_full_speed(make_bench: Any) -> None:
    values = stream(4, 1500, 0.0)
    options = {"max_series": 7, "max_abs_value": 60.0, "future_ms": 1000, "max_record_bytes": 110}
    assert run(values, make_bench(**options), [500]) == run(values, make_bench(**options, speculate=False), [])


def test_a_stream_that_never_repeats_stops_learning(make_bench: Any) -> None:
    bench = make_bench()
    shape = '{{"name":"m","labels":{{"host":"a"}},"trace":"{0:x}","value":{0},"ts":1767225600}}'
    values = [shape.format(i * 7919).encode() for i in range(20_000)]
    run(values, bench, list(range(1000, 20_000, 1000)))
    assert bench.decoder._fast._units.entries < 6_000


def test_hits_are_the_rule_for_what_telegraf_sends(make_bench: Any) -> None:
    """Twenty hosts, ten fields in an order of its own each time, two strings: all of the second round is known."""
    rng, bench = random.Random(5), make_bench()
    for at in range(4):
        values: list[bytes | None] = []
        for host in range(20):
            fields = [f"f{k}={rng.random()!r}" for k in range(10)] + [f's="{at}"', f"up={at}i"]
            rng.shuffle(fields)
            values.append(f"cpu,host=h{host} {','.join(fields)} {T + at * 1000}000000\n".encode())
        rng.shuffle(values)
        before = bench.decoder._fast.hits
        run(values, bench, [])
    assert bench.decoder._fast.hits - before == 20


@pytest.mark.parametrize("kind", range(KINDS - 1))
def test_any_order_is_known_after_one_round(kind: int, make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "MAX_POOR_RUNS", 0)
    rng, bench = random.Random(6), make_bench()
    for at in (0, 2):  # kind 5 holds a string of two values
        values: list[bytes | None] = [record(kind, series, at, repr(rng.gauss(0, 50))) for series in range(30)]
        rng.shuffle(values)
        before = bench.decoder._fast.hits
        run(values, bench, [])
    assert bench.decoder._fast.hits - before == 30


UNSET = ("9223372036854771712", "9223372036854775807", "-9223372036854775808", "18446744073709551615")


@pytest.mark.parametrize("number", [*UNSET, "1767225600123456789", "-9223372036854710272"])
@pytest.mark.parametrize("suffix", ["", "i", "u"])
def test_wide_integers_are_known_at_sight(
    number: str, suffix: str, make_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without a limit sends one each interval: the fast path has to take it, and a limit set later too."""
    monkeypatch.setattr(speculation, "MAX_POOR_RUNS", 0)
    if suffix:
        shape = f"docker,host=h{{}} limit={{}}{suffix},used={{}}i {{}}000000"
    else:
        shape = '{{"name":"docker","tags":{{"host":"h{}"}},"fields":{{"limit":{},"used":{}}},"timestamp":{}}}'
    fast, slow = make_bench(), make_bench(speculate=False)
    hits = []
    for at, limit in enumerate([number, number, number, "5", "5", number]):
        values: list[bytes | None] = [shape.format(h, limit, h + at, T + 10_000 * at).encode() for h in range(50)]
        before = fast.decoder._fast.hits
        got = run(values, fast, [])
        assert got == run(values, slow, [])
        hits.append(fast.decoder._fast.hits - before)
    refused = (suffix == "i" and int(number) >= 2**63) or (suffix == "u" and int(number) < 0)
    assert hits[4] == 50
    assert hits[1:3] == ([0, 0] if refused else [50, 50])


def test_a_plain_value_that_is_unset_is_known_at_sight(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculation, "MAX_POOR_RUNS", 0)
    fast, slow = make_bench(), make_bench(speculate=False)
    shape = '{{"name":"limit","host":"h{}","value":{},"ts":{}}}'
    for at, limit in enumerate([*UNSET, "7", UNSET[0]]):
        values: list[bytes | None] = [shape.format(h, limit, T + 10_000 * at).encode() for h in range(50)]
        before = fast.decoder._fast.hits
        assert run(values, fast, []) == run(values, slow, [])
        assert fast.decoder._fast.hits - before == (50 if at else 0)


def test_what_begins_with_a_blank_is_never_known_at_sight(make_bench: Any) -> None:
    """Else a restart, which knows nothing at sight, would name or refuse it otherwise."""
    values: list[bytes | None] = [
        b"cpu v=1 1767225600\n[x v=2 1767225600",
        b" [x v=3 1767225601",
        b"cpu v=1 1767225602\n\xef\xbb\xbfcpu v=2 1767225602",
        b"\xef\xbb\xbfcpu v=3 1767225603",
    ]
    fast, slow = make_bench(), make_bench(speculate=False)
    assert run(values, fast, []) == run(values, slow, [])


NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def spelled(rng: random.Random) -> str:
    """A number as senders spell them, or something close to one."""
    way = rng.randrange(7)
    if way == 0:
        return repr(rng.uniform(-1, 1) * 10.0 ** rng.randrange(-30, 30))
    if way == 1:
        return repr(np.frombuffer(rng.randbytes(8), np.float64)[0].item())
    if way == 2 and rng.random() < 0.2:  # about the ends of 64-bit integers
        return str(rng.choice([-1, 1]) * (2 ** rng.choice([63, 64]) + rng.randrange(-70_000, 70_000)))
    if way == 2:
        return str(rng.randrange(-(10 ** rng.randrange(1, 22)), 10 ** rng.randrange(1, 22)))
    if way == 3:
        return f"{rng.random():.{rng.randrange(20)}f}"
    if way == 4:
        return f"{rng.randrange(10**18)}e{rng.randrange(-100, 80)}"
    if way == 5:  # half-way between two floats, the hardest to round
        return f"{2 * (rng.getrandbits(52) | 1 << 52) + 1}" + rng.choice(["", ".0", "e0", "0e-1"])
    return "".join(rng.choice("0123456789.eE+-") for _ in range(rng.randrange(1, 10)))


def test_numbers_are_exact_to_the_bit() -> None:
    from agents.codecs.floats import REFUSED, read_number

    rng = random.Random(6)
    read = 0
    for _ in range(60_000):
        text = spelled(rng)
        value, after, kind = read_number(np.frombuffer(text.encode() + b",", np.uint8), 0, len(text))
        if kind == REFUSED or after < len(text):
            assert kind == REFUSED or NUMBER.fullmatch(text[:after])
            continue
        read += 1
        assert NUMBER.fullmatch(text), text
        assert np.float64(value).tobytes() == np.float64(text).tobytes(), text
    assert read > 30_000


def test_times_as_text_are_exact() -> None:
    from agents.codecs.rules import to_ms
    from agents.codecs.scan import read_text_time
    from engine.errors import BadSample

    rng, read = random.Random(7), 0
    for _ in range(30_000):
        day = (
            f"{rng.choice(['20', '19', '21'])}{rng.randrange(100):02d}-{rng.randrange(14):02d}-{rng.randrange(33):02d}"
        )
        time = f"{rng.randrange(25):02d}:{rng.randrange(61):02d}:{rng.randrange(61):02d}"
        part = f".{rng.randrange(10**9):09d}"[: rng.randrange(11)] if rng.random() < 0.5 else ""
        text = (
            day
            + rng.choice("T ")
            + time
            + part
            + rng.choice(["", "Z", f"+{rng.randrange(26):02d}:{rng.randrange(62):02d}"])
        )
        ts_ms, after = read_text_time(np.frombuffer(text.encode() + b'"', np.uint8), 0, len(text) + 1)
        if ts_ms < 0 or after < len(text):
            continue
        read += 1
        try:
            assert to_ms(text) == ts_ms, text
        except BadSample:
            assert ts_ms < 946_684_800_000 or ts_ms >= 4_102_444_800_000, text
    assert read > 5_000
