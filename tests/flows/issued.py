"""Tokens that the test provider issues outside of any login: JWT access tokens and logout tokens."""

import secrets
from typing import Any

from tests.flows.internet import BFF
from tests.flows.provider import REMOVED, OpenIdProvider

BACKCHANNEL = "http://schemas.openid.net/event/backchannel-logout"


def access_token(idp: OpenIdProvider, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """As RFC 9068 has it, for this BFF, presented by another client. REMOVED takes a header or a claim away."""
    now = int(idp.clock())
    return _signed(
        idp,
        {"typ": "at+jwt", **(header or {})},
        {
            "iss": idp.issuer,
            "aud": BFF,
            "sub": "alice",
            "client_id": "service",
            "iat": now,
            "exp": now + 600,
            "jti": secrets.token_hex(8),
            "scope": "orders:read orders:write",
            "roles": ["user"],
            "permissions": ["orders.read"],
            **claims,
        },
    )


def logout_token(idp: OpenIdProvider, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """As OpenID Connect Back-Channel Logout 1.0 section 2.4 has it, but for sid and sub."""
    now = int(idp.clock())
    return _signed(
        idp,
        {"typ": "logout+jwt", **(header or {})},
        {
            "iss": idp.issuer,
            "aud": idp.client.client_id,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {BACKCHANNEL: {}},
            **claims,
        },
    )


def _signed(idp: OpenIdProvider, header: dict[str, Any], claims: dict[str, Any]) -> str:
    key = idp.keys[-1]
    header = {"alg": key.get("alg") or "RS256", "kid": key.kid, **header}
    return idp.sign(
        {name: value for name, value in header.items() if value is not REMOVED},
        {name: value for name, value in claims.items() if value is not REMOVED},
    )
