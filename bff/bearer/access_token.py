"""Access token validation of a resource server: the claims that a JWT or an introspected token must have.

Not every token that a provider signed or calls active is an access token. An ID token, a logout token or a refresh
token in its place is refused (token confusion, RFC 8725 section 2.8). So is a token that is bound to a key (`cnf`). As
a plain Bearer token it proves nothing (RFC 9449 section 7.2, RFC 8705 section 3).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from bff.oidc.claims import arn, words
from bff.oidc.jwt import Compact, TokenInvalid, audiences, check_times, checked_subject, verify
from bff.oidc.key_questions import Purpose
from bff.oidc.provider import Provider
from bff.settings import REQUIRED

# Claims of ID tokens (OpenID Connect Core sections 2 and 3.3.2.11) and logout tokens that no access token has.
_OF_OTHER_TOKENS = frozenset({"nonce", "at_hash", "c_hash", "s_hash", "events"})
# Some providers state the token's kind in a claim: Keycloak in `typ`, Cognito and Hydra in `token_use`.
_KINDS = {
    "typ": ("bearer", "at+jwt"),
    "token_use": ("access", "access_token"),
    "token_type": ("bearer", "access_token"),
}


class MayBeIdToken(TokenInvalid):
    """A JWT of no declared type that names its own client as audience, as an ID token does.

    Only an introspection at the provider shows whether it is an access token.
    """


class BearerClaims(NamedTuple):
    """Claims of a valid token, in one form for all providers.

    arn: the user's name from bff.oidc.claims, unique among providers. client_id: "" when the token names no client.
    exp and iat are Unix seconds; None when an introspected token has no such claim.
    """

    sub: str
    iss: str
    idp: str
    arn: str
    client_id: str
    scope: tuple[str, ...]
    aud: tuple[str, ...]
    roles: tuple[str, ...]
    permissions: tuple[str, ...]
    exp: float | None
    iat: float | None

    def __repr__(self) -> str:
        return f"AccessToken(idp={self.idp!r}, client_id={self.client_id!r})"  # no personal data of the user


def from_jwt(
    token: Compact, provider: Provider, for_us: tuple[str, ...], now: float, before_asking: Callable[[], None]
) -> BearerClaims:
    """Validates a JWT of this provider, typed by RFC 9068 or plain. for_us: audiences, of which it must name one.
    before_asking: as in `verify`.

    Raises TokenInvalid, in doubt its subclass MayBeIdToken; ProviderUnavailable when the keys cannot be fetched.
    """
    verify(token, provider, Purpose.BEARER, before_asking)
    kind = str(token.header.get("typ", "JWT")).lower().removeprefix("application/")
    if kind not in ("at+jwt", "jwt"):
        raise TokenInvalid("malformed")
    check_times(token.claims, now, demanded=("exp",))
    _check_audience(token.claims, for_us)
    if kind == "jwt":
        _check_not_an_id_token(token.claims, provider.config.client_id)
    return _normalised(token.claims, provider)


def from_introspection(
    answer: Mapping[str, Any], provider: Provider, for_us: tuple[str, ...], now: float
) -> BearerClaims:
    """Validates an introspection answer of this provider with `active` true (RFC 7662 section 2.2).

    for_us: audiences, of which the answer must name one; the operator may allow answers without `aud`. Every other
    claim but `sub` is optional. Raises TokenInvalid.
    """
    if "iss" in answer and answer["iss"] != provider.config.issuer:
        raise TokenInvalid("bad_issuer")
    check_times(answer, now, demanded=())
    if "aud" in answer or provider.config.introspection_aud == REQUIRED:
        _check_audience(answer, for_us)
    return _normalised(answer, provider)


def _check_not_an_id_token(claims: Mapping[str, Any], client_id: str) -> None:
    """A plain JWT does not declare its kind. An ID token names its own client as audience (OpenID Connect Core section
    2). So a plain JWT with such an audience is not accepted by itself, even if the operator listed that audience."""
    if _OF_OTHER_TOKENS & claims.keys():
        raise TokenInvalid("malformed")
    named = audiences(claims)
    if client_id in named or _client(claims) in named:
        raise MayBeIdToken("bad_audience")


def _check_audience(claims: Mapping[str, Any], for_us: tuple[str, ...]) -> None:
    named = audiences(claims)
    for audience in for_us:
        if audience in named:
            return
    raise TokenInvalid("bad_audience")


def _normalised(claims: Mapping[str, Any], provider: Provider) -> BearerClaims:
    if "cnf" in claims:
        raise TokenInvalid("malformed")
    for name, allowed in _KINDS.items():
        if name in claims and str(claims[name]).lower() not in allowed:
            raise TokenInvalid("malformed")
    sub, config = checked_subject(claims), provider.config
    return BearerClaims(
        sub,
        config.issuer,
        config.id,
        arn(config.id, sub),
        _client(claims),
        scope=words(claims, "scope") or words(claims, "scp"),
        aud=tuple([name for name in audiences(claims) if isinstance(name, str)]),
        roles=words(claims, config.claims.roles),
        permissions=words(claims, config.claims.permissions),
        exp=claims.get("exp"),
        iat=claims.get("iat"),
    )


def _client(claims: Mapping[str, Any]) -> str:
    """Returns `client_id` (RFC 9068, RFC 7662), else `azp`, which OpenID Providers use."""
    named = claims.get("client_id", claims.get("azp"))
    return named if isinstance(named, str) else ""
