"""ID tokens: the checks of OpenID Connect Core section 3.1.3.7, each failure by its name.

Every outcome is counted in bff_token_validation_total{token_type="id_token"} under the word that the error carries.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from joserfc import jws
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet

from bff.crypto import base64url, equal
from bff.observability import metrics
from bff.oidc.provider import Provider

LEEWAY = 60  # seconds of clock difference that harm nobody
MAX_TOKEN = 64 * 1024


class IdTokenError(Exception):
    """status: a label value of bff_token_validation_total, or `nonce` for a token of another login."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


def validate_id_token(
    token: str, provider: Provider, *, nonce: str, access_token: str, clock: Callable[[], float]
) -> dict[str, Any]:
    """The claims of a token that is this provider's, for this client, for this login, and current.

    Raises IdTokenError; ProviderUnavailable when the keys cannot be had.
    """
    try:
        claims = _claims(token, provider)
        _check_issuer_and_audience(claims, provider)
        _check_times(claims, clock())
        _check_access_token(claims, _header(token), access_token)
    except IdTokenError as err:
        metrics.token_validation("id_token", err.status)
        raise
    metrics.token_validation("id_token", "valid")
    if not equal(str(claims.get("nonce", "")), nonce):
        raise IdTokenError("nonce")
    return claims


def _claims(token: str, provider: Provider) -> dict[str, Any]:
    header = _header(token)
    algorithm = header.get("alg")
    if algorithm not in provider.config.id_token_algorithms:
        raise IdTokenError("bad_signature")
    key = _key(provider, header)
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        content = jws.deserialize_compact(token, key, registry=registry).payload
        claims = json.loads(content)
        json.dumps(claims, ensure_ascii=False).encode()  # half a character could not be written again
    except BadSignatureError as err:
        raise IdTokenError("bad_signature") from err
    except (JoseError, ValueError, TypeError, RecursionError) as err:
        raise IdTokenError("malformed") from err
    if not isinstance(claims, dict):
        raise IdTokenError("malformed")
    return claims


def _header(token: str) -> dict[str, Any]:
    """The unverified JOSE header: good for choosing a key, for nothing else."""
    try:
        part = token.split(".", maxsplit=1)[0] if len(token) <= MAX_TOKEN else ""
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, RecursionError) as err:
        raise IdTokenError("malformed") from err
    if token.count(".") != 2 or not isinstance(header, dict):
        raise IdTokenError("malformed")
    return header


def _key(provider: Provider, header: Mapping[str, Any]) -> Key:
    """The signing key that the header names; an unknown name is looked up once more in fresh keys (key rotation)."""
    try:
        return _pick(provider.keys(), header)
    except InvalidKeyIdError:
        pass
    try:
        return _pick(provider.keys(unknown_kid=True), header)
    except InvalidKeyIdError as err:
        raise IdTokenError("unknown_key") from err


def _pick(keys: KeySet, header: Mapping[str, Any]) -> Key:
    """Raises InvalidKeyIdError. Without a kid, the one key that fits the algorithm (OpenID Connect Core 10.1)."""
    kid, algorithm = header.get("kid"), header["alg"]
    fitting = [key for key in keys if key.get("use") in (None, "sig") and key.get("alg") in (None, algorithm)]
    named = [key for key in fitting if key.kid == kid] if kid is not None else fitting
    if len(named) == 1 or (kid is not None and named):
        return named[0]
    raise InvalidKeyIdError(f"{len(named)} keys fit")


def _check_issuer_and_audience(claims: Mapping[str, Any], provider: Provider) -> None:
    client_id = provider.config.client_id
    if claims.get("iss") != provider.metadata().issuer:
        raise IdTokenError("bad_issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if client_id not in audiences:
        raise IdTokenError("bad_audience")
    if claims.get("azp", client_id if len(audiences) == 1 else None) != client_id:
        raise IdTokenError("bad_audience")
    if not isinstance(claims.get("sub"), str) or not 0 < len(claims["sub"]) <= 255:
        raise IdTokenError("malformed")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    for name in ("exp", "iat"):
        if not _is_time(claims.get(name)):
            raise IdTokenError("malformed")
    if now >= claims["exp"] + LEEWAY:
        raise IdTokenError("expired")
    not_before = claims.get("nbf", claims["iat"])
    if not _is_time(not_before) or max(claims["iat"], not_before) > now + LEEWAY:
        raise IdTokenError("not_yet_valid")
    if "auth_time" in claims and not _is_time(claims["auth_time"]):
        raise IdTokenError("malformed")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11


def _check_access_token(claims: Mapping[str, Any], header: Mapping[str, Any], access_token: str) -> None:
    """at_hash, when there is one, ties the access token to the ID token (OpenID Connect Core section 3.1.3.6)."""
    expected = claims.get("at_hash")
    if expected is None:
        return
    algorithm = str(header["alg"])
    name = f"sha{algorithm[2:]}" if algorithm[2:] in ("256", "384", "512") else "sha512"
    full = hashlib.new(name, access_token.encode()).digest()
    if not isinstance(expected, str) or not equal(base64url(full[: len(full) // 2]), expected):
        raise IdTokenError("bad_signature")
