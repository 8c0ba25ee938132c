"""Bearer tokens of callers (RFC 6750): validated here when they are JWTs that say what they are, else at the provider,
and remembered.

A JWT that was accepted costs one digest and a look-up from then on, for at most five minutes, never beyond its `exp`,
and only while the provider's keys are the very set that it was verified with: when they were fetched anew, for
whatever reason, it is verified anew, so a key that the provider withdrew takes its tokens along. Introspection is
remembered for half a minute at most, a refusal for a few seconds. Caches are the worker's own; tokens are in them as
digests only.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bff.errors import InvalidToken
from bff.observability import metrics
from bff.oidc.access_token import AccessToken, MayBeIdToken, from_jwt
from bff.oidc.introspection import introspected
from bff.oidc.jwt import TokenInvalid, counted, parse
from bff.oidc.provider import Provider, of_issuer
from bff.oidc.public_keys import PublicKeys
from bff.oidc.seen import Seen

JWT_LIFE = 300.0
ACTIVE_LIFE = 30.0
REFUSED_LIFE = 5.0
MOST = 5000
_COUNTED_JWT, _COUNTED_OPAQUE = counted("access_token_jwt"), counted("access_token_opaque")


class Verified(NamedTuple):
    token: AccessToken
    provider: Provider
    keys: PublicKeys


class BearerTokens:
    def __init__(self, providers: Mapping[str, Provider], default_audience: str, clock: Callable[[], float]) -> None:
        """providers: by alias, the default one first. default_audience: what tokens must name where a provider's
        settings list no audiences."""
        self._providers = providers
        self._default_audience = default_audience
        self._clock = clock
        self._verified: Seen[Verified] = Seen(MOST)
        self._active: Seen[AccessToken] = Seen(MOST)
        self._refused: Seen[str] = Seen(MOST)
        self._count_verified = metrics.token_validation_recorder("access_token_jwt", "valid")

    def validate(self, token: str) -> AccessToken:
        """Raises InvalidToken; ProviderUnavailable when keys or introspection cannot be had, which is no verdict."""
        key, now = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest(), self._clock()
        seen = self._verified.get(key, now)
        if seen is not None and seen.keys is seen.provider.keys():
            self._count_verified()
            return seen.token
        try:
            return self._jwt(token, key, now) if _is_jwt(token) else self._opaque(token, key, now)
        except TokenInvalid as err:
            raise InvalidToken(f"The access token is refused: {err.status}.") from err

    def _jwt(self, token: str, key: bytes, now: float) -> AccessToken:
        with _COUNTED_JWT:
            parsed = parse(token)
            provider = of_issuer(self._providers, parsed.claims.get("iss"))
            if provider is None:
                raise TokenInvalid("bad_issuer")
            keys = provider.keys()  # taken before the check: a set that arrives meanwhile has verified nothing yet
            try:
                accepted = from_jwt(parsed, provider, provider.config.audiences or (self._default_audience,), now)
                life = JWT_LIFE
            except MayBeIdToken:
                if provider.metadata().introspection_endpoint is None:
                    raise
                accepted, life = introspected(token, [provider], self._default_audience, now), ACTIVE_LIFE
        until = min(accepted.exp or parsed.claims["exp"], now + life)
        self._verified.keep(key, Verified(accepted, provider, keys), until)
        return accepted

    def _opaque(self, token: str, key: bytes, now: float) -> AccessToken:
        with _COUNTED_OPAQUE:
            if known := self._active.get(key, now):
                return known
            if refusal := self._refused.get(key, now):
                raise TokenInvalid(refusal)
            try:
                accepted = introspected(token, self._providers.values(), self._default_audience, now)
            except TokenInvalid as err:
                self._refused.keep(key, err.status, now + REFUSED_LIFE)
                raise
            self._active.keep(key, accepted, min(accepted.exp or math.inf, now + ACTIVE_LIFE))
            return accepted


def _is_jwt(token: str) -> bool:
    """Three parts, of which the first begins as a JSON object does in base64url."""
    return token.startswith("e") and token.count(".") == 2
