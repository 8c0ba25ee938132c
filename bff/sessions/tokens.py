"""The cold half of a session: what the provider issued. Token work reads it, verify never does."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

BEARER = "Bearer"


@dataclass(frozen=True)
class AccessToken:
    """What opens a service. Times in Unix seconds.

    token_type: Bearer (RFC 6750) or DPoP (RFC 9449). expires_at: None when the issuer did not say. refresh_at: when a
    newer one is wanted, some time before this one expires.
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
        """Whether the issuer has not replaced one by the other; when each is to be refreshed is nobody's business."""
        return other is not None and (self.value, self.expires_at) == (other.value, other.expires_at)

    def left_alone(self, until: float) -> "AccessToken":
        """The same token, not to be refreshed before then, unless it ends sooner."""
        return replace(self, refresh_at=until if self.expires_at is None else min(until, self.expires_at))


@dataclass(frozen=True)
class Tokens:
    """idp: who issued them. dpop_key: the session's own private key as JWK. services: tokens exchanged for this one,
    under what they were asked for."""

    idp: str
    access: AccessToken
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    dpop_key: str | None = field(default=None, repr=False)
    services: Mapping[str, AccessToken] = field(default_factory=dict)


def tokens_to_bytes(tokens: Tokens) -> bytes:
    return json.dumps(asdict(tokens), separators=(",", ":")).encode()


def tokens_from_bytes(raw: bytes) -> Tokens:
    """What another version wrote is read, too: members that it adds are ignored, those that it lacks have their
    defaults. Raises ValueError, TypeError or KeyError for bytes that are something else."""
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
    """Raises TypeError for what is no object. known: the names that are read, all of them if None."""
    if not isinstance(record, dict):
        raise TypeError("no object")
    return {name: value for name, value in record.items() if known is None or name in known}
