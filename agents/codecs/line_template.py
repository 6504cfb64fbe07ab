"""Line protocol by heart: the head's bytes, the fields it is known to have in whatever order, and the numbers.

The grammar is a subset of influx.py's, byte for byte the same in what it accepts; all else is no hit. Compiled.

Not obvious: Telegraf writes fields in random order unless told otherwise, so a field is looked for from where the
last one was found on, round and round.
"""

from __future__ import annotations

import numpy as np

from agents.codecs.columns import FULL, UNKNOWN, Bytes, Job
from agents.codecs.floats import INTEGER, REFUSED, WIDE, read_number
from agents.codecs.scan import FIRST_DIGEST, find, fit_time, int_to_ms, means_none, mix, read_digits, same, skip_blanks
from engine.kernel import inline, kernel

_TRUE = np.frombuffer(b"trueTrueTRUE", np.uint8)
_FALSE = np.frombuffer(b"falseFalseFALSE", np.uint8)


@kernel
def head_shape(data: Bytes, at: int, end: int) -> tuple[np.uint64, int]:
    """Hash of a head with the space that ends it, and its length; -1 where there is no such space."""
    digest = FIRST_DIGEST
    start = at
    escaped = False
    while at < end and data[at] != 10:
        byte = data[at]
        digest = mix(digest, byte)
        at += 1
        if byte == 32 and not escaped:
            return digest, at - start
        escaped = byte == 92
    return digest, -1


@inline
def _after_text(data: Bytes, at: int, end: int) -> int:
    """The position after a quoted string that begins at `at`, or -1."""
    at += 1
    while at < end and data[at] != 34:
        at += 2 if data[at] == 92 else 1
    return at + 1 if at < end else -1


@inline
def _after_boolean(data: Bytes, at: int, end: int) -> int:
    """The position after a boolean at `at`; at itself where there is none."""
    for k in range(3):
        if end - at >= 4 and same(data, at, _TRUE, 4 * k, 4):
            return at + 4
        if end - at >= 5 and same(data, at, _FALSE, 5 * k, 5):
            return at + 5
    return at + 1 if data[at] in (116, 84, 102, 70) else at


@inline
def _field(job: Job, at: int, end: int, entry: int, guess: int) -> int:
    """Which of the head's fields begins at `at`, trying guess first; -1 for none of them."""
    field, first, count = job.heads.field, job.heads.first[entry], job.heads.size[entry]
    for step in range(count):
        k = guess + step
        k = first + (k - count if k >= count else k)
        length = field[k, 1]
        if end - at > length and same(job.data, at, job.heads.pool, field[k, 0], length):
            return int(k)
    return -1


@inline
def _number(job: Job, at: int, end: int, row: int, pos: int) -> tuple[int, int]:
    """The position after a number with its suffix, and pos after its sample, if it means one; -1 on any doubt."""
    data = job.data
    value, after, kind = read_number(data, at, end)
    if kind == REFUSED:
        return -1, pos
    if after < end and (data[after] == 105 or data[after] == 117):
        signed = data[after] == 105
        if kind != INTEGER and (kind != WIDE or signed):
            return -1, pos
        if not signed and data[at] == 45:
            return -1, pos
        after += 1
    if not -job.bounds.max_abs_value <= value <= job.bounds.max_abs_value:
        return (int(after) if means_none(value) else -1), pos
    if row < 0:
        return -1, pos
    job.found.row[pos] = row
    job.found.value[pos] = value + 0.0
    return int(after), pos + 1


@inline
def _line_end(job: Job, at: int, end: int, index: int, start: int, pos: int) -> int:
    """Read the time and the blanks after it, and set the samples' time; the position at the line's end or -1."""
    data, ts_ms, timed = job.data, job.own_ms[index], False
    if end - at > 1 and data[at] == 32 and 48 <= data[at + 1] <= 57:
        raw, at = read_digits(data, at + 1, end)
        if raw < 0:
            return -1
        ts_ms, timed = int_to_ms(raw), True
    while at < end and (data[at] == 32 or data[at] == 13):
        at += 1
    if at < end and data[at] != 10:
        return -1
    if not fit_time(ts_ms, job.own_ms[index] if timed else -1, job.bounds.future_ms):
        return -1
    for k in range(start, pos):
        job.found.ts_ms[k] = ts_ms
        job.found.record[k] = index
    return at


@inline
def match(job: Job, at: int, end: int, index: int, entry: int, pos: int) -> tuple[int, int]:
    """The position after the line if it has this head, and pos after its samples; -UNKNOWN or -FULL if no hit."""
    data, head = job.data, job.heads.head
    start, guess = pos, 0
    if end - at < head[entry, 1] or not same(data, at, job.heads.pool, head[entry, 0], head[entry, 1]):
        return -UNKNOWN, start
    at += head[entry, 1]
    while True:
        k = _field(job, at, end, entry, guess)
        if k < 0:
            return -UNKNOWN, start
        guess = k - job.heads.first[entry] + 1
        at += job.heads.field[k, 1]
        if data[at] == 45 or 48 <= data[at] <= 57:
            if pos >= len(job.found.row):
                return -FULL, start
            after, pos = _number(job, at, end, job.heads.field[k, 2], pos)
        else:
            after = _after_text(data, at, end) if data[at] == 34 else _after_boolean(data, at, end)
        if after <= at:
            return -UNKNOWN, start
        at = after
        if at >= end or data[at] != 44:
            break
        at += 1
    at = _line_end(job, at, end, index, start, pos)
    return (at, pos) if at >= 0 else (-UNKNOWN, start)


@inline
def record(job: Job, index: int, pos: int) -> tuple[int, int]:
    """0 and pos after all samples of a record of lines; -UNKNOWN or -FULL if it is no hit. last[1]: the head before."""
    data, at, end = job.data, job.start[index], job.start[index + 1]
    heads, last = job.heads, job.last
    lines = 0
    while True:
        at = skip_blanks(data, at, end)
        if at >= end:
            return (0 if lines > 0 else -UNKNOWN), pos
        before = last[1] + 1
        guess = heads.follower[before]
        entry = guess
        after = -UNKNOWN
        for attempt in range(2):
            if attempt == 1:
                digest, length = head_shape(data, at, end)
                entry = find(heads.lookup, digest) if length >= 0 else -1
                if entry == guess:
                    break
            if entry >= 0:
                after, pos = match(job, at, end, index, entry, pos)
                if after != -UNKNOWN:
                    break
        if after < 0:
            return after, pos
        heads.follower[before] = entry
        last[1] = entry
        at = after
        lines += 1
