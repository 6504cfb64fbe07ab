"""Session: who sits at the browser, in a signed cookie, and the token that each of its forms must carry.

Owns the cookie's form and its signature. Keeps nothing: the key is the file's and the token's, so a session outlives a
restart and ends when the token is changed. Knows no HTTP.

Not obvious: everybody has a session, also on loopback where nobody logs in: the forms' token hangs on it, and the name
under which answers are given.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from hashlib import sha256
from typing import NamedTuple

COOKIE = "graft_review"
#: Half a day: a shift.
LIFE_S = 43_200
NAME_CAP = 80
#: Longest cookie that is looked at.
COOKIE_CAP = 1000


class Session(NamedTuple):
    """number: random. name: of the person. is_in: the token was given. expires_s: wall clock."""

    number: str
    name: str
    is_in: bool
    expires_s: int


class Sessions:
    """secret: of the file. token: what people log in with, "" where nobody has to."""

    def __init__(self, secret: bytes, token: str = "") -> None:
        self._key = hmac.digest(secret, b"session\0" + token.encode(), sha256)
        self._token = hmac.digest(self._key, token.encode(), sha256) if token else b""

    @property
    def wants_token(self) -> bool:
        """Whether anybody has to log in."""
        return bool(self._token)

    def knows(self, token: str) -> bool:
        """Is this the token? Takes as long for a wrong one."""
        return self.wants_token and hmac.compare_digest(hmac.digest(self._key, token.encode(), sha256), self._token)

    def begin(self, name: str, *, is_in: bool, now_s: float) -> Session:
        """A new session."""
        return Session(secrets.token_hex(16), name, is_in, int(now_s) + LIFE_S)

    def written(self, session: Session) -> str:
        """The cookie's value."""
        name = base64.urlsafe_b64encode(session.name.encode()).decode()
        text = f"{session.number}.{int(session.is_in)}.{session.expires_s}.{name}"
        return f"{text}.{self._sign('cookie', text)}"

    def read(self, value: str, now_s: float) -> Session | None:
        """The session of a cookie; None for one that is not ours, or is over."""
        text, _, signature = value.rpartition(".")
        if len(value) > COOKIE_CAP or not hmac.compare_digest(signature.encode(), self._sign("cookie", text).encode()):
            return None
        number, is_in, expires_s, name = text.split(".")
        try:
            found = Session(number, base64.urlsafe_b64decode(name).decode(), is_in == "1", int(expires_s))
        except (ValueError, binascii.Error):
            return None
        return found if found.expires_s > now_s else None

    def form_token(self, session: Session) -> str:
        """What each form of this session carries."""
        return self._sign("form", session.number)

    def is_form_token(self, session: Session, given: str) -> bool:
        """Is it that?"""
        return hmac.compare_digest(given.encode(), self.form_token(session).encode())

    def _sign(self, what: str, text: str) -> str:
        return hmac.digest(self._key, f"{what}\0{text}".encode(), sha256).hex()


def name_of(text: str) -> str:
    """A person's name as it may be used; "" for none.

    >>> name_of("  Ada  "), name_of("a\\x00b"), name_of("")
    ('Ada', '', '')
    """
    name = text.strip()
    return name if name.isprintable() and 0 < len(name) <= NAME_CAP else ""
