"""The one currency: bytes <-> state, for checkpoint, parcel and source snapshot alike. Never pickle, never a path.

    offset  bytes
         0      8  magic
         8    2+2  format version, major and minor        everything is little-endian
        12      4  flags: bit 0 says that the file is signed
        16    8+8  size of the head, size of the data
        32     32  sha256 of bytes [0, 32) and of everything after byte 96
        64     32  HMAC-SHA256 of bytes [0, 64), or zeros
        96      n  head: JSON with sorted keys (kind, creator, arrays by name, the caller's manifest)
       ...         zeros up to a multiple of 64, then each array raw, each at a multiple of 64

Rule: nothing is believed before it is checked, in the order size, magic, version, lengths, HMAC, sha256, head, arrays.
The one thing not obvious: a checksum protects from accidents only, so a head with a right checksum is still treated
as written by an enemy. It may not claim a byte that the file does not have.

header  the first 96 bytes      head  what the JSON may say      codec  pack and unpack
migrate older versions          compare  diff and describe, for people
"""

from __future__ import annotations

from engine.snapshot.codec import DIGEST, MAX_BYTES, State, digest_of, pack, unpack
from engine.snapshot.compare import describe, diff
from engine.snapshot.head import KINDS, json_column, read_json_column
from engine.snapshot.header import Header, Keys, read_header

__all__ = [
    "DIGEST",
    "KINDS",
    "MAX_BYTES",
    "Header",
    "Keys",
    "State",
    "describe",
    "diff",
    "digest_of",
    "json_column",
    "pack",
    "read_header",
    "read_json_column",
    "unpack",
]
