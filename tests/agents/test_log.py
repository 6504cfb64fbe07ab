"""Laws of logging: one line an event, no secret, and a flood becomes a number."""

from __future__ import annotations

import io
import json
import logging

import pytest

from agents.log import JsonFormatter, RateLimit, TextFormatter, setup
from agents.secret import Secret


def record(
    message: str, *args: object, level: int = logging.ERROR, at: float = 0.0, **extra: object
) -> logging.LogRecord:
    made = logging.LogRecord("agents.detector", level, "x.py", 1, message, args, None)
    made.created = at
    vars(made).update(extra)
    return made


def test_json_line_has_the_fields_people_search_for() -> None:
    line = json.loads(JsonFormatter().format(record("lost %s", "broker", topic="metrics", partition=3)))
    assert line == {
        "ts": "1970-01-01T00:00:00.000+00:00",
        "level": "error",
        "logger": "detector",
        "event": "lost broker",
        "topic": "metrics",
        "partition": 3,
    }


@pytest.mark.parametrize("formatter", [TextFormatter, JsonFormatter])
def test_a_secret_never_leaves(formatter: type) -> None:
    secret = Secret("hunter2")
    try:
        raise RuntimeError("login with hunter2 failed")
    except RuntimeError as error:
        made = record("key %s and hunter2", secret, password=secret, url="http://x/hunter2")
        made.exc_info = (type(error), error, error.__traceback__)
    text = formatter((secret,)).format(made)
    assert "hunter2" not in text
    assert "***" in text


def test_a_flood_becomes_a_number() -> None:
    limit = RateLimit(burst=2, window_s=10)
    passed = [limit.filter(record("broker %s down", "b1", at=second / 100)) for second in range(100)]
    assert sum(passed) == 2
    later = record("broker %s down", "b2", at=10.0)
    assert limit.filter(later)
    assert later.suppressed == 98
    again = record("broker %s down", "b2", at=10.1)
    assert limit.filter(again)
    assert not hasattr(again, "suppressed")


def test_other_kinds_and_information_pass() -> None:
    limit = RateLimit(burst=1)
    assert limit.filter(record("a"))
    assert not limit.filter(record("a"))
    assert limit.filter(record("b"))
    assert all(limit.filter(record("a", level=logging.INFO)) for _ in range(10))


def test_the_table_of_kinds_is_bounded() -> None:
    limit = RateLimit()
    for number in range(2000):
        limit.filter(record(f"made {number}"))
    assert len(limit._seen) <= 512


def test_setup_writes_json_when_no_terminal_reads() -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    try:
        setup(stream=stream)
        logging.getLogger("agents.x").warning("hello", extra={"lag_records": 4})
    finally:
        root.handlers[:], root.level = before
        logging.captureWarnings(False)
    assert json.loads(stream.getvalue())["lag_records"] == 4


def test_sentences_of_different_meaning_do_not_swallow_each_other() -> None:
    """All come under the template "%s"; numbers in them make no difference."""
    limit = RateLimit()
    sentences = ["a is gone", "b is not used", "c is not uploaded", "d is full", "e is late", "f has died"]
    assert all(limit.filter(record("%s", one)) for one in sentences for _ in range(5))
    assert sum(limit.filter(record("%s", f"Snapshot {n}.snap of metrics[{n}] is not used")) for n in range(100)) == 5
    assert limit.filter(record("%s", "metrics[3]: 4711 records are gone from the log before they were read."))
