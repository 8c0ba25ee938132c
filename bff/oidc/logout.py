"""Ending it at the provider too: RP-Initiated Logout 1.0, and revocation of the refresh token (RFC 7009).

Some providers keep refresh tokens alive after their own logout, so the BFF revokes what it held.
"""

import logging
from urllib.parse import urlencode

from bff.errors import ProviderUnavailable, UpstreamError
from bff.oidc.provider import Provider
from bff.sessions.model import Tokens

log = logging.getLogger(__name__)


def end_session_url(provider: Provider, tokens: Tokens | None, *, post_logout_redirect_uri: str) -> str | None:
    """Where to send the browser so that the provider's own session ends; None when it offers no such place."""
    try:
        endpoint = provider.metadata().end_session_endpoint
    except ProviderUnavailable:
        return None
    if endpoint is None:
        return None
    parameters = {"client_id": provider.config.client_id, "post_logout_redirect_uri": post_logout_redirect_uri}
    if tokens and tokens.id_token:
        parameters["id_token_hint"] = tokens.id_token
    return endpoint + ("&" if "?" in endpoint else "?") + urlencode(parameters)


def revoke(provider: Provider, tokens: Tokens | None) -> bool:
    """Revoke the refresh token, best effort; whether the provider confirmed it or there was nothing to revoke."""
    if tokens is None or tokens.refresh_token is None:
        return True
    form = {"token": tokens.refresh_token, "token_type_hint": "refresh_token"}
    try:
        endpoint = provider.metadata().revocation_endpoint
        if endpoint is None:
            return False
        answer = provider.post("revocation", endpoint, form, repeatable=True)
    except (UpstreamError, ProviderUnavailable):
        return False
    if not answer.ok:
        log.warning("revocation_refused", extra={"idp": provider.id, "status": answer.status})
    return answer.ok
