"""ID token validation: OpenID Connect Core section 3.1.3.7, and section 12.2 for ID tokens from a refresh.

Every outcome is counted in bff_token_validation_total{token_type="id_token"}. A token of another login counts as valid:
the token is good, only this login may not use it. A refreshed token for another user counts as malformed.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from bff.crypto import base64url, equal
from bff.oidc.jwt import (
    CountedValidation,
    TokenInvalid,
    audiences,
    check_times,
    checked_subject,
    is_time,
    parse,
    verify,
)
from bff.oidc.key_questions import Purpose
from bff.oidc.provider import Provider


def validate_id_token(
    token: str, provider: Provider, *, nonce: str, access_token: str, clock: Callable[[], float]
) -> dict[str, Any]:
    """Returns the claims of a current token from this provider, for this client and this login.

    Raises TokenInvalid; ProviderUnavailable when the keys cannot be fetched.
    """
    with CountedValidation("id_token"):
        claims = _checked(token, provider, Purpose.LOGIN, access_token, clock())
    if not equal(str(claims.get("nonce", "")), nonce):
        raise TokenInvalid("nonce")
    return claims


def validate_refreshed_id_token(
    token: str, provider: Provider, *, sub: str, access_token: str | None, clock: Callable[[], float]
) -> dict[str, Any]:
    """Returns the claims of an ID token from a refresh: the checks of a login, for the same user, without a nonce.

    access_token: None when the response had no usable one. Raises TokenInvalid, with the status `subject` for another
    user; ProviderUnavailable when the keys cannot be fetched.
    """
    with CountedValidation("id_token"):
        claims = _checked(token, provider, Purpose.REFRESH, access_token, clock())
        if not equal(claims["sub"], sub):
            raise TokenInvalid("subject", counted="malformed")
    return claims


def _checked(text: str, provider: Provider, purpose: Purpose, access_token: str | None, now: float) -> dict[str, Any]:
    token = parse(text)
    verify(token, provider, purpose)
    _check_issuer_and_audience(token.claims, provider)
    check_times(token.claims, now, demanded=("exp", "iat"))
    if "auth_time" in token.claims and not is_time(token.claims["auth_time"]):
        raise TokenInvalid("malformed")
    if access_token is not None:
        _check_access_token(token.claims, token.header, access_token)
    return token.claims


def _check_issuer_and_audience(claims: Mapping[str, Any], provider: Provider) -> None:
    client_id = provider.config.client_id
    if claims.get("iss") != provider.metadata().issuer:
        raise TokenInvalid("bad_issuer")
    named = audiences(claims)
    if client_id not in named:
        raise TokenInvalid("bad_audience")
    if claims.get("azp", client_id if len(named) == 1 else None) != client_id:
        raise TokenInvalid("bad_audience")
    checked_subject(claims)


def _check_access_token(claims: Mapping[str, Any], header: Mapping[str, Any], access_token: str) -> None:
    """Checks at_hash if present: it binds the access token to the ID token (OpenID Connect Core section 3.1.3.6)."""
    expected = claims.get("at_hash")
    if expected is None:
        return
    algorithm = str(header["alg"])
    name = f"sha{algorithm[2:]}" if algorithm[2:] in ("256", "384", "512") else "sha512"
    full = hashlib.new(name, access_token.encode()).digest()
    if not isinstance(expected, str) or not equal(base64url(full[: len(full) // 2]), expected):
        raise TokenInvalid("bad_signature")
