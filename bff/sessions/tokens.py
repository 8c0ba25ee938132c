"""The cold half of a session: the provider's tokens. Token work reads it, verify never does."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

BEARER = "Bearer"


@dataclass(frozen=True)
class AccessToken:
    """An access token with its metadata. Times in Unix seconds.

    token_type: Bearer (RFC 6750) or DPoP (RFC 9449). expires_at: None when the issuer did not send it. refresh_at: the
    time of its replacement, some time before it expires.
    """

    value: str = field(repr=False)
    refresh_at: float
    expires_at: float | None = None
    scope: str = ""
    token_type: str = BEARER

    def live(self, now: float) -> bool:
        return self.expires_at is None or now < self.expires_at

    def fresh(self, now: float) -> bool:
        return now < self.refresh_at

    def same(self, other: "AccessToken | None") -> bool:
        """Whether both are the same token, with equal or different refresh_at."""
        return other is not None and (self.value, self.expires_at) == (other.value, other.expires_at)

    def left_alone(self, until: float) -> "AccessToken":
        """The same token, with no refresh before then, unless it ends sooner."""
        return replace(self, refresh_at=until if self.expires_at is None else min(until, self.expires_at))


@dataclass(frozen=True)
class Tokens:
    """idp: the issuing provider's alias. dpop_key: the session's own private key as JWK. services: exchanged tokens by
    the name of their request."""

    idp: str
    access: AccessToken
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    dpop_key: str | None = field(default=None, repr=False)
    services: Mapping[str, AccessToken] = field(default_factory=dict)


def tokens_to_bytes(tokens: Tokens) -> bytes:
    return json.dumps(asdict(tokens), separators=(",", ":")).encode()


def tokens_from_bytes(raw: bytes) -> Tokens:
    """Parses tokens, also those of another version: unknown members are ignored, missing ones get their defaults.
    Raises ValueError, TypeError or KeyError for other bytes."""
    record: dict[str, Any] = _members(json.loads(raw), _TOKENS)
    services = _members(record.pop("services", {}))
    return Tokens(
        access=_access_token(record.pop("access")),
        services={name: _access_token(each) for name, each in services.items()},
        **record,
    )


_TOKENS = frozenset(each.name for each in fields(Tokens))
_ACCESS_TOKEN = frozenset(each.name for each in fields(AccessToken))


def _access_token(record: object) -> AccessToken:
    return AccessToken(**_members(record, _ACCESS_TOKEN))


def _members(record: object, known: frozenset[str] | None = None) -> dict[str, Any]:
    """The members of a JSON object. known: the names to read, all of them if None. Raises TypeError for no object."""
    if not isinstance(record, dict):
        raise TypeError("no object")
    return {name: value for name, value in record.items() if known is None or name in known}
