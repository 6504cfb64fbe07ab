"""Signatures of what people say: HMAC-SHA256 over the canonical JSON of a record.

Owns that form, which a script in any language can make: keys sorted, no blanks, UTF-8, without the field `signature`
itself; the signature in hex. Knows nothing of whose key it is.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

from agents.secret import Secret

FIELD = "signature"


def canonical(record: Mapping[str, Any]) -> bytes:
    """What is signed.

    >>> canonical({"b": 1, "a": "x", "signature": "00"})
    b'{"a":"x","b":1}'
    """
    return orjson.dumps({name: value for name, value in record.items() if name != FIELD}, option=orjson.OPT_SORT_KEYS)


def signature(record: Mapping[str, Any], key: Secret) -> str:
    """Hex of the signature of a record."""
    return hmac.new(key.reveal().encode(), canonical(record), hashlib.sha256).hexdigest()


def is_signed(record: Mapping[str, Any], key: Secret) -> bool:
    """Does the record carry the signature of this key?"""
    found = record.get(FIELD)
    return isinstance(found, str) and hmac.compare_digest(found.encode(), signature(record, key).encode())
