"""The fast path as the decoder sees it: try a batch, be taught what was not known, forget when full.

How an object is learned without knowing its format: all its numbers and times are replaced by such as occur nowhere
else, and the slow path is asked again. Where one of them comes back as a value or as the time is a hole; every other
byte, numbers included, must be equal the next time. So the fast path cannot disagree with the slow path about what a
record means, only about how a number is spelled, and floats.py is exact.

Not obvious: learning costs ten slow records, so it is paid from a budget that new series and hits fill. A stream that
never repeats itself (a trace id in each object) soon learns nothing more and costs the slow path only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np

from agents.codecs import influx, json_template, line_template, plain
from agents.codecs.columns import FULL, Bounds, Bytes, Found, Ints, Job, grown
from agents.codecs.fastpath import run
from agents.codecs.json_template import FIELD, VALUE
from agents.codecs.known import KnownHeads, KnownUnits, Piece
from agents.codecs.rules import Limits, Out, means_none
from agents.codecs.scan import find
from engine.errors import BadSample

#: Longer objects, or such with more numbers, are not worth their bytes.
MAX_UNIT_BYTES = 16 * 1024
MAX_HOLES = 512
#: Fields of one head: those that hold no number are not bounded by the number of series.
MAX_FIELDS = 512

#: After so many runs of no use in a row, 2^5 records are taken slowly: a try then costs 4 % of the slow path.
MAX_POOR_RUNS = 5

#: Stand-ins for numbers: valid as a value and as a time in ms (July 2017), unlike anything a sender writes twice.
_STAND_IN = 1_500_000_000_000
_OWN_MS = _STAND_IN + 1_000_000
_TEXT_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}[0-9.:Z+-]*+"
_TOKEN = re.compile(rb'"(' + _TEXT_TIME + rb')"|"(?:[^"\\]|\\.)*+"|(-?[0-9][0-9.eE+-]*+)', re.DOTALL)

#: A budget to begin with, and what one new series, one hit and one record add to it.
_FIRST_BUDGET, _PER_SERIES, _HITS_EACH, _RECORDS_EACH, _MAX_BUDGET = 4096, 2, 16, 64, 1_000_000


class Speculation:
    """Memory and adaptive state of the fast path of one decoder. Nothing in it changes what is decoded."""

    def __init__(self, limits: Limits, *, max_record_bytes: int, max_bytes: int, shapes: dict[str, bool]) -> None:
        """max_bytes bounds what is known by heart; shapes are the keywords of plain.decode_item."""
        self._bounds = Bounds(float(limits.max_abs_value), limits.future_ms, max_record_bytes)
        self._limits = limits
        self._max_bytes = max_bytes
        self._shapes = shapes
        self._budget = float(_FIRST_BUDGET)
        self._poor_runs = 0
        self._last = np.full(2, -1, np.int32)
        self._units, self._heads = KnownUnits(), KnownHeads()
        self.found = Found(np.zeros(4096, np.int32), np.zeros(4096, np.int64), np.zeros(4096), np.zeros(4096, np.int32))
        self.pos = 0
        #: Records to take slowly before the next try; set where tries do not pay.
        self.pause = 0
        self.hits = 0

    def run(self, data: Bytes, start: Ints, own_ms: Ints, index: int) -> int:
        """Decode from record index on, into found[pos:]; the index of the first record that is not known."""
        begin = index
        while True:
            index, self.pos, why = run(self._job(data, start, own_ms), index, self.pos)
            if why != FULL:
                break
            self._grow(2 * len(self.found.row))
        self._judge(index - begin, done=index == len(start) - 1)
        return index

    def _job(self, data: Bytes, start: Ints, own_ms: Ints) -> Job:
        units, heads = self._units.arrays, self._heads.arrays
        return Job(data, start, own_ms, self._bounds, units, heads, self.found, self._last)

    def _judge(self, hits: int, *, done: bool) -> None:
        """A run of one or two records costs more than it saves: pause longer each time."""
        self.hits += hits
        self._budget = min(self._budget + hits / _HITS_EACH, _MAX_BUDGET)
        if hits > 2:
            self._poor_runs = 0
        elif not done:
            self._poor_runs = min(self._poor_runs + 1, MAX_POOR_RUNS)
        self.pause = 2**self._poor_runs if self._poor_runs > 2 else 0

    def append(self, out: Out) -> None:
        """Samples of the slow path behind those found; out is emptied."""
        count = len(out.row)
        if count == 0:
            return
        self._grow(self.pos + count)
        part = slice(self.pos, self.pos + count)
        self.found.row[part], self.found.ts_ms[part] = out.row, out.ts_ms
        self.found.value[part], self.found.record[part] = out.value, out.index
        self.pos += count
        out.clear()

    def take(self) -> Found:
        """All that was found, as arrays of their own; the columns are used again."""
        found, pos = self.found, self.pos
        self.pos = 0
        return Found(
            found.row[:pos].copy(), found.ts_ms[:pos].copy(), found.value[:pos].copy(), found.record[:pos].copy()
        )

    def _grow(self, length: int) -> None:
        found = self.found
        self.found = Found(
            grown(found.row, length),
            grown(found.ts_ms, length),
            grown(found.value, length),
            grown(found.record, length),
        )

    @property
    def used_bytes(self) -> int:
        """Of what is known by heart, replaced entries included."""
        return self._units.used_bytes + self._heads.used_bytes

    def new_series(self, count: int) -> None:
        self._budget = min(self._budget + _PER_SERIES * count, _MAX_BUDGET)

    def teach(self, value: bytes, own_ms: int, out: Out, heads: influx.Heads, *, lines: bool) -> None:
        """Learn from a record that the slow path has just decoded without a complaint; out is its own, for rows."""
        self._budget += 1 / _RECORDS_EACH
        if self._budget < 1:
            return
        if self.used_bytes > self._max_bytes:
            self._units, self._heads = KnownUnits(), KnownHeads()
            self._last[:] = -1
        if value.startswith(b"\xef\xbb\xbf"):
            return
        if lines:
            self._teach_lines(value, heads)
        else:
            self._teach_json(value, own_ms, out)

    def _teach_json(self, value: bytes, own_ms: int, out: Out) -> None:
        data = np.frombuffer(value, np.uint8)
        at = 1 if value[:1] == b"[" else 0
        while self._budget >= 1:
            job = self._job(data, np.array([0, len(value)]), np.array([own_ms]))
            at, stop = json_template.unknown(job._replace(found=self._scratch()), at)
            if at < 0:
                return
            self._budget -= 1
            if stop - at <= MAX_UNIT_BYTES:
                self._learn_unit(value[at:stop], own_ms, out)
            at = stop

    def _scratch(self) -> Found:
        """The columns behind what was found, for a try whose samples are thrown away."""
        self._grow(self.pos + MAX_HOLES)
        found, pos = self.found, self.pos
        return Found(found.row[pos:], found.ts_ms[pos:], found.value[pos:], found.record[pos:])

    def _learn_unit(self, raw: bytes, own_ms: int, out: Out) -> None:
        actual = self._ask(raw, own_ms, Out(out.row_of, self._limits))
        telegraf = self._shapes["telegraf"] and plain.is_telegraf(plain.parse(raw))
        tokens = [match.span(match.lastindex) for match in _TOKEN.finditer(raw) if match.lastindex]
        if telegraf:  # where a field means none there is no sample, so no hole
            tokens = [(start, stop) for start, stop in tokens if not _is_unset(raw[start:stop])]
        if actual is None or not 0 < len(tokens) <= MAX_HOLES:
            return
        edges = [0, *(edge for span in tokens for edge in span), len(raw)]
        literals = [raw[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        stand_ins = [_stand_in(i, in_quotes=piece[-1:] == b'"') for i, piece in enumerate(literals[:-1])]
        asked = b"".join(piece + number for piece, number in zip(literals, [*stand_ins, b""], strict=True))
        answer = self._ask(asked, _OWN_MS, Out(_no_row, Limits(future_ms=2 * _OWN_MS)))
        holes = _holes(actual, answer, len(tokens)) if answer is not None else None
        if holes is None:
            return
        digest, _ = json_template.shape(np.frombuffer(raw, np.uint8), 0, len(raw))
        entry = self._units.add(np.uint64(digest), _pieces(raw, tokens, holes, FIELD if telegraf else VALUE))
        self._units.arrays.follower[self._last[0] + 1] = entry
        self._last[0] = entry

    def _ask(self, raw: bytes, own_ms: int, out: Out) -> Out | None:
        """What the slow path says of one object; None where it complains or finds no sample."""
        try:
            plain.decode_item(plain.parse(raw), own_ms, out, **self._shapes)
        except BadSample:
            return None
        return out if out.bad is None and out.row else None

    def _teach_lines(self, value: bytes, heads: influx.Heads) -> None:
        data = np.frombuffer(value, np.uint8)
        for at in influx.starts(value):
            line = influx.scan_line(value, at)
            digest, _ = line_template.head_shape(data, at, len(value))
            digest = np.uint64(digest)
            known = self._heads.fields(digest, line.head)
            rows = heads[line.head].rows if line.head in heads else {}
            fields = dict(known)
            for key, _ in line.fields:
                fields[key + b"="] = max(rows.get(key, -1), known.get(key + b"=", -1))
            if fields != known:
                self._budget -= 1
                if len(fields) > MAX_FIELDS:
                    return
                self._heads.add(digest, line.head, fields)
            entry = find(self._heads.arrays.lookup, digest)
            self._heads.arrays.follower[self._last[1] + 1] = entry
            self._last[1] = entry


def _no_row(*_: Any) -> int:
    return 0


def _stand_in(token: int, *, in_quotes: bool) -> bytes:
    """A number that occurs nowhere else, or the time that it is."""
    if not in_quotes:
        return b"%d" % (_STAND_IN + token)
    return datetime.fromtimestamp((_STAND_IN + token) / 1000, UTC).isoformat(timespec="milliseconds").encode()


def _holes(actual: Out, answer: Out, tokens: int) -> dict[int, int] | None:
    """Which token is what: the row of a value, or -1 for the time. None where that is not certain."""
    if len(actual.row) != len(answer.row) or len(set(answer.ts_ms)) != 1:
        return None
    places = [value - _STAND_IN for value in answer.value]
    time = answer.ts_ms[0] - _STAND_IN
    if any(not 0 <= place < tokens for place in places) or any(a >= b for a, b in pairwise(places)):
        return None
    holes = {int(place): row for place, row in zip(places, actual.row, strict=True)}
    if answer.ts_ms[0] == _OWN_MS:
        return holes
    if not 0 <= time < tokens or time in holes:
        return None
    return {**holes, time: -1}


def _is_unset(token: bytes) -> bool:
    """Whether a number means none; a time in quotes does not."""
    try:
        return means_none(float(token))
    except ValueError:
        return False


def _pieces(raw: bytes, tokens: list[tuple[int, int]], holes: dict[int, int], value: int) -> list[Piece]:
    """value: what a hole for a value is here."""
    pieces: list[Piece] = []
    at = 0
    for token, (start, stop) in enumerate(tokens):
        if token in holes:
            row = holes[token]
            time = json_template.TEXT_TIME if raw[start - 1 : start] == b'"' else json_template.TIME
            pieces.append((raw[at:start], time if row < 0 else value, row))
            at = stop
    pieces.append((raw[at:], json_template.NO_HOLE, -1))
    return pieces
