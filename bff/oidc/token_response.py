"""Tolerant reader of token responses (RFC 6749 section 5.1); their content is untrusted.

A response with one bad member is still used. After the provider has rotated the refresh token, only the new one works,
whatever else is wrong. So parsing never fails: it returns the usable tokens and names the fault.
"""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bff.sessions.tokens import AccessToken

ASSUMED_LIFE = 300.0
"""Seconds after which a token of unknown life is refreshed, if it can be."""

_LONGEST_LIFE = 10 * 365 * 86400.0
_SECONDS = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?")
# Reported as a fault, although the token is good: RFC 6749 only recommends expires_in.
TOLERATED = "expires_in_missing"


@dataclass(frozen=True)
class TokenResponse:
    """access: None without a usable token. fault: the member that is wrong (access_token, token_type, expires_in,
    expires_in_missing, scope), None for a good response."""

    access: AccessToken | None
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    fault: str | None = None


class TokenResponseParser:
    def __init__(
        self, threshold: float, clock: Callable[[], float], spread: Callable[[float, float], float] = random.uniform
    ) -> None:
        """threshold: seconds before its expiry at which a token is due for refresh; less for a short-lived token."""
        self._threshold = threshold
        self._clock = clock
        self._spread = spread

    def parse(self, content: Mapping[str, Any], *, token_type: str, scope: str = "") -> TokenResponse:
        """token_type: the requested type, Bearer or DPoP. scope: the scopes that the token must have."""
        refresh_token, id_token = printable(content.get("refresh_token")), printable(content.get("id_token"))
        value = printable(content.get("access_token"))
        if value is None or str(content.get("token_type", "")).lower() != token_type.lower():
            return TokenResponse(None, refresh_token, id_token, "token_type" if value else "access_token")
        life, fault = _life(content.get("expires_in"))
        granted = content["scope"] if isinstance(content.get("scope"), str) else scope
        if set(scope.split()) - set(granted.split()):
            fault = "scope"
        return TokenResponse(self._access(value, life, granted, token_type), refresh_token, id_token, fault)

    def _access(self, value: str, life: float | None, scope: str, token_type: str) -> AccessToken:
        now = self._clock()
        if life is None:
            return AccessToken(value, now + ASSUMED_LIFE, None, scope, token_type)
        # Jitter, so that tokens of one moment are not all refreshed at once; at most a fifth of the life ahead.
        ahead = min(self._threshold, life / 5) * self._spread(0.75, 1.0)
        return AccessToken(value, now + life - ahead, now + life, scope, token_type)


def _life(value: object) -> tuple[float | None, str | None]:
    """Returns (seconds or None when unknown, fault or None)."""
    if value is None:
        return None, TOLERATED
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = float(value)  # several providers send the number as text
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST_LIFE:
        return float(value), None
    return None, "expires_in"


def printable(value: object) -> str | None:
    """Returns the value if it is printable ASCII, as tokens are (RFC 6749 appendix A), else None.

    Other text would not fit into a header or URL.
    """
    return value if isinstance(value, str) and value and value.isascii() and value.isprintable() else None
