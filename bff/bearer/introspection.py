"""OAuth 2.0 Token Introspection (RFC 7662): for tokens that only their provider can read."""

import logging
from typing import Any

from bff.bearer.access_token import BearerClaims, from_introspection
from bff.errors import ProviderUnavailable, UpstreamError
from bff.oidc.jwt import TokenInvalid
from bff.oidc.provider import CALL_LIMIT, Provider

log = logging.getLogger(__name__)


def introspected(token: str, provider: Provider, default_audience: str, now: float) -> BearerClaims:
    """Returns the claims of a token that the provider calls active.

    Raises TokenInvalid, also when the provider offers no introspection; ProviderUnavailable.
    """
    with provider.within(CALL_LIMIT):
        answer = _answer(provider, token)
    if not answer["active"]:
        raise TokenInvalid("inactive")
    return from_introspection(answer, provider, provider.config.audiences or (default_audience,), now)


def _answer(provider: Provider, token: str) -> dict[str, Any]:
    """Returns the provider's answer, with `active` a boolean. Raises TokenInvalid, ProviderUnavailable."""
    endpoint = provider.metadata().introspection_endpoint
    if endpoint is None:
        raise TokenInvalid("malformed")  # no JWT, and no introspection endpoint to ask
    try:
        form = {"token": token, "token_type_hint": "access_token"}
        response = provider.post("introspection", endpoint, form, repeatable=True, foreign=True)
        answer = response.json() if response.ok else {}
    except UpstreamError as err:
        raise ProviderUnavailable from err
    if not isinstance(answer.get("active"), bool):
        log.error("introspection_refused", extra={"idp": provider.id, "status": response.status})
        raise ProviderUnavailable("The provider does not tell whether the token is active.")
    return answer
