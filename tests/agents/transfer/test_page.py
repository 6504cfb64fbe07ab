"""The page: whole, of one file, without a script, and safe from what metrics and hosts are called."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from agents.transfer.page import page
from engine.transfer.report import report
from tests.engine.transfer.accounts import record, worth

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&{{7*7}}"
#: Elements that have no end.
VOID = {"meta", "circle", "line", "polyline"}


class Reader(HTMLParser):
    """Elements, attributes and text of a page; each element is closed by its own end."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID or tag == "circle":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def finish(self) -> None:
        self.close()
        assert self._open == []


def read(told: dict[str, Any]) -> tuple[str, Reader]:
    text = page(told)
    reader = Reader()
    reader.feed(text)
    reader.finish()
    return text, reader


def told_of(name: str) -> dict[str, Any]:
    account = worth(metric=name)
    return report([
        record(f"host={name}", "adopted", 1, account, environment=name, source=name),
        record(f"host={name}", "passed", 24, account, environment=name, source=name),
        record(f"host={name}2", "refused", 1, account, environment=name, source=name, unlike=3.0),
    ])  # fmt: skip


def test_a_hostile_name_stays_a_name() -> None:
    text, reader = read(told_of(HOSTILE))
    assert set(reader.tags) & {"script", "img", "iframe", "object", "link"} == set()
    assert not any(name.startswith("on") for name, _ in reader.attributes)
    assert HOSTILE in reader.text
    assert "<script>" not in text


def test_it_needs_nothing_from_anywhere_and_says_so() -> None:
    text, reader = read(told_of("cpu"))
    assert not re.search(r"https?:|//|url\(|@import", text)
    assert not {name for name, _ in reader.attributes} & {"src", "href"}
    policy = next(value for _, value in reader.attributes if value and "default-src" in value)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "prefers-color-scheme:dark" in text
    assert ("name", "viewport") in reader.attributes


def test_it_shows_what_the_report_says() -> None:
    told = told_of("cpu")
    _, reader = read(told)
    (fleet,) = told["fleets"]
    assert fleet["headline"] in reader.text
    assert "unlikeness of the metrics 3.00 (limit 1.00)" in reader.text
    for word in ("0-1 h", "12-24 h", "scale", "season", "structure", "tail", "refused"):
        assert word in reader.text
    shares = [value for name, value in reader.attributes if name == "style" and value and "flex-grow" in value]
    assert shares == ["flex-grow:3", "flex-grow:1"]
    assert reader.tags.count("polyline") == 2


@pytest.mark.parametrize(
    "records",
    [
        [],
        [record("host=a", "refused", 1)],
        [record("host=a", "passed", 24, worth(0, 0, 0, gains=()))],
        [record("host=a", "passed", 24, worth(0, 3, 0, gains=(0.0,)))],
    ],
)
def test_a_report_of_little_is_a_page_as_well(records: list[dict[str, Any]]) -> None:
    text, _ = read(report(records))
    assert "nan" not in text
    assert "None" not in text
