"""From a provider's claims to the BFF's user: names differ between providers, types cannot be trusted."""

from collections.abc import Mapping
from typing import Any

from bff.sessions.model import User
from bff.settings import ProviderSettings

_MOST_ROLES = 200
_LONGEST = 256


def user_from_claims(claims: Mapping[str, Any], config: ProviderSettings) -> User:
    sub = claims["sub"]
    return User(
        id=arn(config.id, sub) if config.user_id == "arn" else sub,
        sub=sub,
        name=_text(_at(claims, config.claims.name)) or _text(claims.get("preferred_username")),
        email=_text(_at(claims, config.claims.email)),
        roles=words(claims, config.claims.roles),
        permissions=words(claims, config.claims.permissions),
    )


def arn(idp: str, sub: str) -> str:
    """A name for a person that is unique among providers."""
    return f"auth:account:{idp}:{sub}"


def words(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """A list of words, or words in one string, as providers send roles either way."""
    found = claims[path] if path in claims else _at(claims, path)
    if isinstance(found, str):
        return tuple([word[:_LONGEST] for word in found.split(None, _MOST_ROLES)[:_MOST_ROLES]])
    if isinstance(found, list):
        return tuple([word[:_LONGEST] for word in found[:_MOST_ROLES] if isinstance(word, str)])
    return ()


def has_claim(claims: Mapping[str, Any], path: str) -> bool:
    return _at(claims, path) is not None


def _at(claims: Mapping[str, Any], path: str) -> object:
    """The value at a dotted path such as realm_access.roles; a claim whose own name has dots comes first."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""
