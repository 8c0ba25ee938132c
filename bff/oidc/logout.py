"""Ending it at the provider too: RP-Initiated Logout 1.0."""

from urllib.parse import urlencode

from bff.errors import ProviderUnavailable
from bff.oidc.provider import Provider
from bff.sessions.tokens import Tokens


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
