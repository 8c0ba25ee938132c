"""Tokens that a provider signed (JWS, RFC 7515; JWT, RFC 7519): taken apart, verified, each failure by its name.

What makes a signed token an ID token, an access token or a logout token is decided in the modules of those names. The
signature is checked by joserfc's algorithm object itself: its ready-made decoder takes longer around the signature
than the signature takes. So the checks that it would make of the header and the key stand here.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet
from joserfc.util import urlsafe_b64decode

from bff.errors import BFFError
from bff.observability import metrics
from bff.oidc.provider import Provider

LEEWAY = 60  # seconds of clock difference that harm nobody
MAX_TOKEN = 64 * 1024
_HEADERS = jws.JWSRegistry(strict_check_header=False)  # registered members by type, others ignored (RFC 7515 section 4)


class TokenInvalid(Exception):
    """status: a value of bff_token_validation_total. An ID token may also be of another login (`nonce`), or of another
    person than the one whose token was refreshed (`subject`). counted: the metric's word, where it is another one."""

    def __init__(self, status: str, *, counted: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.counted = counted or status


@dataclass(frozen=True, repr=False)
class Compact:
    """A token taken apart (RFC 7515 section 7.1). Until `verify` has seen it, what it says is good for choosing a
    provider and a key, and for nothing else."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


@contextmanager
def counted(token_type: str) -> Iterator[None]:
    """Count what becomes of one token; `error` when a provider or the store was away."""
    try:
        yield
    except TokenInvalid as err:
        metrics.token_validation(token_type, err.counted)
        raise
    except BFFError:
        metrics.token_validation(token_type, "error")
        raise
    metrics.token_validation(token_type, "valid")


def parse(token: str) -> Compact:
    """Raises TokenInvalid."""
    if len(token) > MAX_TOKEN:
        raise TokenInvalid("malformed")
    try:
        signed, _, signature = token.encode("ascii").rpartition(b".")
        header, payload = signed.split(b".")
        return Compact(_object(header), _object(payload), signed, urlsafe_b64decode(signature))
    except (ValueError, RecursionError) as err:
        raise TokenInvalid("malformed") from err


def verify(token: Compact, provider: Provider) -> None:
    """Whether this provider signed it, in a way that the operator allows.

    Raises TokenInvalid; ProviderUnavailable when the keys cannot be had.
    """
    algorithm = token.header.get("alg")
    if algorithm not in provider.config.id_token_algorithms:
        raise TokenInvalid("bad_signature")
    key = _key(provider, token.header)
    if "crit" in token.header or "b64" in token.header:
        raise TokenInvalid("malformed")  # extensions (RFC 7515 section 4.1.11, RFC 7797); none is understood here
    try:
        _HEADERS.check_header(token.header)
        method = jws.JWSRegistry.algorithms[algorithm]
        method.check_key(key)
        genuine = method.verify(token.signed, token.signature, key)
    except (JoseError, ValueError, TypeError) as err:
        raise TokenInvalid("malformed") from err
    if not genuine:
        raise TokenInvalid("bad_signature")


def check_times(claims: Mapping[str, Any], now: float, *, demanded: tuple[str, ...]) -> None:
    """Raises TokenInvalid. exp, iat and nbf are checked wherever they stand; demanded: those that must."""
    for name in ("exp", "iat", "nbf"):
        if (name in demanded or name in claims) and not is_time(claims.get(name)):
            raise TokenInvalid("malformed")
    if now >= claims.get("exp", now) + LEEWAY:
        raise TokenInvalid("expired")
    if max(claims.get("iat", now), claims.get("nbf", now)) > now + LEEWAY:
        raise TokenInvalid("not_yet_valid")


def is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11


def audiences(claims: Mapping[str, Any]) -> list[Any]:
    """`aud` as a list: one audience may stand alone (RFC 7519 section 4.1.3)."""
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else [audience]


def checked_subject(claims: Mapping[str, Any]) -> str:
    """Raises TokenInvalid for a `sub` that names nobody (OpenID Connect Core section 2: at most 255 characters)."""
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 0 < len(sub) <= 255:
        raise TokenInvalid("malformed")
    return sub


def _object(part: bytes) -> dict[str, Any]:
    """Raises ValueError, RecursionError."""
    text = urlsafe_b64decode(part).decode()
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if "\\" in text:
        json.dumps(content, ensure_ascii=False).encode()  # half a character could not be written again
    return content


def _key(provider: Provider, header: Mapping[str, Any]) -> Key:
    """The signing key that the header names; an unknown name is looked up once more in fresh keys (key rotation)."""
    try:
        return _pick(provider.keys(), header)
    except InvalidKeyIdError:
        pass
    try:
        return _pick(provider.keys(unknown_kid=True), header)
    except InvalidKeyIdError as err:
        raise TokenInvalid("unknown_key") from err


def _pick(keys: KeySet, header: Mapping[str, Any]) -> Key:
    """Raises InvalidKeyIdError. Without a kid, the one key that fits the algorithm (OpenID Connect Core 10.1)."""
    kid, algorithm = header.get("kid"), header["alg"]
    fitting = [key for key in keys if key.get("use") in (None, "sig") and key.get("alg") in (None, algorithm)]
    named = [key for key in fitting if key.kid == kid] if kid is not None else fitting
    if len(named) == 1 or (kid is not None and named):
        return named[0]
    raise InvalidKeyIdError(f"{len(named)} keys fit")
