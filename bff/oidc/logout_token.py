"""Logout token validation: OpenID Connect Back-Channel Logout 1.0 section 2.6.

`exp` is required, as in section 2.4 since its first errata; a token without it is refused. A token issued more than
OLDEST seconds ago is refused too, whatever its `exp`, because its `jti` is remembered only that long.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bff.oidc.jwt import LEEWAY, TokenInvalid, audiences, check_times, parse, verify
from bff.oidc.key_questions import Purpose
from bff.oidc.provider import Provider, of_issuer

EVENT = "http://schemas.openid.net/event/backchannel-logout"
OLDEST = 300  # seconds since the token was issued
_TYPES = ("logout+jwt", "application/logout+jwt", "jwt")


@dataclass(frozen=True)
class LogoutToken:
    """Names the sessions to end: those of the provider's session `sid`, or else all of `sub`. At least one is set.

    dead_at: Unix seconds from which the token is never accepted again.
    """

    idp: str
    jti: str = field(repr=False)
    sid: str | None = field(repr=False)
    sub: str | None = field(repr=False)
    dead_at: float


def checked_logout_token(text: str, providers: Mapping[str, Provider], now: float) -> LogoutToken:
    """Raises TokenInvalid; ProviderUnavailable when the keys cannot be fetched."""
    token = parse(text)
    claims = token.claims
    provider = of_issuer(providers, claims.get("iss"))
    if provider is None:
        raise TokenInvalid("bad_issuer")
    verify(token, provider, Purpose.LOGOUT)
    if str(token.header.get("typ", "JWT")).lower() not in _TYPES:
        raise TokenInvalid("malformed")
    if provider.config.client_id not in audiences(claims):
        raise TokenInvalid("bad_audience")
    check_times(claims, now, demanded=("exp", "iat"))
    dead_at = min(claims["exp"], claims["iat"] + OLDEST) + LEEWAY
    if now >= dead_at:
        raise TokenInvalid("expired")
    if not _says_logout(claims):
        raise TokenInvalid("malformed")
    jti, sid, sub = (_name(claims, name) for name in ("jti", "sid", "sub"))
    if jti is None or (sid is None and sub is None):
        raise TokenInvalid("malformed")
    return LogoutToken(provider.id, jti, sid, sub, dead_at)


def _says_logout(claims: Mapping[str, Any]) -> bool:
    """Whether the claims are a logout event. A token with a nonce could be an ID token in a logout token's place."""
    events = claims.get("events")
    return isinstance(events, dict) and isinstance(events.get(EVENT), dict) and "nonce" not in claims


def _name(claims: Mapping[str, Any], name: str) -> str | None:
    """Returns the claim's text, None when it is absent. Raises TokenInvalid for any other value."""
    value = claims.get(name)
    if name in claims and not (isinstance(value, str) and value):
        raise TokenInvalid("malformed")
    return value
