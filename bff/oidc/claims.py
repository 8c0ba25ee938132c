"""From a provider's claims to the BFF's user: names differ between providers, types cannot be trusted."""

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
    """What applications and policies know a user of this provider by, and no user of another one (ADR 39).

    A provider chooses its `sub` freely, so one that looks like an ARN, or like what is made here of such a one, is
    encoded: it names a user of this provider still, and nobody else."""
    if config.user_id == "arn":
        return arn(config.id, sub)
    return _part(sub) if sub.startswith((_ARN, "auth%")) else sub


def arn(idp: str, sub: str) -> str:
    """A name for a person that is unique among providers: no `sub` can say where one of its parts ends."""
    return f"{_ARN}{_part(idp)}:{_part(sub)}"


def _part(text: str) -> str:
    """RFC 3986 section 2.1, of as little as is needed: decoding gives the text back, so no two texts become one."""
    return _RESERVED.sub(lambda found: "%3A" if found[0] == ":" else "%25", text)


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
