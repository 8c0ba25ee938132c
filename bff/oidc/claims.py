"""Claims mapping: builds the BFF's user from a provider's claims. Their names vary and their types are untrusted."""

import re
from collections.abc import Mapping
from typing import Any

from bff.sessions.model import User
from bff.settings import ProviderSettings

_ARN = "auth:account:"
_RESERVED = re.compile(r":|%(?=[0-9A-Fa-f]{2})")
_MOST_ROLES = 200
_LONGEST = 256


def user_from_claims(claims: Mapping[str, Any], config: ProviderSettings) -> User:
    sub = claims["sub"]
    return User(
        id=user_id(config, sub),
        sub=sub,
        name=_text(_at(claims, config.claims.name)) or _text(claims.get("preferred_username")),
        email=_text(_at(claims, config.claims.email)),
        roles=words(claims, config.claims.roles),
        permissions=words(claims, config.claims.permissions),
    )


def user_id(config: ProviderSettings, sub: str) -> str:
    """Returns the id by which applications and policies know this provider's user, unique among providers (ADR 39).

    A provider chooses its `sub` freely. A `sub` in the form of an ARN, or of an encoded one, is encoded, so it cannot
    name another provider's user."""
    if config.user_id == "arn":
        return arn(config.id, sub)
    return _part(sub) if sub.startswith((_ARN, "auth%")) else sub


def arn(idp: str, sub: str) -> str:
    """Returns a user's name, unique among providers. Colons in a `sub` are encoded, so it cannot forge a part."""
    return f"{_ARN}{_part(idp)}:{_part(sub)}"


def _part(text: str) -> str:
    """Percent-encodes as little as needed (RFC 3986 section 2.1). It is reversible, so no two texts collide."""
    return _RESERVED.sub(lambda found: "%3A" if found[0] == ":" else "%25", text)


def words(claims: Mapping[str, Any], path: str) -> tuple[str, ...]:
    """Returns the words of a list or of one string: providers send roles in both forms."""
    found = claims[path] if path in claims else _at(claims, path)
    if isinstance(found, str):
        return tuple([word[:_LONGEST] for word in found.split(None, _MOST_ROLES)[:_MOST_ROLES]])
    if isinstance(found, list):
        return tuple([word[:_LONGEST] for word in found[:_MOST_ROLES] if isinstance(word, str)])
    return ()


def has_claim(claims: Mapping[str, Any], path: str) -> bool:
    return _at(claims, path) is not None


def _at(claims: Mapping[str, Any], path: str) -> object:
    """Returns the value at a dotted path such as realm_access.roles; a claim with dots in its own name comes first."""
    if path in claims:
        return claims[path]
    value: object = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str:
    return value[:_LONGEST] if isinstance(value, str) else ""
