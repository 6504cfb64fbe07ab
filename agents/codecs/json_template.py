"""JSON objects by heart: bytes that must be equal, and holes that hold numbers. Compiled.

A hit is a few comparisons of memory and a few numbers read; whatever is different in any byte is no hit. A record is
one object or an array of them; an array is a hit only as a whole.

Not obvious: which entry to try comes from what followed last time, since a producer writes in the same order each
interval. Only where that fails are the bytes hashed, all but the numbers.
"""

from __future__ import annotations

import numpy as np

from agents.codecs.columns import FULL, UNKNOWN, Bytes, Job
from agents.codecs.floats import REFUSED, read_number
from agents.codecs.scan import (
    FIRST_DIGEST,
    find,
    fit_time,
    means_none,
    mix,
    read_json_time,
    read_text_time,
    same,
    skip_blanks,
    skip_time,
)
from engine.kernel import inline, kernel

#: What a hole is: none (the last piece), a value, the time of all values of the object, bare or in quotes, or the value
#: of one field of several, which has no sample where it means none.
NO_HOLE, VALUE, TIME, TEXT_TIME, FIELD = 0, 1, 2, 3, 4


@kernel
def shape(data: Bytes, at: int, end: int) -> tuple[np.uint64, int]:
    """Hash of one object but for its numbers and times, and the position after it; -1 where it does not end."""
    digest = FIRST_DIGEST
    depth = 0
    while at < end:
        byte = data[at]
        if byte == 34:
            at += 1
            at = skip_time(data, at, end)
            while at < end and data[at] != 34:
                if data[at] == 92:
                    at += 1
                    if at >= end:
                        return digest, -1
                digest = mix(digest, data[at])
                at += 1
            at += 1
        elif byte == 45 or 48 <= byte <= 57:
            byte = np.uint8(48)  # any number is the same number
            at += 1
            while at < end and (48 <= data[at] <= 57 or data[at] in (43, 45, 46, 69, 101)):
                at += 1
        else:
            at += 1
            if byte in (123, 91):
                depth += 1
            elif byte in (125, 93):
                depth -= 1
                if depth <= 0:
                    return mix(digest, byte), at
        digest = mix(digest, byte)
    return digest, -1


@inline
def match(job: Job, at: int, end: int, index: int, entry: int, pos: int) -> int:
    """The position after the object if it is this entry, its samples from found[pos] on; else -1."""
    data, piece, found = job.data, job.units.piece, job.found
    ts_ms, timed, start = job.own_ms[index], False, pos
    first = job.units.first[entry]
    for k in range(first, first + job.units.size[entry]):
        length = piece[k, 1]
        if end - at < length or not same(data, at, job.units.pool, piece[k, 0], length):
            return -1
        at += length
        if piece[k, 2] == VALUE or piece[k, 2] == FIELD:
            value, at, kind = read_number(data, at, end)
            if kind == REFUSED:
                return -1
            if not -job.bounds.max_abs_value <= value <= job.bounds.max_abs_value:
                if piece[k, 2] == FIELD or not means_none(value):
                    return -1
                value = np.nan
            found.row[pos] = piece[k, 3]
            found.value[pos] = value + 0.0
            pos += 1
        elif piece[k, 2] == TIME:
            ts_ms, at = read_json_time(data, at, end)
            timed = True
        elif piece[k, 2] == TEXT_TIME:
            ts_ms, at = read_text_time(data, at, end)
            timed = True
    if not fit_time(ts_ms, job.own_ms[index] if timed else -1, job.bounds.future_ms):
        return -1
    for k in range(start, pos):
        found.ts_ms[k] = ts_ms
        found.record[k] = index
    return at


@inline
def unit(job: Job, at: int, end: int, index: int, pos: int) -> tuple[int, int]:
    """The position after the object at `at`, and pos after its samples; -UNKNOWN or -FULL for no position.

    last[0], the entry before, is moved on with a hit.
    """
    units, last = job.units, job.last
    before = last[0] + 1
    guess = units.follower[before]
    entry = guess
    for attempt in range(2):
        if attempt == 1:
            digest, stop = shape(job.data, at, end)
            entry = find(units.lookup, digest) if stop >= 0 else -1
            if entry == guess:
                break
        if entry >= 0:
            if pos + units.samples[entry] > len(job.found.row):
                return -FULL, pos
            after = match(job, at, end, index, entry, pos)
            if after >= 0:
                units.follower[before] = entry
                last[0] = entry
                return after, pos + units.samples[entry]
    return -UNKNOWN, pos


@inline
def record(job: Job, index: int, pos: int) -> tuple[int, int]:
    """0 and pos after all samples of a record that begins with { or [; -UNKNOWN or -FULL if it is no hit."""
    data, at, end = job.data, job.start[index], job.start[index + 1]
    is_array = data[at] == 91
    if is_array:
        at += 1
    while True:
        if is_array:
            at = skip_blanks(data, at, end)
        at, pos = unit(job, at, end, index, pos)
        if at < 0:
            return at, pos
        at = skip_blanks(data, at, end)
        if not is_array:
            break
        if at >= end or (data[at] != 44 and data[at] != 93):
            return -UNKNOWN, pos
        at += 1
        if data[at - 1] == 93:
            at = skip_blanks(data, at, end)
            break
    return (0 if at == end else -UNKNOWN), pos


@kernel
def unknown(job: Job, at: int) -> tuple[int, int]:
    """Start and end of the first object from `at` on that is not known yet; links the known ones. (-1, -1) if none.

    The job is one record of valid JSON; at is where an object or the comma before it begins. found is scratch.
    """
    data, end = job.data, job.start[1]
    while True:
        at = skip_blanks(data, at, end)
        if at < end and data[at] == 44:
            at = skip_blanks(data, at + 1, end)
        if at >= end or data[at] != 123:
            return -1, -1
        after, _ = unit(job, at, end, 0, 0)
        if after < 0:
            _, stop = shape(data, at, end)
            return (at, stop) if stop >= 0 else (-1, -1)
        at = after
