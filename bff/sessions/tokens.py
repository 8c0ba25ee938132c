"""The cold half of a session: what the provider issued. Token work reads it, verify never does."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
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
    """idp: who issued them. dpop_key: the session's own private key as JWK. services: tokens exchanged for this one."""

    idp: str
    access: AccessToken
    refresh_token: str | None = field(default=None, repr=False)
    id_token: str | None = field(default=None, repr=False)
    dpop_key: str | None = field(default=None, repr=False)
    services: Mapping[str, AccessToken] = field(default_factory=dict)


def tokens_to_bytes(tokens: Tokens) -> bytes:
    return json.dumps(asdict(tokens), separators=(",", ":")).encode()


def tokens_from_bytes(raw: bytes) -> Tokens:
    """Raises ValueError, TypeError or KeyError for bytes that are something else."""
    record: dict[str, Any] = json.loads(raw)
    access = AccessToken(**record.pop("access"))
    services = {name: AccessToken(**each) for name, each in record.pop("services").items()}
    return Tokens(access=access, services=services, **record)
