"""What a value, a time and a name may be, whatever the format they came in.

Owns the limits and the reasons. Every check raises BadSample and is made before a series is admitted, so that a bad
sample can never take a row.

Not obvious: int64's and uint64's ends mean "no limit is set" in cgroups and Docker, so numbers from LARGEST to NO_LIMIT
are no values. Constants from here are compiled into kernels; engine.kernel hashes the files that name it, as this one
does. And a time has no unit on the wire. Seconds, milliseconds, microseconds and nanoseconds of 2000..2100 do not
overlap, so the magnitude tells them apart exactly; what falls between is refused as `time_range`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from engine.batch import LARGEST
from engine.errors import BadSample
from engine.series import Kind, Labels, Series

#: 2000-01-01 and 2100-01-01 in epoch milliseconds: outside, a clock or a unit is broken.
MIN_TS_MS = 946_684_800_000
MAX_TS_MS = 4_102_444_800_000

#: Between the units: the largest second of 2100 is 4.1e9, the smallest millisecond of 2000 is 9.5e11, and so on.
SECONDS_BELOW = 100_000_000_000
MILLIS_BELOW = 100_000_000_000_000
MICROS_BELOW = 100_000_000_000_000_000

#: From engine.batch.LARGEST to here no value is meant.
NO_LIMIT = 2.0**64

#: A name, a label's key or its value; Loki allows 2,048, Datadog 200. What is longer is text, not a label.
MAX_LABEL_BYTES = 1024
#: All of an identity. It becomes a message key, a log line and a page.
MAX_IDENTITY_BYTES = 8 * 1024
MAX_LABELS = 64

#: C0 controls except tab and newline, DEL, C1, lone surrogates, and the marks that reorder text on a screen.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: Would let one identity's text be another's: `a{b="c"}` as a bare name.
_AMBIGUOUS = re.compile(r'["{}]')

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

RowOf = Callable[[str, Labels, Kind], int]
Families = dict[tuple[str, Labels], dict[str, int]]
AppendTime = Callable[[int], int]


class Limits(NamedTuple):
    """What a decoder refuses; max_abs_value keeps squares finite, future_ms keeps one clock from moving the rest."""

    max_abs_value: float = LARGEST
    future_ms: int = 300_000


class Out:
    """Collects samples of one decoder in log order, and what was wrong with the record at hand.

    row_of(name, labels, kind) finds or admits a series; it may raise BadSample. families: rows of fields seen before,
    by the name and the labels that they share.
    """

    __slots__ = ("bad", "bad_samples", "families", "index", "limits", "row", "row_of", "ts_ms", "value")

    def __init__(self, row_of: RowOf, limits: Limits, families: Families | None = None) -> None:
        self.row_of = row_of
        self.families = {} if families is None else families
        self.limits = limits
        self.row: list[int] = []
        self.ts_ms: list[int] = []
        self.value: list[float] = []
        self.index: list[int] = []
        self.bad: BadSample | None = None
        self.bad_samples = 0

    def add(self, row: int, ts_ms: int, value: float) -> None:
        self.row.append(row)
        self.ts_ms.append(ts_ms)
        self.value.append(value)

    def clear(self) -> None:
        """Forget the samples, after they were taken over."""
        self.row, self.ts_ms, self.value, self.index = [], [], [], []

    def note(self, error: BadSample) -> None:
        """The first thing wrong names the record's one dead letter; the others are counted in its detail."""
        if self.bad is None:
            self.bad = error
        self.bad_samples += 1


def check_value(value: object, limits: Limits) -> float:
    """A finite float64 within the limits; NaN is a gap that the sender told of, by null or by a limit that is not set.

    -0.0 becomes 0.0: two spellings of nothing must not make two states.

    >>> check_value(3, Limits()), check_value(-0.0, Limits())
    (3.0, 0.0)
    """
    if type(value) is float or type(value) is int:
        number = value + 0.0
        if -limits.max_abs_value <= number <= limits.max_abs_value:
            return number
        if means_none(number):
            return float("nan")
        raise BadSample("value_range", f"value {number!r} is beyond +-{limits.max_abs_value:.2g}; change the unit")
    if value is None:
        return float("nan")
    raise BadSample("value_type", f"value is a {_word(value)}, {short(value)}; wanted a JSON number")


def means_none(number: float) -> bool:
    """Whether a number says that there is none: the ends of 64-bit integers, and those of float64.

    >>> means_none(9223372036854771712), means_none(2**64 - 1), means_none(1e18), means_none(1e20)
    (True, True, False, False)
    """
    return LARGEST < abs(number) <= NO_LIMIT or abs(number) == sys.float_info.max


def to_ms(raw: object) -> int:
    """Epoch milliseconds from a number (unit by magnitude) or an ISO 8601 text.

    Finer integers and texts are cut to the millisecond, fractions of numbers are rounded.

    >>> to_ms(1767225600), to_ms(1767225600000123456), to_ms(1767225600.5), to_ms("2026-01-01T00:00:00Z")
    (1767225600000, 1767225600000, 1767225600500, 1767225600000)
    """
    if type(raw) is int:
        ts_ms = _int_to_ms(raw)
    elif type(raw) is float:
        ts_ms = _float_to_ms(raw)
    elif type(raw) is str:
        ts_ms = _text_to_ms(raw)
    else:
        raise BadSample("time_type", f"timestamp is a {_word(raw)}; wanted an epoch number or an ISO 8601 text")
    if MIN_TS_MS <= ts_ms < MAX_TS_MS:
        return ts_ms
    raise BadSample("time_range", f"timestamp {short(raw)} is not between 2000 and 2100 in s, ms, us or ns")


def _int_to_ms(raw: int) -> int:
    if raw < SECONDS_BELOW:
        return raw * 1000
    if raw < MILLIS_BELOW:
        return raw
    return raw // 1000 if raw < MICROS_BELOW else raw // 1_000_000


def _float_to_ms(raw: float) -> int:
    if raw < SECONDS_BELOW:
        return round(raw * 1000.0)
    if raw < MILLIS_BELOW:
        return round(raw)
    return round(raw / 1000.0) if raw < MICROS_BELOW else round(raw / 1_000_000.0)


def _text_to_ms(raw: str) -> int:
    try:
        if raw[4:5] != "-":  # fromisoformat would take 20260101, and 17672256 for a day in 1767
            raise ValueError
        when = datetime.fromisoformat(raw)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return (when - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):
        raise BadSample("time_type", f"timestamp text {short(raw)} is not ISO 8601") from None


def check_time(raw: object, append_ms: int, limits: Limits) -> int:
    """The sample's time; the record's own where the sample has none. append_ms is -1 where Kafka has none either."""
    if raw is None:
        return own_time(append_ms)
    ts_ms = raw if type(raw) is int and MIN_TS_MS <= raw < MAX_TS_MS else to_ms(raw)
    if append_ms >= 0 and ts_ms > append_ms + limits.future_ms:
        ahead_s = (ts_ms - append_ms) / 1000
        raise BadSample("time_future", f"timestamp {short(raw)} is {ahead_s:.0f} s ahead of the record's own time")
    return ts_ms


def own_time(append_ms: int) -> int:
    """A record's own time as the time of its samples."""
    if append_ms < 0:
        raise BadSample("no_time", "the sample has no timestamp and the record has none either")
    if not MIN_TS_MS <= append_ms < MAX_TS_MS:
        raise BadSample("time_range", f"the record's own time {append_ms} ms is not between 2000 and 2100")
    return append_ms


def identity(name: str, labels: Iterable[tuple[str, str]], kind: Kind = Kind.UNKNOWN) -> Series:
    """A series, if its name and labels are fit to be one. An empty label is no label, as in Prometheus."""
    _check_text(name, "name")
    kept = [(key, value) for key, value in labels if value]
    if len(kept) > MAX_LABELS:
        raise BadSample("labels", f"{len(kept)} labels; at most {MAX_LABELS} make a series")
    total = len(name)
    for key, value in kept:
        _check_text(key, "label key")
        _check_size(value, f"label {short(key)}")
        if _UNSAFE.search(value):
            raise BadSample("labels", f"label {short(key)} holds a control character: {short(value)}")
        total += len(key.encode()) + len(value.encode())
    if total > MAX_IDENTITY_BYTES:
        raise BadSample("label_size", f"name and labels take {total} bytes; at most {MAX_IDENTITY_BYTES}")
    return Series.of(name, kept, kind)


def _check_text(text: str, what: str) -> None:
    if not text:
        raise BadSample("labels", f"an empty {what}")
    _check_size(text, what)
    if _UNSAFE.search(text) or _AMBIGUOUS.search(text):
        raise BadSample("labels", f"{what} {short(text)} holds a control character, a quote or a brace")


def _check_size(text: str, what: str) -> None:
    if len(text) > MAX_LABEL_BYTES or len(text.encode(errors="replace")) > MAX_LABEL_BYTES:
        raise BadSample("label_size", f"{what} takes {len(text)} characters; at most {MAX_LABEL_BYTES} bytes")


def _word(value: object) -> str:
    names = {bool: "boolean", str: "string", dict: "object", list: "array", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def short(value: object) -> str:
    """At most 80 characters of what came, safe in a log line and in a header.

    Containers by their size only: the text of a deep one would overflow the stack.
    """
    if isinstance(value, (dict, list)):
        return f"{_word(value)} of {len(value)}"
    text = ascii(value[:80] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= 80 else text[:77] + "..."
