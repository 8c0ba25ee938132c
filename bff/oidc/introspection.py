"""Tokens that only their provider can read: OAuth 2.0 Token Introspection (RFC 7662)."""

import logging
from collections.abc import Iterable
from typing import Any

from bff.errors import ProviderUnavailable, UpstreamError
from bff.oidc.access_token import AccessToken, from_introspection
from bff.oidc.jwt import TokenInvalid
from bff.oidc.provider import Provider

log = logging.getLogger(__name__)


def introspected(token: str, providers: Iterable[Provider], default_audience: str, now: float) -> AccessToken:
    """What the first provider says that calls the token active; providers without introspection are passed over.

    Raises TokenInvalid; ProviderUnavailable when nobody calls it active and somebody could not be asked.
    """
    away, status = None, "malformed"  # nobody to ask: then it is text that nobody here can read
    for provider in providers:
        try:
            answer = _answer(provider, token)
        except ProviderUnavailable as err:
            away = err
            continue
        if answer is None:
            continue
        if answer["active"]:
            return from_introspection(answer, provider, provider.config.audiences or (default_audience,), now)
        status = "inactive"
    if away is not None:
        raise away
    raise TokenInvalid(status)


def _answer(provider: Provider, token: str) -> dict[str, Any] | None:
    """What the provider says, `active` a boolean; None when it offers no introspection. Raises ProviderUnavailable."""
    endpoint = provider.metadata().introspection_endpoint
    if endpoint is None:
        return None
    try:
        form = {"token": token, "token_type_hint": "access_token"}
        response = provider.post("introspection", endpoint, form, repeatable=True)
        answer = response.json() if response.ok else {}
    except UpstreamError as err:
        raise ProviderUnavailable from err
    if not isinstance(answer.get("active"), bool):
        log.error("introspection_refused", extra={"idp": provider.id, "status": response.status})
        raise ProviderUnavailable("The provider does not tell whether the token is active.")
    return answer
