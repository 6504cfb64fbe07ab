"""Secret: text that must never reach a log, a terminal, a traceback or a record.

Owns the one type for it, and the hook by which msgspec makes one. Knows nothing of where secrets come from:
`${env:X}` and `${file:PATH}` are resolved by the settings before a Secret is made.

Not obvious: it is no `str`, so that formatting, joining or encoding one by mistake is an error or `***`, never a leak.
"""

from __future__ import annotations

import hmac
from typing import Any

MASK = "***"


class Secret:
    """A text that prints as `***`; only `reveal` gives it away.

    >>> key = Secret("hunter2")
    >>> f"{key} {key!r} {key.reveal()}"
    '*** *** hunter2'
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; call it as late as possible and do not keep the result."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not to be pickled; pass the place it comes from instead")


def dec_hook(kind: type, value: object) -> object:
    """For `msgspec.convert(..., dec_hook=dec_hook)`: makes a Secret of a text, and lets a Secret pass."""
    if kind is not Secret:
        raise NotImplementedError(f"no way to make a {kind.__name__} from configuration")
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")


def enc_hook(value: object) -> object:
    """For `msgspec.to_builtins(..., enc_hook=enc_hook)`: a Secret shows as `***`."""
    if isinstance(value, Secret):
        return MASK
    raise NotImplementedError(f"no way to show a {type(value).__name__}")


def mask(text: str, secrets: tuple[Secret, ...]) -> str:
    """The text with each secret in it replaced; for answers of other people's servers that may echo what they got.

    >>> mask("bad key hunter2", (Secret("hunter2"),))
    'bad key ***'
    """
    for secret in sorted(secrets, key=lambda one: -len(one.reveal())):
        if secret:
            text = text.replace(secret.reveal(), MASK)
    return text
