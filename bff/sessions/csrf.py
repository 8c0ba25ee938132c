"""CSRF tokens: a signed double submit bound to the session (OWASP's signed double-submit cookie).

A script reads the token from its cookie and repeats it in a header. Another site can neither read the cookie nor
make one, because the token is an HMAC over this session's key.
"""

from collections.abc import Collection
from typing import Literal

from bff.crypto import Mac, equal, random_id
from bff.errors import CsrfViolation
from bff.sealed import elsewhere
from bff.sessions.model import Session

HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
Reason = Literal[
    "missing_cookie", "missing_header", "mismatch", "bad_signature", "foreign_origin", "cross_site", "same_site"
]
"""Reasons of a violation; only bff.web.isolation reports the last two."""


class Csrf:
    def __init__(self, mac: Mac, origins: Collection[str]) -> None:
        """origins: those that may send unsafe requests."""
        self._mac = mac
        self._origins = frozenset(origins)

    def issue(self, session: Session) -> str:
        nonce = random_id()
        return f"{nonce}.{self._mac.sign(self._message(session, nonce))}"

    def valid(self, session: Session, token: str) -> bool:
        nonce, _, signature = token.partition(".")
        return self._mac.verify(self._message(session, nonce), signature)

    def check(self, session: Session, *, cookies: Collection[str], header: str | None, origin: str | None) -> None:
        """Raises CsrfViolation with the reason as code, and KeyElsewhere. cookies: the values of our cookie; one of
        them must match, since a sibling host may have planted others. origin: the request's Origin header."""
        if origin is not None and origin.lower() not in self._origins:
            raise _violation("foreign_origin")
        if not any(cookies):
            raise _violation("missing_cookie")
        if not header:
            raise _violation("missing_header")
        if not any(equal(cookie, header) for cookie in cookies):
            raise _violation("mismatch")
        if not self.valid(session, header):
            raise elsewhere("csrf") if self._mac.made_elsewhere() else _violation("bad_signature")

    @staticmethod
    def _message(session: Session, nonce: str) -> str:
        return f"{session.key}.{nonce}"


def _violation(reason: Reason) -> CsrfViolation:
    return CsrfViolation(code=reason)
