"""The fast path over a batch: all records that are known at sight, in one call. Compiled.

Not obvious: the first byte tells JSON from line protocol, as in sniff.py; whichever it is, an entry can only have been
learned from a record that the slow path decoded as such. What begins with a blank or a byte order mark is the slow
path's, as it may be another format, or another name, than the same line within a record.
"""

from __future__ import annotations

from agents.codecs import json_template, line_template
from agents.codecs.columns import DONE, UNKNOWN, Bytes, Job
from engine.kernel import inline, kernel

_json_record = json_template.record
_line_record = line_template.record


@inline
def _is_odd(data: Bytes, at: int, end: int) -> bool:
    """Whether a record begins with a blank or a byte order mark."""
    first = data[at]
    if first == 32 or first == 10 or first == 13 or first == 9:
        return True
    return bool(first == 0xEF and end - at > 2 and data[at + 1] == 0xBB and data[at + 2] == 0xBF)


@kernel
def run(job: Job, index: int, pos: int) -> tuple[int, int, int]:
    """Records from index on until one is no hit: its index, pos after all samples before it, and why it stopped."""
    while index < len(job.start) - 1:
        at, end = job.start[index], job.start[index + 1]
        if at == end or end - at > job.bounds.max_record_bytes:
            return index, pos, UNKNOWN
        if _is_odd(job.data, at, end):
            return index, pos, UNKNOWN
        if job.data[at] == 123 or job.data[at] == 91:
            code, after = _json_record(job, index, pos)
        else:
            code, after = _line_record(job, index, pos)
        if code < 0:
            return index, pos, -code
        pos = after
        index += 1
    return index, pos, DONE
