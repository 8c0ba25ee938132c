"""Cache keys of tokens: the key holds all parameters of the token request, so a token is never used for another one.

A changed configuration has its own token from the next use on. Workers with the former configuration find theirs beside
it, so during a rolling reload neither replaces the other's.
"""

import json
from collections.abc import Mapping

from bff.crypto import digest
from bff.sessions.tokens import AccessToken
from bff.settings import ProviderSettings, ServiceSettings

MOST_BESIDE = 3
"""Tokens of one service that a session keeps: of two configurations, and one of an earlier version."""
_UNKNOWN_LIFE = 86400.0
"""Seconds after which a token without a known expiry is dropped, unless it is replaced before."""


def asked_for(service: ServiceSettings, provider: ProviderSettings) -> str:
    """One name for each service, audience, resource, scope, provider, and kind of token."""
    asked = [
        service.audience, service.resource, sorted(service.scope.split()),
        provider.id, provider.issuer, provider.client_id, provider.dpop,
    ]  # fmt: skip
    return f"{service.id}:{digest(json.dumps(asked))[:16]}"


def covers(token: AccessToken, service: ServiceSettings) -> bool:
    """Whether the token has every scope that the service needs."""
    return set(service.scope.split()) <= set(token.scope.split())


def beside(held: Mapping[str, AccessToken], name: str, token: AccessToken, now: float) -> dict[str, AccessToken]:
    """The tokens of a session's services with one more, without expired ones and those beyond MOST_BESIDE."""
    others = {each: other for each, other in held.items() if each != name and not _over(other, now)}
    same = [each for each in others if _service(each) == _service(name)]
    for oldest in same[: 1 - MOST_BESIDE]:
        del others[oldest]
    return {**others, name: token}


def _service(name: str) -> str:
    return name.rpartition(":")[0] or name  # the key of earlier versions is the service's id alone


def _over(token: AccessToken, now: float) -> bool:
    return now >= (token.refresh_at + _UNKNOWN_LIFE if token.expires_at is None else token.expires_at)
