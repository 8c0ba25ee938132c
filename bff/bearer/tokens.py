"""Bearer token cache (RFC 6750): JWTs are verified here, other tokens are introspected, and both verdicts are cached.

An accepted JWT costs one digest and one look-up from then on, for at most five minutes and never beyond its `exp`. The
cached verdict holds only for the provider's key set that verified it. Every newly fetched key set makes the worker
verify again, so a key that the provider withdrew invalidates its tokens. An introspection is cached for 30 seconds at
most. Each worker has its own caches, which hold digests instead of tokens.

Any client may present a token. So a question to a provider is first counted for the client's address.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from bff.bearer.access_token import BearerClaims, MayBeIdToken, from_jwt
from bff.bearer.introspection import introspected
from bff.errors import InvalidToken
from bff.lib.ttl_cache import TTLCache
from bff.observability import metrics
from bff.oidc.jwt import CountedValidation, TokenInvalid, parse
from bff.oidc.key_questions import ASKED_AGAIN_AFTER
from bff.oidc.provider import Provider, of_issuer
from bff.oidc.public_keys import PublicKeys
from bff.ratelimit import RateLimiter

JWT_LIFE = 300.0
ACTIVE_LIFE = 30.0
REFUSED_LIFE = 30.0
MOST = 5000
LIMIT = "bearer_token"
_COUNTED_JWT, _COUNTED_OPAQUE = CountedValidation("access_token_jwt"), CountedValidation("access_token_opaque")


class Verified(NamedTuple):
    token: BearerClaims
    provider: Provider
    keys: PublicKeys
    exp: float


class Moment(NamedTuple):
    """told: Unix seconds, for the tokens' claims. passed: monotonic seconds, for expiry in this worker's caches: a
    clock that is set back must not extend a cached verdict."""

    told: float
    passed: float


class IntrospectionLimit:
    """Counts the questions to a provider about one token as one hit, and refunds it when the token proves good.

    So a service that presents many users' tokens uses up no limit. Untrusted clients cannot make the BFF ask the
    provider without end.
    """

    def __init__(self, limits: RateLimiter, address: str) -> None:
        self._limits = limits
        self._address = address
        self._counted = False

    def count(self) -> None:
        """Call it before each question. Raises RateLimited, StoreUnavailable."""
        if not self._counted:
            self._limits.by_address(LIMIT, self._address)
            self._counted = True

    def were_worth_it(self) -> None:
        if self._counted:
            self._limits.give_back(LIMIT, self._address)


class BearerTokens:
    def __init__(
        self,
        providers: Mapping[str, Provider],
        of_opaque: str | None,
        default_audience: str,
        limits: RateLimiter,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        """providers: by alias, the default one first. of_opaque: the alias of the provider that introspects opaque
        tokens. default_audience: the `aud` that tokens must name when a provider's settings list no audiences. clock:
        Unix seconds. monotonic: seconds that only go forward."""
        self._providers = providers
        self._of_opaque = None if of_opaque is None else providers[of_opaque]
        self._default_audience = default_audience
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._verified: TTLCache[Verified] = TTLCache(MOST)
        self._active: TTLCache[BearerClaims] = TTLCache(MOST)
        self._refused: TTLCache[str] = TTLCache(MOST)
        self._of_unknown_key: TTLCache[PublicKeys] = TTLCache(MOST)
        self._count_verified = metrics.token_validation_recorder("access_token_jwt", "valid")

    def validate(self, token: str, address: str) -> BearerClaims:
        """Returns the claims of a valid token. address: of the client that presents it.

        Raises InvalidToken; RateLimited, and StoreUnavailable where the limit is closed; ProviderUnavailable when keys
        or introspection are unavailable, which is no verdict.
        """
        key = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        now = Moment(self._clock(), self._monotonic())
        seen = self._verified.get(key, now.passed)
        if seen is not None and now.told < seen.exp and seen.keys is seen.provider.keys():
            self._count_verified()
            return seen.token
        is_jwt, questions = _is_jwt(token), IntrospectionLimit(self._limits, address)
        try:
            with _COUNTED_JWT if is_jwt else _COUNTED_OPAQUE:
                accepted = (self._jwt if is_jwt else self._opaque)(token, key, questions, now)
        except TokenInvalid as err:
            raise InvalidToken(f"The access token is refused: {err.status}.") from err
        questions.were_worth_it()
        return accepted

    def _jwt(self, token: str, key: bytes, questions: IntrospectionLimit, now: Moment) -> BearerClaims:
        self._raise_if_refused(key, now)
        parsed = parse(token)
        provider = of_issuer(self._providers, parsed.claims.get("iss"))
        if provider is None:
            raise TokenInvalid("bad_issuer")
        keys = provider.keys()  # read before the check: a set that arrives meanwhile has verified nothing yet
        if self._of_unknown_key.get(key, now.passed) is keys:
            raise TokenInvalid("unknown_key")
        audiences, life = provider.config.audiences or (self._default_audience,), JWT_LIFE
        try:
            accepted = from_jwt(parsed, provider, audiences, now.told, before_asking=questions.count)
        except MayBeIdToken:
            if provider.metadata().introspection_endpoint is None:
                raise
            accepted, life = self._introspected(token, key, provider, questions, now), ACTIVE_LIFE
        except TokenInvalid as err:
            if err.status == "unknown_key":
                self._of_unknown_key.put(key, provider.keys(), now.passed + ASKED_AGAIN_AFTER)
            raise
        exp = accepted.exp or parsed.claims["exp"]
        self._verified.put(key, Verified(accepted, provider, keys, exp), now.passed + life)
        return accepted

    def _opaque(self, token: str, key: bytes, questions: IntrospectionLimit, now: Moment) -> BearerClaims:
        known = self._active.get(key, now.passed)
        if known is not None and now.told < (known.exp or math.inf):
            return known
        self._raise_if_refused(key, now)
        if self._of_opaque is None:
            raise TokenInvalid("malformed")
        accepted = self._introspected(token, key, self._of_opaque, questions, now)
        self._active.put(key, accepted, now.passed + ACTIVE_LIFE)
        return accepted

    def _introspected(
        self, token: str, key: bytes, provider: Provider, questions: IntrospectionLimit, now: Moment
    ) -> BearerClaims:
        questions.count()
        try:
            return introspected(token, provider, self._default_audience, now.told)
        except TokenInvalid as err:
            self._refused.put(key, err.status, now.passed + REFUSED_LIFE)
            raise

    def _raise_if_refused(self, key: bytes, now: Moment) -> None:
        if refusal := self._refused.get(key, now.passed):
            raise TokenInvalid(refusal)


def _is_jwt(token: str) -> bool:
    """Whether the token has three parts, of which the first begins like a JSON object in base64url."""
    return token.startswith("e") and token.count(".") == 2
