"""Laws of the readers: shapes by header, times by magnitude, every refusal names file and line, cuts do not matter."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.offline.files import Table, sources
from engine.batch import LARGEST
from engine.errors import ConfigError
from engine.series import Kind


def table(path: Path, text: str, **options: object) -> Table:
    path.write_text(text)
    return Table(sources([path])[0], **options)


def test_nab(tmp_path: Path) -> None:
    read = table(tmp_path / "nyc.csv", "timestamp,value\n2014-07-01 00:00:00,10844\n2014-07-01 00:30:00,\n")
    (chunk,) = read.chunks()
    assert read.shape == "nab"
    assert read.series[0].text == 'value{entity="nyc"}'
    assert read.series[0].kind is Kind.GAUGE
    assert chunk.stamps == ["2014-07-01 00:00:00", "2014-07-01 00:30:00"]
    assert chunk.ts_ms.tolist() == [1404172800000, 1404174600000]
    np.testing.assert_array_equal(chunk.value, [10844.0, np.nan])


def test_wide_and_its_counters(tmp_path: Path) -> None:
    read = table(tmp_path / "web.csv", "timestamp,cpu,requests_total\n0,1,2\n1,3,\n")
    (chunk,) = read.chunks()
    assert [one.kind for one in read.series] == [Kind.GAUGE, Kind.COUNTER]
    assert chunk.series.tolist() == [0, 1, 0, 1]
    assert chunk.row.tolist() == [0, 0, 1, 1]
    assert chunk.cells == ["1", "2", "3", ""]


def test_long_names_its_entities(tmp_path: Path) -> None:
    text = "timestamp,series,value,host,disk\n0,used,1,a,sda\n0,used,2,b,\n1,used,3,a,sda\n"
    read = table(tmp_path / "l.csv", text, entity_labels=("host",))
    (chunk,) = read.chunks()
    assert chunk.series.tolist() == [0, 1, 0]
    assert [one.text for one in read.series] == ['used{disk="sda",host="a"}', 'used{host="b"}']
    assert read.series[0].entity(read.entity_labels) == "host=a"


def test_gzip_is_read_as_plain(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"timestamp,value\n1,2\n"))
    assert sources([path])[0].name == "x"
    assert next(Table(sources([path])[0]).chunks()).value.tolist() == [2.0]


@pytest.mark.parametrize(
    ("stamp", "ts_ms"),
    [
        ("1396332000", 1396332000000),
        ("1396332000.25", 1396332000250),
        ("1396332000123", 1396332000123),
        ("1396332000123456", 1396332000123),
        ("1396332000123456789", 1396332000123),
        ("2014-04-01T06:00:00Z", 1396332000000),
        ("2014-04-01 08:00:00+02:00", 1396332000000),
        ("2014-04-01 06:00:00.001", 1396332000001),
        ("0", 0),
    ],
)
def test_units_of_time(tmp_path: Path, stamp: str, ts_ms: int) -> None:
    (chunk,) = table(tmp_path / "t.csv", f"timestamp,value\n{stamp},1\n").chunks()
    assert chunk.ts_ms.tolist() == [ts_ms]
    assert chunk.stamps == [stamp]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "is empty"),
        ("2014-01-01,3\n", ":1: the header begins with '2014-01-01'"),
        ("timestamp\n", "header begins with"),
        ("timestamp,a,a\n", "column 'a' twice"),
        ("timestamp,value\n1,2,3\n", ":2: 3 cells, but the header has 2"),
        ("timestamp,value\n1,2\n\nx,3\n", ":4: 'x' is no timestamp"),
        ("timestamp,value\n1,2\n1396332000123,3\n", ":3: timestamp '1396332000123' is milliseconds.*seconds"),
        ("timestamp,value\n2014-01-01,2\n5,3\n", ":3: timestamp '5' is seconds.*ISO 8601"),
        ("timestamp,value\n1,2\n2,abc\n", ":3: 'abc' is no number"),
        ("timestamp,value\n1,1_000\n", ":2: '1_000' is no number"),
        ('timestamp,value\n1,"2\n', "this is not CSV"),
        ("timestamp,series,value\n1,,2\n", ":2: the series has no name"),
    ],
)
def test_a_malformed_file_names_its_line(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        list(table(tmp_path / "bad.csv", text).chunks())


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"timestamp,value\n\xff\xfe,1\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        list(Table(sources([tmp_path / "x.csv"])[0]).chunks())
    (tmp_path / "y.csv.gz").write_bytes(gzip.compress(b"timestamp,value\n" + b"1,2\n" * 1000)[:-20])
    with pytest.raises(ConfigError, match="damaged"):
        list(Table(sources([tmp_path / "y.csv.gz"])[0]).chunks())


def test_numbers_no_model_may_see_are_missing_and_reported(tmp_path: Path) -> None:
    read = table(tmp_path / "w.csv", "timestamp,a,b\n0,1,inf\n1,-1e300,2\n2,NaN,null\n")
    (chunk,) = read.chunks()
    np.testing.assert_array_equal(chunk.value, [1, np.nan, np.nan, 2, np.nan, np.nan])
    assert [(one.line, one.row, one.series, one.reason) for one in chunk.rejected] == [
        (2, 0, 1, "not_finite"),
        (3, 1, 0, "value_range"),
    ]


def test_inputs_that_share_a_stem_take_their_folder(tmp_path: Path) -> None:
    for folder in ("eu", "us"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "web.csv").write_text("timestamp,value\n")
    assert [one.name for one in sources([tmp_path])] == ["eu/web", "us/web"]
    with pytest.raises(ConfigError, match="given twice"):
        sources([tmp_path, tmp_path / "eu" / "web.csv"])
    with pytest.raises(ConfigError, match="does not exist"):
        sources([tmp_path / "none.csv"])


def test_results_are_no_inputs(tmp_path: Path) -> None:
    """A second run over a folder that holds its own --out must not read, and empty, what the first has written."""
    (tmp_path / "out").mkdir()
    for name in ("web.csv", "out/scores.csv", "out/mine.csv"):
        (tmp_path / name).write_text("timestamp,value\n")
    results = {(tmp_path / "out/scores.csv").resolve()}
    assert [one.name for one in sources([tmp_path], results=results)] == ["mine", "web"]
    with pytest.raises(ConfigError, match="would be overwritten"):
        sources([tmp_path / "out" / ".." / "out" / "scores.csv"], results=results)


@pytest.mark.parametrize("stamp", ["1e400", "9" * 25, "20140214", "19991231"])
def test_what_is_no_time_is_told_by_its_line(tmp_path: Path, stamp: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.csv:2: .* is no timestamp"):
        list(table(tmp_path / "x.csv", f"timestamp,value\n{stamp},1\n").chunks())


def test_a_flipped_byte_in_a_compressed_file_is_damage(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = gzip.compress(("timestamp,value\n" + "".join(f"{at},{rng.random()}\n" for at in range(60))).encode())
    path = tmp_path / "x.csv.gz"
    for at in range(10, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with pytest.raises(ConfigError):
            list(Table(sources([path])[0]).chunks())


def test_no_limit_is_no_value(tmp_path: Path) -> None:
    cells = ["9223372036854771712", "-9223372036854775808", "18446744073709551615", "1.7976931348623157e308", "9e18"]
    text = "timestamp,value\n" + "".join(f"{at},{cell}\n" for at, cell in enumerate(cells))
    (chunk,) = table(tmp_path / "x.csv", text).chunks()
    np.testing.assert_array_equal(chunk.value, [np.nan] * 4 + [9e18])
    assert chunk.rejected == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.booleans()), min_size=1, max_size=40),
    size=st.integers(1, 20),
)
def test_chunks_do_not_depend_on_their_size(tmp_path: Path, cells: list[tuple[float, bool]], size: int) -> None:
    rows = [f"{at},{'' if empty else repr(value)},{at}" for at, (value, empty) in enumerate(cells)]
    text = "timestamp,a,b\n" + "\n".join(rows) + "\n"
    whole = list(table(tmp_path / "c.csv", text).chunks(10_000))
    parts = list(table(tmp_path / "c.csv", text).chunks(size))
    for field in ("ts_ms", "series", "value"):
        joined = np.concatenate([getattr(one, field) for one in parts])
        np.testing.assert_array_equal(joined, getattr(whole[0], field))
    assert [one for part in parts for one in part.rejected] == whole[0].rejected
    expected = [np.nan if empty or abs(value) > LARGEST else value for value, empty in cells]
    np.testing.assert_array_equal(whole[0].value[::2], expected)


def test_parquet_is_read_as_its_text_would_be(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is optional: pip install 'graft[parquet]'")
    from datetime import datetime

    from pyarrow import parquet

    stamps = [datetime(2026, 1, 1, 0, at) for at in range(3)]  # noqa: DTZ001
    parquet.write_table(
        pyarrow.table({"timestamp": stamps, "cpu": [1.5, None, 3.0], "n": [1, 2, 3]}), tmp_path / "x.parquet"
    )
    read = Table(sources([tmp_path / "x.parquet"])[0])
    (chunk,) = read.chunks()
    assert (read.shape, chunk.stamps[1]) == ("wide", "2026-01-01 00:01:00")
    assert chunk.ts_ms.tolist() == [1767225600000, 1767225660000, 1767225720000]
    np.testing.assert_array_equal(chunk.value, [1.5, 1, np.nan, 2, 3, 3])
