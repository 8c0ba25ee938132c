"""JWT verification (JWS, RFC 7515; JWT, RFC 7519): joserfc decodes and verifies, and each failure gets its own name.

The modules id_token, access_token and logout_token decide whether a signed token is one of their kind.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import Key

from bff.errors import BFFError
from bff.observability import metrics
from bff.oidc.key_questions import Purpose
from bff.oidc.provider import Provider

LEEWAY = 60  # seconds of tolerated clock difference
MAX_TOKEN = 64 * 1024
_TIMES = ("exp", "iat", "nbf")
_NUMBERS = (int, float)


class TokenInvalid(Exception):
    """status: a value of bff_token_validation_total. For an ID token also `nonce` (of another login) or `subject` (of
    another user than the one of the refreshed session). counted: the metric's value, where it differs."""

    def __init__(self, status: str, *, counted: str | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.counted = counted or status


class _TokenRegistry(jws.JWSRegistry):
    """Checks the types of registered header parameters, ignores others (RFC 7515 section 4). `parse` limits sizes."""

    max_header_length = max_payload_length = max_signature_length = MAX_TOKEN

    def get_alg(self, name: str) -> JWSAlgModel:
        """Returns any known algorithm, because `verify` checks the operator's list. The base class would warn about
        EdDSA for each token."""
        return self.algorithms[name]


_REGISTRY = _TokenRegistry(strict_check_header=False)


@dataclass(slots=True, repr=False)
class Compact:
    """A token in its parts (RFC 7515 section 7.1). Before `verify` succeeds, its content may only select a provider and
    a key."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signature: jws.CompactSignature


class CountedValidation:
    """Counts the outcome of a validation; `error` when a provider or the store was unavailable.

    It holds no state, so one instance serves all tokens of a type.
    """

    def __init__(self, token_type: str) -> None:
        self._token_type = token_type
        self._count_valid = metrics.token_validation_recorder(token_type, "valid")

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._count_valid()
        elif isinstance(error, TokenInvalid):
            metrics.token_validation(self._token_type, error.counted)
        elif isinstance(error, BFFError):
            metrics.token_validation(self._token_type, "error")


def parse(token: str) -> Compact:
    """Decodes a compact JWS without verifying it. Raises TokenInvalid."""
    if len(token) > MAX_TOKEN:
        raise TokenInvalid("malformed")
    try:
        taken_apart = jws.extract_compact(token.encode("ascii"), registry=_REGISTRY)
        header, claims = taken_apart.headers(), json.loads(taken_apart.payload.decode())
        if not isinstance(header, dict) or not isinstance(claims, dict):
            raise ValueError("not JSON objects")
        if "crit" in header or "b64" in header:
            raise ValueError("an extension")  # RFC 7515 section 4.1.11, RFC 7797; the BFF supports none
        _REGISTRY.check_header(header)
        json.dumps([header, claims], ensure_ascii=False).encode()  # raises for a lone surrogate, which UTF-8 lacks
        return Compact(header, claims, taken_apart)
    except (JoseError, ValueError, RecursionError) as err:
        raise TokenInvalid("malformed") from err


def verify(
    token: Compact, provider: Provider, purpose: Purpose, before_asking: Callable[[], None] = lambda: None
) -> None:
    """Checks that this provider signed the token, with an algorithm that the operator allows.

    before_asking: called before this token makes the BFF fetch keys; its exceptions pass through. Raises TokenInvalid;
    ProviderUnavailable when the keys cannot be fetched.
    """
    algorithm = token.header.get("alg")
    if algorithm not in provider.config.id_token_algorithms:
        raise TokenInvalid("bad_signature")
    try:
        key = _key(provider, token.header.get("kid"), algorithm, purpose, before_asking)
        genuine = jws.validate_compact(token.signature, key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError) as err:
        raise TokenInvalid("malformed") from err
    if not genuine:
        raise TokenInvalid("bad_signature")


def check_times(claims: Mapping[str, Any], now: float, *, demanded: tuple[str, ...]) -> None:
    """Checks exp, iat and nbf where present. demanded: claims that must be present. Raises TokenInvalid."""
    for name in _TIMES:
        if name in claims:
            if not is_time(claims[name]):
                raise TokenInvalid("malformed")
        elif name in demanded:
            raise TokenInvalid("malformed")
    if claims.get("exp", now) + LEEWAY <= now:
        raise TokenInvalid("expired")
    if claims.get("iat", now) - LEEWAY > now or claims.get("nbf", now) - LEEWAY > now:
        raise TokenInvalid("not_yet_valid")


def is_time(value: object) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool) and 0 <= value < 1e11


def audiences(claims: Mapping[str, Any]) -> list[Any]:
    """Returns `aud` as a list: a single audience may be a plain string (RFC 7519 section 4.1.3)."""
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else [audience]


def checked_subject(claims: Mapping[str, Any]) -> str:
    """Returns `sub`. Raises TokenInvalid unless it has 1 to 255 characters (OpenID Connect Core section 2)."""
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 0 < len(sub) <= 255:
        raise TokenInvalid("malformed")
    return sub


def _key(
    provider: Provider, kid: str | None, algorithm: str, purpose: Purpose, before_asking: Callable[[], None]
) -> Key:
    """Returns the key that the header names; an unknown `kid` is looked up once more in fresh keys (key rotation)."""
    try:
        return provider.keys().choose(kid, algorithm)
    except InvalidKeyIdError:
        before_asking()
    try:
        return provider.newer_keys(purpose, kid).choose(kid, algorithm)
    except InvalidKeyIdError as err:
        raise TokenInvalid("unknown_key") from err
