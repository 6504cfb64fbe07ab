"""The first 96 bytes of a snapshot: what it is, how long, whether whole, and who vouches for it.

Knows nothing of JSON or arrays. The signature covers the header with the digest in it, and the digest covers the rest:
so a forged file is refused after hashing 64 bytes, and a file is hashed once whether it is signed or not.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from engine.errors import ConfigError, SnapshotError

#: As PNG does it: the high bit shows a 7-bit transfer, the line ending one that "corrects" line endings.
MAGIC: Final = b"\x89GRAFT\r\n"
MAJOR: Final = 1
MINOR: Final = 0
SIGNED: Final = 1

FIELDS: Final = struct.Struct("<8sHHIQQ")
DIGEST: Final = slice(32, 64)
SIGNATURE: Final = slice(64, 96)
SIZE: Final = 96
ALIGNMENT: Final = 64
UNSIGNED: Final = bytes(32)
#: A head is names and shapes; a larger one is an attack on the JSON parser, which makes 60 bytes of one "[".
MAX_HEAD_BYTES: Final = 1 << 20

#: One key, or several while they are being exchanged: the first signs, any of them vouches.
Keys = bytes | tuple[bytes, ...] | None

_FOREIGN: Final = {
    b"PK": "a zip, npz or docx file",
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"\x80": "a pickle, which is never loaded: it can run code",
    b"\x93NUMPY": "an npy file",
    b"{": "JSON",
}


class Header(NamedTuple):
    """What the first 96 bytes claim; only magic, version and sizes are checked at this point."""

    major: int
    minor: int
    signed: bool
    head_bytes: int
    data_bytes: int
    digest: bytes
    signature: bytes

    @property
    def data_start(self) -> int:
        return aligned(SIZE + self.head_bytes)


def aligned(offset: int) -> int:
    """The next multiple of 64, the line of a cache and the widest vector register.

    >>> aligned(0), aligned(1), aligned(64)
    (0, 64, 64)
    """
    return -(-offset // ALIGNMENT) * ALIGNMENT


def digest_of(fields: bytes | memoryview, rest: Iterable[bytes | memoryview]) -> bytes:
    digest = sha256(fields)
    for piece in rest:
        digest.update(piece)
    return digest.digest()


def sign(fields: bytes | memoryview, digest: bytes, key: bytes) -> bytes:
    return hmac.digest(key, bytes(fields) + digest, "sha256")


def write_header(head_bytes: int, data_bytes: int, rest: Iterable[bytes | memoryview], keys: Keys) -> bytes:
    """The 96 bytes that go before rest."""
    key = first_key(keys)
    flags = 0 if key is None else SIGNED
    fields = FIELDS.pack(MAGIC, MAJOR, MINOR, flags, head_bytes, data_bytes)
    digest = digest_of(fields, rest)
    return fields + digest + (UNSIGNED if key is None else sign(fields, digest, key))


def read_header(view: memoryview) -> Header:
    """The header of the bytes in view, which must be the whole file. SnapshotError if they cannot be a snapshot."""
    if bytes(view[:8]) != MAGIC:
        raise SnapshotError(_not_ours(bytes(view[:8])))
    if len(view) < SIZE:
        raise SnapshotError(f"it ends after {len(view)} of {SIZE} bytes of its header: cut short; use an older copy")
    _, major, minor, flags, head_bytes, data_bytes = FIELDS.unpack(view[: FIELDS.size])
    if not 1 <= major <= MAJOR:
        raise SnapshotError(_too_new(major, minor) if major else "it says format 0, which never existed: damaged")
    if flags & ~SIGNED:
        raise SnapshotError(f"it has unknown flags {flags:#x}: damaged, or written by something that is not Graft")
    if head_bytes > MAX_HEAD_BYTES:
        raise SnapshotError(f"it says that its head has {head_bytes} bytes; at most {MAX_HEAD_BYTES} are possible")
    digest, signature = bytes(view[DIGEST]), bytes(view[SIGNATURE])
    header = Header(major, minor, bool(flags), head_bytes, data_bytes, digest, signature)
    _check_size(len(view), header.data_start + data_bytes)
    return header


def check_signature(header: Header, view: memoryview, keys: Keys, *, allow_unsigned: bool | None) -> None:
    """SnapshotError unless one of keys signed it, or nobody did and that is allowed (None: only if there is no key)."""
    if not header.signed:
        if header.signature != UNSIGNED:
            raise SnapshotError("it says that it is unsigned, yet has a signature: damaged")
        if allow_unsigned is False or (allow_unsigned is None and keys):
            raise SnapshotError("it is not signed and a signature is wanted; sign it, or allow unsigned ones")
        return
    every = all_keys(keys)
    if not every:
        raise SnapshotError("it is signed and there is no key to check that with; give the key it was signed with")
    fields, digest = view[: FIELDS.size], header.digest
    matches = [hmac.compare_digest(sign(fields, digest, key), header.signature) for key in every]
    if not any(matches):
        raise SnapshotError("its signature does not match: signed with another key, or changed after it was signed")


def check_digest(header: Header, view: memoryview) -> None:
    if not hmac.compare_digest(digest_of(view[: FIELDS.size], [view[SIZE:]]), header.digest):
        raise SnapshotError("its sha256 does not match its content: damaged on disk or on the way; use an older copy")


def all_keys(keys: Keys) -> tuple[bytes, ...]:
    every = (keys,) if isinstance(keys, bytes) else tuple(keys or ())
    if not all(every):
        raise ConfigError("a key for snapshots is empty, so that anybody could sign; give at least 16 random bytes")
    return every


def first_key(keys: Keys) -> bytes | None:
    return next(iter(all_keys(keys)), None)


def _check_size(size: int, wanted: int) -> None:
    if size < wanted:
        raise SnapshotError(f"it has {size} bytes and its header says {wanted}: cut short; use an older copy")
    if size > wanted:
        raise SnapshotError(f"it has {size} bytes and its header says {wanted}: something was added; use another copy")


def _not_ours(start: bytes) -> str:
    if not start:
        return "it is empty; wanted a Graft snapshot"
    if MAGIC.startswith(start):
        return f"it ends after {len(start)} bytes: cut short; use an older copy"
    known = next((text for magic, text in _FOREIGN.items() if start.startswith(magic)), f"starting with {start!r}")
    return f"it is not a Graft snapshot but {known}; `graft snapshot create` writes one"


def _too_new(major: int, minor: int) -> str:
    return f"it has format {major}.{minor} and this Graft reads up to {MAJOR}.x; upgrade Graft, or use an older file"
